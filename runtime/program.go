package runtime

import (
	"bytes"
	"fmt"
	"gantry/fault"
	"strconv"
	"strings"

	fncontext "gantry/context"
)

// What the transports to the user's own programs share: net/rpc and the runtime API.

// tooLargeFault has the words of the platform's worker.
func tooLargeFault(size, limit int) *fault.Error {
	shown := strconv.Itoa(size)
	if size < 0 {
		shown = "unknown"
	}
	return &fault.Error{
		Kind: fault.Function, Type: "ResponseTooLarge", Code: fault.CodeResultSize, Message: "the function answered an error",
		Body: fmt.Appendf(nil, "response body size %s exceeds the limit of %d", shown, limit),
	}
}

// isDocument reports whether a result is a JSON object or array, for the content type.
func isDocument(body []byte) bool {
	body = bytes.TrimLeft(body, " \t\r\n")
	return len(body) == 0 || body[0] == '{' || body[0] == '['
}

// platformHeaders are the facts of a call as the platform sends them beside an event (docs/COMPATIBILITY.md).
func platformHeaders(inv *fncontext.Invocation) map[string][]string {
	h := map[string][]string{"X-Cff-Invoke-Type": {"sync"}}
	set := func(name, value string) {
		if isHeader(value) {
			h[name] = []string{value}
		}
	}
	callHeaders(inv, set)
	set("Traceparent", inv.Trace.Parent)
	set("Tracestate", inv.Trace.State)
	if !inv.Credentials.Empty() {
		credentialHeaders(inv.Credentials, set)
	}
	return h
}

// isHeader reports whether a header can have the value, and needs to.
func isHeader(value string) bool { return value != "" && !strings.ContainsAny(value, "\r\n\x00") }

// callHeaders sets what says which call it is.
func callHeaders(inv *fncontext.Invocation, set func(name, value string)) {
	set("X-Cff-Request-Id", inv.RequestID)
	if inv.Alias != "" {
		set("X-Cff-Origin-Version-Tag", "!"+inv.Alias)
	}
	set("X-Cff-Workflow-Id", inv.Workflow.ID)
	set("X-Cff-Workflow-Run-Id", inv.Workflow.RunID)
	set("X-Cff-Workflow-State-Id", inv.Workflow.StateID)
}

// credentialHeaders sets all credentials, also those that are empty.
func credentialHeaders(c fncontext.Credentials, set func(name, value string)) {
	var s fncontext.Secrets
	if !c.Empty() {
		s = c.Reveal()
	}
	set("X-Cff-Access-Key", s.AccessKey)
	set("X-Cff-Secret-Key", s.SecretKey)
	set("X-Cff-Security-Access-Key", s.SecurityAccessKey)
	set("X-Cff-Security-Secret-Key", s.SecuritySecretKey)
	set("X-Cff-Security-Token", s.SecurityToken)
	set("X-Cff-Auth-Token", s.AuthToken)
}
