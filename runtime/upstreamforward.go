package runtime

import (
	"bytes"
	"context"
	"gantry/logger"

	fncontext "gantry/context"
)

func newUpstream(w *Worker) offer {
	u := &upstream{
		calls: calls{worker: w}, endless: map[*streamLimit]struct{}{}, takenUp: func() bool { return true },
		head:  head{addr: w.cfg.Upstream, facts: functionHeaders(w.cfg.Function), credentials: w.cfg.IncludeKeys},
		links: links{addr: w.cfg.Upstream, conns: map[*upstreamConn]struct{}{}},
	}
	u.ended, u.end = context.WithCancel(context.Background())
	if w.cfg.StreamIdle > 0 {
		go u.endStreams()
	}
	return offer{transport: u}
}

// Invoke implements Transport: an event of an image is POST /invoke; for an HTTP function it is one of API Gateway,
// which describes a request.
func (u *upstream) Invoke(ctx context.Context, inv *fncontext.Call, event []byte, log *logger.Request) (Result, error) {
	x := newExchange()
	defer x.release()
	req, resp := x.Request, x.Response
	if u.worker.cfg.language().Proxies() {
		if err := readGatewayEvent(event, req); err != nil {
			return Result{}, err
		}
		if err := u.Forward(ctx, inv, x, log); err != nil {
			return Result{}, err
		}
		return gatewayResult(resp, u.worker.cfg.Function.MaxResponse)
	}
	u.post(req, "/invoke", event)
	for name, value := range map[string]string{"Traceparent": inv.Trace.Parent, "Tracestate": inv.Trace.State} {
		if isHeader(value) {
			req.Header.Set(name, value)
		}
	}
	if err := u.exchange(ctx, inv, x, log); err != nil {
		return Result{}, err
	}
	body := bytes.Clone(resp.Body())
	if status := resp.StatusCode(); status/100 != 2 {
		return Result{}, serverFault(status, body)
	}
	return Result{Body: body, Text: !isDocument(body)}, nil
}

// Forward implements Forwarder.
func (u *upstream) Forward(ctx context.Context, inv *fncontext.Call, x Exchange, log *logger.Request) error {
	if s, ok := x.(*Streamed); ok {
		return u.stream(ctx, inv, s, log)
	}
	b := x.(*Buffered)
	u.follow(ctx)
	b.Response.SkipBody = b.Request.Header.IsHead()
	return u.exchange(ctx, inv, b, log)
}
