package api

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"gantry/fault"
	"iter"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

const (
	readTimeout  = 60 * time.Second // one whole request
	writeTimeout = 60 * time.Second // one whole answer
	idleTimeout  = 5 * time.Minute
	headerLimit  = 32 << 10
	serverName   = "gantry"
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
	// wanted reports whether nothing but its body can be wrong with a request; nil for never.
	wanted func(h *fasthttp.RequestHeader) bool
}

// refuser writes the answer to a request that was no request, in the listener's own form.
type refuser func(ctx *fasthttp.RequestCtx, f *fault.Error)

// newServer makes a server whose requests pass the chain, and then route.
func newServer(cfg *serverConfig, route fasthttp.RequestHandler) *Server {
	limits := cfg.limits.or()
	s := &Server{name: cfg.name, ln: &listener{
		TCPListener: cfg.ln, accept: cfg.ln.AcceptTCP, name: cfg.name, secure: cfg.secure, all: limits.all, limits: limits, refuse: cfg.refuse, log: cfg.log,
		bodies: newBudget(limits.body, int64(cfg.bodyLimit), limits.burst), answers: newBudget(limits.body, MaxEvent, limits.burst),
		closing: make(chan struct{}),
	}}
	chain := s.chain(cfg, route)
	s.http = &fasthttp.Server{
		Handler:                      chain,
		ErrorHandler:                 unreadableHandler(cfg),
		HeaderReceived:               early(cfg.bodyLimit, cfg.wanted),
		ExpectHandler:                screened(chain),
		StreamRequestBody:            true,
		SecureErrorLogMessage:        true, // no copies of what strangers sent
		ConnState:                    follow,
		Name:                         serverName,
		ReadBufferSize:               headerLimit,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxRequestBodySize:           cfg.bodyLimit,
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
		refusing(occupied),   // no eviction while the request is answered
		refusing(checkClean), // framing, path and header
	}
	if loopback(cfg.ln.Addr()) && !cfg.proxied {
		steps = append(steps, func(next fasthttp.RequestHandler) fasthttp.RequestHandler {
			return checkHost(cfg.name, cfg.refuse, next)
		})
	}
	steps = append(steps, refusing(checkOrigin))
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

// quiet keeps fasthttp's remarks about broken connections at debug level.
type quiet struct{ log *zap.Logger }

func (q quiet) Printf(format string, args ...any) { q.log.Debug(fmt.Sprintf(format, args...)) }

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

// unreadable says what was wrong with a request that could not be read.
func unreadable(ctx *fasthttp.RequestCtx, err error, bodyLimit int) *fault.Error {
	var tooSmall *fasthttp.ErrSmallBuffer
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return tooLarge(ctx.Request.Header.ContentLength(), bodyLimit)
	case errors.As(err, &tooSmall):
		return &fault.Error{Kind: fault.Invalid, Type: fault.TypeBadRequest, Code: fault.CodeBadRequest, Message: fmt.Sprintf("the request's headers are over the limit of %d bytes", headerLimit)}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return &fault.Error{Kind: fault.Invalid, Type: fault.TypeBadRequest, Code: fault.CodeBadRequest, Message: fmt.Sprintf("the request did not arrive within %s", readTimeout)}
	}
	return &fault.Error{Kind: fault.Invalid, Type: fault.TypeBadRequest, Code: fault.CodeBadRequest, Message: "the request is not valid HTTP", Err: err}
}

const (
	discardLimit = 64 << 20
	discardPause = time.Second // without data: the client has seen the answer
	discardTime  = 5 * time.Second
)

// discard reads what a client still sends after its answer, within limits: closing at once would reset the connection,
// and the client would never see the answer.
func discard(conn net.Conn) {
	end := time.Now().Add(discardTime)
	kept := takeBuffer(promptBody)
	defer returnBuffer(kept)
	buf := kept[:cap(kept)]
	for read := 0; read < discardLimit && time.Now().Before(end); {
		if conn.SetReadDeadline(time.Now().Add(discardPause)) != nil {
			return
		}
		n, err := conn.Read(buf)
		read += n
		if err != nil {
			return
		}
	}
}

// tooLarge uses the platform's words (docs/COMPATIBILITY.md). size is unknown (negative) for chunked bodies.
func tooLarge(size, limit int) *fault.Error {
	shown := fmt.Sprint(size)
	if size <= limit {
		shown = fmt.Sprintf("over %d", limit)
	}
	return &fault.Error{
		Kind: fault.TooLarge, Type: fault.TypeTooLarge, Code: fault.CodeRequestSize,
		Message: fmt.Sprintf("the size of request body is beyond maximum:%d, body size:%s", limit, shown),
	}
}

