package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/logger"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	fncontext "gantry/context"
)

// stream carries a request and its answer while both arrive.
func (u *upstream) stream(ctx context.Context, inv *fncontext.Call, x *Streamed, log *logger.Request) error {
	c, _, err := u.begin(inv, log)
	if err != nil {
		return err
	}
	l := newStreamLimit(ctx, inv, u.worker.cfg.StreamIdle, x.Caller)
	defer l.release()
	err = u.pass(l, c, inv, x)
	if err == nil || errors.Is(context.Cause(l.ctx), errEnding) {
		u.succeeded(c)
		return nil
	}
	return u.broken(l, c, inv, x, err)
}

// pass sends the request, and passes the answer on.
func (u *upstream) pass(l *streamLimit, c *call, inv *fncontext.Call, x *Streamed) error {
	s, err := u.ask(l, inv, x)
	if s != nil {
		defer s.leave(x)
	}
	if err != nil {
		return err
	}
	c.timer.Reset(never)
	l.begin()
	h := &s.resp.Header
	x.status = h.StatusCode()
	if endless(h) {
		defer u.noteEndless(l)()
	}
	a := &Answer{RequestID: inv.RequestID, Size: max(-1, int64(h.ContentLength())), Trailers: s.trailers}
	upgrade := string(h.Peek("Upgrade"))
	h.CopyTo(&a.Header) // the other one is for the body, and its trailers
	forCaller(&a.Header)
	if x.status == fasthttp.StatusSwitchingProtocols {
		return u.relay(l, s, x, a, upgrade)
	}
	body := u.bodyOf(l, s, x, a)
	err = x.Caller.Answer(a)
	switch {
	case body.err != nil:
		return cut(body.err)
	case err != nil && a.Raw != nil && !s.alive(): // the kernel does not say which side it was
		return io.ErrUnexpectedEOF
	case err != nil:
		l.end(errors.Join(errLeft, err))
		return err
	}
	s.whole = true
	return nil
}

// bodyOf gives the answer its body, and returns what measures that.
func (u *upstream) bodyOf(l *streamLimit, s *streamLink, x *Streamed, a *Answer) *measured {
	m := &measured{moved: func(n int) {
		x.passed += n
		l.moved()
	}}
	if !bodied(x.Header.IsHead(), x.status) || a.Size == 0 {
		return m
	}
	a.Ready = s.ready()
	m.Reader = s.body()
	a.Body = m
	if a.Size >= rawFrom {
		a.Moved = m.moved
		a.Raw = func() ([]byte, *net.TCPConn) {
			first := s.buffered(a.Size)
			m.moved(len(first))
			return first, s.TCPConn
		}
	}
	return m
}

// rawFrom is the least length of a body that the kernel passes on, in bytes.
const rawFrom = 1 << 20

// endless reports whether an answer has no end of its own: another protocol, or Server-Sent Events.
func endless(h *fasthttp.ResponseHeader) bool {
	return h.StatusCode() == fasthttp.StatusSwitchingProtocols ||
		bytes.HasPrefix(h.ContentType(), []byte("text/event-stream"))
}

// noteEndless has an exchange ended with the server, until the function that it returns is called.
func (u *upstream) noteEndless(l *streamLimit) (over func()) {
	u.streaming.Lock()
	defer u.streaming.Unlock()
	if u.ending {
		l.end(errEnding)
	}
	u.endless[l] = struct{}{}
	return func() {
		u.streaming.Lock()
		defer u.streaming.Unlock()
		delete(u.endless, l)
	}
}

// endStreams ends what would hold up the end of the server, or of the instance, for as long as it lasts.
func (u *upstream) endStreams() {
	select {
	case <-u.worker.cfg.Draining:
	case <-u.worker.Retired():
	case <-u.ended.Done():
		return
	}
	u.streaming.Lock()
	defer u.streaming.Unlock()
	u.ending = true
	for l := range u.endless {
		l.end(errEnding)
	}
}

// bodied reports whether an answer has a body (RFC 9110, section 6.4.1).
func bodied(head bool, status int) bool {
	return !head && status != fasthttp.StatusNoContent && status != fasthttp.StatusNotModified
}

// measured reports what is read, and remembers the error that it ended with.
type measured struct {
	io.Reader
	moved func(n int)
	err   error
}

func (m *measured) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if n > 0 {
		m.moved(n)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		m.err = err
	}
	return n, err
}

// broken turns the end of an exchange without a whole answer into the call's fault.
func (u *upstream) broken(l *streamLimit, c *call, inv *fncontext.Call, x *Streamed, err error) error {
	var f *fault.Error
	switch cause := context.Cause(l.ctx); {
	case errors.Is(cause, errFirstByte) && u.alone():
		_, err = u.await(l.outer, c, inv, func(uint32) {}) // at once, by its deadline
		return err
	case errors.Is(cause, errFirstByte):
		f = TimeoutFault(inv, "")
		f.Err = ErrWorkerStays
	case errors.Is(cause, errIdle):
		f = &fault.Error{
			Kind: fault.Timeout, Type: fault.TypeTimeout, Code: fault.CodeTimeout, Err: ErrWorkerStays,
			Message: fmt.Sprintf("nothing passed between the function's server and the caller for %s "+
				"(GANTRY_HTTP_IDLE_TIMEOUT): the connection was closed", u.worker.cfg.StreamIdle),
		}
	case errors.Is(cause, errLeft):
		f = &fault.Error{
			Kind: fault.Canceled, Type: fault.TypeCanceled, Code: fault.CodeCanceled, Err: cause,
			Message: "the caller closed its connection before it had the whole answer: the request to the function's server was ended",
		}
	case l.outer.Err() != nil:
		_, err = u.await(l.outer, c, inv, func(uint32) {}) // at once
		return err
	case errors.As(err, &f):
	case x.status != 0:
		go u.settle(c.id, err, "in the middle of its answer")
	default:
		go u.settle(c.id, err, "without an answer")
	}
	if f != nil {
		u.answer(c.id, reply{err: f})
	}
	_, err = u.await(l.outer, c, inv, func(uint32) {})
	return err
}

// ErrWorkerStays is in the fault of a call that ran out of time, and whose worker has to go on for other calls.
var ErrWorkerStays = errors.New("the worker goes on with other calls")

// alone reports whether the server has one call at most.
func (u *upstream) alone() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.pending) <= 1
}

// never is longer than any call.
const never = 10 * 365 * 24 * time.Hour
