package api

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"gantry/async"
	"gantry/auth"
	"gantry/fault"
	"gantry/instance"
	"gantry/logger"
	"gantry/metrics"
	"hash"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	fncontext "gantry/context"
)

// PlatformConfig is what the platform API needs.
type PlatformConfig struct {
	Addr     string
	Instance *instance.Instance
	Function *fncontext.Function
	// Credentials are handed to the function; those of callers never are.
	Credentials fncontext.Credentials
	Gate        *auth.Gate
	// Queue takes asynchronous calls; nil if there is none, and NoQueue then says why.
	Queue   *async.Queue
	NoQueue string
	// Local says that the address must be one of loopback: what else guards the listener relies on it.
	Local bool
	// Certificate turns TLS on; nil for plain HTTP.
	Certificate *Certificate
	// BehindProxy says that a proxy ends TLS: hosts are not checked, and the peer comes from X-Forwarded-For.
	BehindProxy bool
	// GatewayTimeout ends the wait of a caller as the platform's gateway does, not the call; zero means never.
	GatewayTimeout time.Duration
	Metrics        *metrics.Metrics
	// Limits is shared by all listeners of an agent; nil for limits of its own.
	Limits *Limits
	Log    *zap.Logger
}

// ListenPlatform binds the platform API: the invocation of the function and the part of IAM that SDKs need for it.
func ListenPlatform(cfg *PlatformConfig) (*Server, error) {
	ln, err := listen("platform", "GANTRY_API_ADDR", cfg.Addr)
	if err != nil {
		return nil, err
	}
	if cfg.Local && !loopback(ln.Addr()) {
		return nil, errors.Join(fmt.Errorf("platform listener: %s leads to %s, which is no loopback address; write 127.0.0.1:PORT", cfg.Addr, ln.Addr()), ln.Close())
	}
	p := newPlatformAPI(cfg, loopback(ln.Addr()) && !cfg.BehindProxy)
	var secure *tls.Config
	if cfg.Certificate != nil {
		secure = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cfg.Certificate.get}
	}
	refuse := func(ctx *fasthttp.RequestCtx, f *fault.Error) {
		p.refuse(&exchange{ctx: ctx, id: uuid.NewString(), peer: p.peer(ctx)}, f)
	}
	return newServer(&serverConfig{
		name: "platform", ln: ln, secure: secure, proxied: cfg.BehindProxy, bodyLimit: MaxEvent, limits: cfg.Limits, log: cfg.Log, refuse: refuse,
	}, checkOrigin(refuse, p.serve)), nil
}

type platformAPI struct {
	*PlatformConfig
	// local callers see hints and the worker's last lines.
	local bool
	// audit is the log that drops nothing; Log is sampled.
	audit     *zap.Logger
	forwarded *forwarded
	// causes of 503 answers, which callers do not get.
	causes *logger.Causes
}

func newPlatformAPI(cfg *PlatformConfig, local bool) *platformAPI {
	p := &platformAPI{PlatformConfig: cfg, local: local, audit: cfg.Log, forwarded: &forwarded{log: cfg.Log}, causes: logger.NewCauses(cfg.Log)}
	// Guesses of keys must not fill the log.
	p.Log = cfg.Log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, time.Second, 3, 0)
	}))
	return p
}

// exchange is one request on its way through the platform API.
type exchange struct {
	ctx  *fasthttp.RequestCtx
	id   string
	peer netip.Addr
	// route is nil where there is none, caller where none was let in.
	route  *parsedRoute
	caller *auth.Caller
	// urn is set on routes of the function.
	urn fncontext.URN
}

// route is one row of the table of routes. docs/openapi.json is held against it by a test.
type route struct {
	method, pattern string
	// action is what the caller must be allowed to do; empty for routes that only need a caller.
	action auth.Action
	// open routes need no credentials.
	open bool
	// general routes answer FSS.0404 for whatever does not exist, where calling it has a code for each.
	general bool
	// numbered routes give the request its final id, so they write its audit line themselves.
	numbered bool
	// limit is the largest body in bytes.
	limit int
	serve func(*platformAPI, *exchange)
}

const (
	functionsPath = "/v2/{project_id}/fgs/functions"
	functionPath  = functionsPath + "/{function_urn}"
)

