package api

import (
	"bytes"
	"fmt"
	"gantry/fault"
	"iter"
	"net"
	"net/netip"
	"strings"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

// checkClean refuses paths that mean something else once cleaned, and what checkFraming refuses.
func checkClean(refuse refuser, next fasthttp.RequestHandler) fasthttp.RequestHandler {
	next = checkFraming(refuse, next)
	return func(ctx *fasthttp.RequestCtx) {
		path := ctx.URI().PathOriginal()
		if !clean(path) {
			refuse(
				ctx,
				invalid(fmt.Sprintf("the path %.200q is not clean: no //, no . or .. and no encoded slashes or dots", path)),
			)
			return
		}
		next(ctx)
	}
}

// checkFraming refuses framing that two readers could read differently, and other versions of the protocol.
func checkFraming(refuse refuser, next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
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

func clean(path []byte) bool {
	if len(path) == 0 || path[0] != '/' || bytes.Contains(path, []byte("//")) || bytes.IndexByte(path, '\\') >= 0 ||
		bytes.IndexByte(path, 0) >= 0 {
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
	case oddLine(h.RawHeaders()):
		return "a line of the request's header begins with a blank, or does not end in CRLF"
	case n > 1:
		return "the request has both Content-Length and Transfer-Encoding, or one of them twice"
	case coded && h.ContentLength() != -1:
		return "the request's Transfer-Encoding is not chunked"
	}
	return ""
}

// oddLine reports whether a raw header has a line that goes on with the one before, or one that ends in a bare line
// feed: readers differ about both.
func oddLine(raw []byte) bool {
	for len(raw) > 0 {
		end := bytes.IndexByte(raw, '\n')
		if raw[0] == ' ' || raw[0] == '\t' || end < 1 || raw[end-1] != '\r' {
			return true
		}
		raw = raw[end+1:]
	}
	return false
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
	"apig":     "; set GANTRY_APIG_ADDR to an address that is not on loopback for others",
	"ops":      "; set GANTRY_OPS_ADDR to an address that is not on loopback for others",
	"platform": "; set GANTRY_API_ADDR to an address that is not on loopback, or GANTRY_API_BEHIND_PROXY, for others",
}

// checkHost is for listeners on loopback: a page in a browser must not reach them under a name of its own (DNS
// rebinding), nor from its own origin.
func checkHost(listener string, refuse refuser, next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if host := ctx.Host(); !loopbackName(string(host)) {
			refuse(
				ctx,
				forbidden(
					fmt.Sprintf(
						"host %.200q is not a loopback name; this listener answers localhost and 127.0.0.1 only%s",
						host,
						otherHosts[listener],
					),
				),
			)
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

func invalid(message string) *fault.Error {
	return &fault.Error{Kind: fault.Invalid, Type: fault.TypeBadRequest, Code: fault.CodeBadRequest, Message: message}
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

// refuser writes the answer to a request that was no request, in the listener's own form.
type refuser func(ctx *fasthttp.RequestCtx, f *fault.Error)

// quiet keeps fasthttp's remarks about broken connections at debug level.
type quiet struct{ log *zap.Logger }

func (q quiet) Printf(format string, args ...any) { q.log.Debug(fmt.Sprintf(format, args...)) }
