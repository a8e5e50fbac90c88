package function

import (
	"encoding/json"
	"reflect"
	"strings"
)

// The platform's numbers of what a function can do wrong.
const (
	codeLoad        = 4001 // also: the handler returned an error
	codeRaised      = 4002 // also: the event cannot be used
	codeTooLarge    = 4004
	codeResult      = 4007
	codeInitializer = 4009
)

const (
	kindReturned   = "FunctionReturnError"
	kindConfig     = "FunctionConfigError"
	entry          = "function entry exception, error: "
	initialization = "function initialization exception, error: "
	unusable       = "function result is invalid, error: "
)

// failure is an answer that is no result.
type failure struct {
	code    int
	kind    string
	message string
	stack   []string
	// event says that the event is no JSON.
	event bool
	// cause is the failure that was too long to be answered; the log has it.
	cause *failure
}

// body is what the caller gets.
func (x *failure) body() []byte {
	if x.event {
		return []byte(x.message)
	}
	return x.document()
}

// document is the platform's error JSON (page functiongraph_02_0441).
func (x *failure) document() []byte {
	body, err := json.MarshalIndent(struct {
		Message string   `json:"errorMessage"`
		Type    string   `json:"errorType"`
		Stack   []string `json:"stackTrace,omitempty"`
	}{x.message, x.kind, x.stack}, "", "    ")
	if err != nil {
		panic(err) // strings can always be marshalled
	}
	return body
}

// text is what the log says.
func (x *failure) text() string {
	lines := append([]string{x.message}, x.stack...)
	if x.cause != nil {
		lines = append(lines, x.cause.text())
	}
	return strings.Join(lines, "\n")
}

// kindOf is the name of an error's type.
func kindOf(err error) string {
	t := reflect.TypeOf(err)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Name() == "" {
		return "error"
	}
	return t.Name()
}
