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
	stripRequest(h)
	for _, fact := range facts {
		h.SetCanonical([]byte(fact[0]), []byte(fact[1]))
	}
	h.Set("X-Cff-Request-Id", inv.RequestID)
	set := func(name, value string) {
		if value != "" && !strings.ContainsAny(value, "\r\n\x00") {
			h.Set(name, value)
		}
	}
	if inv.Alias != "" {
		set("X-Cff-Origin-Version-Tag", "!"+inv.Alias)
	}
	set("X-Cff-Workflow-Id", inv.Workflow.ID)
	set("X-Cff-Workflow-Run-Id", inv.Workflow.RunID)
	set("X-Cff-Workflow-State-Id", inv.Workflow.StateID)
	if !includeKeys {
		return
	}
	for name, value := range keys(inv.Credentials) {
		if value == "" || strings.ContainsAny(value, "\r\n\x00") {
			value = "null" // as where no agency is set
		}
		h.Set(name, value)
	}
}

func keys(c fncontext.Credentials) map[string]string {
	var s fncontext.Secrets
	if !c.Empty() {
		s = c.Reveal()
	}
	return map[string]string{
		"X-Cff-Access-Key": s.AccessKey, "X-Cff-Secret-Key": s.SecretKey,
		"X-Cff-Security-Access-Key": s.SecurityAccessKey, "X-Cff-Security-Secret-Key": s.SecuritySecretKey,
		"X-Cff-Security-Token": s.SecurityToken, "X-Cff-Auth-Token": s.AuthToken,
	}
}

// connectionHeaders concern one connection only (RFC 9110, section 7.6.1).
var connectionHeaders = []string{
	"Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Upgrade",
	"Http2-Settings", "Expect",
}

// platformPrefix is what the platform's headers begin with.
var platformPrefix = []byte("X-Cff-")

func stripRequest(h *fasthttp.RequestHeader) {
	var drop []string
	named := h.Peek("Connection")
	for name := range h.All() {
		if len(name) > len(platformPrefix) && bytes.EqualFold(name[:len(platformPrefix)], platformPrefix) {
			drop = append(drop, string(name))
		}
	}
	for _, name := range append(drop, listed(named)...) {
		h.Del(name)
	}
	for _, name := range connectionHeaders {
		h.Del(name)
	}
	h.Del("Connection")
	h.ResetConnectionClose()
}

// stripConnection takes out of an answer what concerns the connection to the server.
func stripConnection(h *fasthttp.ResponseHeader) {
	for _, name := range listed(h.Peek("Connection")) {
		h.Del(name)
	}
	for _, name := range connectionHeaders {
		h.Del(name)
	}
	h.Del("Connection")
	h.ResetConnectionClose()
	h.SetNoDefaultContentType(true) // an answer without one has none
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
