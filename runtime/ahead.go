package runtime

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"gantry/fault"
	"gantry/function/frame"
	"gantry/logger"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

// Calls are written ahead to a worker that runs one at a time and says so: behind the call that runs, up to aheadMost
// wait in the socket. The worker reads a call only after it has written the whole answer to the one before, so it goes
// on without waiting for the agent, and answers come in groups. A call begins when the answer to the one before is
// read; until then it can be taken back (docs/PROTOCOL.md, docs/adr/0021-calls-written-ahead.md).

// ErrTakenBack says that a call was written behind another one, and was taken back: the worker has not begun it and
// never will.
var ErrTakenBack = errors.New("the call was taken back before it began")

const (
	// aheadMost is how many calls may wait in the socket of a worker behind the one that runs.
	aheadMost = 7
	// aheadBytes is the largest event, and the largest sum of ids, trace and credentials, of a call that is written ahead:
	// all of them fit into the buffer of the socket, so that no write waits.
	aheadBytes = 4 << 10
	// aheadWrite bounds a write where that is not so, because the machine's limits are below the usual ones.
	aheadWrite = time.Second
	// takeBackPause is how soon a call that could not be taken back is looked at again: the answer of the one before,
	// with which it begins, is on its way.
	takeBackPause = 10 * time.Millisecond
)

