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
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	fncontext "gantry/context"
)

// newDirect makes the client for what is streamed. net/http writes a request while it reads the answer, which fasthttp
// does not (docs/adr/0019-streaming.md).
func newDirect(u *upstream) *http.Transport {
	return &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			c, err := u.dial(time.Now().Add(dialLimit))
			if err != nil {
				return nil, err
			}
			return c, nil
		},

		DisableCompression:     true, // encodings are passed through
		MaxIdleConnsPerHost:    u.worker.cfg.Concurrency,
		IdleConnTimeout:        keptIdle,
		MaxResponseHeaderBytes: serverHeader,
	}
}

// stream carries a request and its answer while both arrive.
func (u *upstream) stream(ctx context.Context, inv *fncontext.Call, x *Streamed, log *logger.Request) error {
	c, _, err := u.begin(inv, log)
	if err != nil {
		return err
	}
	l := newStreamLimit(ctx, inv, u.worker.cfg.StreamIdle, x.Caller)
	defer l.release()
	if x.Body != nil {
		defer func() { _ = x.Body.Close() }()                           // never fails
		defer context.AfterFunc(l.ctx, func() { _ = x.Body.Close() })() // its Read may wait for the caller
	}
	err = u.pass(l, c, inv, x)
	if err == nil || errors.Is(context.Cause(l.ctx), errEnding) {
		u.succeeded(c)
		return nil
	}
	return u.broken(l, c, inv, x, err)
}

// pass sends the request, and passes the answer on.
func (u *upstream) pass(l *streamLimit, c *call, inv *fncontext.Call, x *Streamed) error {
	req, conn, err := u.request(l, inv, x)
	if err != nil {
		return err
	}
	resp, err := u.direct.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // what it was for is over
	c.timer.Reset(never)
	l.begin()
	x.status = resp.StatusCode
	a := &Answer{RequestID: inv.RequestID, Size: resp.ContentLength}
	copyHeader(&a.Header, resp.StatusCode, resp.Header)
	if endless(resp) {
		defer u.noteEndless(l)()
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return u.relay(l, x, a, *conn, resp)
	}
	body := &measured{Reader: resp.Body, moved: func(n int) {
		x.passed += n
		l.moved()
	}}
	if bodied(req.Method, resp.StatusCode) && a.Size != 0 {
		a.Body = body
		if a.Size >= rawFrom && *conn != nil && len(resp.Trailer) == 0 {
			a.Raw, a.Moved = func() ([]byte, *net.TCPConn, error) { return rawBody(body, *conn) }, body.moved
		}
	}
	a.Trailers = func(set func(name, value string)) {
		for name, values := range resp.Trailer {
			set(name, strings.Join(values, ", "))
		}
	}
	for name := range resp.Trailer {
		_ = a.Header.AddTrailer(name) // one that must not be a trailer is left out
	}
	err = x.Caller.Answer(a)
	if body.err != nil {
		return body.err
	}
	if err != nil {
		l.end(errors.Join(errLeft, err))
	}
	return err
}

// rawFrom is the least length of a body that the kernel passes on, in bytes. The connection to the server ends with it,
// which costs as much as some hundred kilobytes.
const rawFrom = 1 << 20

