package runtime

import (
	"context"
	"errors"
	"gantry/function/frame"
	"gantry/function/socket"
	"io"
	"net"
	"os"
	goruntime "runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

// writer writes calls to a worker. Callers write themselves; small frames of callers that come together leave in one
// write (docs/adr/0007).
type writer struct {
	conn *net.UnixConn
	// bytes writes to conn.
	bytes *socket.Stream
	// unsent receives the calls that the worker cannot have seen; except, if not 0, is left to its own deadline.
	unsent func(ids []uint32, except uint32)

	// lock is the right to write. A channel, because a waiting caller must still notice its deadline.
	lock       chan struct{}
	buf        []byte
	broken     bool // a write was cut off: the stream is of no use any more. Guarded by lock.
	byeWritten bool // Bye was written. Guarded by lock.

	// The first caller to find the batch without a leader writes it for all. Guarded by mu.
	mu    sync.Mutex
	batch batch
	spare batch
	led   bool
}

// batch is some frames and the calls they belong to.
type batch struct {
	bytes []byte
	ids   []uint32
	ends  []int // where each frame ends in bytes
}

// unwritten returns the ids of the frames that are not whole in the first n bytes.
func (b *batch) unwritten(n int) []uint32 {
	for i, end := range b.ends {
		if end > n {
			return b.ids[i:]
		}
	}
	return nil
}

// drop removes the last frame if it is that of the call with this id.
func (b *batch) drop(id uint32) bool {
	last := len(b.ids) - 1
	if last < 0 || b.ids[last] != id {
		return false
	}
	start := 0
	if last > 0 {
		start = b.ends[last-1]
	}
	b.bytes, b.ids, b.ends = b.bytes[:start], b.ids[:last], b.ends[:last]
	return true
}

// askStacks asks the worker, if it reads, for its stacks.
func (w *writer) askStacks() error { return w.notify(frame.Stacks, 0) }

// askCodeCache asks the worker to write its code cache.
func (w *writer) askCodeCache() error { return w.notify(frame.CodeCache, 0) }

// cancel notifies the worker, if it reads, that the answer to id is no longer awaited.
func (w *writer) cancel(id uint32) error { return w.notify(frame.Cancel, id) }

// notify writes a frame of nothing but a header.
func (w *writer) notify(kind frame.Type, id uint32) error {
	select {
	case w.lock <- struct{}{}:
	default:
		return nil // a frame is being written: the worker does not read, and will not read this either
	}
	defer func() { <-w.lock }()
	w.buf = frame.AppendHeader(w.buf[:0], kind, id, 0, 0)
	return w.writeNow(w.buf)
}

// load has a parked worker begin its load. Nothing was written before.
func (w *writer) load() error { return w.notify(frame.Load, 0) }

// userData hands the encrypted user variables to the worker. Nothing but Load was written before.
func (w *writer) userData(text []byte) error {
	w.lock <- struct{}{}
	defer func() { <-w.lock }()
	_, err := w.write(time.Now().Add(userDataLimit), frame.Append(nil, frame.UserData, 0, nil, text))
	return err
}

// errWriting says that the worker does not read what is being written to it.
var errWriting = errors.New("another frame is still being written")

// bye notifies the worker that no more calls will come; nothing is written afterwards. Further calls do nothing.
func (w *writer) bye() error {
	select {
	case w.lock <- struct{}{}:
	default:
		return errWriting // as with cancel: it will not read this either
	}
	defer func() { <-w.lock }()
	if w.byeWritten {
		return nil
	}
	w.buf = frame.AppendHeader(w.buf[:0], frame.Bye, 0, 0, 0)
	err := w.writeNow(w.buf)
	w.byeWritten, w.broken = err == nil, true
	return err
}

// writeNow writes a small frame if the socket has room for it; called with the lock held. It does not go by the clock:
// on a busy machine any short limit can pass before the write has begun.
func (w *writer) writeNow(b []byte) error {
	if w.broken {
		return net.ErrClosed
	}
	if err := w.conn.SetWriteDeadline(time.Time{}); err != nil {
		return err
	}
	raw, err := w.conn.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var writeErr error
	err = raw.Write(func(fd uintptr) bool {
		n, writeErr = unix.Write(int(fd), b)
		return true // one attempt
	})
	if err == nil {
		err = writeErr
	}
	if n > 0 && n < len(b) {
		w.broken = true
		err = io.ErrShortWrite
	}
	return err
}

// joinBelow is the event size up to which one copy is cheaper than a system call of its own.
const joinBelow = 16 << 10

// send writes one call, or lets another caller write it. A call that was not written whole is answered as unsent: the
// worker cannot have seen it.
// company says that other calls are in flight, so that it is worth looking whether one is coming.
func (w *writer) send(
	ctx context.Context,
	id uint32,
	kind frame.Type,
	inv *fncontext.Call,
	payload []byte,
	company bool,
) {
	if len(payload) > joinBelow {
		w.sendAlone(ctx, id, kind, inv, payload)
		return
	}
	w.mu.Lock()
	w.join(id, kind, inv, payload, "")
	leader := !w.led
	w.led = true
	w.mu.Unlock()
	if !leader {
		return
	}
	if company {
		goruntime.Gosched() // callers that are ready to run add their frames: one write, one wake-up of the worker
	}
	locked := w.acquire(ctx, inv)
	b := w.takeBatch()
	if !locked {
		w.unsent(b.ids, id)
		return
	}
	w.flush(&b, inv.Deadline, id)
}

// join appends a call to the batch and returns the length of its frame; called with mu held. mark is that of a call
// that is written ahead.
func (w *writer) join(id uint32, kind frame.Type, inv *fncontext.Call, payload []byte, mark string) int {
	start := len(w.batch.bytes)
	w.batch.bytes = append(appendCall(w.batch.bytes, id, kind, inv, len(payload), mark), payload...)
	w.batch.ids = append(w.batch.ids, id)
	w.batch.ends = append(w.batch.ends, len(w.batch.bytes))
	return len(w.batch.bytes) - start
}

// takeBatch takes what its leader is to write.
func (w *writer) takeBatch() batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.batch
	w.batch, w.spare, w.led = w.spare, batch{}, false
	return b
}

