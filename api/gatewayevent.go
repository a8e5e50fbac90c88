package api

import (
	"bytes"
	"gantry/fault"
	"gantry/instance"
	"gantry/trigger/apig"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

// call has the function answer an event. The event is made once there is a worker for it: calls that wait hold the
// request's body, and not the event as well.
func (g *gatewayAPI) call(ctx *fasthttp.RequestCtx, c *gatewayCall, path, query []byte) {
	inv := g.callOf(ctx, uuid.NewString())
	lease, err := g.Instance.Admit(g.Instance.Base(), inv)
	if err != nil {
		write(ctx, inv.RequestID, &instance.Result{Fault: fault.From(err)}, g.local(ctx))
		return
	}
	event := g.event(ctx, c, inv.RequestID, path, query)
	result := lease.Invoke(g.Instance.Base(), event)
	g.Limits.recycle(event)
	if result.Fault != nil {
		write(ctx, inv.RequestID, &result, g.local(ctx))
		g.identify(ctx, inv.RequestID)
		return
	}
	if wrong := c.answer.Read(result.Body); wrong != nil {
		g.wrong(ctx, inv.RequestID, wrong)
	} else {
		g.answer(ctx, inv.RequestID, &c.answer)
	}
	h := &ctx.Response.Header
	h.SetCanonical([]byte(headerRequestID), []byte(inv.RequestID))
	g.identify(ctx, inv.RequestID)
	writeOutcome(h, fault.CodeOK, false, &result)
}

// event makes the event of a request in a buffer of the listener's.
func (g *gatewayAPI) event(ctx *fasthttp.RequestCtx, c *gatewayCall, id string, path, query []byte) []byte {
	c.events.Begin()
	for fields := ctx.Request.Header.RawHeaders(); len(fields) > 0; {
		line, rest, _ := bytes.Cut(fields, []byte("\n"))
		fields = rest
		if name, value, ok := bytes.Cut(line, []byte(":")); ok {
			c.events.Add(name, bytes.TrimSpace(value))
		}
	}
	r := apig.Request{
		Method: ctx.Method(), Path: path, Query: query, Params: c.params, Body: ctx.Request.Body(),
		APIID: g.api, ID: id, Source: peerOf(ctx).String(), Port: g.port,
	}
	return c.events.Append(g.buffer(c.events.Size(&r)), &r)
}

// buffer returns an empty one of at least size bytes, which Limits.recycle takes back.
func (g *gatewayAPI) buffer(size int) []byte {
	for _, n := range [...]int{promptBody, mediumBody, smallBody, commonBody} {
		if size <= n {
			return takeBuffer(n)
		}
	}
	return g.Limits.buffer(size)
}

// answer writes the function's answer. What belongs to the connection, and the length of the body, are the agent's.
func (g *gatewayAPI) answer(ctx *fasthttp.RequestCtx, id string, a *apig.Answer) {
	h := &ctx.Response.Header
	for _, f := range a.Fields {
		switch {
		case apig.Dropped(f.Name), bytes.EqualFold(f.Name, []byte("content-length")), bytes.EqualFold(f.Name, []byte("date")):
		default:
			h.AddBytesKV(f.Name, f.Value)
		}
	}
	ctx.Response.SetStatusCode(a.Status)
	switch a.Status {
	case fasthttp.StatusNoContent, fasthttp.StatusResetContent, fasthttp.StatusNotModified: // RFC 9110: they have no body
	default:
		ctx.Response.SetBodyRaw(a.Body)
	}
	if len(a.Missing)+len(a.Unknown)+len(a.Lists) > 0 {
		g.remarkAnswer(id, a)
	}
}

// remarkAnswer logs what the platform may take otherwise than this answer means it.
func (g *gatewayAPI) remarkAnswer(id string, a *apig.Answer) {
	left, ok := g.remarked.take(time.Now())
	if !ok {
		return
	}
	fields := []zap.Field{zap.String("request_id", id), zap.Int64("not_logged", left)}
	for i, names := range [][]string{a.Missing, a.Unknown, a.Lists} {
		if len(names) > 0 {
			key := [...]string{"missing", "unknown", "lists"}[i]
			fields = append(fields, zap.Strings(key, names[:min(len(names), mostNames)]))
		}
	}
	g.Log.Warn("an answer may not work on the platform: API Gateway takes statusCode, headers of strings, body and "+
		"isBase64Encoded; what is missing counts as empty, and what is unknown is left out", fields...)
}

// mostNames is how many names a list in a log line has.
const mostNames = 10

// wrong answers in the place of a function whose answer cannot be used.
func (g *gatewayAPI) wrong(ctx *fasthttp.RequestCtx, id string, w *apig.Wrong) {
	line := w.In(g.False)
	g.Log.Warn("the function's answer is not one that API Gateway can use, and the caller got 500 "+apig.Code,
		zap.String("request_id", id), zap.String("problem", w.Problem), zap.String("write", line))
	local := g.local(ctx)
	if local && strings.Contains(string(ctx.Request.Header.Peek("Accept")), "text/html") {
		h := &ctx.Response.Header
		ctx.Response.SetStatusCode(fasthttp.StatusInternalServerError)
		h.SetContentType("text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		h.Set("Cache-Control", "no-store")
		ctx.Response.SetBodyRaw(w.Page(id, line))
		return
	}
	hint := ""
	if local {
		hint = w.Problem + "; write " + line
	}
	const message = "the function's answer cannot be used by API Gateway"
	g.respond(ctx, fasthttp.StatusInternalServerError, id, apig.Code, message, hint)
}
