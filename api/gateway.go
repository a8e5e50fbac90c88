package api

import (
	"fmt"
	"gantry/fault"
	"gantry/instance"
	"gantry/logger"
	"gantry/trigger/apig"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	fncontext "gantry/context"
)

// GatewayConfig is what the front needs that stands in the place of the platform's API Gateway.
type GatewayConfig struct {
	FunctionConfig
	// Routes say which requests reach the function; nil for all of them.
	Routes *apig.Routes
	// Origins are those whose pages may call the function; none: the function decides.
	Origins []string
	// Forwards says that the function takes requests, not events.
	Forwards bool
	// False is how the function's language writes that word, where JSON has another.
	False string
}

type gatewayAPI struct {
	proxyAPI
	*GatewayConfig
	api, port string // the id of the API in events, and the port
	calls     sync.Pool
	remarked  remarks // about members that answers should have or that mean nothing
}

// gatewayCall is what one request needs on its way.
type gatewayCall struct {
	events apig.Events
	answer apig.Answer
	params []apig.Field
}

// forget lets go of the request's memory.
func (c *gatewayCall) forget() {
	c.events.Begin()
	c.answer.Forget()
	clear(c.params)
}

// refuse answers a request that never became a call.
func (g *gatewayAPI) refuse(ctx *fasthttp.RequestCtx, f *fault.Error) {
	write(ctx, uuid.NewString(), &instance.Result{Fault: f}, g.local(ctx))
}

// local reports whether the caller sees details: one on this machine, with no proxy in between.
func (g *gatewayAPI) local(ctx *fasthttp.RequestCtx) bool {
	h := &ctx.Request.Header
	proxied := len(h.Peek("X-Forwarded-For")) > 0 || len(h.Peek("Forwarded")) > 0
	return !g.TrustHeaders && peerOf(ctx).IsLoopback() && !proxied
}

// absent is the gateway's answer where no route takes the request.
func (g *gatewayAPI) absent(ctx *fasthttp.RequestCtx, path []byte, allowed []string) {
	message := "The API does not exist or has not been published in the environment"
	if g.local(ctx) {
		message += fmt.Sprintf(": no route takes %.20s %.200s", ctx.Method(), path)
		if len(allowed) > 0 {
			message += "; this path has " + strings.Join(allowed, ", ")
		}
	}
	g.respond(ctx, fasthttp.StatusNotFound, uuid.NewString(), fault.GatewayNoRoute, message, "")
}

// respond answers as the gateway does itself; hint is for local callers, and may be empty.
func (g *gatewayAPI) respond(ctx *fasthttp.RequestCtx, status int, id, code, message, hint string) {
	ctx.Response.SetStatusCode(status)
	ctx.Response.Header.SetContentType(contentJSON)
	ctx.Response.Header.Set(headerGatewayID, id)
	ctx.Response.Header.Set(headerRequestID, id)
	ctx.Response.SetBodyRaw(appendRefusal(nil, code, message, id, hint))
}

// callOf is the call of a request. No header of the gateway's callers says anything about it but its trace.
func (g *gatewayAPI) callOf(ctx *fasthttp.RequestCtx, id string) *fncontext.Invocation {
	return &fncontext.Invocation{
		Function: g.Function, Credentials: g.Credentials, RequestID: id, Trace: traceOf(&ctx.Request.Header),
	}
}

// identify adds the gateway's own header with the request id, unless the function has set one of that name.
func (g *gatewayAPI) identify(ctx *fasthttp.RequestCtx, id string) {
	if h := &ctx.Response.Header; len(h.Peek(headerGatewayID)) == 0 {
		h.SetCanonical([]byte(headerGatewayID), []byte(id))
	}
}

// appendRefusal writes the gateway's error body.
func appendRefusal(b []byte, code, message, id, hint string) []byte {
	b = appendError(b, code, message)
	b = logger.AppendJSONString(append(b[:len(b)-1], `,"request_id":`...), id)
	if hint != "" {
		b = logger.AppendJSONString(append(b, `,"hint":`...), hint)
	}
	return append(b, '}')
}
