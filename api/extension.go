package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"gantry/extension"
	"gantry/fault"
	"gantry/logger"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// extensionBodyLimit bounds the body of a registration, which is not read for meaning (page functiongraph_06_2707).
const extensionBodyLimit = 64 << 10

// ExtensionConfig is what the extension API needs.
type ExtensionConfig struct {
	Addr     string
	Host     *extension.Host
	Function *fncontext.Function
	// Limits is shared by all listeners of an agent; nil for limits of its own.
	Limits *Limits
	Log    *zap.Logger
}

// ListenExtension binds the extension API: POST /extension/register and POST /telemetry. It is for loopback only.
func ListenExtension(cfg *ExtensionConfig) (*Server, error) {
	ln, err := listen("extension", "EXTENSION_API_ADDR", cfg.Addr)
	if err != nil {
		return nil, err
	}
	if !loopback(ln.Addr()) {
		return nil, errors.Join(
			fmt.Errorf(
				"extension listener: %s is no loopback address; extensions live beside the function, so use 127.0.0.1:PORT",
				cfg.Addr,
			),
			ln.Close(),
		)
	}
	e := &extensionAPI{ExtensionConfig: cfg}
	return newServer(&serverConfig{
		name: "extension", ln: ln, bodyLimit: extensionBodyLimit, limits: cfg.Limits, log: cfg.Log, refuse: e.refuse,
	}, serveOpen(e.routes(), e.refuse, e.absent)), nil
}

type extensionAPI struct {
	*ExtensionConfig
	refusals logger.Limit // any process beside the function can cause one, as often as it likes
}

func (e *extensionAPI) routes() table[openRoute] {
	return compile(
		row[openRoute]{
			method:  fasthttp.MethodPost,
			pattern: "/extension/register",
			target:  openRoute{extensionBodyLimit, e.register},
		},
		row[openRoute]{
			method:  fasthttp.MethodPost,
			pattern: "/telemetry",
			target:  openRoute{extensionBodyLimit, e.subscribe},
		},
	)
}

func (e *extensionAPI) absent(path []byte) *fault.Error {
	return &fault.Error{
		Kind: fault.NotFound, Type: fault.TypeNotFound,
		Message: fmt.Sprintf("no route %.200q; the extension API has POST /extension/register and POST /telemetry", path),
	}
}

func (e *extensionAPI) register(ctx *fasthttp.RequestCtx, _ []byte) {
	h := &ctx.Request.Header
	err := e.Host.Register(extension.Registration{
		Name:    string(h.Peek("FunctionGraph-Extension-Name")),
		Address: string(h.Peek("FunctionGraph-Extension-Address")),
		Events:  string(h.Peek("FunctionGraph-Extension-Events")),
		Mode:    string(h.Peek("FunctionGraph-Extension-Mode")),
	})
	if err != nil {
		e.refuse(ctx, fault.From(err))
		return
	}
	e.answer(ctx, fasthttp.StatusOK, "", "")
}

// subscribe is POST /telemetry. What the platform answers is not documented; OK as JSON is what Lambda has.
func (e *extensionAPI) subscribe(ctx *fasthttp.RequestCtx, _ []byte) {
	if err := e.Host.Subscribe(
		string(ctx.Request.Header.Peek("FunctionGraph-Extension-Name")),
		ctx.Request.Body(),
	); err != nil {
		f := fault.From(err)
		e.remark("telemetry subscription refused", f)
		ctx.Response.SetStatusCode(functionStatus[f.Kind])
		ctx.Response.Header.SetContentType(contentJSON)
		ctx.Response.SetBodyRaw(f.Text(true))
		return
	}
	ctx.Response.Header.SetContentType(contentJSON)
	ctx.Response.SetBodyString(`"OK"`)
}

func (e *extensionAPI) refuse(ctx *fasthttp.RequestCtx, f *fault.Error) {
	e.remark("extension request refused", f)
	e.answer(ctx, functionStatus[f.Kind], f.Type, f.Message)
}

// remark logs a refusal, unless there are too many.
func (e *extensionAPI) remark(what string, f *fault.Error) {
	left, ok := e.refusals.Take(time.Now())
	if !ok {
		return
	}
	fields := []zap.Field{zap.String("type", f.Type), zap.String("message", f.Message)}
	if left > 0 {
		fields = append(fields, zap.Int64("not_logged", left))
	}
	e.Log.Info(what, fields...)
}

// registered is the answer to a registration, good or bad; errorInfo is always there.
type registered struct {
	FunctionName    string `json:"functionName"`
	FunctionVersion string `json:"functionVersion"`
	Handler         string `json:"handler"`
	ErrorInfo       struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	} `json:"errorInfo"`
}

func (e *extensionAPI) answer(ctx *fasthttp.RequestCtx, code int, errorType, message string) {
	r := registered{
		FunctionName:    e.Function.Name,
		FunctionVersion: e.Function.Version,
		Handler:         e.Function.HandlerString(),
	}
	r.ErrorInfo.Type, r.ErrorInfo.Message = errorType, message
	body, err := json.Marshal(r)
	if err != nil { // strings only: cannot happen
		code = fasthttp.StatusInternalServerError
	}
	ctx.Response.SetStatusCode(code)
	ctx.Response.Header.SetContentType(contentJSON)
	ctx.Response.SetBodyRaw(body)
}
