package poll

import (
	"fmt"
	"net/http"
)

// StatusError is an answer of the runtime API that refuses a result or an error.
type StatusError struct {
	Status int
	// Body is the beginning of what it said.
	Body string
}

// Error names the status and what was said.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the runtime API answered %d %s: %q", e.Status, http.StatusText(e.Status), e.Body)
}

// TooLargeError is an event over MaxEvent. It was skipped; only the receiver of this error can answer it.
type TooLargeError struct{ RequestID string }

// Error names the limit.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the event of request %q is larger than %d bytes and was skipped", e.RequestID, MaxEvent)
}

// Event is one event. All of it belongs to the receiver.
type Event struct {
	// RequestID is never empty. The answer has to name it.
	RequestID string
	// Header has the facts of the call, the credentials among them: do not log it.
	Header http.Header
	Body   []byte
}

// MaxEvent is the longest event that is taken, in bytes: the platform's limit.
const MaxEvent = 6 << 20
