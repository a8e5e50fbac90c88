// Package apig is the platform's API Gateway in front of a function: it makes the event of a request, reads the answer
// of the function, and chooses routes. It knows no HTTP library and opens no socket.
package apig

import (
	"bytes"
	"encoding/base64"
	"gantry/logger"
	"slices"
	"strings"
)

// Stage is the stage of the gateway in every event.
const Stage = "RELEASE"

// Field is one field of a header, or one parameter.
type Field struct{ Name, Value []byte }

// Request is what an event is made of. Its slices are only read.
type Request struct {
	Method []byte
	// Path is as it was sent, with its escapes; Query is what follows the question mark, likewise.
	Path, Query []byte
	// Params are those of the route, decoded where the route says so.
	Params []Field
	Body   []byte
	// APIID and ID are the request's API and its own id, Source the caller's address, Port the one it called.
	APIID, ID, Source, Port string
}

// Events makes events. The zero value is ready; it may be used again, but not at the same time.
type Events struct {
	header, query pairs
	names         []byte   // names in lower case, and what was decoded
	listed        [][]byte // what Connection names
}

// Dropped reports whether a field is left out of events and answers: it concerns one connection only (RFC 9110, section
// 7.6.1), or the form of the body on it. name may have any case.
func Dropped(name []byte) bool {
	if len(name) == 0 {
		return false
	}
	switch name[0] | 0x20 {
	case 'c':
		return isNamed(name, "connection")
	case 'k':
		return isNamed(name, "keep-alive")
	case 'p':
		return isNamed(name, "proxy-connection") || isNamed(name, "proxy-authenticate") ||
			isNamed(name, "proxy-authorization")
	case 't':
		return isNamed(name, "te") || isNamed(name, "trailer") || isNamed(name, "transfer-encoding")
	case 'u':
		return isNamed(name, "upgrade")
	case 'h':
		return isNamed(name, "http2-settings")
	case 'e':
		return isNamed(name, "expect")
	}
	return false
}

// isNamed compares a name with one in lower case.
func isNamed(name []byte, other string) bool {
	return len(name) == len(other) && strings.EqualFold(string(name), other)
}

// mostNames bounds the memory that is kept from one request to the next, in bytes.
const mostNames = 16 << 10

// Begin starts with the next request, and forgets the last one.
func (e *Events) Begin() {
	if cap(e.names) > mostNames {
		e.names = nil
	}
	clear(e.listed)
	e.header.reset()
	e.query.reset()
	e.names, e.listed = e.names[:0], e.listed[:0]
}

// Add adds a field of the request's header. One that concerns the connection only is left out, and what Connection
// names.
func (e *Events) Add(name, value []byte) {
	if Dropped(name) {
		if isNamed(name, "connection") {
			e.list(value)
		}
		return
	}
	separator := ", "
	lower := e.lower(name)
	if string(lower) == "cookie" { // RFC 6265, section 5.4
		separator = "; "
	}
	e.header.add(lower, value, separator)
}

// neededFields are those that no list can take out.
var neededFields = []string{"close", "keep-alive", "host", "content-length", "content-type"}

// list takes note of the fields that a Connection header names.
func (e *Events) list(value []byte) {
	for name := range bytes.SplitSeq(value, []byte(",")) {
		if name = e.lower(bytes.TrimSpace(name)); len(name) > 0 && !slices.Contains(neededFields, string(name)) {
			e.listed = append(e.listed, name)
		}
	}
}

// lower returns a copy in lower case.
func (e *Events) lower(name []byte) []byte {
	at := len(e.names)
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		e.names = append(e.names, c)
	}
	return e.names[at:len(e.names):len(e.names)]
}

// Append appends the event of a request whose header was added.
func (e *Events) Append(b []byte, r *Request) []byte {
	e.forward(r)
	e.parseQuery(r.Query)
	b = append(b, `{"body":"`...)
	b = base64.StdEncoding.AppendEncode(b, r.Body)
	b = logger.AppendJSONString(append(b, `","requestContext":{"apiId":`...), r.APIID)
	b = logger.AppendJSONString(append(b, `,"requestId":`...), r.ID)
	b = logger.AppendJSONString(append(b, `,"stage":"`+Stage+`","sourceIp":`...), r.Source)
	b = e.query.append(append(b, `},"queryStringParameters":`...))
	b = logger.AppendJSONString(append(b, `,"httpMethod":`...), r.Method)
	b = append(b, `,"pathParameters":{`...)
	for i := range r.Params {
		b = appendMember(b, i, r.Params[i].Name, r.Params[i].Value)
	}
	b = e.header.append(append(b, `},"headers":`...))
	b = logger.AppendJSONString(append(b, `,"path":`...), r.Path)
	return append(b, `,"isBase64Encoded":true}`...)
}

// Size is about how long the event will be, in bytes: enough for nearly every request.
func (e *Events) Size(r *Request) int {
	size := 512 + base64.StdEncoding.EncodedLen(len(r.Body)) + len(r.Path) + len(r.Query)*2
	for i := range e.header.list {
		size += len(e.header.list[i].name) + len(e.header.list[i].value) + 8
	}
	return size
}

// The fields that say where a request came from, as the platform's gateway sends them.
var (
	forwardedFor   = []byte("x-forwarded-for")
	realIP         = []byte("x-real-ip")
	forwardedProto = []byte("x-forwarded-proto")
	forwardedPort  = []byte("x-forwarded-port")
	protoHTTP      = []byte("http")
)

// forward sets them.
func (e *Events) forward(r *Request) {
	e.header.drop(e.listed)
	e.header.add(forwardedFor, []byte(r.Source), ", ")
	e.header.set(realIP, []byte(r.Source))
	e.header.keep(forwardedProto, protoHTTP)
	e.header.keep(forwardedPort, []byte(r.Port))
}

// parseQuery decodes the parameters. Several values of one name are joined by commas: the platform's event has strings.
func (e *Events) parseQuery(query []byte) {
	for len(query) > 0 {
		part := query
		if end := bytes.IndexByte(query, '&'); end >= 0 {
			part, query = query[:end], query[end+1:]
		} else {
			query = nil
		}
		if len(part) == 0 {
			continue
		}
		name, value, _ := bytes.Cut(part, []byte("="))
		name, value = e.unescape(name), e.unescape(value)
		e.query.add(name, value, ",")
	}
}

// unescape decodes a name or value of a query. An escape that is none stays as it is.
func (e *Events) unescape(s []byte) []byte {
	if bytes.IndexByte(s, '%') < 0 && bytes.IndexByte(s, '+') < 0 {
		return s
	}
	at := len(e.names)
	e.names = appendUnescaped(e.names, s, true)
	return e.names[at:len(e.names):len(e.names)]
}

// appendUnescaped decodes what is escaped with a percent sign, and, in a query, the plus sign.
func appendUnescaped(dst, s []byte, query bool) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+' && query:
			c = ' '
		case c == '%' && i+2 < len(s):
			high, low := unhex(s[i+1]), unhex(s[i+2])
			if high >= 0 && low >= 0 {
				c = byte(high<<4 | low)
				i += 2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

// unhex is the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
