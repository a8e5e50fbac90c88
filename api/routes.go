package api

import (
	"bytes"
	"gantry/fault"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"
)

// table is all routes of one listener. R says how it serves a route.
type table[R any] []row[R]

// row is one route. pattern is a path: a segment {name} stands for any one that is not empty, and a pattern that ends
// in / stands for everything below it, whose rest is then the last parameter.
type row[R any] struct {
	method, pattern string
	target          R
	// segments of the pattern, and its label in the log; set by compile.
	segments []string
	label    string
}

// compile takes the patterns apart, once.
func compile[R any](rows ...row[R]) table[R] {
	for i := range rows {
		r := &rows[i]
		r.segments = strings.Split(r.pattern[1:], "/")
		r.label = r.method + " " + r.segments[len(r.segments)-1]
	}
	return rows
}

// find returns the row for a request, or the methods that the path has, which are none where there is no route. The
// parameters are parts of path, not decoded.
func (t table[R]) find(method, path []byte) (found *row[R], params [2][]byte, allow []string) {
	for i := range t {
		r := &t[i]
		got, ok := r.match(path)
		switch {
		case !ok:
		case r.method == string(method):
			return r, got, nil
		case !slices.Contains(allow, r.method):
			allow = append(allow, r.method)
		}
	}
	return nil, params, allow
}

// match compares a path with the pattern.
func (r *row[R]) match(path []byte) (params [2][]byte, ok bool) {
	rest, n := path, 0
	for _, want := range r.segments {
		if len(rest) == 0 || rest[0] != '/' {
			return params, false
		}
		if want == "" { // the last one, of a pattern that ends in /
			params[n] = rest[1:]
			return params, true
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

// openRoute is a route that needs no credentials.
type openRoute struct {
	// limit is the largest body in bytes; 0 if serve receives the body itself.
	limit int
	serve func(ctx *fasthttp.RequestCtx, rest []byte)
}

// serveOpen answers from a table without credentials; absent is the listener's answer where there is no route.
func serveOpen(t table[openRoute], refuse refuser, absent func(path []byte) *fault.Error) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		r, params, allow := t.find(ctx.Method(), ctx.Path())
		switch {
		case r == nil && allow == nil:
			refuse(ctx, absent(ctx.Path()))
		case r == nil:
			methodNotAllowed(ctx, refuse, strings.Join(allow, ", "))
		case r.target.limit == 0 || receive(ctx, r.target.limit, nil, refuse):
			r.target.serve(ctx, params[0])
		}
	}
}
