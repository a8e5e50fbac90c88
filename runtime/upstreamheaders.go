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
	stripConnection(h, requestLists(h))
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

// protocol is what the agent speaks to both sides (RFC 9110, section 2.5).
var protocol = []byte("HTTP/1.1")

// header is what both kinds of headers have.
type header interface {
	Del(name string)
	ResetConnectionClose()
}

// stripConnection takes out what concerns one connection only; lists are the values of the Connection headers.
func stripConnection(h header, lists [][]byte) {
	for _, list := range lists {
		for _, name := range listed(list) {
			h.Del(name)
		}
	}
	for _, name := range connectionHeaders {
		h.Del(name)
	}
	h.Del("Connection")
	h.ResetConnectionClose()
}

// requestLists are the Connection headers of a request. Beside close the library shows no other one.
func requestLists(h *fasthttp.RequestHeader) (lists [][]byte) {
	if !h.ConnectionClose() {
		return h.PeekAll(fasthttp.HeaderConnection)
	}
	for line := range bytes.SplitSeq(h.RawHeaders(), []byte("\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte(fasthttp.HeaderConnection)) {
			lists = append(lists, value)
		}
	}
	return lists
}

// answerLists is requestLists for an answer.
func answerLists(h *fasthttp.ResponseHeader) (lists [][]byte) {
	if !h.ConnectionClose() {
		return h.PeekAll(fasthttp.HeaderConnection)
	}
	for name, value := range h.All() {
		if string(name) == fasthttp.HeaderConnection {
			lists = append(lists, value)
		}
	}
	return lists
}

// stripPlatform takes the platform's headers out of a caller's request. It looks at the header as it came: to go over
// what the library made of it would write the cookies anew, without those that are against the book.
func stripPlatform(h *fasthttp.RequestHeader) {
	for line := range bytes.SplitSeq(h.RawHeaders(), []byte("\n")) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		if isPlatformName(name) {
			h.DelBytes(name)
		}
	}
}

// isPlatformName reports whether a header is one of the platform's, or one that CGI and its heirs take for one: their
// variables have _ for both characters.
func isPlatformName(name []byte) bool {
	if len(name) <= len(platformPrefix) {
		return false
	}
	for i, c := range platformPrefix {
		if got := name[i]; got|0x20 != c|0x20 && (c != '-' || got != '_') {
			return false
		}
	}
	return true
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
