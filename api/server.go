package api

import (
	"crypto/tls"
	"errors"
	"fmt"
	"gantry/fault"
	"math"
	"net"
	"slices"
	"sync/atomic"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

// Server is one listener with its routes. Listen binds it, Serve blocks until Shutdown.
type Server struct {
	name string
	http *fasthttp.Server
	ln   *listener
	// draining is set at the begin of the stop.
	draining atomic.Bool
}

// serverConfig is what every listener needs.
type serverConfig struct {
	name      string
	ln        *net.TCPListener
	secure    *tls.Config // nil for plain HTTP
	proxied   bool        // a proxy is in front, which passes its own host on
	bodyLimit int         // of the largest body in bytes
	limits    *Limits     // nil for limits of its own
	log       *zap.Logger
	refuse    refuser
	// streams says that bodies of any size pass.
	streams bool
	// anyPath takes every path and origin: the function's server decides about both.
	anyPath bool
	// wanted reports whether nothing but its body can be wrong with a request; nil for never.
	wanted func(h *fasthttp.RequestHeader) bool
}

// largest is the largest body that arrives in full, in bytes.
func (cfg *serverConfig) largest() int {
	if cfg.streams {
		return math.MaxInt
	}
	return cfg.bodyLimit
}

// newServer makes a server whose requests pass the chain, and then route.
func newServer(cfg *serverConfig, route fasthttp.RequestHandler) *Server {
	limits := cfg.limits.or()
	s := &Server{name: cfg.name, ln: &listener{
		TCPListener: cfg.ln,
		accept:      cfg.ln.AcceptTCP,
		name:        cfg.name,
		secure:      cfg.secure,
		all:         limits.all,
		limits:      limits,
		refuse:      cfg.refuse,
		log:         cfg.log,
		bodies: newBudget(
			limits.body,
			int64(cfg.bodyLimit),
			limits.burst,
		),
		answers: newBudget(limits.body, MaxEvent, limits.burst),
		closing: make(chan struct{}),
	}}
	chain := s.chain(cfg, route)
	s.http = &fasthttp.Server{
		Handler:                      chain,
		ErrorHandler:                 unreadableHandler(cfg),
		HeaderReceived:               early(cfg.largest(), cfg.wanted),
		ExpectHandler:                screened(chain),
		StreamRequestBody:            true,
		SecureErrorLogMessage:        true, // no copies of what strangers sent
		ConnState:                    follow,
		Name:                         serverName,
		ReadBufferSize:               headerLimit,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxRequestBodySize:           cfg.largest(),
		Logger:                       quiet{cfg.log},
		NoDefaultContentType:         true,
		DisablePreParseMultipartForm: true,
		CloseOnShutdown:              true,
		Concurrency:                  connectionLimit + connectionSlack,
	}
	return s
}

// chain is what every request of every listener passes, outermost first.
func (s *Server) chain(cfg *serverConfig, route fasthttp.RequestHandler) fasthttp.RequestHandler {
	type step = func(next fasthttp.RequestHandler) fasthttp.RequestHandler
	refusing := func(check func(refuser, fasthttp.RequestHandler) fasthttp.RequestHandler) step {
		return func(next fasthttp.RequestHandler) fasthttp.RequestHandler { return check(cfg.refuse, next) }
	}
	steps := []step{
		s.closing, // a listener that drains ends its connections
		settled,   // what a request held is free again
		func(next fasthttp.RequestHandler) fasthttp.RequestHandler { // a panic becomes an answer
			return recovered(cfg.name, cfg.log, cfg.refuse, next)
		},
		refusing(occupied), // no eviction while the request is answered
	}
	if cfg.anyPath {
		steps = append(steps, refusing(checkFraming))
	} else {
		steps = append(steps, refusing(checkClean)) // framing, path and header
	}
	if loopback(cfg.ln.Addr()) && !cfg.proxied {
		steps = append(steps, func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
			return checkHost(cfg.name, cfg.refuse, next)
		})
	}
	if !cfg.anyPath {
		steps = append(steps, refusing(checkOrigin))
	}
	for _, step := range slices.Backward(steps) {
		route = step(route)
	}
	return route
}

// unreadableHandler answers what was no request.
func unreadableHandler(cfg *serverConfig) func(ctx *fasthttp.RequestCtx, err error) {
	return func(ctx *fasthttp.RequestCtx, err error) {
		c := connectionOf(ctx.Conn())
		c.received()
		c.linger.Store(true)
		f := unreadable(ctx, err, cfg.bodyLimit)
		var plain tls.RecordHeaderError
		switch {
		case c.lost():
			f = c.cause()
		case errors.As(err, &plain):
			f = invalid("this port speaks TLS, and the request is plain HTTP: use https://")
		case c.head.bare:
			f = invalid("the request is not valid HTTP: the lines of its header do not end in CRLF")
		}
		cfg.refuse(ctx, f)
		if plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
			c.answerPlain(ctx)
		}
	}
}

// looksLikeHTTP reports whether what should be the beginning of a handshake is that of a request.
func looksLikeHTTP(first [5]byte) bool {
	switch string(first[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "DELET", "OPTIO", "PATCH":
		return true
	}
	return false
}

// occupied protects the connection from eviction while its request is answered; not yet while its body arrives.
func occupied(refuse refuser, next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		c := connectionOf(ctx.Conn())
		c.received()
		if !c.screening && !pending(ctx) && !c.enter(stageBusy) {
			ctx.SetConnectionClose()
			refuse(ctx, c.cause())
			return
		}
		next(ctx)
	}
}

// Addr returns the bound address.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Name returns the listener's name.
func (s *Server) Name() string { return s.name }

// Serve blocks until Shutdown, or until the listener fails.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.ln); err != nil {
		return fmt.Errorf("%s listener: %w", s.name, err)
	}
	return nil
}

// Close closes the listener of a server that was never served.
func (s *Server) Close() { _ = s.ln.Close() }

func recovered(name string, log *zap.Logger, refuse refuser, next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		defer func() {
			if p := recover(); p != nil {
				log.Error("panic while answering", zap.String("listener", name), zap.Any("panic", p), zap.Stack("stack"))
				refuse(ctx, fault.From(fmt.Errorf("panic: %v", p)))
			}
		}()
		next(ctx)
	}
}

// closing ends connections with their next answer once the listener drains.
func (s *Server) closing(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		next(ctx)
		if s.draining.Load() {
			ctx.SetConnectionClose()
		}
	}
}

// follow is fasthttp's hook for the states of connections.
func follow(conn net.Conn, state fasthttp.ConnState) {
	c := connectionOf(conn)
	switch state {
	case fasthttp.StateActive: // of the first request before anything has arrived: see Read
		if c.served.Load() {
			c.enter(stageArriving)
		}
	case fasthttp.StateIdle:
		if !c.served.Swap(true) {
			c.listener.all.unlist(c)
		}
		c.head, c.early, c.arrived, c.spent = head{}, 0, false, false
		c.enter(stageIdle)
	case fasthttp.StateHijacked:
		c.enter(stageBusy)
	case fasthttp.StateNew, fasthttp.StateClosed:
	}
}
