package api

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"gantry/async"
	"gantry/auth"
	"gantry/fault"
	"gantry/logger"
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

// ListenPlatform binds the platform API: the invocation of the function and the part of IAM that SDKs need for it.
func ListenPlatform(cfg *PlatformConfig) (*Server, error) {
	ln, err := listen("platform", "GANTRY_API_ADDR", cfg.Addr)
	if err != nil {
		return nil, err
	}
	if cfg.Local && !loopback(ln.Addr()) {
		return nil, errors.Join(
			fmt.Errorf(
				"platform listener: %s leads to %s, which is no loopback address; write 127.0.0.1:PORT",
				cfg.Addr,
				ln.Addr(),
			),
			ln.Close(),
		)
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
		name:      "platform",
		ln:        ln,
		secure:    secure,
		proxied:   cfg.BehindProxy,
		bodyLimit: MaxEvent,
		limits:    cfg.Limits,
		log:       cfg.Log,
		refuse:    refuse,
	}, p.serve), nil
}

func newPlatformAPI(cfg *PlatformConfig, local bool) *platformAPI {
	p := &platformAPI{
		PlatformConfig: cfg,
		routes:         platformRoutes(),
		local:          local,
		audit:          cfg.Log,
		forwarded:      &forwarded{log: cfg.Log},
		causes:         logger.NewCauses(cfg.Log),
	}
	// Guesses of keys must not fill the log.
	p.Log = cfg.Log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, time.Second, 3, 0)
	}))
	return p
}

const (
	functionsPath = "/v2/{project_id}/fgs/functions"
	functionPath  = functionsPath + "/{function_urn}"
)

// platformRoutes is the table of the platform API.
func platformRoutes() table[access] {
	invoke := access{action: auth.Invoke, numbered: true, limit: MaxEvent, serve: (*platformAPI).invoke}
	accept := queued((*platformAPI).accept)
	accept.numbered, accept.limit = true, async.MaxEvent
	login := access{open: true, limit: identityBodyLimit, serve: (*platformAPI).createToken}
	const get, head, post = fasthttp.MethodGet, fasthttp.MethodHead, fasthttp.MethodPost
	return compile(
		at(post, functionPath+"/invocations", invoke),
		at(post, functionPath+"/invocations-async", accept),
		at(fasthttp.MethodPut, functionPath+"/async-invoke-config", queued((*platformAPI).putConfiguration)),
		at(get, functionPath+"/async-invoke-config", queued((*platformAPI).getConfiguration)),
		at(fasthttp.MethodDelete, functionPath+"/async-invoke-config", queued((*platformAPI).deleteConfiguration)),
		at(get, functionPath+"/async-invoke-configs", queued((*platformAPI).listConfigurations)),
		at(get, functionPath+"/async-invocations", queued((*platformAPI).listRecords)),
		at(get, functionPath+"/active-async-invocations", queued((*platformAPI).listActive)),
		at(post, functionPath+"/cancel", queued((*platformAPI).cancel)),
		at(post, functionsPath+"/enable-async-status-logs", statusLog((*platformAPI).enableStatusLog)),
		at(get, functionsPath+"/async-status-log-detail", statusLog((*platformAPI).showStatusLog)),
		at(post, "/v3/auth/tokens", login),
		at(get, "/v3/auth/tokens", identity((*platformAPI).showToken)),
		at(head, "/v3/auth/tokens", identity((*platformAPI).showToken)),
		at(get, "/v3/auth/domains", identity((*platformAPI).listDomains)),
		at(get, "/v3/projects", identity((*platformAPI).listProjects)),
	)
}

func at(method, pattern string, a access) row[access] {
	return row[access]{method: method, pattern: pattern, target: a}
}

// queued is the access of a route that needs the queue.
func queued(serve func(*platformAPI, *exchange, *async.Queue) error) access {
	return access{action: auth.InvokeAsync, general: true, limit: asyncBodyLimit, serve: asynchronous(serve)}
}

func statusLog(serve func(*platformAPI, *exchange)) access {
	return access{action: auth.InvokeAsync, limit: asyncBodyLimit, serve: serve}
}

func identity(serve func(*platformAPI, *exchange)) access {
	return access{limit: identityBodyLimit, serve: serve}
}