// identityBodyLimit bounds the bodies of the IAM routes.
const identityBodyLimit = 64 << 10

// asyncBodyLimit bounds the bodies of the asynchronous routes but for events.
const asyncBodyLimit = 64 << 10

func routes() []route {
	return []route{
		{method: fasthttp.MethodPost, pattern: functionPath + "/invocations", action: auth.Invoke, numbered: true, limit: MaxEvent, serve: (*platformAPI).invoke},
		{method: fasthttp.MethodPost, pattern: functionPath + "/invocations-async", action: auth.InvokeAsync, general: true, numbered: true, limit: async.MaxEvent, serve: asynchronous((*platformAPI).accept)},
		{method: fasthttp.MethodPut, pattern: functionPath + "/async-invoke-config", action: auth.InvokeAsync, general: true, limit: asyncBodyLimit, serve: asynchronous((*platformAPI).putConfiguration)},
		{method: fasthttp.MethodGet, pattern: functionPath + "/async-invoke-config", action: auth.InvokeAsync, general: true, limit: asyncBodyLimit, serve: asynchronous((*platformAPI).getConfiguration)},
		{method: fasthttp.MethodDelete, pattern: functionPath + "/async-invoke-config", action: auth.InvokeAsync, general: true, limit: asyncBodyLimit, serve: asynchronous((*platformAPI).deleteConfiguration)},
		{method: fasthttp.MethodGet, pattern: functionPath + "/async-invoke-configs", action: auth.InvokeAsync, general: true, limit: asyncBodyLimit, serve: asynchronous((*platformAPI).listConfigurations)},
		{method: fasthttp.MethodGet, pattern: functionPath + "/async-invocations", action: auth.InvokeAsync, general: true, limit: asyncBodyLimit, serve: asynchronous((*platformAPI).listRecords)},
		{method: fasthttp.MethodGet, pattern: functionPath + "/active-async-invocations", action: auth.InvokeAsync, general: true, limit: asyncBodyLimit, serve: asynchronous((*platformAPI).listActive)},
		{method: fasthttp.MethodPost, pattern: functionPath + "/cancel", action: auth.InvokeAsync, general: true, limit: asyncBodyLimit, serve: asynchronous((*platformAPI).cancel)},
		{method: fasthttp.MethodPost, pattern: functionsPath + "/enable-async-status-logs", action: auth.InvokeAsync, limit: asyncBodyLimit, serve: (*platformAPI).enableStatusLog},
		{method: fasthttp.MethodGet, pattern: functionsPath + "/async-status-log-detail", action: auth.InvokeAsync, limit: asyncBodyLimit, serve: (*platformAPI).showStatusLog},
		{method: fasthttp.MethodPost, pattern: "/v3/auth/tokens", open: true, limit: identityBodyLimit, serve: (*platformAPI).createToken},
		{method: fasthttp.MethodGet, pattern: "/v3/auth/tokens", limit: identityBodyLimit, serve: (*platformAPI).showToken},
		{method: fasthttp.MethodHead, pattern: "/v3/auth/tokens", limit: identityBodyLimit, serve: (*platformAPI).showToken},
		{method: fasthttp.MethodGet, pattern: "/v3/auth/domains", limit: identityBodyLimit, serve: (*platformAPI).listDomains},
		{method: fasthttp.MethodGet, pattern: "/v3/projects", limit: identityBodyLimit, serve: (*platformAPI).listProjects},
	}
}

// table is routes, taken apart once.
var table = func() (parsed []parsedRoute) {
	for _, r := range routes() {
		segments := strings.Split(r.pattern[1:], "/")
		parsed = append(parsed, parsedRoute{route: r, segments: segments, label: r.method + " " + segments[len(segments)-1]})
	}
	return parsed
}()

type parsedRoute struct {
	route
	segments []string
	// label names the route in the log.
	label string
}

