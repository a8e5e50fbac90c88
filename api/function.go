package api

import (
	"fmt"
	"gantry/fault"
	"gantry/instance"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// FunctionConfig is what the function listener needs.
type FunctionConfig struct {
	Addr     string
	Instance *instance.Instance
	Function *fncontext.Function
	// Credentials are handed out when the platform is not in front.
	Credentials fncontext.Credentials
	// TrustHeaders says that the platform is in front: its X-CFF-* headers are believed, and errors carry no local
	// detail.
	TrustHeaders bool
	// Limits is shared by all listeners of an agent; nil for limits of its own.
	Limits *Limits
	Log    *zap.Logger
	// StreamIdle makes ListenProxy pass bodies as they come, of any size, and connections to other protocols; it ends what
	// nothing passes on for so long. 0 keeps to the platform's limits.
	StreamIdle time.Duration
}

type functionAPI struct {
	*FunctionConfig
}

// ListenFunction binds the function listener: POST /init and POST /invoke.
func ListenFunction(cfg *FunctionConfig) (*Server, error) {
	ln, err := listen("function", "GANTRY_ADDR", cfg.Addr)
	if err != nil {
		return nil, err
	}
	f := &functionAPI{cfg}
	return newServer(&serverConfig{
		name: "function", ln: ln, bodyLimit: MaxEvent, limits: cfg.Limits, log: cfg.Log, refuse: f.refuse, wanted: isInvoke,
	}, serveOpen(f.routes(), f.refuse, f.absent)), nil
}

func isInvoke(h *fasthttp.RequestHeader) bool {
	return h.IsPost() && string(h.RequestURI()) == "/invoke"
}

func (f *functionAPI) routes() table[openRoute] {
	return compile(
		row[openRoute]{method: fasthttp.MethodPost, pattern: "/invoke", target: openRoute{MaxEvent, f.invoke}},
		row[openRoute]{method: fasthttp.MethodPost, pattern: "/init", target: openRoute{MaxEvent, f.init}},
	)
}

func (f *functionAPI) absent(path []byte) *fault.Error {
	return &fault.Error{
		Kind: fault.NotFound, Type: fault.TypeNotFound, Code: fault.CodeBadRequest,
		Message: fmt.Sprintf("no route %.200q; an event function has POST /init and POST /invoke", path),
	}
}

// refuse answers a request that never became a call.
func (f *functionAPI) refuse(ctx *fasthttp.RequestCtx, err *fault.Error) {
	write(ctx, uuid.NewString(), &instance.Result{Fault: err}, !f.TrustHeaders)
}

// invoke is hops 1 and 8 of a call: copy what is needed out of ctx, run it, write the answer. The event is not copied:
// fasthttp keeps it in place until this function returns, and it is not used after that.
func (f *functionAPI) invoke(ctx *fasthttp.RequestCtx, _ []byte) {
	if !answerable(ctx) {
		f.refuse(ctx, noAnswerMemory())
		return
	}
	inv, result := underOwnID(f.invocation(&ctx.Request.Header), func(inv *fncontext.Invocation) instance.Result {
		return f.Instance.Invoke(f.Instance.Base(), inv, ctx.Request.Body())
	})
	write(ctx, inv.RequestID, &result, !f.TrustHeaders)
}

// underOwnID runs a call, under another request id if the caller's is that of another call, and returns it as it ran.
func underOwnID(
	inv *fncontext.Invocation,
	run func(*fncontext.Invocation) instance.Result,
) (*fncontext.Invocation, instance.Result) {
	result := run(inv)
	for result.Fault == instance.ErrInFlight {
		other := *inv
		inv, other.RequestID = &other, uuid.NewString()
		result = run(inv)
	}
	return inv, result
}

// init waits for load and initializer. It may be called any number of times.
func (f *functionAPI) init(ctx *fasthttp.RequestCtx, _ []byte) {
	result := &instance.Result{}
	if err := f.Instance.WaitReady(f.Instance.Base()); err != nil {
		result.Fault = fault.From(err)
	}
	write(ctx, uuid.NewString(), result, !f.TrustHeaders)
}

// invocation builds the call from the headers.
func (f *functionAPI) invocation(h *fasthttp.RequestHeader) *fncontext.Invocation {
	inv := &fncontext.Invocation{
		Function:    f.Function,
		Credentials: f.Credentials,
		RequestID:   requestID(h),
		Trace:       traceOf(h),
	}
	if v := h.Peek(headerLogType); len(v) > 0 {
		inv.Tail = strings.EqualFold(string(v), "tail")
	}
	if f.TrustHeaders {
		inv.TakeHeaders(func(name string) string { return string(h.Peek(name)) })
	}
	return inv
}

// traceOf passes the caller's trace context on, from either listener.
func traceOf(h *fasthttp.RequestHeader) fncontext.Trace {
	if v := h.Peek("Traceparent"); len(v) > 0 {
		return fncontext.Trace{Parent: string(v), State: string(h.Peek("Tracestate"))}
	}
	return fncontext.Trace{}
}

// requestID takes the caller's id if it is a UUID; else it makes one.
func requestID(h *fasthttp.RequestHeader) string {
	if v := h.Peek(headerRequestID); len(v) == 36 {
		if id, err := uuid.ParseBytes(v); err == nil {
			return id.String()
		}
	}
	return uuid.NewString()
}
