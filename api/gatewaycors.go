package api

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"
)

// origin is where the page comes from that makes a request.
type origin struct {
	name              []byte
	listed, preflight bool
}

// origin reads the header of a request.
func (g *gatewayAPI) origin(ctx *fasthttp.RequestCtx) origin {
	if len(g.Origins) == 0 {
		return origin{}
	}
	h := &ctx.Request.Header
	o := origin{name: h.Peek("Origin")}
	o.listed = slices.Contains(g.Origins, strings.ToLower(string(o.name)))
	o.preflight = ctx.IsOptions() && len(o.name) > 0 && len(h.Peek("Access-Control-Request-Method")) > 0
	return o
}

// allow lets the page read the answer.
func (o *origin) allow(h *fasthttp.ResponseHeader) {
	h.SetBytesV("Access-Control-Allow-Origin", o.name)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Add("Vary", "Origin")
}

// preflightAge is how long a browser may keep the answer to a preflight, in seconds.
const preflightAge = "600"

// preflight answers in the place of the function, for listed origins only.
func (g *gatewayAPI) preflight(ctx *fasthttp.RequestCtx, from origin, path []byte) {
	if !from.listed {
		g.refuse(ctx, forbidden(fmt.Sprintf("origin %.200q may not call this function: GANTRY_APIG_CORS lists those that may",
			from.name)))
		ctx.Response.Header.Set("Vary", "Origin")
		return
	}
	asked := ctx.Request.Header.Peek("Access-Control-Request-Method")
	methods, all := g.Routes.Methods(path)
	if len(methods) == 0 && !all {
		g.absent(ctx, path, nil)
		return
	}
	if all && isMethod(asked) && !slices.Contains(methods, string(asked)) {
		methods = append(methods, string(asked))
	}
	h := &ctx.Response.Header
	ctx.Response.SetStatusCode(fasthttp.StatusNoContent)
	h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	if headers := ctx.Request.Header.PeekAll("Access-Control-Request-Headers"); len(headers) > 0 {
		h.SetBytesV("Access-Control-Allow-Headers", bytes.Join(headers, []byte(", ")))
	}
	h.Set("Access-Control-Max-Age", preflightAge)
}

func isMethod(name []byte) bool {
	return len(name) > 0 && !bytes.ContainsFunc(name, func(c rune) bool { return c < 'A' || c > 'Z' })
}
