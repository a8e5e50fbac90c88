package runtime

import (
	"context"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/logger"
	"gantry/runtime/frame"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

// ErrNotSent says that the worker never saw the call: the caller may give it to another one.
var ErrNotSent = errors.New("the worker ended before the call reached it")

// frames is the transport over two socket pairs, made before the worker starts: it reads calls from descriptor 3 and
// writes answers to descriptor 4. Two, because the worker may block on writing (nothing is lost when it exits) while its
// event loop needs a reading end that never blocks.
type frames struct {
	worker  *Worker
	events  *writer       // we write calls
	replies *net.UnixConn // we read answers

	mu      sync.Mutex
	pending map[uint32]*call
	// abandoned names the calls that timed out: their output may still come. A worker retires at the first one, so there are
	// never more than it had calls at once.
	abandoned map[uint32]string
	nextID    uint32
	dead      *fault.Error

	limit      int
	readDone   chan struct{}
	hailed     bool // Hello came; only the reader uses it
	oneAtATime atomic.Bool
	late       *logger.Request // output of calls that are answered already; only the reader uses it
}

// call is one frame that waits for its answer. Pooled.
type call struct {
	id    uint32
	log   *logger.Request
	hint  string // guarded by frames.mu
	done  chan reply
	timer *time.Timer
}

type reply struct {
	result Result
	err    *fault.Error
	unsent bool
}

var callPool = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &call{done: make(chan reply, 1), timer: t}
}}

// newFrames returns the transport and the worker's ends in the order of their descriptors.
func newFrames(limit int) (*frames, []*os.File, error) {
	f := &frames{pending: map[uint32]*call{}, abandoned: map[uint32]string{}, limit: limit, readDone: make(chan struct{})}
	f.events = &writer{lock: make(chan struct{}, 1), unsent: f.unsent}
	var ends []*os.File
	for _, conn := range []**net.UnixConn{&f.events.conn, &f.replies} {
		ours, theirs, err := socketPair()
		if err != nil {
			closeAll(ends)
			f.close()
			return nil, nil, fmt.Errorf("socket pair for a worker: %w", err)
		}
		*conn, ends = ours, append(ends, theirs)
	}
	return f, ends, nil
}

// socketBuffer is asked for on both sides, in bytes.
const socketBuffer = 1 << 20

func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, fd := range fds { // a large frame should fit without the two sides taking turns; the kernel caps it
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer); err != nil {
			return nil, nil, err
		}
	}
	theirs := os.NewFile(uintptr(fds[1]), "worker end")
	ours := os.NewFile(uintptr(fds[0]), "agent end")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

func (f *frames) close() {
	for _, c := range []*net.UnixConn{f.events.conn, f.replies} {
		if c != nil {
			_ = c.Close()
		}
	}
}

// Init implements Transport.
func (f *frames) Init(ctx context.Context, inv *fncontext.Invocation, log *logger.Request) error {
	_, err := f.call(ctx, frame.Init, inv, nil, log)
	return err
}

// Invoke implements Transport.
func (f *frames) Invoke(ctx context.Context, inv *fncontext.Invocation, event []byte, log *logger.Request) (Result, error) {
	return f.call(ctx, frame.Invoke, inv, event, log)
}

// call records the pending id first, then writes the frame, then waits: for the answer, the deadline or the end of ctx.
func (f *frames) call(ctx context.Context, kind frame.Type, inv *fncontext.Invocation, payload []byte, log *logger.Request) (Result, error) {
	c := callPool.Get().(*call)
	c.log, c.hint = log, ""
	if metaTooLong(inv) {
		callPool.Put(c)
		return Result{}, &fault.Error{Kind: fault.Invalid, Type: fault.TypeBadRequest, Code: fault.CodeBadRequest, Message: "the call's credentials, ids and trace headers are too long together"}
	}
	company, ok := f.register(c)
	if !ok {
		callPool.Put(c)
		return Result{}, ErrNotSent
	}
	c.timer.Reset(time.Until(inv.Deadline))
	f.events.send(ctx, c.id, kind, inv, payload, company)
	var r reply
	select {
	case r = <-c.done:
	case <-c.timer.C:
		r = f.abandon(c, inv, TimeoutFault)
	case <-ctx.Done():
		r = f.abandon(c, inv, stoppedFault)
	}
	f.recycle(c)
	switch {
	case r.unsent:
		return Result{}, ErrNotSent
	case r.err != nil:
		return Result{}, r.err
	}
	return r.result, nil
}

