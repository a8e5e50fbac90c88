package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"gantry/fault"
	"gantry/runtime"
	"gantry/trigger/apig"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

// ListenGateway binds the front: a request becomes the platform's event, or is passed on to the function's server, and
// the answer becomes that of the request.
func ListenGateway(cfg *GatewayConfig) (*Server, error) {
	ln, err := listen("apig", "GANTRY_APIG_ADDR", cfg.Addr)
	if err != nil {
		return nil, err
	}
	cfg.Limits = cfg.Limits.or()
	id := sha256.Sum256([]byte(cfg.Function.URN()))
	g := &gatewayAPI{
		proxyAPI:      proxyAPI{functionAPI: functionAPI{&cfg.FunctionConfig}, fixed: true},
		GatewayConfig: cfg,
		api:           hex.EncodeToString(id[:16]),
		port:          strconv.Itoa(ln.Addr().(*net.TCPAddr).Port),
		calls:         sync.Pool{New: func() any { return &gatewayCall{} }},
	}
	return newServer(&serverConfig{
		name: "apig", ln: ln, bodyLimit: MaxEvent, limits: cfg.Limits, log: cfg.Log, refuse: g.refuse, anyPath: true,
		wanted: func(h *fasthttp.RequestHeader) bool {
			return g.Routes == nil && len(g.Origins) == 0 && upgradeOf(h) == ""
		},
	}, g.serve), nil
}

// serve answers one request.
func (g *gatewayAPI) serve(ctx *fasthttp.RequestCtx) {
	origin := g.origin(ctx)
	g.route(ctx, origin)
	if origin.listed {
		origin.allow(&ctx.Response.Header)
	}
}

// route finds out what to do with a request.
func (g *gatewayAPI) route(ctx *fasthttp.RequestCtx, from origin) {
	upgrade := ""
	if g.Forwards {
		upgrade = upgradeOf(&ctx.Request.Header)
	}
	if f := g.unservable(ctx, upgrade); f != nil {
		g.refuse(ctx, f)
		return
	}
	path, query, _ := bytes.Cut(ctx.Request.Header.RequestURI(), []byte("?"))
	if from.preflight {
		g.preflight(ctx, from, path)
		return
	}
	call := g.calls.Get().(*gatewayCall)
	defer func() {
		call.forget()
		g.calls.Put(call)
	}()
	params, allowed, ok := g.Routes.Find(ctx.Method(), path, call.params[:0])
	call.params = params
	if !ok {
		g.absent(ctx, path, allowed)
		return
	}
	if upgrade != "" {
		g.refuse(ctx, &fault.Error{
			Kind: fault.Invalid, Type: fault.TypeBadRequest, Code: fault.CodeBadRequest,
			Message: fmt.Sprintf("API Gateway takes no upgrade to %.50q; the function listener does, with GANTRY_HTTP_LIMITS=none", upgrade),
		})
		return
	}
	if !receiveWhole(ctx, g.limit, g.refuse) {
		return
	}
	if g.Forwards {
		g.pass(ctx)
		return
	}
	g.call(ctx, call, path, query)
}

// limit refuses a request; one whose body is too large is logged with the limit.
func (g *gatewayAPI) limit(ctx *fasthttp.RequestCtx, f *fault.Error) {
	if f.Kind == fault.TooLarge {
		if left, ok := g.refused.take(time.Now()); ok {
			g.Log.Warn("a request is over the limit of API Gateway, and was refused",
				zap.String("limit", f.Message), zap.Int64("not_logged", left))
		}
	}
	g.refuse(ctx, f)
}

// pass carries the request to the function's server, and its answer back.
func (g *gatewayAPI) pass(ctx *fasthttp.RequestCtx) {
	id := uuid.NewString()
	peer := peerOf(ctx)
	g.forward(ctx, &runtime.Buffered{
		Request: &ctx.Request, Response: &ctx.Response, Peer: peer,
		Gateway: &runtime.Gateway{API: g.api, RequestID: id, Source: peer.String(), Stage: apig.Stage},
	}, g.callOf(ctx, id), g.local(ctx))
	g.identify(ctx, id)
}
