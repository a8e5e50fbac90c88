package api

import (
	"bytes"
	"fmt"
	"gantry/fault"
	"gantry/instance"
	"gantry/runtime"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

type proxyAPI struct {
	functionAPI
	refused remarks // about requests over a limit
	fixed   bool    // no setting lifts the limits
}

// serve carries one request to the function's server and its answer back.
func (p *proxyAPI) serve(ctx *fasthttp.RequestCtx) {
	upgrade := upgradeOf(&ctx.Request.Header)
	if f := p.unservable(ctx, upgrade); f != nil {
		p.refuse(ctx, f)
		return
	}
	if upgrade != "" {
		f := noUpgrade(upgrade)
		p.remark(f)
		p.refuse(ctx, f)
		return
	}
	if !receiveWhole(ctx, p.limit, p.refuse) {
		return
	}
	x := &runtime.Buffered{Request: &ctx.Request, Response: &ctx.Response, Peer: peerOf(ctx)}
	p.forward(ctx, x, p.invocation(&ctx.Request.Header), !p.TrustHeaders)
}

// receiveWhole receives the body of a request, and sees that there is memory for the answer. False if either was
// refused: by limit, what is wrong with the body, and by refuse.
func receiveWhole(ctx *fasthttp.RequestCtx, limit, refuse func(*fasthttp.RequestCtx, *fault.Error)) bool {
	if !receive(ctx, MaxEvent, nil, limit) {
		return false
	}
	if !answerable(ctx) {
		refuse(ctx, noAnswerMemory())
		return false
	}
	return true
}

// forward has the function's server answer a request that is there in full. local callers see details of a failure.
func (p *proxyAPI) forward(ctx *fasthttp.RequestCtx, x *runtime.Buffered, call *fncontext.Invocation, local bool) {
	inv, result := underOwnID(call, func(inv *fncontext.Invocation) instance.Result {
		return p.Instance.Forward(p.Instance.Base(), inv, x)
	})
	if result.Status == 0 {
		if f := result.Fault; f.Code == fault.CodeResultSize {
			p.Log.Warn("an answer of the function's server is over the limit, and was answered with 500"+p.without(),
				zap.String("request_id", inv.RequestID), zap.Int("limit", p.Function.MaxResponse))
		}
		ctx.Response.Reset()
		write(ctx, inv.RequestID, &result, local)
		return
	}
	code := fault.CodeOK
	if result.Fault != nil {
		code = result.Fault.Code
	}
	ctx.Response.Header.Set(headerRequestID, inv.RequestID)
	writeOutcome(&ctx.Response.Header, code, result.Fault != nil, &result)
}

// limit refuses a request; one whose body is too large is logged with the limit.
func (p *proxyAPI) limit(ctx *fasthttp.RequestCtx, f *fault.Error) {
	if f.Kind == fault.TooLarge {
		p.remark(f)
	}
	p.refuse(ctx, f)
}

func (p *proxyAPI) remark(f *fault.Error) {
	if left, ok := p.refused.take(time.Now()); ok {
		p.Log.Warn("a request is over a limit of the platform, and was refused"+p.without(),
			zap.String("limit", f.Message), zap.Int64("not_logged", left))
	}
}

// without says what goes on without the platform's limits; nothing where that is so, and a caller of HTTP/1.0 met one.
func (p *proxyAPI) without() string {
	if p.StreamIdle > 0 || p.fixed {
		return ""
	}
	return "; GANTRY_HTTP_LIMITS=none has no such limit"
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

// peerOf is the caller's address.
func peerOf(ctx *fasthttp.RequestCtx) netip.Addr {
	if tcp, ok := ctx.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.IPv4Unspecified()
}
