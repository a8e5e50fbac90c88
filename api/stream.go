package api

import (
	"bytes"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/instance"
	"gantry/runtime"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// stream carries one request to the function's server while it arrives, and its answer likewise. Two goroutines take
// part: this one, which fasthttp serves the connection on, and the call's, which waits while this one writes.
func (p *proxyAPI) stream(ctx *fasthttp.RequestCtx) {
	if !ctx.Request.Header.IsHTTP11() { // no chunks, so answers have to be whole
		p.serve(ctx)
		return
	}
	upgrade := upgradeOf(&ctx.Request.Header)
	if f := p.unservable(ctx, upgrade); f != nil {
		p.refuse(ctx, f)
		return
	}
	c := connectionOf(ctx.Conn())
	if c.screening {
		c.wanted = true
		return
	}
	if !c.enter(stageBusy) {
		ctx.SetConnectionClose()
		p.refuse(ctx, c.cause())
		return
	}
	s := newStreaming(ctx, c, p.StreamIdle)
	inv, x := p.invocation(&ctx.Request.Header), s.exchange(upgrade)
	done := make(chan outcome, 1)
	go func() { done <- p.run(inv, x) }()
	select {
	case turn := <-s.turn:
		turn()
	case o := <-done:
		s.finish()
		ctx.Response.Reset()
		write(ctx, o.inv.RequestID, &o.result, !p.TrustHeaders)
	}
	c.spent = true
	if s.upload != nil && !s.upload.whole.Load() {
		ctx.SetConnectionClose()
		c.linger.Store(true)
	}
}

// outcome is how a call ended.
type outcome struct {
	inv    *fncontext.Invocation
	result instance.Result
}

// run runs the call; a panic ends this call only.
func (p *proxyAPI) run(inv *fncontext.Invocation, x runtime.Exchange) (o outcome) {
	defer func() {
		if caught := recover(); caught != nil {
			p.Log.Error("panic in a call", zap.Any("panic", caught), zap.Stack("stack"))
			o = outcome{inv, instance.Result{Fault: fault.From(fmt.Errorf("panic: %v", caught))}}
		}
	}()
	inv, result := underOwnID(inv, func(inv *fncontext.Invocation) instance.Result {
		return p.Instance.Forward(p.Instance.Base(), inv, x)
	})
	return outcome{inv, result}
}

// streaming is the caller's side of a request that is carried while it arrives. It implements runtime.Caller; these
// methods are the call's goroutine's.
type streaming struct {
	c    *connection
	ctx  *fasthttp.RequestCtx // of the goroutine that serves the connection
	idle time.Duration

	upload *upload // nil without a body
	leave  *leave
	turn   chan func()       // what the goroutine that serves the connection is to do with the answer
	wrote  chan error        // how the answer was written
	given  chan runtime.Conn // the connection, after a 101
	early  []byte            // what has arrived on it
	lost   chan struct{}     // closed when the connection is, after a 101
}

func newStreaming(ctx *fasthttp.RequestCtx, c *connection, idle time.Duration) *streaming {
	return &streaming{
		c: c, ctx: ctx, idle: idle, leave: &leave{c: c, left: make(chan struct{}), done: make(chan struct{})},
		turn: make(chan func(), 1), wrote: make(chan error, 1), given: make(chan runtime.Conn, 1), lost: make(chan struct{}),
	}
}

// exchange is the request for runtime.
func (s *streaming) exchange(upgrade string) *runtime.Streamed {
	x := &runtime.Streamed{Header: &s.ctx.Request.Header, Peer: peerOf(s.ctx), Upgrade: upgrade, Caller: s}
	x.Trailers = bytes.EqualFold(x.Header.Peek("Te"), []byte("trailers"))
	if pending(s.ctx) {
		s.upload = s.newUpload(s.ctx.RequestBodyStream())
		x.Size = int64(s.ctx.Request.Header.ContentLength())
		x.Body, x.Trailer = s.upload, s.upload.trailer
		s.c.wide = true
		return x
	}
	x.Whole = s.ctx.Request.Body()
	x.Size = int64(len(x.Whole))
	s.leave.watch()
	return x
}

func (s *streaming) newUpload(body io.Reader) *upload {
	return &upload{c: s.c, idle: s.idle, header: &s.ctx.Request.Header, arrived: s.leave.watch, stream: body}
}

// finish ends what still reads from the connection.
func (s *streaming) finish() {
	s.leave.stop()
	if s.upload != nil {
		_ = s.upload.Close() // never fails
	}
	s.c.wide = false
}

// Interim implements runtime.Caller. The goroutine that serves the connection waits meanwhile.
func (s *streaming) Interim(head *fasthttp.ResponseHeader) error {
	line := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n", head.StatusCode(), fasthttp.StatusMessage(head.StatusCode()))
	for name, value := range head.All() {
		if n := string(name); n != "Content-Length" && n != "Transfer-Encoding" && n != "Connection" {
			line = fmt.Appendf(line, "%s: %s\r\n", name, value)
		}
	}
	_ = s.c.SetWriteDeadline(time.Now().Add(s.idle)) // never fails
	_, err := s.c.Write(append(line, "\r\n"...))
	return err
}

// Answer implements runtime.Caller.
func (s *streaming) Answer(a *runtime.Answer) error {
	s.turn <- func() { s.respond(a) }
	return <-s.wrote
}

// respond makes the answer fasthttp's, which writes it.
func (s *streaming) respond(a *runtime.Answer) {
	h := &s.ctx.Response.Header
	a.Header.CopyTo(h)
	h.Set(headerRequestID, a.RequestID)
	if a.Body == nil {
		if a.Size < 0 && s.ctx.IsHead() {
			h.SetContentLength(-1)
		}
		s.finish()
		s.wrote <- nil
		return
	}
	s.ctx.Response.ImmediateHeaderFlush = !a.Ready
	s.ctx.Response.SetBodyStream(&download{of: s, answer: a, result: errUnwritten}, int(a.Size))
}

// Switch implements runtime.Caller.
func (s *streaming) Switch(a *runtime.Answer) (conn runtime.Conn, early []byte, err error) {
	s.turn <- func() { s.switchTo(a) }
	select {
	case conn = <-s.given:
		return conn, s.early, nil
	case <-s.lost:
		return nil, nil, net.ErrClosed
	}
}

// switchTo makes the 101 fasthttp's answer, which gives the connection away after it.
func (s *streaming) switchTo(a *runtime.Answer) {
	s.finish()
	lost := sync.OnceFunc(func() { close(s.lost) })
	if s.c.whenClosed.Store(&lost); s.c.closed.Load() {
		lost()
	}
	a.Header.CopyTo(&s.ctx.Response.Header)
	s.ctx.Response.Header.Set(headerRequestID, a.RequestID)
	s.ctx.Hijack(func(conn net.Conn) {
		s.c.onlyBuffered = true
		s.early, _ = io.ReadAll(conn) // ends with errOnlyBuffered
		s.c.onlyBuffered = false
		s.ctx = nil // fasthttp uses it again
		s.c.kept.Store(true)
		s.given <- given{s.c}
	})
}

// given is a connection that was given away. fasthttp closes the other one when the handler of the upgrade returns, and
// uses its buffers again.
type given struct{ *connection }

// Close closes the connection.
func (g given) Close() error { return g.end() }

// Left implements runtime.Caller.
func (s *streaming) Left() <-chan struct{} { return s.leave.left }

// Abort implements runtime.Caller.
func (s *streaming) Abort() { s.c.abort() }

// download is the body of an answer on its way to the caller.
type download struct {
	of     *streaming
	answer *runtime.Answer
	result error
}

// errUnwritten says that the caller's connection broke before the body.
var errUnwritten = errors.New("the head of the answer could not be written")

// Read is never called: fasthttp uses WriteTo.
func (d *download) Read(p []byte) (int, error) { return d.answer.Body.Read(p) }

// SupportsBodyWriteTo makes fasthttp use WriteTo.
func (d *download) SupportsBodyWriteTo() bool { return true }

// WriteTo passes on what there is as soon as it is there.
func (d *download) WriteTo(w io.Writer) (int64, error) {
	n, err := d.pass(w)
	d.result = err
	return n, err
}

// passRaw has the kernel pass the body on, which copies nothing.
func (d *download) passRaw(w io.Writer) (sent int64, err error) {
	first, from := d.answer.Raw()
	n, err := w.Write(first)
	sent = int64(n)
	if err == nil {
		err = w.(interface{ Flush() error }).Flush() // fasthttp's writer for a body with a length
	}
	step := int64(smallBody)
	for err == nil && sent < d.answer.Size {
		began := time.Now()
		var passed int64
		passed, err = d.splice(from, min(step, d.answer.Size-sent), began)
		sent += passed
		step = nextStep(step, time.Since(began))
	}
	return sent, errors.Join(err, from.SetReadDeadline(time.Time{}))
}

const (
	// rawPause is how long one step of passRaw may wait for the server, so that a little that has come counts as such.
	rawPause = time.Second
	// quickStep is how long a step may take for the next one to be larger, up to rawStep bytes.
	quickStep = 10 * time.Millisecond
	rawStep   = 1 << 20
)

// nextStep keeps the steps of a slow connection small: the idle limit sees only those that are done.
func nextStep(step int64, took time.Duration) int64 {
	if took > quickStep {
		return smallBody
	}
	return min(2*step, rawStep)
}

// splice passes up to n bytes on.
func (d *download) splice(from *net.TCPConn, n int64, now time.Time) (passed int64, err error) {
	to := d.of.c.tcp
	if err := errors.Join(to.SetWriteDeadline(now.Add(2*d.of.idle)), from.SetReadDeadline(now.Add(rawPause))); err != nil {
		return 0, err
	}
	passed, err = to.ReadFrom(&io.LimitedReader{R: from, N: n})
	if passed > 0 {
		d.answer.Moved(int(passed))
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && time.Since(now) < d.of.idle: // the server's
		return passed, nil
	case err == nil && passed == 0:
		return 0, io.ErrUnexpectedEOF
	}
	return passed, err
}

func (d *download) pass(w io.Writer) (sent int64, err error) {
	if d.answer.Raw != nil {
		return d.passRaw(w)
	}
	buf := takeBuffer(smallBody)
	defer returnBuffer(buf)
	flusher, _ := w.(interface{ Flush() error }) // chunks are flushed by themselves
	for {
		n, readErr := d.answer.Body.Read(buf[:cap(buf)])
		if n > 0 {
			_ = d.of.c.SetWriteDeadline(time.Now().Add(2 * d.of.idle)) // never fails; the idle limit comes before
			_, err = w.Write(buf[:n])
			if err == nil && flusher != nil {
				err = flusher.Flush()
			}
			if err != nil {
				return sent, err
			}
			sent += int64(n)
		}
		if errors.Is(readErr, io.EOF) {
			d.trail()
			return sent, nil
		}
		if readErr != nil {
			return sent, readErr
		}
	}
}

// trail adds the trailers, which fasthttp writes after the body.
func (d *download) trail() {
	h := &d.of.ctx.Response.Header
	announced := map[string]bool{}
	for name := range h.Trailers() {
		announced[string(name)] = true
	}
	d.answer.Trailers(func(name, value string) {
		if announced[name] || h.AddTrailer(name) == nil { // one that must not be a trailer is left out
			h.Set(name, value)
		}
	})
}

// Close is called when fasthttp is done with the answer, however it ended.
func (d *download) Close() error {
	d.of.finish()
	d.of.wrote <- d.result
	return nil
}