// match compares a path with the pattern and returns what stands in the places of its names, not decoded.
func (r *parsedRoute) match(path []byte) (params [2][]byte, ok bool) {
	rest, n := path, 0
	for _, want := range r.segments {
		if len(rest) == 0 || rest[0] != '/' {
			return params, false
		}
		segment := rest[1:]
		if end := bytes.IndexByte(segment, '/'); end >= 0 {
			segment = segment[:end]
		}
		rest = rest[1+len(segment):]
		switch {
		case want[0] == '{' && len(segment) > 0:
			params[n] = segment
			n++
		case want != string(segment):
			return params, false
		}
	}
	return params, len(rest) == 0
}

// serve finds the route, lets the caller in, finds the function, and checks what the caller may do, in this order.
func (p *platformAPI) serve(ctx *fasthttp.RequestCtx) {
	x := &exchange{ctx: ctx, id: uuid.NewString(), peer: p.peer(ctx)}
	var allow []string
	for i := range table {
		r := &table[i]
		params, ok := r.match(ctx.URI().PathOriginal())
		if !ok {
			continue
		}
		if r.method != string(ctx.Method()) {
			allow = append(allow, r.method)
			continue
		}
		if !p.admit(x, r, params) {
			return
		}
		if x.caller != nil && !r.numbered {
			p.accepted(x)
		}
		r.serve(p, x)
		return
	}
	f := &fault.Error{
		Kind: fault.NotFound, Type: fault.TypeNotFound, Code: fault.CodeBadRequest, APICode: fault.APINoRoute,
		Message: fmt.Sprintf("The API does not exist or has not been published in the environment: no route %.200q", ctx.URI().PathOriginal()),
	}
	if len(allow) > 0 {
		f.Message = fmt.Sprintf("method %.20s is not allowed here; use %s", ctx.Method(), strings.Join(allow, ", "))
	}
	p.refuse(x, f)
	if len(allow) > 0 {
		ctx.Response.SetStatusCode(fasthttp.StatusMethodNotAllowed)
		ctx.Response.Header.Set("Allow", strings.Join(allow, ", "))
	}
}

// admit authenticates the caller, checks what the caller may do, and receives the body. A request that its headers rule
// out costs no body. False means that the request has been answered, or that this was only to see whether its body is
// wanted.
func (p *platformAPI) admit(x *exchange, r *parsedRoute, params [2][]byte) bool {
	x.route = r
	err := p.enter(x, r, params)
	if err != nil && !errors.Is(err, errAnswered) {
		p.refuse(x, fault.From(err))
	}
	return err == nil
}

// errAnswered ends a request that needs no answer any more.
var errAnswered = errors.New("answered")

func (p *platformAPI) enter(x *exchange, r *parsedRoute, params [2][]byte) error {
	if n := announced(x.ctx); n > r.limit {
		return tooLarge(n, r.limit)
	}
	if r.open {
		if err := p.checkNamed(x); err != nil {
			return err
		}
		return p.receive(x, r, nil)
	}
	entry, err := p.Gate.Begin(p.request(x))
	if err != nil {
		return err
	}
	if x.caller = entry.Caller(); x.caller != nil {
		if err := p.permit(x, r, params); err != nil {
			return err
		}
		return p.receive(x, r, nil)
	}
	sum := sha256.New()
	if err := p.receive(x, r, sum); err != nil {
		return err
	}
	if x.caller, err = entry.Finish([sha256.Size]byte(sum.Sum(nil))); err != nil {
		return err
	}
	return p.permit(x, r, params)
}

func (p *platformAPI) receive(x *exchange, r *parsedRoute, sum hash.Hash) error {
	if !receive(x.ctx, r.limit, sum, func(_ *fasthttp.RequestCtx, f *fault.Error) { p.refuse(x, f) }) {
		return errAnswered
	}
	return nil
}

// permit finds the function, and checks what the caller may do with it.
func (p *platformAPI) permit(x *exchange, r *parsedRoute, params [2][]byte) error {
	if err := p.checkNamed(x); err != nil {
		return err
	}
	if r.action == "" {
		return nil
	}
	project, err := unescape("project_id", params[0])
	if err != nil {
		return err
	}
	if err := p.Gate.Authorize(x.caller, r.action, project); err != nil {
		return err
	}
	if params[1] == nil { // a route of the project
		if project != p.Function.Project {
			return notFound(fmt.Sprintf("Not found the project: here is project %s", p.Function.Project))
		}
		return nil
	}
	name, err := unescape("function_urn", params[1])
	if err != nil {
		return err
	}
	x.urn, err = fncontext.ParseURN(name)
	if err != nil {
		return &fault.Error{Kind: fault.Invalid, Type: fault.TypeBadRequest, Code: fault.CodeBadRequest, APICode: fault.APIURN, Message: err.Error()}
	}
	if err := p.find(x.urn, project, name); err != nil {
		if r.general {
			err.APICode = ""
		}
		return err
	}
	return nil
}

