// Package fault says whose fault an error is. A Kind decides what the program does, Type and Code are the stable
// strings and numbers on the wire, and Message may be shown to the caller; Err goes only to our own log. Transport
// statuses are not known here: package api maps kinds to them in one table.
package fault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Kind is the closed list of reasons. The zero value is Internal, so an unclassified error is never blamed on the user.
type Kind uint8

// Each kind answers "what must the program do differently?".
const (
	Internal     Kind = iota // our own defect
	Invalid                  // the request cannot be understood
	TooLarge                 // the request is over a limit
	Unauthorized             // the caller is not known
	Forbidden                // the caller is known and may not
	NotFound                 // no such thing here
	Conflict                 // it is taken already
	Throttled                // no room now, try again
	Unavailable              // the instance is going away
	Function                 // user code answered or raised an error
	Event                    // the worker could not parse the event
	Timeout                  // the deadline passed
	Crash                    // the worker process ended
	OutOfMemory              // the worker process was killed for its memory
	Init                     // load or initializer failed
	Canceled                 // the call was ended by force
)

var kindNames = [...]string{
	"internal", "invalid", "too_large", "unauthorized", "forbidden", "not_found", "conflict", "throttled", "unavailable",
	"function", "event", "timeout", "crash", "out_of_memory", "init", "canceled",
}

// String returns the kind as a metric label: lower case, words joined by underscores.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "internal"
}

