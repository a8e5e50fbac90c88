package async

import (
	"bytes"
	"encoding/json"
	"gantry/fault"
	"strings"
	"time"
)

// Conditions of an outcome message; the platform lists none (docs/COMPATIBILITY.md).
const (
	conditionExhausted = "RetriesExhausted"
	conditionAge       = "EventAgeExceeded"
	conditionCanceled  = "Canceled"
)

// OutcomeMessage is what a destination gets (page functiongraph_01_0390_03).
type OutcomeMessage struct {
	Timestamp string `json:"timestamp"`
	Request   struct {
		RequestID   string `json:"request_id"`
		FunctionURN string `json:"function_urn"`
		Condition   string `json:"condition"`
		Invocations int    `json:"approximate_invoke_count"`
	} `json:"request_context"`
	RequestPayload json.RawMessage `json:"request_payload"`
	Response       struct {
		Status int    `json:"status_code"`
		Error  string `json:"function_error"`
	} `json:"response_context"`
	ResponsePayload json.RawMessage `json:"response_payload"`
}

// maxResult is the largest result that is passed on; above it the outcome message has an empty one.
const maxResult = 256 << 10

const (
	// maxOutcomeMessage leaves room, beside the destination's param, for the rest of the record and headers within what
	// the server takes in one message.
	maxOutcomeMessage = maxServerMessage - 16<<10
	// maxServerMessage is the default of the servers' max_payload.
	maxServerMessage = 1 << 20
)

// outcome is how a request ended, for its outcome message.
type outcome struct {
	result    []byte
	fault     *fault.Error
	condition string
	// recursive keeps it from functions: they would be made to run by what was cancelled.
	recursive bool
}

// outcomeMessage builds the text for a destination, of at most limit bytes unless it is longer without payloads.
func (e *engine) outcomeMessage(r *Record, event []byte, o *outcome, limit int) ([]byte, error) {
	m := &OutcomeMessage{
		Timestamp:      r.Started().UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		RequestPayload: payload(event),
	}
	m.Request.RequestID, m.Request.FunctionURN = r.RequestID, e.q.cfg.Function.URN()
	m.Request.Condition, m.Request.Invocations = o.condition, r.Attempts.Started
	m.Response.Status = 200
	result := o.result
	if f := o.fault; f != nil {
		m.Response.Error, result = messageOf(f), f.Text(false)
		if !f.UserSide() {
			m.Response.Status = 500 // not 200 means: no error of the function's
		}
	} else if r.Status != Success {
		m.Response.Error = r.ErrorMessage
	}
	if len(result) <= maxResult {
		m.ResponsePayload = payload(result)
	}
	text, err := plainJSON(m)
	for _, large := range []*json.RawMessage{&m.ResponsePayload, &m.RequestPayload} {
		if err == nil && len(text) > limit {
			*large = payload(nil)
			text, err = plainJSON(m)
		}
	}
	return text, err
}

// plainJSON keeps the characters that json.Marshal escapes for HTML: six bytes for one make messages too large.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// payload is JSON as it is, and anything else as a string. Bytes that are not UTF-8 become U+FFFD: other decoders
// refuse them, even inside strings, the only place for them in valid JSON.
func payload(b []byte) json.RawMessage {
	if json.Valid(b) {
		return bytes.ToValidUTF8(b, []byte("\uFFFD"))
	}
	text, err := plainJSON(string(b))
	if err != nil { // cannot happen for a string
		return json.RawMessage(`""`)
	}
	return text
}

// destination is where the outcome of r goes, or nil.
func (c *Configuration) destination(s Status) *Destination {
	switch {
	case c == nil:
		return nil
	case s == Success:
		return c.Destinations.OnSuccess
	}
	return c.Destinations.OnFailure
}

// Headers of an outcome message in its queue.
const (
	headerKind  = "Gantry-Destination"
	headerParam = "Gantry-Param"
)

// HeaderHops says how many outcomes led to an event, in the queue and between agents.
const HeaderHops = "Gantry-Hops"

const (
	// sendParallel is how many outcome messages are sent at once.
	sendParallel = 4
	sendAckWait  = time.Minute
	// sendAttempts is how often one is tried; then it is dropped, counted, and in the log.
	sendAttempts  = 8
	sendDelay     = time.Second
	maxSendDelay  = time.Minute
	maxSendServer = time.Hour // of what a Retry-After may ask for
	// maxHops bounds how far outcomes of outcomes go: two functions may be each other's destination.
	maxHops = 8
)

func messageOf(f *fault.Error) string {
	text := strings.TrimSpace(string(f.Text(false)))
	if len(text) > maxMessageText {
		text = strings.ToValidUTF8(text[:maxMessageText], "") + "…"
	}
	return text
}

// maxMessageText bounds the error message of a record.
const maxMessageText = 1 << 10