// ahead is what frames keep of calls that are written ahead. calls.mu guards it.
type ahead struct {
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

// Ahead is a call that may be written ahead: its caller waits in Await for whatever comes first, while others hand it
// over. It can be used again after ErrTakenBack.
type Ahead struct {
	call  *call
	inv   *fncontext.Call
	event []byte
	to    atomic.Pointer[frames] // nil until it is handed over
}

// NewAhead returns a call that waits for its begin until latest at most. begun is called once, when the call begins,
// before anything of its output is handled; it sets the deadline of inv. back is called each time the call is taken
// back, of all that are taken back together in their order, before Await returns for any of them; it calls Again. Both
// wait for nothing.
func NewAhead(
	inv *fncontext.Call, event []byte, log *logger.Request, latest time.Time, begun func(time.Time), back func(),
) *Ahead {
	c := callPool.Get().(*call)
	c.log, c.hint, c.stack, c.company = log, "", nil, false
	c.inv, c.begun, c.back, c.started = inv, begun, back, false
	h := &Ahead{call: c, inv: inv, event: event}
	h.Again(latest)
	return h
}

// Again prepares a call that was taken back, before it can be handed over once more.
func (h *Ahead) Again(latest time.Time) {
	h.to.Store(nil)
	h.call.timer.Reset(time.Until(latest))
}

// Drop ends a call that is not handed over any more.
func (h *Ahead) Drop() {
	for len(h.call.done) > 0 { // that it was taken back before
		<-h.call.done
	}
	(*calls)(nil).recycle(h.call)
}

// HandOver gives calls to the worker, in this order; each has its slot. It returns what writes them, nil if there is
// nothing to write: without the locks that keep the order, so that calls that come together leave together.
func (w *Worker) HandOver(all []*Ahead) (write func()) {
	f := w.transport.(*frames)
	lead, company := false, false
	var refused []*call
	for _, h := range all {
		h.to.Store(f)
		leader, behind, err := f.enlist(h.call, h.inv, h.event)
		if err != nil {
			refused = append(refused, h.call)
			continue
		}
		lead, company = lead || leader, company || behind
	}
	giveBack(refused)
	if !lead {
		return nil
	}
	return func() { f.events.flushAhead(company) }
}

// Errors of Ahead.Await, beside those of Transport.
var (
	// ErrGiven says that the channel was closed.
	ErrGiven = errors.New("the call has left the waiting room")
	// ErrWaited says that the call's wait or the context has ended, and that it was not handed over.
	ErrWaited = errors.New("the call has waited too long")
)

// Await waits for the answer, or for what else happens to the call; given is closed when it leaves the waiting room in
// another way than by HandOver. ErrTakenBack comes only before begun was called, ErrNotSent only after that.
func (h *Ahead) Await(ctx context.Context, given <-chan struct{}) (Result, error) {
	c, quit := h.call, ctx.Done()
	for {
		var r reply
		select {
		case r = <-c.done:
			return h.end(r)
		case <-given:
			return Result{}, ErrGiven
		case <-c.timer.C:
		case <-quit:
			quit = nil
		}
		f := h.to.Load()
		if f == nil {
			c.timer.Reset(takeBackPause) // it may be handed over at this moment
			return Result{}, ErrWaited
		}
		if f.overtime(ctx, c, h.inv, &r) {
			return h.end(r)
		}
	}
}

// end returns the answer.
func (h *Ahead) end(r reply) (Result, error) {
	f := h.to.Load()
	if r.taken {
		return Result{}, ErrTakenBack
	}
	h.Drop()
	if r.unsent {
		return Result{}, ErrNotSent
	}
	if r.err != nil && r.err.Kind == fault.Timeout && r.err.Hint == "" {
		r.err.Hint = f.worker.cfg.Language.Unanswered
	}
	return r.result, r.fault()
}

// enlist appends a call to the batch, and to those that are written ahead, in one step: both have the same order. The
// first one begins at once.
func (f *frames) enlist(c *call, inv *fncontext.Call, event []byte) (leader, company bool, err error) {
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
	if f.ahead.running == 0 {
		f.ahead.running, f.pending[c.id] = c.id, c
		f.mu.Unlock()
		f.start(c, inv, time.Now())
	} else {
		mark = f.ahead.mark + strconv.FormatUint(uint64(c.id), 10) + "}"
		f.ahead.written = append(f.ahead.written, c)
		f.mu.Unlock()
	}
	c.size = w.join(c.id, frame.Invoke, inv, event, mark)
	leader = !w.led
	w.led = true
	return leader, mark != "", nil
}

// refusal says why no call can be written ahead; called with mu held.
func (f *frames) refusal() error {
	if f.dead != nil || f.ahead.closed {
		return ErrTakenBack
	}
	return nil
}

// start lets a call begin: it is the first one that the worker has not answered.
func (f *frames) start(c *call, inv *fncontext.Call, now time.Time) {
	c.begun(now)
	f.mu.Lock()
	defer f.mu.Unlock()
	c.started = true
	c.timer.Reset(time.Until(inv.Deadline))
}

// advance lets the next call begin when the one with this id was answered. The frame reader calls it.
func (f *frames) advance(id uint32) {
	f.ahead.turn.Lock()
	defer f.ahead.turn.Unlock()
	f.mu.Lock()
	if f.ahead.running != id || id == 0 {
		f.mu.Unlock()
		return
	}
	f.ahead.running = 0
	var next *call
	if len(f.ahead.written) > 0 {
		next = f.ahead.written[0]
		f.ahead.written = f.ahead.written[1:]
		f.ahead.running, f.pending[next.id] = next.id, next
	}
	f.mu.Unlock()
	if next != nil {
		f.start(next, next.inv, time.Now())
	}
	f.worker.output.resume()
}

// overtime ends a call whose deadline has passed, or ctx; one that has not begun is taken back. False if its answer is
// still to be waited for.
func (f *frames) overtime(ctx context.Context, c *call, inv *fncontext.Call, r *reply) bool {
	f.mu.Lock()
	started := c.started
	if started && ctx.Err() == nil && time.Now().Before(inv.Deadline) { // it began at this moment
		c.timer.Reset(time.Until(inv.Deadline))
		f.mu.Unlock()
		return false
	}
	f.mu.Unlock()
	if !started {
		f.takeBack(false)
		f.mu.Lock()
		defer f.mu.Unlock()
		if !c.started {
			c.timer.Reset(takeBackPause)
		} else if ctx.Err() != nil {
			c.timer.Reset(0)
		}
		return false
	}
	why := TimeoutFault
	if ctx.Err() != nil {
		why = stoppedFault
	}
	for *r = f.abandon(c, inv, why, f.quit); r.taken; { // of before
		*r = <-c.done
	}
	return true
}

// takeBack takes the calls back that the worker has not begun to read; each is answered as unsent. With forGood no
// more are taken. What the worker has begun to read stays, and the call at the head of the stream.
func (f *frames) takeBack(forGood bool) {
	f.mu.Lock()
	f.ahead.closed = f.ahead.closed || forGood
	idle := len(f.ahead.written) == 0
	f.mu.Unlock()
	if idle {
		return
	}
	f.events.lock <- struct{}{} // no write waits for the worker while calls are written ahead
	defer func() { <-f.events.lock }()
	f.takeBackLocked()
}

// takeBackLocked is takeBack with the right to write.
func (f *frames) takeBackLocked() {
	w := f.events
	w.mu.Lock()
	defer w.mu.Unlock()
	f.ahead.turn.Lock() // no call begins meanwhile
	defer f.ahead.turn.Unlock()
	f.mu.Lock()
	waiting := f.ahead.written
	f.mu.Unlock()
	kept := len(waiting)
	for kept > 0 && w.batch.drop(waiting[kept-1].id) { // it has not been written
		kept--
	}
	if kept > 0 && !w.broken {
		unread, begun := unreadOf(waiting[:kept], f.steal())
		kept -= unread
		if len(begun) > 0 { // there is room: nothing was written since
			if _, err := w.write(time.Now().Add(aheadWrite), begun); err != nil {
				f.worker.cfg.Log.Error("the worker's calls are broken off: one cannot be written back", zap.Error(err))
			}
		}
	}
	f.release(waiting[kept:])
}

// unreadOf compares what was found in the socket with the calls that were written, of which the last one is at its end.
// It returns how many of them the worker has read nothing of, and what belongs to those before.
func unreadOf(written []*call, found []byte) (unread int, begun []byte) {
	left := len(found)
	for i := len(written) - 1; i >= 0 && left >= written[i].size; i-- {
		left -= written[i].size
		unread++
	}
	return unread, found[:left]
}

// release answers written calls as unsent; called with turn held.
func (f *frames) release(taken []*call) {
	f.mu.Lock()
	f.ahead.written = slices.DeleteFunc(slices.Clone(f.ahead.written), func(c *call) bool {
		return slices.Contains(taken, c)
	})
	f.mu.Unlock()
	giveBack(taken)
}

func giveBack(taken []*call) {
	for _, c := range taken {
		c.back()
	}
	for _, c := range taken {
		if len(c.done) == 0 { // else its caller has not looked since the last time
			c.done <- reply{taken: true}
		}
	}
}

// steal reads what the worker has not read.
func (f *frames) steal() (found []byte) {
	raw, err := f.ahead.end.SyscallConn()
	if err != nil {
		return nil // closed
	}
	buf := make([]byte, 32<<10)
	_ = raw.Control(func(fd uintptr) { // an error says that it is closed
		for {
			n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			if err == unix.EINTR {
				continue
			}
			if err != nil || n <= 0 {
				return
			}
			found = append(found, buf[:n]...)
		}
	})
	return found
}

// lost ends the wait of calls that could not be written; see calls.unsent.
func (f *frames) lost(ids []uint32, except uint32) {
	f.ahead.turn.Lock()
	f.mu.Lock()
	var taken []*call
	for _, c := range f.ahead.written {
		if slices.Contains(ids, c.id) {
			taken = append(taken, c)
		}
	}
	f.mu.Unlock()
	if len(taken) > 0 {
		f.worker.endsAhead() // it does not read
	}
	f.release(taken)
	f.ahead.turn.Unlock()
	f.unsent(ids, except)
	if len(taken) > 0 {
		f.worker.Retire()
	}
}

// noMore has writes fail from now on: the process has ended, and the agent still holds its end of the socket.
func (f *frames) noMore() {
	if f.ahead.end == nil {
		return
	}
	if raw, err := f.ahead.end.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) }) // what is there stays
	}
}

