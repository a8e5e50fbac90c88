package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/logger"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	fncontext "gantry/context"
)

// upstream is the transport to a server of the user's: an HTTP function, or an image of one's own. Calls are requests
// to it.
type upstream struct {
	calls
	links
	head head
	// takenUp asks whether this is the transport that the program has taken up.
	takenUp func() bool

	// calling is the context of calls, which ends with the instance. It is watched once, not for each call.
	calling context.Context
	watch   sync.Once
	unwatch func() bool

	streaming sync.Mutex                // guards endless and ending
	endless   map[*streamLimit]struct{} // exchanges without an end of their own
	ending    bool
}

// joined is the largest body that is copied behind its head, to leave with it.
const joined = 16 << 10

// hungUp reports whether an error is the end of a connection.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, fasthttp.ErrConnectionClosed) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)
}

func newExchange() *Buffered {
	return &Buffered{Request: fasthttp.AcquireRequest(), Response: fasthttp.AcquireResponse()}
}

func (x *Buffered) release() {
	fasthttp.ReleaseRequest(x.Request)
	fasthttp.ReleaseResponse(x.Response)
}

// serverFault is an answer of a server to an event that is no success; the caller gets its bytes.
func serverFault(status int, body []byte) *fault.Error {
	f := &fault.Error{
		Kind: fault.Function, Type: "FunctionReturnError", Code: fault.CodeInvocation, Body: body,
		Message: fmt.Sprintf("the function's server answered with status %d", status),
	}
	var said struct {
		Type string `json:"errorType"`
	}
	if json.Unmarshal(body, &said) == nil && said.Type != "" {
		f.Type = said.Type
	}
	if len(body) == 0 {
		f.Body = fmt.Appendf(nil, "{\n    \"errorMessage\": %q,\n    \"errorType\": %q\n}", f.Message, f.Type)
	}
	return f
}

func (u *upstream) post(req *fasthttp.Request, path string, body []byte) {
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.SetRequestURI(path)
	req.Header.SetHost(u.addr)
	req.Header.SetContentType("application/json")
	req.SetBodyRaw(body)
}

// exchange sends one request and reads the answer, on the caller's goroutine, until the call's deadline.
func (u *upstream) exchange(ctx context.Context, inv *fncontext.Call, x *Buffered, log *logger.Request) error {
	c, _, err := u.enter(log)
	if err != nil {
		return err
	}
	if ctx != u.calling {
		defer context.AfterFunc(ctx, u.hangUp)()
	}
	if err = u.carry(inv, x); err == nil {
		u.succeeded(c)
		x.answered = true
		forCaller(&x.Response.Header)
		return nil
	}
	return u.failed(ctx, c, inv, x, err)
}

// succeeded ends a call that was answered, also one of a worker that has ended meanwhile.
func (u *upstream) succeeded(c *call) {
	u.readOutput()
	u.answer(c.id, reply{})
	<-c.done
	u.recycle(c)
}

// follow has the end of the instance, which is that of ctx, end every call.
func (u *upstream) follow(ctx context.Context) {
	u.watch.Do(func() { u.calling, u.unwatch = ctx, context.AfterFunc(ctx, u.hangUp) })
}

// carry writes the request and sends it.
func (u *upstream) carry(inv *fncontext.Call, x *Buffered) error {
	buffer := requests.Get().(*[]byte)
	defer requests.Put(buffer)
	e := errand{
		first: u.head.append((*buffer)[:0], outgoingOf(x), inv.Invocation), rest: x.Request.Body(),
		safe: isSafe(x.Request.Header.Method()), answer: x.Response,
		limit: u.worker.cfg.Function.MaxResponse, deadline: inv.Deadline,
	}
	if len(e.rest) <= joined {
		e.first, e.rest = append(e.first, e.rest...), nil
	}
	*buffer = e.first
	return u.send(&e)
}

// requests are buffers for requests that leave.
var requests = sync.Pool{New: func() any { return &[]byte{} }}

// failed turns the end of a request without an answer into the call's fault.
func (u *upstream) failed(ctx context.Context, c *call, inv *fncontext.Call, x *Buffered, err error) error {
	c.timer.Reset(time.Until(inv.Deadline))
	switch {
	case errors.Is(err, fasthttp.ErrTimeout), errors.Is(err, fasthttp.ErrDialTimeout), ctx.Err() != nil,
		!time.Now().Before(inv.Deadline):
		_, err = u.await(ctx, c, inv, func(uint32) {}) // at once, by its deadline or the end of ctx
		return err
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		size := max(-1, x.Response.Header.ContentLength())
		u.answer(c.id, reply{err: tooLargeFault(size, u.worker.cfg.Function.MaxResponse)})
	default:
		go u.settle(c.id, err, "without an answer")
	}
	_, err = u.await(ctx, c, inv, func(uint32) {})
	return err
}

// settle answers a call whose connection broke: if the process ends now, that is why. A call that never got a
// connection to a process that has ended may go to another one. when says where in the call it broke.
func (u *upstream) settle(id uint32, err error, when string) {
	refused := errors.Is(err, syscall.ECONNREFUSED)
	if u.ends() {
		if refused {
			u.unsent([]uint32{id}, 0)
		}
		return // else fail answers, with how it ended
	}
	f := &fault.Error{
		Kind: fault.Crash, Type: fault.TypeProtocol, Code: fault.CodeExited, Err: err,
		Message: "the function's server ended the connection " + when,
		Hint:    "the server goes on: look for a request that it drops, or a connection that it closes, in its log",
	}
	switch {
	case refused:
		f.Message, f.Hint = "the function's server does not listen on "+u.addr+" any more", ""
	case errors.Is(err, errSwitched):
		f.Message, f.Hint = "the function's server answered with 101, and no protocol to switch to was asked for", ""
	case !hungUp(err):
		f.Message = "the function's server sent an answer that is no HTTP, or whose header is over 64 KiB"
		f.Hint = ""
	}
	u.answer(id, reply{err: f})
}

const (
	// deathWait is how long after a broken connection the end of the process may follow.
	deathWait = 100 * time.Millisecond
	// lastWait is that of a server that takes no connections any more: on a busy machine an end takes its time.
	lastWait = 2 * time.Second
)

// ends waits for the end of the process; false if it goes on.
func (u *upstream) ends() bool {
	return u.endsWithin(deathWait) || !u.accepts() && u.endsWithin(lastWait)
}

func (u *upstream) endsWithin(wait time.Duration) bool {
	select {
	case <-u.worker.proc.Exited():
		return true
	case <-time.After(wait):
		return false
	}
}

// accepts reports whether the server still takes connections.
func (u *upstream) accepts() bool {
	c, err := u.dial(time.Now().Add(deathWait))
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was asked on it
	return true
}

// Close implements Transport: the server is asked to end; TERM follows.
func (u *upstream) Close() error { return nil }

func (u *upstream) drain() { u.end() }

func (u *upstream) fail(death *fault.Error) {
	u.hangUp()
	u.watch.Do(func() { u.unwatch = func() bool { return true } }) // there were no calls
	u.unwatch()
	u.calls.fail(death)
}