func unescape(name string, raw []byte) (string, error) {
	s, err := url.PathUnescape(string(raw))
	if err != nil {
		return "", invalid(fmt.Sprintf("%s %.200q is not percent-encoded rightly", name, raw))
	}
	return s, nil
}

// request is what the gate sees of a request.
func (p *platformAPI) request(x *exchange) *auth.Request {
	ctx := x.ctx
	return &auth.Request{
		Method: string(ctx.Method()), Path: ctx.URI().PathOriginal(), Query: ctx.URI().QueryString(),
		Values: ctx.Request.Header.PeekAll, Peer: x.peer,
	}
}

// find says whether u is the function that is served here: one name, one version, also under "latest", and its aliases.
// text is u as the caller wrote it.
func (p *platformAPI) find(u fncontext.URN, project, text string) *fault.Error {
	fn := p.Function
	is := func(field, value string) bool { return field == "" || field == value }
	switch {
	case project != fn.Project, !is(u.Region, fn.Region), !is(u.Project, fn.Project), !is(u.Package, fn.Package), u.Name != fn.Name:
		return p.missing(fault.APINoFunction, "Not found the function"+reading(u, text))
	case u.Alias != "" && !slices.Contains(fn.Aliases, u.Alias):
		return p.missing(fault.APINoAlias, fmt.Sprintf("Not found the alias %q", u.Alias))
	case u.Alias == "" && u.Version != fn.Version && u.Version != fncontext.Latest:
		return p.missing(fault.APINoVersion, fmt.Sprintf("Not found the version %q", u.Version))
	}
	return nil
}

// reading says what the fields of a short identifier mean, which the form does not show: name:version is no form.
func reading(u fncontext.URN, text string) string {
	if u.Region != "" || u.Package == "" {
		return ""
	}
	project := ""
	if u.Project != "" {
		project = fmt.Sprintf("project %q, ", u.Project)
	}
	return fmt.Sprintf(" %q, which reads as %spackage %q, function %q", text, project, u.Package, u.Name)
}

func notFound(message string) *fault.Error {
	return &fault.Error{Kind: fault.NotFound, Type: fault.TypeNotFound, Code: fault.CodeBadRequest, Message: message}
}

func (p *platformAPI) missing(code, message string) *fault.Error {
	f := notFound(message + ": here is project " + p.Function.Project + ", " + p.Function.URN())
	f.APICode = code
	return f
}

// refuse answers with the platform's error body and X-Request-Id.
func (p *platformAPI) refuse(x *exchange, f *fault.Error) {
	a := apiAnswers[f.Kind]
	if f.APICode != "" {
		a.code = f.APICode
	}
	p.Metrics.API(f.Kind.String())
	if f.Kind == fault.Internal {
		p.Log.Error("platform API request failed", zap.String("request_id", x.id), zap.Error(f))
	} else {
		p.refusal(x, a.code, f)
	}
	p.respond(x, a.status, appendError(nil, a.code, f.Message))
	if f.Kind == fault.Throttled || f.Kind == fault.Unavailable {
		x.ctx.Response.Header.Set("Retry-After", retryAfter)
	}
}

func (p *platformAPI) respond(x *exchange, status int, body []byte) {
	x.ctx.Response.SetStatusCode(status)
	x.ctx.Response.Header.Set(headerGatewayID, x.id)
	x.ctx.Response.Header.SetContentType(contentJSON)
	x.ctx.Response.SetBodyRaw(body)
}

func appendError(b []byte, code, message string) []byte {
	b = logger.AppendJSONString(append(b, `{"error_code":`...), code)
	return append(logger.AppendJSONString(append(b, `,"error_msg":`...), message), '}')
}
