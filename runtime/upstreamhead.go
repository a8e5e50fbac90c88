package runtime

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	fncontext "gantry/context"
)

// The head of a request is written in one pass over the header as it came. To copy the library's form of it, and to
// search that for each header that goes or comes, cost more than all that the agent does otherwise for a call.

// head is what the heads of all requests to a server have in common.
type head struct {
	addr        string // of the server
	facts       []byte // headers that are the same for every call
	credentials bool   // are sent
}

// outgoing is a request whose head is written.
type outgoing struct {
	header *fasthttp.RequestHeader
	peer   netip.Addr // of the caller; zero for none
	size   int64      // of the body in bytes, -1 for one in chunks
	// upgrade, trailers and announced belong to the connection to the server: the protocol to go on with, whether
	// trailers are taken, and those of this request.
	upgrade   string
	trailers  bool
	announced []string
	gateway   *Gateway // nil unless it came through API Gateway
}

// outgoingOf is the request of an exchange whose body is whole.
func outgoingOf(x *Buffered) *outgoing {
	return &outgoing{header: &x.Request.Header, peer: x.Peer, size: int64(len(x.Request.Body())), gateway: x.Gateway}
}

// append appends the line and the header of a request: the caller's, without what concerns the caller's connection
// only, and with the platform's headers in the place of the caller's.
func (t *head) append(dst []byte, r *outgoing, inv *fncontext.Invocation) []byte {
	h := r.header
	dst = append(append(dst, h.Method()...), ' ')
	dst = append(append(dst, h.RequestURI()...), " HTTP/1.1\r\n"...)
	p := pass{peer: r.peer, gateway: r.gateway != nil}
	start, fields := len(dst), fieldsOf(h)
	dst = p.appendFields(dst, fields)
	if len(p.listed) > 0 { // among them may be one that stood before the list
		p = pass{peer: r.peer, gateway: p.gateway, listed: p.listed}
		dst = p.appendFields(dst[:start], fields)
	}
	dst = p.appendForwarded(dst, h.Host())
	if !p.host { // HTTP/1.0
		dst = appendField(dst, "Host", t.addr)
	}
	dst = r.appendFraming(dst)
	dst = append(dst, t.facts...)
	dst = r.gateway.append(dst)
	callHeaders(inv, func(name, value string) {
		if isHeader(value) {
			dst = appendField(dst, name, value)
		}
	})
	if t.credentials {
		credentialHeaders(inv.Credentials, func(name, value string) {
			if !isHeader(value) {
				value = "null" // as where no agency is set
			}
			dst = appendField(dst, name, value)
		})
	}
	return append(dst, "\r\n"...)
}

// appendFraming appends what concerns the connection to the server.
func (r *outgoing) appendFraming(dst []byte) []byte {
	switch {
	case r.size < 0:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
		if len(r.announced) > 0 {
			dst = appendField(dst, "Trailer", strings.Join(r.announced, ", "))
		}
	case r.size > 0 || !r.header.IsGet() && !r.header.IsHead():
		dst = append(strconv.AppendInt(append(dst, "Content-Length: "...), r.size, 10), "\r\n"...)
	}
	switch {
	case r.upgrade != "":
		dst = appendField(append(dst, "Connection: Upgrade\r\n"...), "Upgrade", r.upgrade)
	case r.trailers:
		dst = append(dst, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	return dst
}

// fieldsOf is the header of a request as it came, or as it was made here.
func fieldsOf(h *fasthttp.RequestHeader) []byte {
	if raw := h.RawHeaders(); len(raw) > 0 {
		return raw
	}
	_, fields, _ := bytes.Cut(h.AppendBytes(nil), []byte("\n"))
	return fields
}

// pass is one pass over a header.
type pass struct {
	peer    netip.Addr
	gateway bool     // API Gateway's headers are not the caller's
	listed  []string // what the Connection headers name

	host, forwardedHost, forwardedProto bool     // seen
	forwardedFor                        [][]byte // held back
}

// appendFields appends the fields that go to the server.
func (p *pass) appendFields(dst, fields []byte) []byte {
	for len(fields) > 0 {
		line := fields
		if end := bytes.IndexByte(fields, '\n'); end >= 0 {
			line, fields = fields[:end], fields[end+1:]
		} else {
			fields = nil
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		colon := bytes.IndexByte(line, ':')
		if colon > 0 && p.carries(line[:colon], line[colon+1:]) {
			dst = append(append(dst, line...), "\r\n"...)
		}
	}
	return dst
}

// carries reports whether a field goes to the server, and notes what it says.
func (p *pass) carries(name, value []byte) bool {
	switch {
	case ofConnection(name):
		if isNamed(name, fasthttp.HeaderConnection) {
			p.listed = appendListed(p.listed, value)
		}
		return false
	case isPlatformName(name), containsName(p.listed, name), isNamed(name, "Content-Length"),
		isNamed(name, "Transfer-Encoding"): // they follow the body
		return false
	case p.gateway && containsName(gatewayHeaders, name):
		return false
	case isNamed(name, "Host"):
		p.host = true
	case !p.peer.IsValid():
	case isNamed(name, "X-Forwarded-For"):
		p.forwardedFor = append(p.forwardedFor, bytes.TrimSpace(value))
		return false
	case isNamed(name, "X-Forwarded-Host"):
		p.forwardedHost = len(bytes.TrimSpace(value)) > 0
		return p.forwardedHost
	case isNamed(name, "X-Forwarded-Proto"):
		p.forwardedProto = len(bytes.TrimSpace(value)) > 0
		return p.forwardedProto
	}
	return true
}

// appendForwarded adds what the caller's connection shows of it, for a server that does not see that.
func (p *pass) appendForwarded(dst, host []byte) []byte {
	if !p.peer.IsValid() {
		return dst
	}
	dst = append(dst, "X-Forwarded-For: "...)
	for _, before := range p.forwardedFor {
		dst = append(append(dst, before...), ", "...)
	}
	dst = append(p.peer.AppendTo(dst), "\r\n"...)
	if !p.forwardedHost {
		dst = append(append(append(dst, "X-Forwarded-Host: "...), host...), "\r\n"...)
	}
	if !p.forwardedProto {
		dst = append(dst, "X-Forwarded-Proto: http\r\n"...)
	}
	return dst
}

// gatewayHeaders are those that API Gateway adds.
var gatewayHeaders = []string{"X-Apig-Api-Id", "X-Apig-Request-Id", "X-Apig-Source-Ip", "X-Apig-Source-Stage"}

// append appends what API Gateway adds, if the request came through it.
func (g *Gateway) append(dst []byte) []byte {
	if g == nil {
		return dst
	}
	for i, value := range []string{g.API, g.RequestID, g.Source, g.Stage} {
		dst = appendField(dst, gatewayHeaders[i], value)
	}
	return dst
}
