package runtime

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"

	fncontext "gantry/context"
)

// functionHeaders are the platform's headers that say what the function is (page functiongraph_01_1442), as they are
// sent. Names, project and region are the plain ones, where the platform has "0@default@name", "sn" and "cn"
// (docs/COMPATIBILITY.md).
func functionHeaders(fn *fncontext.Function) (block []byte) {
	oneLine := strings.NewReplacer("\r", " ", "\n", " ")
	for _, fact := range [][2]string{
		{"X-Cff-Memory", strconv.Itoa(fn.MemoryMB)},
		{"X-Cff-Timeout", strconv.FormatFloat(fn.Timeout.Seconds(), 'f', -1, 64)},
		{"X-Cff-Func-Version", fn.Version},
		{"X-Cff-Func-Name", fn.Name},
		{"X-Cff-Project-Id", fn.Project},
		{"X-Cff-Package", fn.Package},
		{"X-Cff-Region", fn.Region},
	} {
		block = appendField(block, fact[0], oneLine.Replace(fact[1]))
	}
	return block
}

// connectionHeaders concern one connection only (RFC 9110, section 7.6.1). The first one may name others.
var connectionHeaders = []string{
	fasthttp.HeaderConnection, "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te",
	"Trailer", "Upgrade", "Http2-Settings", "Expect",
}

// needed are the headers that a message cannot do without, whatever Connection names.
var needed = []string{"close", "keep-alive", "host", "content-length", "content-type", "transfer-encoding"}

// platformPrefix is what the platform's headers begin with.
var platformPrefix = []byte("X-Cff-")

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

// protocol is what the agent speaks to both sides (RFC 9110, section 2.5).
var protocol = []byte("HTTP/1.1")

// stripConnection takes out of an answer what concerns the connection to the server only.
func stripConnection(h *fasthttp.ResponseHeader) {
	names := make([]string, 0, 4)
	for name, value := range h.All() {
		i := slices.IndexFunc(connectionHeaders, func(other string) bool { return isNamed(name, other) })
		if i < 0 {
			continue
		}
		names = append(names, connectionHeaders[i])
		if i == 0 {
			names = appendListed(names, value)
		}
	}
	for _, name := range names {
		h.Del(name)
	}
}

// forCaller makes the head of the server's answer that of the agent's.
func forCaller(h *fasthttp.ResponseHeader) {
	stripConnection(h)
	h.SetProtocol(protocol) // that of the sender
	if h.StatusCode() == fasthttp.StatusNoContent {
		h.Del("Content-Length") // RFC 9110, 8.6: a reader may wait for a body
		h.Del("Transfer-Encoding")
	}
	h.SetNoDefaultContentType(true) // an answer without one has none
}

// appendListed appends the headers that the value of a Connection header names; never those that are needed.
func appendListed(names []string, value []byte) []string {
	for name := range bytes.SplitSeq(value, []byte(",")) {
		if name = bytes.TrimSpace(name); len(name) > 0 && !containsName(needed, name) {
			names = append(names, string(name))
		}
	}
	return names
}

func appendField(dst []byte, name, value string) []byte {
	return append(append(append(append(dst, name...), ": "...), value...), "\r\n"...)
}

// isNamed reports whether a field has that name.
func isNamed(name []byte, other string) bool {
	return len(name) == len(other) && strings.EqualFold(string(name), other)
}

func containsName(names []string, name []byte) bool {
	return slices.ContainsFunc(names, func(other string) bool { return isNamed(name, other) })
}

// ofConnection reports whether a field concerns one connection only.
func ofConnection(name []byte) bool { return containsName(connectionHeaders, name) }
