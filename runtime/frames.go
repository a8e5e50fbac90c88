package runtime

import (
	"context"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/function/frame"
	"gantry/function/socket"
	"gantry/logger"
	"net"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

// frames is the transport over two socket pairs, made before the worker starts: it reads calls from descriptor 3 and
// writes answers to descriptor 4. Two, because the worker may block on writing (nothing is lost when it exits) while
// its event loop needs a reading end that never blocks.
type frames struct {
	calls
	events  *writer       // we write calls
	replies *net.UnixConn // we read answers

	ahead    ahead
	limit    int
	readDone chan struct{}
	// stackText gets the worker's answer to stacks.
	stackText chan string
	// cacheWritten gets the worker's answer to writeCodeCache.
	cacheWritten chan *CodeCache
	late         *logger.Request // output of calls that are answered already; only the reader uses it
	unowned      *logger.Request // output that belongs to no call, after the load
	// takenUp asks whether this is the transport that the worker has taken up; dropped is set when it is another one.
	takenUp func() bool
	dropped atomic.Bool
}

// newFrames returns the transport and the worker's ends in the order of their descriptors.
func newFrames(w *Worker) (*frames, []*os.File, error) {
	f := &frames{
		calls:     calls{worker: w},
		limit:     resultLimit(w.cfg.Function),
		unowned:   logger.NewRequest(w.cfg.Sink, "", false, false),
		readDone:  make(chan struct{}),
		stackText: make(chan string, 1), cacheWritten: make(chan *CodeCache, 1),
		takenUp: func() bool { return true },
	}
	f.events = &writer{lock: make(chan struct{}, 1), unsent: f.ahead.lost}
	f.ahead.calls, f.ahead.events = &f.calls, f.events
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
	f.events.bytes = socket.New(f.events.conn)
	if !w.cfg.WritesAhead() {
		return f, ends, nil
	}
	fd, err := unix.FcntlInt(ends[0].Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		closeAll(ends)
		f.close()
		return nil, nil, fmt.Errorf("socket pair for a worker: %w", err)
	}
	f.ahead.mark, f.ahead.end = newMark(), os.NewFile(uintptr(fd), "worker end")
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
	if f.ahead.end != nil {
		_ = f.ahead.end.Close()
	}
}

// Init implements Transport.
func (f *frames) Init(ctx context.Context, inv *fncontext.Call, log *logger.Request) error {
	_, err := f.call(ctx, frame.Init, inv, nil, log)
	return err
}

// Invoke implements Transport.
func (f *frames) Invoke(ctx context.Context, inv *fncontext.Call, event []byte, log *logger.Request) (Result, error) {
	r, err := f.call(ctx, frame.Invoke, inv, event, log)
	if err != nil {
		var late *fault.Error
		if errors.As(err, &late) && late.Kind == fault.Timeout && late.Hint == "" {
			late.Hint = f.worker.cfg.Language.Unanswered
		}
	}
	return r, err
}

// PreStop implements Transport.
func (f *frames) PreStop(ctx context.Context, inv *fncontext.Call, log *logger.Request) error {
	_, err := f.call(ctx, frame.PreStop, inv, nil, log)
	return err
}

// call records the pending id first, then writes the frame, then waits.
func (f *frames) call(
	ctx context.Context,
	kind frame.Type,
	inv *fncontext.Call,
	payload []byte,
	log *logger.Request,
) (Result, error) {
	if err := checkMeta(inv.Invocation); err != nil {
		return Result{}, err
	}
	c, company, err := f.begin(inv, log)
	if err != nil {
		return Result{}, err
	}
	f.events.send(ctx, c.id, kind, inv, payload, company)
	return f.await(ctx, c, inv, f.ahead.quit)
}

// stacks asks the worker for the stacks of all its goroutines.
func (f *frames) stacks(ctx context.Context) (string, error) {
	if err := f.events.askStacks(); err != nil {
		return "", err
	}
	select {
	case text := <-f.stackText:
		return text, nil
	case <-f.readDone:
		return "", errors.New("the worker has ended")
	case <-ctx.Done():
		return "", errors.New("the worker did not send its stacks")
	}
}

// drop ends a transport that the worker has not taken up.
func (f *frames) drop() {
	f.dropped.Store(true)
	f.close()
}

func (f *frames) fail(death *fault.Error) {
	f.ahead.endAhead()
	f.calls.fail(death)
	f.close()
}

// Close implements Transport: Bye, if the worker still reads.
func (f *frames) Close() error { return f.events.bye() }

func (f *frames) takeBack(forGood bool) { f.ahead.takeBack(forGood) }

// borders finds the marks in the worker's output; nil if there are none.
func (f *frames) borders() logger.Border {
	if f.ahead.end == nil {
		return nil
	}
	return f.ahead.border
}