func (f *frames) recycle(c *call) {
	c.timer.Stop()
	c.log = nil
	callPool.Put(c)
}

// register records the pending call; company tells whether there are others. Not ok when the worker has ended.
func (f *frames) register(c *call) (company, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead != nil {
		return false, false
	}
	f.nextID++
	if f.nextID == 0 { // 0 is the load
		f.nextID = 1
	}
	c.id = f.nextID
	f.pending[c.id] = c
	return len(f.pending) > 1, true
}

// abandon ends the wait for c. If the answer came at the same moment, it wins.
func (f *frames) abandon(c *call, inv *fncontext.Invocation, why func(*fncontext.Invocation, string) *fault.Error) reply {
	f.mu.Lock()
	_, waiting := f.pending[c.id]
	delete(f.pending, c.id)
	hint := c.hint
	if waiting {
		f.abandoned[c.id] = inv.RequestID
	}
	f.mu.Unlock()
	if !waiting {
		return <-c.done
	}
	if f.worker.Canceled() { // that came first; the kill takes a moment
		return reply{err: CanceledFault()}
	}
	if err := f.events.cancel(c.id); err != nil {
		f.worker.cfg.Log.Debug("worker takes no Cancel", zap.Error(err))
	}
	return reply{err: why(inv, hint)}
}

// TimeoutFault is the answer to a call whose deadline passed; it names the limit.
func TimeoutFault(inv *fncontext.Invocation, hint string) *fault.Error {
	return &fault.Error{
		Kind: fault.Timeout, Type: fault.TypeTimeout, Code: fault.CodeTimeout, Hint: hint,
		Message: fmt.Sprintf("call invoke timeout %gs: the handler's deadline passed (RUNTIME_TIMEOUT)", inv.Function.Timeout.Seconds()),
	}
}

// CanceledFault is the answer to a call that was ended by force, and to the others on its worker.
func CanceledFault() *fault.Error {
	return &fault.Error{Kind: fault.Canceled, Type: fault.TypeCanceled, Code: fault.CodeCanceled, Message: "function invocation canceled"}
}

func stoppedFault(*fncontext.Invocation, string) *fault.Error {
	return &fault.Error{Kind: fault.Unavailable, Type: fault.TypeDraining, Code: fault.CodeUnavailable, Message: "the instance stopped before the call was answered"}
}

// unsent ends the wait of calls whose frames were not written; except, if not 0, is left to its own deadline.
func (f *frames) unsent(ids []uint32, except uint32) {
	for _, id := range ids {
		if id == except {
			continue
		}
		if c := f.take(id); c != nil {
			c.done <- reply{unsent: true}
		}
	}
}

// fail ends every call that still waits; there will be no more.
func (f *frames) fail(death *fault.Error) {
	f.mu.Lock()
	f.dead = death
	waiting := f.pending
	f.pending = nil
	f.mu.Unlock()
	for _, c := range waiting {
		c.done <- reply{err: death}
	}
	f.close()
}

// take removes a pending call; nil if nobody waits for the id.
func (f *frames) take(id uint32) *call {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.pending[id]
	delete(f.pending, id)
	return c
}

// only returns the log of the one call in flight, or nil if there is none or more than one.
func (f *frames) only() *logger.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pending) != 1 {
		return nil
	}
	for _, c := range f.pending {
		return c.log
	}
	return nil
}

// Close implements Transport: Bye, if the worker still reads.
func (f *frames) Close() error { return f.events.bye() }
