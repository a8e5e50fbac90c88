package api

import (
	"bytes"
	"errors"
	"fmt"
	"gantry/fault"
	"hash"
	"io"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// early returns fasthttp's hook between header and body. fasthttp handles a request only once part of its body has
// arrived, except with Expect: 100-continue. So a request whose body is not small is treated like one with that header,
// and passes screened, unless wanted accepts it by its header.
func early(
	limit int,
	wanted func(h *fasthttp.RequestHeader) bool,
) func(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	return func(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
		switch size := h.ContentLength(); {
		case size <= promptBody:
			return fasthttp.RequestConfig{}
		case size <= limit && wanted != nil && wanted(h):
			return fasthttp.RequestConfig{MaxRequestBodySize: promptBody} // the rest is left to receive
		}
		h.SetBytesKV(expectHeader, expectContinue)
		return fasthttp.RequestConfig{MaxRequestBodySize: 1}
	}
}

// announced is the size of the body, or -1 if only its end shows it.
func announced(ctx *fasthttp.RequestCtx) int {
	if n := ctx.Request.Header.ContentLength(); n > 0 || ctx.RequestBodyStream() != nil {
		return n
	}
	return len(ctx.Request.Body())
}

// pending reports whether a body is still to be read.
func pending(ctx *fasthttp.RequestCtx) bool {
	size := ctx.Request.Header.ContentLength()
	return (size == -1 || size > promptBody) && ctx.RequestBodyStream() != nil
}

// receive reads the body of a request that is wanted, up to limit bytes, into ctx.Request; sum, if not nil, gets it as
// it arrives. It is called once for a request, when only the body can still be wrong. False means that the request has
// been answered, or will be answered later: the caller returns.
func receive(ctx *fasthttp.RequestCtx, limit int, sum hash.Hash, refuse refuser) bool {
	size := announced(ctx)
	if size > limit {
		refuse(ctx, tooLarge(size, limit))
		return false
	}
	c := connectionOf(ctx.Conn())
	if c != nil && c.screening {
		c.wanted = true
		return false
	}
	if c == nil || !pending(ctx) {
		if sum != nil {
			sum.Write(ctx.Request.Body())
		}
		return true
	}
	r := &reception{conn: c, stream: ctx.RequestBodyStream(), size: size, limit: limit, sum: sum}
	if f := r.read(ctx); f != nil {
		c.settle(r)
		ctx.SetConnectionClose()
		refuse(ctx, f)
		return false
	}
	c.reception = r
	ctx.Request.SetBodyRaw(r.buf)
	if !c.enter(stageBusy) {
		ctx.SetConnectionClose()
		refuse(ctx, c.cause())
		return false
	}
	return true
}

// read reads the body; the buffer grows with what arrives. fasthttp takes the end of the connection between two chunks
// for that of the body.
func (r *reception) read(ctx *fasthttp.RequestCtx) *fault.Error {
	defer func() { r.conn.wide, r.conn.scant = false, false }()
	if r.size < 0 || r.conn.scant { // hardly anything of it has arrived
		r.buf = takeBuffer(promptBody)
	}
	for {
		if len(r.buf) == cap(r.buf) && !r.grow() {
			return r.conn.cause()
		}
		n, err := r.stream.Read(r.buf[len(r.buf):cap(r.buf)])
		if r.sum != nil {
			r.sum.Write(r.buf[len(r.buf) : len(r.buf)+n])
		}
		r.buf = r.buf[:len(r.buf)+n]
		if r.share != nil {
			r.share.progress(n)
		}
		switch {
		case len(r.buf) > r.limit:
			return tooLarge(-1, r.limit)
		case err == io.EOF && (r.size < 0 && !r.conn.over || len(r.buf) == r.size):
			if r.share != nil {
				r.share.moving.Store(false)
			}
			return nil
		case err == io.EOF:
			return unreadable(ctx, io.ErrUnexpectedEOF, r.limit)
		case err != nil && r.conn.evicted():
			return r.conn.cause()
		case err != nil:
			return unreadable(ctx, err, r.limit)
		}
	}
}

// grow makes the buffer larger; false if there is no memory for it.
func (r *reception) grow() bool {
	full := r.size
	if full < 0 {
		full = r.limit + 1 // one more, to see that there is more
	}
	next, small := min(max(2*cap(r.buf), smallBody), full), full <= smallBody || cap(r.buf) < smallBody && r.size < 0
	switch {
	case full <= mediumBody:
		next = mediumBody
	case full <= smallBody:
		next = smallBody
	case full <= commonBody:
		next = commonBody
	}
	if r.share == nil {
		r.share = r.conn.listener.bodies.open(r.conn, r.conn.displace)
	}
	old := r.buf
	n := r.share.grow(int64(next), int64(max(full, next)), small)
	if n == 0 {
		r.conn.short.Store(true)
		return false
	}
	r.buf = append(r.conn.listener.limits.buffer(int(n)), old...)
	if r.held > 0 {
		r.share.give(r.held)
	}
	r.held = n
	r.conn.listener.limits.recycle(old)
	r.conn.wide = true
	return true
}

// settle gives back what a body took.
func (c *connection) settle(r *reception) {
	if r == nil {
		return
	}
	c.listener.limits.recycle(r.buf)
	if r.share != nil {
		r.share.give(-1)
	}
}

// keep returns the body for as long as it is needed, also beyond its handler. Its memory counts until release is
// called.
func keep(ctx *fasthttp.RequestCtx) (body []byte, release func()) {
	body = ctx.Request.Body()
	if len(body) <= smallBody { // these buffers are used again
		body = bytes.Clone(body)
	}
	c := connectionOf(ctx.Conn())
	if c == nil {
		return body, func() {}
	}
	r := c.reception
	c.reception = nil
	if r != nil {
		r.buf = nil
	}
	return body, func() { c.settle(r) }
}

// settled releases what a request took when its answer is known, and handles the rest of its body.
func settled(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		c := connectionOf(ctx.Conn())
		next(ctx)
		if c.screening {
			return
		}
		if c.reception != nil {
			ctx.Request.SetBodyRaw(nil)
			c.settle(c.reception)
			c.reception = nil
		}
		if !c.spent && pending(ctx) && !drained(ctx, c) { // what is left would be taken for the next request
			ctx.SetConnectionClose()
			c.linger.Store(true)
		}
	}
}