// serve finds the route, lets the caller in, finds the function, and checks what the caller may do, in this order.
func (p *platformAPI) serve(ctx *fasthttp.RequestCtx) {
	x := &exchange{ctx: ctx, id: uuid.NewString(), peer: p.peer(ctx)}
	r, params, allow := p.routes.find(ctx.Method(), ctx.URI().PathOriginal())
	if r == nil {
		p.absent(x, allow)
		return
	}
	if !p.admit(x, r, params) {
		return
	}
	if x.caller != nil && !r.target.numbered {
		p.accepted(x)
	}
	r.target.serve(p, x)
}

// absent answers where there is no route, or not with this method.
func (p *platformAPI) absent(x *exchange, allow []string) {
	ctx := x.ctx
	f := &fault.Error{
		Kind:    fault.NotFound,
		Type:    fault.TypeNotFound,
		Code:    fault.CodeBadRequest,
		APICode: fault.APINoRoute,
		Message: fmt.Sprintf(
			"The API does not exist or has not been published in the environment: no route %.200q",
			ctx.URI().PathOriginal(),
		),
	}
	if len(allow) == 0 {
		p.refuse(x, f)
		return
	}
	methodNotAllowed(ctx, func(_ *fasthttp.RequestCtx, wrong *fault.Error) {
		f.Message = wrong.Message
		p.refuse(x, f)
	}, strings.Join(allow, ", "))
}

// admit authenticates the caller, checks what the caller may do, and receives the body. A request that its headers rule
// out costs no body. False means that the request has been answered, or that this was only to see whether its body is
// wanted.
func (p *platformAPI) admit(x *exchange, r *row[access], params [2][]byte) bool {
	x.route = r
	err := p.enter(x, r, params)
	if err != nil && !errors.Is(err, errAnswered) {
		p.refuse(x, fault.From(err))
	}
	return err == nil
}

// errAnswered ends a request that needs no answer any more.
var errAnswered = errors.New("answered")

func (p *platformAPI) enter(x *exchange, r *row[access], params [2][]byte) error {
	if n := announced(x.ctx); n > r.target.limit {
		return tooLarge(n, r.target.limit)
	}
	if r.target.open {
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

func (p *platformAPI) receive(x *exchange, r *row[access], sum hash.Hash) error {
	if !receive(x.ctx, r.target.limit, sum, func(_ *fasthttp.RequestCtx, f *fault.Error) { p.refuse(x, f) }) {
		return errAnswered
	}
	return nil
}

// permit finds the function, and checks what the caller may do with it.
func (p *platformAPI) permit(x *exchange, r *row[access], params [2][]byte) error {
	if err := p.checkNamed(x); err != nil {
		return err
	}
	if r.target.action == "" {
		return nil
	}
	project, err := unescape("project_id", params[0])
	if err != nil {
		return err
	}
	if err := p.Gate.Authorize(x.caller, r.target.action, project); err != nil {
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
		return &fault.Error{
			Kind:    fault.Invalid,
			Type:    fault.TypeBadRequest,
			Code:    fault.CodeBadRequest,
			APICode: fault.APIURN,
			Message: err.Error(),
		}
	}
	if err := p.find(x.urn, project, name); err != nil {
		if r.target.general {
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
	case project != fn.Project,
		!is(u.Region, fn.Region),
		!is(u.Project, fn.Project),
		!is(u.Package, fn.Package),
		u.Name != fn.Name:
		return p.missing(fault.APINoFunction, "Not found the function"+reading(u, text))
	case u.Alias != "" && !slices.Contains(fn.Aliases, u.Alias):
		return p.missing(fault.APINoAlias, fmt.Sprintf("Not found the alias %q", u.Alias))
	case u.Alias == "" && u.Version != fn.Version && u.Version != fncontext.Latest:
		return p.missing(fault.APINoVersion, fmt.Sprintf("Not found the version %q", u.Version))
	}
	return nil
}

// peer is the address that a request comes from: behind a proxy the last one that the proxy added; otherwise, or if
// that one is missing or is no address, the other end of the connection.
func (p *platformAPI) peer(ctx *fasthttp.RequestCtx) netip.Addr {
	if p.BehindProxy {
		if addr, ok := p.forwarded.peer(&ctx.Request.Header); ok {
			return addr
		}
	}
	addr, _ := netip.AddrFromSlice(ctx.RemoteIP()) // the zero address is one peer too
	return addr.Unmap()
}