// checkClean refuses paths that mean something else once cleaned, and framing that two readers could read differently.
func checkClean(refuse refuser, next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		path := ctx.URI().PathOriginal()
		if !clean(path) {
			refuse(ctx, invalid(fmt.Sprintf("the path %.200q is not clean: no //, no . or .. and no encoded slashes or dots", path)))
			return
		}
		if wrong := framing(&ctx.Request.Header); wrong != "" {
			ctx.SetConnectionClose()
			refuse(ctx, invalid(wrong))
			return
		}
		if protocol := ctx.Request.Header.Protocol(); !bytes.HasPrefix(protocol, []byte("HTTP/1.")) {
			ctx.SetConnectionClose()
			refuse(ctx, invalid(fmt.Sprintf("%s is not spoken here; use HTTP/1.1", protocol)))
			ctx.Response.SetStatusCode(fasthttp.StatusHTTPVersionNotSupported)
			return
		}
		next(ctx)
	}
}

func invalid(message string) *fault.Error {
	return &fault.Error{Kind: fault.Invalid, Type: fault.TypeBadRequest, Code: fault.CodeBadRequest, Message: message}
}

func clean(path []byte) bool {
	if len(path) == 0 || path[0] != '/' || bytes.Contains(path, []byte("//")) || bytes.IndexByte(path, '\\') >= 0 || bytes.IndexByte(path, 0) >= 0 {
		return false
	}
	if bytes.IndexByte(path, '%') >= 0 {
		lower := bytes.ToLower(path)
		for _, encoded := range []string{"%2f", "%2e", "%5c", "%00"} {
			if bytes.Contains(lower, []byte(encoded)) {
				return false
			}
		}
	}
	if bytes.IndexByte(path, '.') < 0 {
		return true
	}
	for part := range bytes.SplitSeq(path, []byte("/")) {
		if s := string(part); s == "." || s == ".." {
			return false
		}
	}
	return true
}

// framing says what is wrong with the framing of a request, or nothing. It looks at the raw header: fasthttp keeps only
// one of several, and takes identity for no body.
func framing(h *fasthttp.RequestHeader) (wrong string) {
	n, coded := 0, false
	for name := range headerNames(h.RawHeaders(), 'c', 't') {
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			n++
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			n++
			coded = true
		}
	}
	switch {
	case n > 1:
		return "the request has both Content-Length and Transfer-Encoding, or one of them twice"
	case coded && h.ContentLength() != -1:
		return "the request's Transfer-Encoding is not chunked"
	}
	return ""
}

// hasHeader reports whether a header is there as it came.
func hasHeader(raw, header []byte) bool {
	for name := range headerNames(raw, header[0]|0x20, header[0]|0x20) {
		if bytes.EqualFold(name, header) {
			return true
		}
	}
	return false
}

// headerNames goes over the names in a raw header that begin with one of two letters, given in lower case.
func headerNames(raw []byte, first, second byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(raw) > 0 {
			line, rest, _ := bytes.Cut(raw, []byte("\n"))
			raw = rest
			if len(line) == 0 || line[0]|0x20 != first && line[0]|0x20 != second {
				continue
			}
			name, _, _ := bytes.Cut(line, []byte(":"))
			if !yield(bytes.TrimSpace(name)) {
				return
			}
		}
	}
}

// otherHosts says what lets a listener answer other names; those that are not here never do.
var otherHosts = map[string]string{
	"function": "; set GANTRY_ADDR to an address that is not on loopback for others",
	"ops":      "; set GANTRY_OPS_ADDR to an address that is not on loopback for others",
	"platform": "; set GANTRY_API_ADDR to an address that is not on loopback, or GANTRY_API_BEHIND_PROXY, for others",
}

// checkHost is for listeners on loopback: a page in a browser must not reach them under a name of its own (DNS
// rebinding), nor from its own origin.
func checkHost(listener string, refuse refuser, next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if host := string(ctx.Host()); !loopbackName(host) {
			refuse(ctx, forbidden(fmt.Sprintf("host %.200q is not a loopback name; this listener answers localhost and 127.0.0.1 only%s", host, otherHosts[listener])))
			return
		}
		next(ctx)
	}
}

// checkOrigin refuses requests that a page of another origin makes.
func checkOrigin(refuse refuser, next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		origins := ctx.Request.Header.PeekAll("Origin")
		for _, origin := range origins {
			_, authority, ok := bytes.Cut(origin, []byte("://"))
			if !ok || !bytes.EqualFold(authority, ctx.Host()) || len(origins) > 1 {
				refuse(ctx, forbidden(fmt.Sprintf("origin %.200q is foreign: pages may not call this listener", origin)))
				return
			}
		}
		next(ctx)
	}
}

func forbidden(message string) *fault.Error {
	return &fault.Error{Kind: fault.Forbidden, Type: fault.TypeForbidden, Code: fault.CodeBadRequest, Message: message}
}

func loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// loopbackName checks a Host header, with or without a port. No Host at all is HTTP/1.0, which no browser speaks.
func loopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(host, "]"), "["), ".")
	if host == "" || strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func methodNotAllowed(ctx *fasthttp.RequestCtx, refuse refuser, allow string) {
	refuse(ctx, invalid(fmt.Sprintf("method %.20s is not allowed here; use %s", ctx.Method(), allow)))
	ctx.Response.SetStatusCode(fasthttp.StatusMethodNotAllowed)
	ctx.Response.Header.Set("Allow", allow)
}
