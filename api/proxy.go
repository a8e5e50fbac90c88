package api

import (
	"bufio"
	"bytes"
	"fmt"
	"gantry/fault"
	"gantry/instance"
	"gantry/runtime"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

type proxyAPI struct{ functionAPI }

// serve carries one request to the function's server and its answer back.
func (p *proxyAPI) serve(ctx *fasthttp.RequestCtx) {
	upgrade := upgradeOf(&ctx.Request.Header)
	f := p.unservable(ctx, upgrade)
	if f == nil && upgrade != "" {
		f = noUpgrade(upgrade)
	}
	if f != nil {
		p.refuse(ctx, f)
		return
	}
	if !receive(ctx, MaxEvent, nil, p.refuse) {
		return
	}
	if !answerable(ctx) {
		p.refuse(ctx, noAnswerMemory())
		return
	}
	req := fasthttp.AcquireRequest()
	defer fasthttp.ReleaseRequest(req)
	p.fill(ctx, req)
	x := &runtime.Buffered{Request: req, Response: &ctx.Response}
	inv, result := underOwnID(p.invocation(&ctx.Request.Header), func(inv *fncontext.Invocation) instance.Result {
		return p.Instance.Forward(p.Instance.Base(), inv, x)
	})
	if result.Status == 0 {
		if f := result.Fault; f.Code == fault.CodeResultSize {
			p.Log.Warn("an answer of the function's server is over the limit, and was answered with 500",
				zap.String("request_id", inv.RequestID), zap.Int("limit", p.Function.MaxResponse))
		}
		ctx.Response.Reset()
		write(ctx, inv.RequestID, &result, !p.TrustHeaders)
		return
	}
	code := fault.CodeOK
	if result.Fault != nil {
		code = result.Fault.Code
	}
	ctx.Response.Header.Set(headerRequestID, inv.RequestID)
	writeOutcome(&ctx.Response.Header, code, result.Fault != nil, &result)
}

// unservable says why a request cannot be carried to the server, or nil.
func (p *proxyAPI) unservable(ctx *fasthttp.RequestCtx, upgrade string) *fault.Error {
	target := ctx.Request.Header.RequestURI()
	switch {
	case string(ctx.Method()) == fasthttp.MethodConnect:
		return invalid("CONNECT asks for a tunnel, and this is a function")
	case len(target) == 0 || target[0] != '/':
		return invalid(fmt.Sprintf("the target %.100q is not a path", target))
	case upgrade != "" && pending(ctx):
		return invalid(fmt.Sprintf("a request that asks to go on with %.50q has no body", upgrade))
	}
	return nil
}

// noUpgrade refuses to go on with another protocol; the log says which limit that is.
func noUpgrade(upgrade string) *fault.Error {
	return &fault.Error{
		Kind: fault.Invalid, Type: fault.TypeBadRequest, Code: fault.CodeBadRequest,
		Message: fmt.Sprintf("an HTTP function takes no upgrade to %.50q, as on the platform; "+
			"GANTRY_HTTP_LIMITS=none passes it on", upgrade),
	}
}

// upgradeOf is the protocol that a request asks to go on with; empty for none. HTTP/2 may be ignored.
func upgradeOf(h *fasthttp.RequestHeader) string {
	for _, line := range h.PeekAll("Connection") {
		if bytes.Contains(bytes.ToLower(line), []byte("upgrade")) {
			if upgrade := string(h.Peek("Upgrade")); !strings.EqualFold(upgrade, "h2c") {
				return upgrade
			}
		}
	}
	return ""
}

// fill makes the request to the server out of the caller's: its target and its header are the same, byte for byte, but
// for what concerns one connection only; runtime takes that out. The body is not copied.
func (p *proxyAPI) fill(ctx *fasthttp.RequestCtx, req *fasthttp.Request) {
	h := &req.Header
	if ctx.Request.Header.ContentLength() != -1 || !withoutTrailers(&ctx.Request.Header, h) {
		ctx.Request.Header.CopyTo(h)
	}
	h.SetProtocol("HTTP/1.1") // RFC 9110, 2.5: that of the sender
	h.SetNoDefaultContentType(true)
	if len(h.Host()) == 0 { // which HTTP/1.0 may leave out
		h.SetHost(ctx.LocalAddr().String())
	}
	if body := ctx.Request.Body(); len(body) > 0 {
		req.SetBodyRaw(body)
		h.SetContentLength(len(body))
	} else { // as it may have been chunked
		h.Del("Content-Length")
		h.Del("Transfer-Encoding")
	}
	p.forwarded(ctx, h)
}

// forwarded says on whose behalf the request is made.
func (p *proxyAPI) forwarded(ctx *fasthttp.RequestCtx, h *fasthttp.RequestHeader) {
	peer := ctx.RemoteIP().String()
	if before := h.PeekAll("X-Forwarded-For"); len(before) > 0 {
		peer = string(bytes.Join(before, []byte(", "))) + ", " + peer
	}
	h.Set("X-Forwarded-For", peer)
	if len(h.Peek("X-Forwarded-Host")) == 0 {
		h.SetBytesV("X-Forwarded-Host", ctx.Host())
	}
	if len(h.Peek("X-Forwarded-Proto")) == 0 {
		h.Set("X-Forwarded-Proto", "http")
	}
}

// withoutTrailers makes h of the header of a request in chunks as it came: the library has added the fields behind the
// body to it, which a header must not take over (RFC 9110, section 6.5.1).
func withoutTrailers(from, h *fasthttp.RequestHeader) bool {
	text := slices.Concat(from.Method(), []byte(" "), from.RequestURI(), []byte(" HTTP/1.1\r\n"), from.RawHeaders())
	return h.Read(bufio.NewReaderSize(bytes.NewReader(text), len(text))) == nil
}
