package api

import (
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/runtime"
	"net"
	"syscall"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// The routes of the runtime API (page functiongraph_01_0406).
const (
	routeNext     = "/v1/runtime/invocation/request"
	routeResponse = "/v1/runtime/invocation/response/"
	routeError    = "/v1/runtime/invocation/error/"
)

// RuntimeConfig is what one worker's runtime API needs.
type RuntimeConfig struct {
	API runtime.Events
	// MaxResponse is the largest answer, in bytes.
	MaxResponse int
	// Limits is shared by all listeners of an agent; nil for limits of its own.
	Limits *Limits
	Log    *zap.Logger
}

// ListenRuntime binds the runtime API of one worker to a loopback port that the kernel chooses.
func ListenRuntime(cfg *RuntimeConfig) (*Server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("runtime API listener: %w", err)
	}
	r := &runtimeAPI{RuntimeConfig: cfg}
	s := newServer(&serverConfig{
		name:      "runtime",
		ln:        ln.(*net.TCPListener),
		bodyLimit: cfg.MaxResponse,
		limits:    cfg.Limits,
		log:       cfg.Log,
		refuse:    r.refuse,
	}, serveOpen(r.routes(), r.refuse, r.absent))
	s.http.ReadTimeout = 0 // a poller waits between two requests for as long as a call takes
	s.http.IdleTimeout = 0
	return s, nil
}

type runtimeAPI struct{ *RuntimeConfig }

// routes receive the bodies themselves: one over the limit ends its call.
func (r *runtimeAPI) routes() table[openRoute] {
	return compile(
		row[openRoute]{method: fasthttp.MethodGet, pattern: routeNext, target: openRoute{serve: r.next}},
		row[openRoute]{
			method:  fasthttp.MethodPost,
			pattern: routeResponse,
			target:  openRoute{serve: func(ctx *fasthttp.RequestCtx, id []byte) { r.answer(ctx, string(id), r.API.Respond) }},
		},
		row[openRoute]{
			method:  fasthttp.MethodPost,
			pattern: routeError,
			target:  openRoute{serve: func(ctx *fasthttp.RequestCtx, id []byte) { r.answer(ctx, string(id), r.API.Fail) }},
		},
	)
}

func (r *runtimeAPI) absent(path []byte) *fault.Error {
	return &fault.Error{
		Kind: fault.NotFound,
		Type: fault.TypeNotFound,
		Message: fmt.Sprintf(
			"no route %.200q; the runtime API has GET %s, POST %sID and POST %sID",
			path,
			routeNext,
			routeResponse,
			routeError,
		),
	}
}

// answer hands the body on. One over the limit ends its call at once.
func (r *runtimeAPI) answer(ctx *fasthttp.RequestCtx, id string, take func(id string, body []byte) error) {
	refuse := func(ctx *fasthttp.RequestCtx, f *fault.Error) {
		if f.Kind == fault.TooLarge {
			f = fault.From(r.API.TooLarge(id, ctx.Request.Header.ContentLength()))
		}
		r.refuse(ctx, f)
	}
	if !receive(ctx, r.MaxResponse, nil, refuse) {
		return
	}
	body, release := keep(ctx)
	defer release()
	if err := take(id, body); err != nil {
		r.refuse(ctx, fault.From(err))
	}
}

// next answers when there is an event, however long that takes.
func (r *runtimeAPI) next(ctx *fasthttp.RequestCtx, _ []byte) {
	// a GET should have no body; if it has one, it is read so that the next request on the connection can be parsed
	if !receive(ctx, r.MaxResponse, nil, r.refuse) {
		return
	}
	conn := ctx.Conn()
	event, err := r.API.Next(func() bool { return connected(conn) })
	if err != nil {
		ctx.SetConnectionClose()
		r.refuse(ctx, fault.From(err))
		return
	}
	h := &ctx.Response.Header
	for name, values := range event.Headers {
		h.SetCanonical([]byte(name), []byte(values[0]))
	}
	h.SetContentType(contentJSON)
	ctx.Response.SetBodyRaw(event.Body)
}

// connected reports whether the other side is still there: a poller that has left, or will send nothing more, gets no
// event.
func connected(conn net.Conn) bool {
	tcp, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	open := true
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		open = n > 0 || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR)
	})
	return err == nil && open
}

func (r *runtimeAPI) refuse(ctx *fasthttp.RequestCtx, f *fault.Error) {
	r.Log.Debug(
		"runtime API request refused",
		zap.ByteString("path", ctx.Path()),
		zap.String("type", f.Type),
		zap.String("message", f.Message),
	)
	ctx.Response.SetStatusCode(functionStatus[f.Kind])
	ctx.Response.Header.SetContentType(contentJSON)
	ctx.Response.SetBodyRaw(f.Text(true))
}
