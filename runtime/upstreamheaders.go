package runtime

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	fncontext "gantry/context"
)

// functionHeaders are the platform's headers that say what the function is (page functiongraph_01_1442). Names, project
// and region are the plain ones, where the platform has "0@default@name", "sn" and "cn" (docs/COMPATIBILITY.md).
func functionHeaders(fn *fncontext.Function) [][2]string {
	return [][2]string{
		{"X-Cff-Memory", strconv.Itoa(fn.MemoryMB)},
		{"X-Cff-Timeout", strconv.FormatFloat(fn.Timeout.Seconds(), 'f', -1, 64)},
		{"X-Cff-Func-Version", fn.Version},
		{"X-Cff-Func-Name", fn.Name},
		{"X-Cff-Project-Id", fn.Project},
		{"X-Cff-Package", fn.Package},
		{"X-Cff-Region", fn.Region},
	}
}

// address puts the platform's headers in the place of the caller's, and takes out what concerns the caller's connection
// only. facts are those of the function; includeKeys adds the credentials. Transfer-Encoding and Content-Length follow
// the body.
func address(h *fasthttp.RequestHeader, facts [][2]string, inv *fncontext.Invocation, includeKeys bool) {
	stripConnection(h)
	stripPlatform(h)
	for _, fact := range facts {
		h.SetCanonical([]byte(fact[0]), []byte(fact[1]))
	}
	callHeaders(inv, func(name, value string) {
		if isHeader(value) {
			h.Set(name, value)
		}
	})
	if !includeKeys {
		return
	}
	credentialHeaders(inv.Credentials, func(name, value string) {
		if !isHeader(value) {
			value = "null" // as where no agency is set
		}
		h.Set(name, value)
	})
}

// connectionHeaders concern one connection only (RFC 9110, section 7.6.1).
var connectionHeaders = []string{
	"Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Upgrade",
	"Http2-Settings", "Expect",
}

// platformPrefix is what the platform's headers begin with.
var platformPrefix = []byte("X-Cff-")

// header is what both kinds of headers have.
type header interface {
	Peek(name string) []byte
	Del(name string)
	ResetConnectionClose()
}

// stripConnection takes out what concerns one connection only.
func stripConnection(h header) {
	for _, name := range listed(h.Peek("Connection")) {
		h.Del(name)
	}
	for _, name := range connectionHeaders {
		h.Del(name)
	}
	h.Del("Connection")
	h.ResetConnectionClose()
}

// stripPlatform takes the platform's headers out of a caller's request.
func stripPlatform(h *fasthttp.RequestHeader) {
	var drop []string
	for name := range h.All() {
		if len(name) > len(platformPrefix) && bytes.EqualFold(name[:len(platformPrefix)], platformPrefix) {
			drop = append(drop, string(name))
		}
	}
	for _, name := range drop {
		h.Del(name)
	}
}

// listed are the headers that a Connection header names; never those that a request cannot do without.
func listed(value []byte) (names []string) {
	for name := range bytes.SplitSeq(value, []byte(",")) {
		switch s := strings.ToLower(string(bytes.TrimSpace(name))); s {
		case "", "close", "keep-alive", "host", "content-length", "content-type", "transfer-encoding":
		default:
			names = append(names, s)
		}
	}
	return names
}