// leftoverPause is how long an answer waits for the end of a body in chunks that is not wanted.
const leftoverPause = 50 * time.Millisecond

// drained reads what is left of a body that is not wanted, if that is little and there already.
func drained(ctx *fasthttp.RequestCtx, c *connection) bool {
	if ctx.Request.Header.ContentLength() > 0 {
		return false
	}
	c.readBy.wanted = time.Now().Add(leftoverPause)
	n, err := io.CopyN(io.Discard, ctx.RequestBodyStream(), promptBody+1)
	c.readBy.wanted = time.Time{} // fasthttp sets the next one, if the listener has any
	return errors.Is(err, io.EOF) && n <= promptBody
}

// screened is fasthttp's hook for requests whose body is read only if it is wanted. The request passes the whole chain
// up to the point where that is known; one that is refused before is answered by its headers alone.
func screened(chain fasthttp.RequestHandler) func(ctx *fasthttp.RequestCtx) int {
	return func(ctx *fasthttp.RequestCtx) int {
		c := connectionOf(ctx.Conn())
		if !hasHeader(ctx.Request.Header.RawHeaders(), expectHeader) { // it was set by early
			ctx.Request.Header.DelBytes(expectHeader)
			c.muted = true
		}
		c.screening, c.wanted, c.scant = true, false, true
		chain(ctx)
		c.screening = false
		if c.wanted {
			ctx.Response.Reset()
			return fasthttp.StatusContinue
		}
		c.muted = false
		c.linger.Store(true) // the body may be under way
		return ctx.Response.StatusCode()
	}
}

// answerable waits until there is memory for the answer to a call; false if there was none in time.
func answerable(ctx *fasthttp.RequestCtx) bool {
	c := connectionOf(ctx.Conn())
	return c == nil || c.listener.answers.room()
}

// noAnswerMemory is the answer to a call whose own answer there is no memory for.
func noAnswerMemory() *fault.Error {
	return &fault.Error{
		Kind: fault.Throttled, Type: fault.TypeThrottled, Code: fault.CodeMaxInstances,
		Message: "no memory for another answer at the moment: callers do not read those they asked for; try again",
		Hint:    "raise GANTRY_BODY_MEMORY if the memory is there",
	}
}

// unreadable says what was wrong with a request that could not be read.
func unreadable(ctx *fasthttp.RequestCtx, err error, bodyLimit int) *fault.Error {
	var tooSmall *fasthttp.ErrSmallBuffer
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return tooLarge(ctx.Request.Header.ContentLength(), bodyLimit)
	case errors.As(err, &tooSmall):
		return &fault.Error{
			Kind:    fault.Invalid,
			Type:    fault.TypeBadRequest,
			Code:    fault.CodeBadRequest,
			Message: fmt.Sprintf("the request's headers are over the limit of %d bytes", headerLimit),
		}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return &fault.Error{
			Kind:    fault.Invalid,
			Type:    fault.TypeBadRequest,
			Code:    fault.CodeBadRequest,
			Message: fmt.Sprintf("the request did not arrive within %s", readTimeout),
		}
	}
	return &fault.Error{
		Kind:    fault.Invalid,
		Type:    fault.TypeBadRequest,
		Code:    fault.CodeBadRequest,
		Message: "the request is not valid HTTP",
		Err:     err,
	}
}
