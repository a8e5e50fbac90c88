package runtime

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"gantry/function/frame"
	"os"
	goruntime "runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	fncontext "gantry/context"
)

// Calls are written ahead to a worker that runs one at a time and says so: behind the call that runs, up to aheadMost
// wait in the socket. The worker reads a call only after it has written the whole answer to the one before, so it goes
// on without waiting for the agent, and answers come in groups. A call begins when the answer to the one before is
// read; until then it can be taken back (docs/PROTOCOL.md, docs/adr/0023-calls-written-ahead.md).

// ErrTakenBack says that a call was written behind another one, and was taken back: the worker has not begun it and
// never will.
var ErrTakenBack = errors.New("the call was taken back before it began")

const (
	// aheadBytes is the largest event, and the largest sum of ids, trace and credentials, of a call that is written ahead:
	// all of them fit into the buffer of the socket, so that no write waits.
	aheadBytes = 4 << 10
	// aheadWrite bounds a write where that is not so, because the machine's limits are below the usual ones.
	aheadWrite = time.Second
	// takeBackPause is how soon a call that could not be taken back is looked at again: the answer of the one before,
	// with which it begins, is on its way.
	takeBackPause = 10 * time.Millisecond
)

// ahead is the part of frames for calls that are written ahead. calls.mu guards what changes.
type ahead struct {
	*calls
	events *writer
	// turn is held where calls begin, and where they are taken back. It comes after the writer's mutex and before mu.
	turn sync.Mutex
	// closed is set when no more calls are taken.
	closed bool
	// running is the id of the call at the head of the stream, 0 for none; written are those behind it, oldest first.
	running uint32
	written []*call
	// mark begins what the worker writes to its stdout and stderr before such a call: what is behind it belongs to it.
	mark string
	// end is the worker's end of the socket, from which calls are taken back.
	end *os.File
}

// CanWriteAhead reports whether a call with this event may be written ahead, as far as its size goes.
func CanWriteAhead(inv *fncontext.Invocation, event []byte) bool {
	return len(event) <= aheadBytes && metaLength(inv) <= aheadBytes
}

// markLength is the length of a mark, in bytes.
const markLength = len("{gantry-0123456789abcdef:4294967295}")

// newMark returns a beginning that output does not have by chance.
func newMark() string {
	nonce := make([]byte, 8)
	rand.Read(nonce) // ends the program rather than fail
	return "{gantry-" + hex.EncodeToString(nonce) + ":"
}

// enlist appends a call to the batch, and to those that are written ahead, in one step: both have the same order. The
// first one begins at once.
func (f *ahead) enlist(c *call, inv *fncontext.Call, event []byte) (leader, company bool, err error) {
	w := f.events
	w.mu.Lock()
	defer w.mu.Unlock()
	f.mu.Lock()
	if err = f.refusal(); err != nil {
		f.mu.Unlock()
		return false, false, err
	}
	f.assign(c)
	mark := ""
	if f.running == 0 {
		f.running, f.pending[c.id] = c.id, c
		f.mu.Unlock()
		f.start(c, inv, time.Now())
	} else {
		mark = f.mark + strconv.FormatUint(uint64(c.id), 10) + "}"
		f.written = append(f.written, c)
		f.mu.Unlock()
	}
	c.size = w.join(c.id, frame.Invoke, inv, event, mark)
	leader = !w.led
	w.led = true
	return leader, mark != "", nil
}

// flushAhead writes the batch of calls that are written ahead; company as with send. They have no deadline yet, and the
// socket has room for them.
func (w *writer) flushAhead(company bool) {
	if company {
		goruntime.Gosched()
	}
	w.lock <- struct{}{}
	b := w.takeBatch()
	w.flush(&b, time.Now().Add(aheadWrite), 0)
}

// refusal says why no call can be written ahead; called with mu held.
func (f *ahead) refusal() error {
	if f.dead != nil || f.closed {
		return ErrTakenBack
	}
	return nil
}

// start lets a call begin: it is the first one that the worker has not answered.
func (f *ahead) start(c *call, inv *fncontext.Call, now time.Time) {
	c.begun(now)
	f.mu.Lock()
	defer f.mu.Unlock()
	c.started = true
	c.timer.Reset(time.Until(inv.Deadline))
}

// advance lets the next call begin when the one with this id was answered. The frame reader calls it.
func (f *ahead) advance(id uint32) {
	f.turn.Lock()
	defer f.turn.Unlock()
	f.mu.Lock()
	if f.running != id || id == 0 {
		f.mu.Unlock()
		return
	}
	f.running = 0
	var next *call
	if len(f.written) > 0 {
		next = f.written[0]
		f.written = f.written[1:]
		f.running, f.pending[next.id] = next.id, next
	}
	f.mu.Unlock()
	if next != nil {
		f.start(next, next.inv, time.Now())
	}
	f.worker.output.resume()
}

// border finds the mark before a call in what the worker has written to stdout or stderr; see logger.Border.
func (f *ahead) border(b []byte) (before, after int, hold bool) {
	at := bytes.Index(b, []byte(f.mark))
	if at < 0 {
		return 0, 0, false
	}
	end := bytes.IndexByte(b[at:min(len(b), at+markLength)], '}')
	if end < 0 {
		return 0, 0, false
	}
	id, err := strconv.ParseUint(string(b[at+len(f.mark):at+end]), 10, 32)
	return at, at + end + 1, err == nil && f.waits(uint32(id))
}

// waits reports whether the call with this id was written ahead and has not begun.
func (f *ahead) waits(id uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.pending[id]; c != nil && f.running == id && !c.started {
		return true // it is about to begin
	}
	return slices.ContainsFunc(f.written, func(c *call) bool { return c.id == id })
}
