// Package destination sends the outcomes of asynchronous requests to where the function's configuration wants them:
// one file per kind of destination, behind one interface, and one table. It knows no queue: what is sent when, and
// how often, is decided by package async.
package destination

import (
	"context"
	"fmt"
	"reflect"
	"time"

	fncontext "gantry/context"
)

// The kinds of destinations (page functiongraph_06_0142).
const (
	OBS      = "OBS"
	SMN      = "SMN"
	DIS      = "DIS"
	Function = "FunctionGraph"
)

// kind is what one kind of destination does. Its methods are called by any goroutine, and keep nothing.
type kind interface {
	// check reports what is wrong with a param; the text goes behind the word param.
	check(p *param) error
	// endpoint is the service's among e, or nil for a kind that has no service of its own. Without a URL there, outcome
	// messages become files.
	endpoint(e *Endpoints) *Endpoint
	// file is an outcome message's name below the folder of its kind; chosen is what of it the user chose.
	file(s *Sender, p *param, m *Message) string
	chosen(p *param) string
	// deliver sends one outcome message to the endpoint, and returns when it is there or an error. A *Refused says
	// whether another attempt helps; any other error is worth one.
	deliver(ctx context.Context, s *Sender, endpoint *Endpoint, p *param, m *Message) error
}

// param is what a destination needs; which members depends on its kind.
type param struct {
	Bucket      string `json:"bucket"`
	Prefix      string `json:"prefix"`
	Expires     int    `json:"expires"`
	TopicURN    string `json:"topic_urn"`
	StreamName  string `json:"stream_name"`
	FunctionURN string `json:"func_urn"`
}

// InJSON says what a member of type t has to be.
func InJSON(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Int:
		return "a whole number"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	}
	return "an object"
}

// Message is the outcome of one request, for its destination.
type Message struct {
	// RequestID is that of the request; Accepted is when it was accepted.
	RequestID string
	Accepted  time.Time
	// Hops is how many outcomes have become events before this one.
	Hops int
	// Text is the JSON object that is sent.
	Text []byte
}

// Sender sends outcome messages of one function. All fields are needed; it is safe for concurrent use.
type Sender struct {
	// Function is the function whose outcomes are sent.
	Function *fncontext.Function
	// Endpoints says where the services are. Without one, an outcome message becomes a file below Folder.
	Endpoints *Endpoints
	Folder    string
	// Sign returns the values of X-Sdk-Date and Authorization for a request without a query.
	Sign func(method, path string, body []byte, access, secret string) (date, authorization string, err error)
	// Now is the clock.
	Now func() time.Time
	// Call makes the outcome message an event of another function.
	Call func(ctx context.Context, urn string, m *Message) error
}

// Refused is the answer of a destination that did not take an outcome message.
type Refused struct {
	Text   string
	Status int           // of HTTP; 0 if no request was sent
	After  time.Duration // Retry-After
	Final  bool          // another attempt would not help
}

// Error is what the service said.
func (r *Refused) Error() string { return r.Text }

// needs is the error for a member that is missing.
func needs(name, member, value string) error {
	if value == "" {
		return fmt.Errorf(" of %s needs %q", name, member)
	}
	return nil
}
