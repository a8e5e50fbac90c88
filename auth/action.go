package auth

import (
	"gantry/fault"
	"net/netip"
	"strings"
)

// Request is what the gate needs to know of a request. The slices are not kept.
type Request struct {
	Method string
	// Path and Query are as they came, not decoded.
	Path, Query, Body []byte
	// Values returns the values of a header, trimmed; the name is in lower case. The result is valid until the next
	// call.
	Values func(name string) [][]byte
	// Peer is where the request comes from.
	Peer netip.Addr
}

// unauthorized begins with the words of the platform's gateway (its error table, code 0301).
func unauthorized(detail string) *fault.Error {
	return &fault.Error{
		Kind: fault.Unauthorized, Type: fault.TypeUnknown, Code: fault.CodeBadRequest,
		Message: "Incorrect IAM authentication information: " + strings.ToValidUTF8(detail, "?"),
	}
}

func forbidden(detail string) *fault.Error {
	return &fault.Error{
		Kind:    fault.Forbidden,
		Type:    fault.TypeForbidden,
		Code:    fault.CodeBadRequest,
		Message: "Forbidden: " + detail,
	}
}

// Actions is the closed list.
func Actions() []Action { return []Action{Invoke, InvokeAsync} }

// The platform's actions (docs/COMPATIBILITY.md): FunctionGraph:function:invoke and FunctionGraph:function:invokeAsync.
const (
	Invoke      Action = "invoke"
	InvokeAsync Action = "invokeAsync"
)

// Action is what a user may be allowed to do; its text is the word in the users file.
type Action string