// endless reports whether an answer has no end of its own: another protocol, or Server-Sent Events.
func endless(resp *http.Response) bool {
	return resp.StatusCode == http.StatusSwitchingProtocols ||
		strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream")
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
func bodied(method string, status int) bool {
	return method != http.MethodHead && status != http.StatusNoContent && status != http.StatusNotModified
}

// request is the request in the form of net/http; conn is the connection that it went over, once there is an answer.
func (u *upstream) request(l *streamLimit, inv *fncontext.Call, x *Streamed) (
	req *http.Request, conn **upstreamConn, err error,
) {
	trailers := http.Header{}
	for name := range x.Header.Trailers() {
		trailers[string(name)] = nil
	}
	address(x.Header, u.facts, inv.Invocation, u.worker.cfg.IncludeKeys)
	target, err := targetOf(string(x.Header.RequestURI()))
	if err != nil {
		return nil, nil, &fault.Error{
			Kind: fault.Invalid, Type: fault.TypeBadRequest, Code: fault.CodeBadRequest, Err: err,
			Message: "the target of the request is no URL",
		}
	}
	target.Scheme, target.Host = "http", u.addr
	conn = new(*upstreamConn)
	req = (&http.Request{
		Method: string(x.Header.Method()), URL: target, Host: string(x.Header.Host()), Header: headerOf(x), Body: http.NoBody,
	}).WithContext(httptrace.WithClientTrace(l.ctx, &httptrace.ClientTrace{
		GotConn:        func(info httptrace.GotConnInfo) { *conn, _ = info.Conn.(*upstreamConn) },
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error { return interim(x.Caller, code, h) },
	}))
	if x.Body == nil {
		return req, conn, nil
	}
	req.ContentLength = x.Size
	req.Trailer = trailers
	req.Body = &measured{Reader: x.Body, closer: x.Body, moved: func(int) { l.moved() }, ended: func() {
		for name := range req.Trailer {
			req.Trailer[name] = []string{x.Trailer(name)}
		}
	}}
	if x.Again != nil {
		req.GetBody = func() (io.ReadCloser, error) { return x.Again(), nil }
	}
	return req, conn, nil
}

// targetOf is a URL that net/http writes as the target came. It cannot do so for one that begins with // and has bytes
// in its path that a URL does not have: these are escaped.
func targetOf(target string) (*url.URL, error) {
	if !strings.HasPrefix(target, "//") {
		return &url.URL{Opaque: target}, nil
	}
	path, query, asked := strings.Cut(target, "?")
	escaped := make([]byte, 0, len(path))
	for i := range len(path) {
		if c := path[i]; strings.IndexByte(pathBytes, c) >= 0 {
			escaped = append(escaped, c)
		} else {
			escaped = fmt.Appendf(escaped, "%%%02X", c)
		}
	}
	to, err := url.ParseRequestURI(string(escaped))
	if err != nil {
		return nil, err
	}
	to.RawQuery, to.ForceQuery = query, asked
	return to, nil
}

// pathBytes are those that a path may have (RFC 3986, section 3.3), and the brackets, which net/url leaves as they are.
const pathBytes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@/%[]"

// headerOf is the header of a request without what net/http writes by itself.
func headerOf(x *Streamed) http.Header {
	h := http.Header{"User-Agent": {""}} // none, rather than that of net/http
	for line := range bytes.SplitSeq(x.Header.RawHeaders(), []byte("\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte(fasthttp.HeaderCookie)) { // the library writes cookies anew
			h["Cookie"] = append(h["Cookie"], string(bytes.TrimSpace(value)))
		}
	}
	for k, v := range x.Header.All() {
		switch name := string(k); name {
		case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Cookie":
		case "User-Agent":
			h[name] = []string{string(v)}
		default:
			h[name] = append(h[name], string(v))
		}
	}
	if x.Upgrade != "" {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{x.Upgrade}
	}
	if x.Trailers {
		h["Te"] = []string{"trailers"}
	}
	return h
}

// copyHeader makes the head of the answer to the caller.
func copyHeader(to *fasthttp.ResponseHeader, status int, from map[string][]string) {
	to.SetStatusCode(status)
	to.SetNoDefaultContentType(true)
	for name, values := range from {
		for _, value := range values {
			to.Add(name, value)
		}
	}
	stripConnection(to, answerLists(to))
}

// interim passes a 1xx answer on; a 100 concerns this connection only.
func interim(to Caller, code int, h textproto.MIMEHeader) error {
	if code == http.StatusContinue {
		return nil
	}
	var head fasthttp.ResponseHeader
	copyHeader(&head, code, h)
	return to.Interim(&head)
}

// measured reports what is read, and remembers the error that it ended with.
type measured struct {
	io.Reader
	closer io.Closer
	moved  func(n int)
	ended  func() // nil for nothing to do at the end
	err    error
}

func (m *measured) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if n > 0 {
		m.moved(n)
	}
	switch {
	case err == nil:
	case !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		m.err = err
	case m.ended != nil:
		m.ended()
	}
	return n, err
}

// Close closes the body of a request.
func (m *measured) Close() error { return m.closer.Close() }

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
