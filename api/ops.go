package api

import (
	"fmt"
	"gantry/fault"
	"gantry/instance"
	"gantry/metrics"
	"strings"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

// opsBodyLimit bounds bodies that no route reads, in bytes.
const opsBodyLimit = 4 << 10

// OpsConfig is what the ops listener needs.
type OpsConfig struct {
	Addr     string
	Instance *instance.Instance
	// Incomplete says why no call would be taken although the function could, or nil.
	Incomplete func() error
	Metrics    *metrics.Metrics
	// Limits is shared by all listeners of an agent; nil for limits of its own.
	Limits *Limits
	Log    *zap.Logger
}

// ListenOps binds the ops listener: GET /healthz, /readyz and /metrics. It never reaches user code.
func ListenOps(cfg *OpsConfig) (*Server, error) {
	ln, err := listen("ops", "GANTRY_OPS_ADDR", cfg.Addr)
	if err != nil {
		return nil, err
	}
	o := &opsAPI{cfg}
	return newServer(&serverConfig{
		name: "ops", ln: ln, bodyLimit: opsBodyLimit, limits: cfg.Limits, log: cfg.Log, refuse: o.refuse,
	}, serveOpen(o.routes(), o.refuse, o.absent)), nil
}

type opsAPI struct{ *OpsConfig }

func (o *opsAPI) routes() table[openRoute] {
	var rows []row[openRoute]
	for _, r := range []struct {
		path  string
		serve func(*fasthttp.RequestCtx, []byte)
	}{{"/healthz", o.healthz}, {"/readyz", o.readyz}, {"/metrics", o.metrics}} {
		for _, method := range []string{fasthttp.MethodGet, fasthttp.MethodHead} {
			rows = append(rows, row[openRoute]{method: method, pattern: r.path, target: openRoute{opsBodyLimit, r.serve}})
		}
	}
	return compile(rows...)
}

func (o *opsAPI) absent([]byte) *fault.Error {
	return &fault.Error{Kind: fault.NotFound, Message: "no such route; there are /healthz, /readyz and /metrics"}
}

func (o *opsAPI) refuse(ctx *fasthttp.RequestCtx, f *fault.Error) {
	o.text(ctx, functionStatus[f.Kind], f.Message)
}

func (o *opsAPI) text(ctx *fasthttp.RequestCtx, code int, text string) {
	ctx.Response.SetStatusCode(code)
	ctx.Response.Header.SetContentType(contentText)
	ctx.Response.SetBodyString(text + "\n")
}

// healthz says that the agent itself works. A failed function is no reason to restart the agent: nothing would change.
func (o *opsAPI) healthz(ctx *fasthttp.RequestCtx, _ []byte) { o.text(ctx, fasthttp.StatusOK, "ok") }

// readyz says whether a call would be taken now, and if not, why.
func (o *opsAPI) readyz(ctx *fasthttp.RequestCtx, _ []byte) {
	state := o.Instance.State()
	switch state {
	case instance.Ready, instance.Busy:
		if err := o.Incomplete(); err != nil {
			o.text(ctx, fasthttp.StatusServiceUnavailable, err.Error())
			return
		}
		o.text(ctx, fasthttp.StatusOK, state.String())
	case instance.Failed:
		reason := ""
		if f := o.Instance.Failure(); f != nil {
			reason = ": " + strings.TrimSpace(string(f.Text(false)))
		}
		o.text(ctx, fasthttp.StatusServiceUnavailable, state.String()+reason)
	default:
		o.text(ctx, fasthttp.StatusServiceUnavailable, state.String())
	}
}

func (o *opsAPI) metrics(ctx *fasthttp.RequestCtx, _ []byte) {
	ctx.Response.Header.SetContentType("text/plain; version=0.0.4; charset=utf-8")
	state := o.Instance.State()
	metrics.Family(ctx, "gantry_instance_state", "1 for the state the instance is in.")
	for _, s := range instance.States() {
		is := 0
		if s == state {
			is = 1
		}
		fmt.Fprintf(ctx, "gantry_instance_state{state=%q} %d\n", s.String(), is)
	}
	o.Metrics.WritePrometheus(ctx)
}