// Kinds lists every kind, for closed label sets.
func Kinds() []Kind {
	all := make([]Kind, len(kindNames))
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// The platform's numeric codes (docs/COMPATIBILITY.md). They surface as X-Func-Err-Code; 4xxx is the user's side.
const (
	CodeOK            = 0
	CodeEntry         = 4001   // handler entry cannot be used, or callback(err)
	CodeInvocation    = 4002   // user function threw, or the event is not JSON
	CodeResultSize    = 4004   // result over the limit
	CodeResult        = 4007   // result cannot be converted
	CodeInitializer   = 4009   // initializer failed
	CodeTimeout       = 4010   // invocation timed out
	CodeRequestSize   = 4140   // request body over the limit
	CodeExited        = 4204   // runtime process is exited
	CodeMemory        = 4205   // runtime memory limit exceeded
	CodeCanceled      = 4208   // invocation canceled
	CodeStartTimeout  = 4211   // runtime initialization timed out
	CodeInternal      = 500    // our own defect
	CodeBadRequest    = 400    // not an invocation at all
	CodeMaxInstances  = 150429 // no room: the platform's "max instances reached"
	CodeUnavailable   = 150503 // draining; the platform's table has no own number
	codeUserSideFirst = 4000
	codeUserSideLast  = 4999
)

// Codes of the platform's own API (pages ErrorCode and the gateway's error table; docs/COMPATIBILITY.md). Package api
// has the general one of each kind; these say more.
const (
	APIQuery          = "FSS.1001"   // a query parameter cannot be read
	APIMemory         = "FSS.1007"   // X-Cff-Instance-Memory is not in the platform's list
	APINoFunction     = "FSS.1051"   // no such function here
	APINoVersion      = "FSS.1052"   // the function has no such version
	APINoAlias        = "FSS.1053"   // the function has no such alias
	APIURN            = "FSS.1309"   // the function URN cannot be read
	APINoRoute        = "APIGW.0101" // no such API
	GatewayNoRoute    = "APIG.0101"  // of API Gateway: no route takes the request
	GatewayAnswer     = "FSS.1202"   // of API Gateway: the function's answer cannot be used
	APIGatewayTimeout = "APIGW.0201" // the answer did not come in the gateway's time
	APIAuthentication = "APIGW.0301" // the caller is not known
)

// Error types that the agent itself produces. Types of user errors are the names of the user's own exceptions.
const (
	TypeTimeout     = "Runtime.Timeout"
	TypeExited      = "Runtime.Exited"
	TypeMemory      = "Runtime.OutOfMemory"
	TypeCanceled    = "Runtime.Canceled"
	TypeStart       = "Runtime.StartFailed"
	TypeInitTimeout = "Runtime.InitTimeout"
	TypeProtocol    = "Runtime.ProtocolError"
	TypeTooLarge    = "Request.TooLarge"
	TypeBadRequest  = "Request.Invalid"
	TypeForbidden   = "Request.Forbidden"
	TypeNotFound    = "Request.NotFound"
	TypeUnknown     = "Request.Unauthorized"
	TypeThrottled   = "Instance.Throttled"
	TypeDraining    = "Instance.Draining"
	TypeQueue       = "Queue.Unavailable"
	TypeInternal    = "Gantry.Internal"
)

// Error is the one error type that crosses package borders.
type Error struct {
	Kind    Kind
	Type    string
	Code    int
	Message string
	// APICode is the code on the platform's API, like FSS.1051. Empty means the general code of the kind.
	APICode string
	// Body holds the worker's own bytes, sent to the caller unchanged (docs/COMPATIBILITY.md). Empty for the agent's
	// errors.
	Body []byte
	// Hint says what to do about it; Stderr holds the worker's last lines. Both are shown to local callers only.
	Hint   string
	Stderr []string
	// Final says of a failed load or initializer that another attempt cannot mend it: the code itself is wrong.
	Final bool
	// Err is the cause, for our log only.
	Err error
}

// Error implements error; it never contains Body, which is the user's data.
func (e *Error) Error() string {
	text := e.Message
	if text == "" {
		text = fmt.Sprintf("%s (code %d)", e.Kind, e.Code)
	}
	if e.Err != nil {
		return text + ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// UserType is the errorType in the worker's own bytes, or Type.
func (e *Error) UserType() string {
	var body struct {
		Type string `json:"errorType"`
	}
	if err := json.Unmarshal(e.Body, &body); err == nil && body.Type != "" {
		return body.Type
	}
	return e.Type
}

// UserMessage is the errorMessage in the worker's own bytes, or these where they are a short text, as of a result that
// is too large, or the error's own text; for our log and for people.
func (e *Error) UserMessage() string {
	var body struct {
		Message string `json:"errorMessage"`
	}
	if err := json.Unmarshal(e.Body, &body); err == nil && body.Message != "" {
		return body.Message
	}
	if len(e.Body) > 0 && len(e.Body) <= maxText && utf8.Valid(e.Body) && !json.Valid(e.Body) {
		return string(e.Body)
	}
	return e.Error()
}

// maxText is the length, in bytes, up to which an answer that is a text and no JSON counts as a message.
const maxText = 1000

// Text is the answer's body: the worker's bytes, or the agent's error as the common JSON of the platform,
// indented by four blanks. With local set, the hint and the worker's last lines are added.
func (e *Error) Text(local bool) []byte {
	if len(e.Body) > 0 || e.Kind == Function || e.Kind == Event {
		if local && e.Hint != "" {
			return withHint(e.Body, e.Hint)
		}
		return e.Body
	}
	b := append([]byte(nil), "{\n    \"errorMessage\": "...)
	b = appendString(b, e.Message)
	b = append(b, ",\n    \"errorType\": "...)
	b = appendString(b, e.Type)
	if local && e.Hint != "" {
		b = append(b, ",\n    \"hint\": "...)
		b = appendString(b, e.Hint)
	}
	if local && len(e.Stderr) > 0 {
		b = append(b, ",\n    \"stderr\": ["...)
		for i, line := range e.Stderr {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, "\n        "...)
			b = appendString(b, line)
		}
		b = append(b, "\n    ]"...)
	}
	return append(b, "\n}"...)
}

// withHint adds a hint to the error body of a worker, in the form that the body has: compact, as in Go, or indented, by
// two blanks in Java and by four elsewhere. A body of another form, such as an object of the user's own, is left as it
// is.
func withHint(body []byte, hint string) []byte {
	first := bytes.IndexByte(body, '"')
	if first < 1 || !bytes.HasPrefix(body[first:], []byte(`"errorMessage":`)) {
		return body
	}
	before, after, colon := body[1:first], "", ":"
	if len(before) > 0 { // a line break, and blanks
		after, colon = "\n", ": "
	}
	open, ok := bytes.CutSuffix(body, []byte(after+"}"))
	if !ok || body[0] != '{' || strings.Trim(string(before), "\n ") != "" {
		return body
	}
	b := append(append(bytes.Clone(open), ','), before...)
	b = appendString(append(b, `"hint"`+colon...), hint)
	return append(b, after+"}"...)
}

// UserSide reports whether the code lies on the user's side (4xxx), the meaning of X-Is-Func-Err.
func (e *Error) UserSide() bool { return e.Code >= codeUserSideFirst && e.Code <= codeUserSideLast }

// From returns err as an *Error. Anything unclassified becomes Internal, with a message that says nothing about its
// cause.
func From(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{
		Kind:    Internal,
		Type:    TypeInternal,
		Code:    CodeInternal,
		Message: "internal error of the agent; its log says more",
		Err:     err,
	}
}

// appendString appends s as a JSON string without escaping HTML characters: these bodies are read by people.
func appendString(dst []byte, s string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil { // cannot happen for a string
		return append(dst, `""`...)
	}
	return append(dst, bytes.TrimRight(buf.Bytes(), "\n")...)
}
