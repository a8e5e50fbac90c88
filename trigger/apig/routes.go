package apig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/files"
	"io"
	"slices"
	"strings"
)

// Routes choose what of the gateway reaches the function. Nil sends everything to it.
type Routes struct{ list []route }

// route is one path with the methods that it has.
type route struct {
	path     string
	segments []segment
	methods  []string // empty for all
}

// segment is one part of a path: a text, a parameter, or the rest.
type segment struct {
	text  string // of a text, or the parameter's name
	param bool
	rest  bool
}

const (
	// maxRoutes bounds the file in bytes, mostRoutes the number of routes.
	maxRoutes  = 1 << 20
	mostRoutes = 1000
)

const routesForm = `[{"path": "/users/{id}", "methods": ["GET", "PUT"]}, {"path": "/files/{proxy+}"}]`

// ReadRoutes reads the file of routes.
func ReadRoutes(name string) (*Routes, error) {
	text, err := files.Read(name, maxRoutes)
	if err != nil {
		return nil, err
	}
	r, err := parseRoutes(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

func parseRoutes(text []byte) (*Routes, error) {
	var rows []struct {
		Path    string   `json:"path"`
		Methods []string `json:"methods"`
	}
	// editors on Windows put a byte order mark there
	decoder := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&rows); err != nil {
		var other *json.UnmarshalTypeError
		if errors.As(err, &other) { // its text has Go's names of types
			err = fmt.Errorf("there is a value of another kind, %s, before byte %d", other.Value, other.Offset)
		}
		return nil, fmt.Errorf("want JSON of the form %s: %w", routesForm, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the list of routes; want nothing behind it")
	}
	if len(rows) == 0 || len(rows) > mostRoutes {
		return nil, fmt.Errorf("there are %d routes; want 1 to %d, or no file, which sends everything to the function",
			len(rows), mostRoutes)
	}
	r := &Routes{}
	for i, row := range rows {
		next, err := newRoute(row.Path, row.Methods)
		if err == nil {
			err = r.clash(next)
		}
		if err != nil {
			return nil, fmt.Errorf("route %d, %q: %w", i+1, cut(row.Path, maxQuoted), err)
		}
		r.insert(next)
	}
	return r, nil
}

func newRoute(path string, methods []string) (*route, error) {
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#% ") {
		return nil, errors.New(`want a path that begins with "/", without escapes, blanks, "?" and "#"`)
	}
	r := &route{path: path}
	parts := strings.Split(path[1:], "/")
	names := map[string]bool{}
	for i, part := range parts {
		s := segment{text: part}
		if inner, ok := strings.CutPrefix(part, "{"); ok {
			if inner, ok = strings.CutSuffix(inner, "}"); ok {
				s.text, s.rest = strings.CutSuffix(inner, "+")
				s.param = true
			}
		}
		switch {
		case strings.ContainsAny(s.text, "{}*+") || s.param && s.text == "":
			return nil, fmt.Errorf("%q is neither text nor {name}, nor {name+} at the end", part)
		case s.rest && i != len(parts)-1:
			return nil, fmt.Errorf("%s stands for all that follows, so it has to be the last part", part)
		case part == "" && i != len(parts)-1:
			return nil, errors.New("two slashes follow each other")
		case s.param && names[s.text]:
			return nil, fmt.Errorf("the parameter %s is there twice", part)
		}
		names[s.text] = s.param || names[s.text]
		r.segments = append(r.segments, s)
	}
	for _, method := range methods {
		if method == "" || strings.ContainsFunc(method, func(c rune) bool { return c < 'A' || c > 'Z' }) {
			return nil, fmt.Errorf("the method is %q; want capital letters like GET, or no methods for all of them", method)
		}
		if method != "ANY" {
			r.methods = append(r.methods, method)
			continue
		}
		if len(methods) > 1 {
			return nil, errors.New("ANY means all methods; want it alone")
		}
	}
	return r, nil
}

// insert puts a route before those that say less.
func (r *Routes) insert(next *route) {
	at := 0
	for at < len(r.list) && compareRoutes(&r.list[at], next) <= 0 {
		at++
	}
	r.list = append(r.list, route{})
	copy(r.list[at+1:], r.list[at:])
	r.list[at] = *next
}

// clash refuses a route that takes the same requests as another one.
func (r *Routes) clash(next *route) error {
	for i := range r.list {
		other := &r.list[i]
		if !slices.EqualFunc(other.segments, next.segments, sameSegment) {
			continue
		}
		both := slices.ContainsFunc(next.methods, other.has) || len(next.methods) == 0 && len(other.methods) == 0
		if both || len(next.methods) == 0 != (len(other.methods) == 0) {
			return fmt.Errorf("%s takes the same requests; want each path and method once", other.path)
		}
	}
	return nil
}

func sameSegment(a, b segment) bool {
	return a.param == b.param && a.rest == b.rest && (a.param || a.text == b.text)
}

// compareRoutes puts routes that say more before others: texts, then parameters, then the rest.
func compareRoutes(a, b *route) int {
	for i := range min(len(a.segments), len(b.segments)) {
		if order := a.segments[i].weight() - b.segments[i].weight(); order != 0 {
			return order
		}
	}
	return len(b.segments) - len(a.segments)
}

func (s segment) weight() int {
	switch {
	case s.rest:
		return 2
	case s.param:
		return 1
	}
	return 0
}

func (r *route) has(method string) bool {
	return len(r.methods) == 0 || slices.Contains(r.methods, method)
}

// Find returns the parameters of a request's path, appended to params, and whether it reaches the function. If not,
// allowed are the methods that the path has; none means that there is no such path.
func (r *Routes) Find(method, path []byte, params []Field) (found []Field, allowed []string, ok bool) {
	if r == nil {
		if len(path) > 1 { // the API is /, and takes all that begins with it
			params = append(params, Field{Value: path[1:]})
		}
		return params, nil, true
	}
	for i := range r.list {
		row := &r.list[i]
		if got, matches := row.match(path, params); matches && row.has(string(method)) {
			return got, nil, true
		}
	}
	allowed, _ = r.Methods(path)
	return params, allowed, false
}

// Methods are those of a path, for a preflight; all is true where it takes any.
func (r *Routes) Methods(path []byte) (methods []string, all bool) {
	if r == nil {
		return nil, true
	}
	for i := range r.list {
		if _, matches := r.list[i].match(path, nil); matches {
			methods = append(methods, r.list[i].methods...)
			all = all || len(r.list[i].methods) == 0
		}
	}
	slices.Sort(methods)
	return slices.Compact(methods), all
}

// match compares the path with the route's, part by part, without the escapes. A parameter is decoded; the rest is a
// path, and stays as it was sent, under an empty name.
func (r *route) match(path []byte, params []Field) ([]Field, bool) {
	before := params
	rest, more := bytes.CutPrefix(path, []byte("/"))
	for _, want := range r.segments {
		if !more {
			return before, false
		}
		if want.rest {
			return append(params, Field{Value: rest}), len(rest) > 0
		}
		var part []byte
		part, rest, more = bytes.Cut(rest, []byte("/"))
		if bytes.IndexByte(part, '%') >= 0 {
			part = appendUnescaped(nil, part, false)
		}
		switch {
		case want.param && len(part) > 0:
			params = append(params, Field{Name: []byte(want.text), Value: part})
		case want.param || want.text != string(part):
			return before, false
		}
	}
	return params, !more
}
