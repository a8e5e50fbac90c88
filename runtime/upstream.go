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
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	fncontext "gantry/context"
)

// upstream is the transport to a server of the user's: an HTTP function, or an image of one's own. Calls are requests
// to it.
type upstream struct {
	calls
	addr   string
	client *fasthttp.HostClient
	direct *http.Transport // for what is streamed; see stream
	facts  [][2]string     // headers that are the same for every call

	ended context.Context // with the worker
	end   context.CancelFunc

	open    sync.Mutex // guards conns, endless and ending
	conns   map[net.Conn]struct{}
	endless map[*streamLimit]struct{} // exchanges without an end of their own
	ending  bool
}

const (
	// keptIdle is how long a connection to the server is kept without a request. Most servers close theirs after five
	// seconds or later, and a request must not meet that.
	keptIdle = 4 * time.Second
	// serverHeader is the longest header of an answer, in bytes.
	serverHeader = 64 << 10
	// dialLimit bounds the wait for a server whose queue of connections is full.
	dialLimit = 5 * time.Second
)

// asItCame sends the target of a request as it is. Without it the library would write it anew, and leave out the
// question mark of an empty query.
type asItCame struct{}

// RoundTrip implements fasthttp.RoundTripper.
func (asItCame) RoundTrip(c *fasthttp.HostClient, req *fasthttp.Request, resp *fasthttp.Response) (bool, error) {
	req.SetRequestURIBytes(req.Header.RequestURI()) // which forgets that it was taken apart
	return fasthttp.DefaultTransport.RoundTrip(c, req, resp)
}

// mayRepeat reports whether a request is sent once more: the server had closed the kept connection, and the method is
// safe, so that the server may have seen it.
func mayRepeat(req *fasthttp.Request, attempts int, err error) (resetTimeout, again bool) {
	switch string(req.Header.Method()) {
	case fasthttp.MethodGet, fasthttp.MethodHead, fasthttp.MethodOptions, fasthttp.MethodTrace:
		return false, hungUp(err) && attempts == 1
	}
	return false, false
}

// hungUp reports whether an error is the end of a connection.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, fasthttp.ErrConnectionClosed) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)
}

// dial connects to the server; connections end with the worker.
func (u *upstream) dial(addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(u.ended, dialLimit)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &upstreamConn{TCPConn: conn.(*net.TCPConn), of: u}
	u.open.Lock()
	defer u.open.Unlock()
	if u.ended.Err() != nil {
		return nil, errors.Join(u.ended.Err(), conn.Close())
	}
	u.conns[c] = struct{}{}
	return c, nil
}

// upstreamConn is a connection to the server that upstream can close.
type upstreamConn struct {
	*net.TCPConn
	of *upstream
	// only says that what a reader in front holds is wanted: nothing is read meanwhile.
	only atomic.Bool
}

func (c *upstreamConn) Read(p []byte) (int, error) {
	if c.only.Load() {
		return 0, nil
	}
	return c.TCPConn.Read(p)
}

// Close takes the connection off the list.
func (c *upstreamConn) Close() error {
	c.of.open.Lock()
	delete(c.of.conns, c)
	c.of.open.Unlock()
	return c.TCPConn.Close()
}

// hangUp closes every connection: requests under way end.
func (u *upstream) hangUp() {
	u.end()
	u.open.Lock()
	defer u.open.Unlock()
	for c := range u.conns {
		_ = c.(*upstreamConn).TCPConn.Close() // who waits on it sees its end
	}
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
	c, _, err := u.begin(inv, log)
	if err != nil {
		return err
	}
	address(&x.Request.Header, u.facts, inv.Invocation, u.worker.cfg.IncludeKeys)
	stop := context.AfterFunc(ctx, u.hangUp) // the instance ends, and with it every call
	err = u.client.DoDeadline(x.Request, x.Response, inv.Deadline)
	stop()
	if err == nil {
		u.succeeded(c)
		x.answered = true
		stripConnection(&x.Response.Header)
		x.Response.Header.SetNoDefaultContentType(true) // an answer without one has none
		return nil
	}
	return u.failed(ctx, c, inv, err)
}

// succeeded ends a call that was answered, also one of a worker that has ended meanwhile.
func (u *upstream) succeeded(c *call) {
	u.readOutput()
	u.answer(c.id, reply{})
	<-c.done
	u.recycle(c)
}

// failed turns the end of a request without an answer into the call's fault.
func (u *upstream) failed(ctx context.Context, c *call, inv *fncontext.Call, err error) error {
	switch {
	case errors.Is(err, fasthttp.ErrTimeout), errors.Is(err, fasthttp.ErrDialTimeout), ctx.Err() != nil,
		!time.Now().Before(inv.Deadline):
		_, err = u.await(ctx, c, inv, func(uint32) {}) // at once, by its deadline or the end of ctx
		return err
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		u.answer(c.id, reply{err: tooLargeFault(-1, u.worker.cfg.Function.MaxResponse)})
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
	select {
	case <-u.worker.proc.Exited():
		if refused {
			u.unsent([]uint32{id}, 0)
		}
		return // else fail answers, with how it ended
	case <-time.After(deathWait):
	}
	f := &fault.Error{
		Kind: fault.Crash, Type: fault.TypeProtocol, Code: fault.CodeExited, Err: err,
		Message: "the function's server ended the connection " + when,
		Hint:    "the server goes on: look for a request that it drops, or a connection that it closes, in its log",
	}
	switch {
	case refused:
		f.Message, f.Hint = "the function's server does not listen on "+u.addr+" any more", ""
	case !hungUp(err):
		f.Message = "the function's server sent an answer that is no HTTP, or whose header is over 64 KiB"
		f.Hint = ""
	}
	u.answer(id, reply{err: f})
}

// deathWait is how long after a broken connection the end of the process may follow.
const deathWait = 100 * time.Millisecond

// Close implements Transport: the server is asked to end; TERM follows.
func (u *upstream) Close() error { return nil }

func (u *upstream) drain() { u.end() }

func (u *upstream) fail(death *fault.Error) {
	u.hangUp()
	u.calls.fail(death)
}