// flush writes a batch, which may be empty, and gives the right to write back. own is the call with that deadline.
func (w *writer) flush(b *batch, deadline time.Time, own uint32) {
	var n int
	var err error
	if len(b.bytes) > 0 {
		n, err = w.write(deadline, b.bytes)
	}
	<-w.lock
	if err != nil {
		w.unsent(b.unwritten(n), timedOut(err, own))
	}
	w.mu.Lock()
	w.spare = batch{bytes: b.bytes[:0], ids: b.ids[:0], ends: b.ends[:0]}
	w.mu.Unlock()
}

// sendAlone writes a large event without copying it.
func (w *writer) sendAlone(ctx context.Context, id uint32, kind frame.Type, inv *fncontext.Call, payload []byte) {
	if !w.acquire(ctx, inv) {
		return // its own deadline: the caller sees it next
	}
	w.buf = appendCall(w.buf[:0], id, kind, inv, len(payload), "")
	_, err := w.write(inv.Deadline, w.buf, payload)
	<-w.lock
	if err != nil {
		w.unsent([]uint32{id}, timedOut(err, id))
	}
}

// timedOut returns the id of a call whose own deadline ended its write, which its caller sees next; else 0.
func timedOut(err error, id uint32) uint32 {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return id
	}
	return 0
}

// acquire takes the right to write; false if the call's deadline or the end of ctx came first.
func (w *writer) acquire(ctx context.Context, inv *fncontext.Call) bool {
	select {
	case w.lock <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(time.Until(inv.Deadline)) // not the call's own: the caller waits for that one next
	defer timer.Stop()
	select {
	case w.lock <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// write writes all parts and returns the number of bytes; called with the lock held. A write that was cut off breaks
// the stream.
func (w *writer) write(deadline time.Time, parts ...[]byte) (int, error) {
	if w.broken {
		return 0, net.ErrClosed
	}
	n, err := 0, w.conn.SetWriteDeadline(deadline)
	if err == nil && len(parts) == 1 {
		n, err = w.bytes.Write(parts[0])
	} else if err == nil {
		buffers := net.Buffers(parts)
		var written int64
		written, err = buffers.WriteTo(w.conn)
		n = int(written)
	}
	if err != nil {
		w.broken = true
	}
	return n, err
}

// userDataLimit bounds the write of the encrypted user variables. They fit into the buffer of the socket, which is
// still empty.
const userDataLimit = 5 * time.Second