// endAhead answers the calls that a worker has not begun that has ended. Of those written ahead it is none: the answer
// to the one before would have been read. The one before them has not begun if all of it is still in the socket.
func (f *frames) endAhead() {
	if f.ahead.end == nil {
		return
	}
	f.ahead.turn.Lock()
	defer f.ahead.turn.Unlock()
	f.mu.Lock()
	f.ahead.closed = true
	waiting := f.ahead.written
	f.mu.Unlock()
	if id, whole := firstCall(f.steal()); whole {
		f.unsent([]uint32{id}, 0)
	}
	f.release(waiting)
}

// firstCall returns the id of the call whose frame b begins with. What is left of a frame whose header was read begins
// with its meta, which no length does.
func firstCall(b []byte) (id uint32, whole bool) {
	if len(b) < frame.HeaderSize || frame.Type(b[4]) != frame.Invoke {
		return 0, false
	}
	if uint64(len(b)) < 4+uint64(binary.BigEndian.Uint32(b)) {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[5:]), true
}

// border finds the mark before a call in what the worker has written to stdout or stderr; see logger.Border.
func (f *frames) border(b []byte) (before, after int, hold bool) {
	at := bytes.Index(b, []byte(f.ahead.mark))
	if at < 0 {
		return 0, 0, false
	}
	end := bytes.IndexByte(b[at:min(len(b), at+markLength)], '}')
	if end < 0 {
		return 0, 0, false
	}
	id, err := strconv.ParseUint(string(b[at+len(f.ahead.mark):at+end]), 10, 32)
	return at, at + end + 1, err == nil && f.waits(uint32(id))
}

// waits reports whether the call with this id was written ahead and has not begun.
func (f *frames) waits(id uint32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.pending[id]; c != nil && f.ahead.running == id && !c.started {
		return true // it is about to begin
	}
	return slices.ContainsFunc(f.ahead.written, func(c *call) bool { return c.id == id })
}
