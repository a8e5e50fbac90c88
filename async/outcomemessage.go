package async

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/async/destination"
	"gantry/fault"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
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

// pending is an outcome message that is not in its queue yet. It is stored with the outcome, so that neither is lost
// alone.
type pending struct {
	Destination Destination     `json:"destination"`
	Hops        int             `json:"hops,omitempty"`
	Text        json.RawMessage `json:"text"`
}

// roomFor is how long the text for a destination may be: its param lies beside it, in the record and in a header.
func (e *engine) roomFor(d *Destination) int {
	param, err := plainJSON(d.Param)
	if err != nil { // cannot happen for a string
		return 0
	}
	return min(maxOutcomeMessage, int(e.conn.MaxPayload())-(maxServerMessage-maxOutcomeMessage)) - len(param)
}

// lighten makes a record smaller that was refused for its size: the outcome message loses its payloads, or is dropped
// if it had none. why is the refusal. It returns false if there is no outcome message.
func (e *engine) lighten(r *Record, why error) bool {
	if r.Pending == nil {
		return false
	}
	var m OutcomeMessage
	err := json.Unmarshal(r.Pending.Text, &m)
	none := payload(nil)
	if err == nil && len(m.RequestPayload)+len(m.ResponsePayload) > 2*len(none) {
		m.RequestPayload, m.ResponsePayload = none, none
		if text, err := plainJSON(&m); err == nil {
			r.Pending.Text = text
			e.q.cfg.Log.Warn(
				"an outcome message loses its payloads: with them it has no room on the servers",
				zap.String("request_id", r.RequestID),
				zap.Error(why),
			)
			return true
		}
	}
	r.Pending = nil
	e.q.counts.undelivered.Add(1)
	e.q.cfg.Log.Error(
		"an outcome message is dropped: it has no room on the servers; look at their max_payload and GANTRY_ASYNC_MAX_RECORD_BYTES",
		zap.String("request_id", r.RequestID),
		zap.Error(errors.Join(why, err)),
	)
	return true
}

// Headers of an outcome message in its queue.
const (
	headerKind  = "Gantry-Destination"
	headerParam = "Gantry-Param"
)

// HeaderHops says how many outcomes led to an event, in the queue and between agents.
const HeaderHops = "Gantry-Hops"

func (e *engine) outboxSubject(id string) string { return e.prefix + ".notify." + id }

// hand puts the outcome message that is stored with r into the queue of outcome messages. The server forgets a second
// one.
func (e *engine) hand(ctx context.Context, r *Record) error {
	for r.Pending != nil {
		p := r.Pending
		msg := &nats.Msg{Subject: e.outboxSubject(r.RequestID), Data: p.Text, Header: nats.Header{
			headerKind: {
				p.Destination.Kind,
			},
			headerParam:   {p.Destination.Param},
			HeaderHops:    {strconv.Itoa(p.Hops)},
			nats.MsgIdHdr: {r.RequestID},
		}}
		_, err := e.js.PublishMsg(ctx, msg)
		if !errors.Is(err, nats.ErrMaxPayload) {
			return err
		}
		e.lighten(r, err)
	}
	return nil
}

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

// prepareOutbox makes the queue of outcome messages; it is apart from that of events.
func (e *engine) prepareOutbox(ctx context.Context, name string) (err error) {
	e.outbox, err = insist(ctx, e.js.CreateOrUpdateStream, jetstream.StreamConfig{
		Name: name + "_notifications", Subjects: []string{e.outboxSubject("*")}, Retention: jetstream.WorkQueuePolicy,
		Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage, Replicas: e.q.cfg.Replicas, MaxBytes: e.q.cfg.MaxBytes,
	})
	if err != nil {
		return fmt.Errorf("stream of outcome messages: %w", err)
	}
	e.outgoing, err = insist(ctx, e.outbox.CreateOrUpdateConsumer, jetstream.ConsumerConfig{
		Durable: "notify", AckPolicy: jetstream.AckExplicitPolicy, AckWait: sendAckWait, MaxAckPending: -1, MaxDeliver: -1,
	})
	if err != nil {
		return fmt.Errorf("consumer of outcome messages: %w", err)
	}
	return nil
}

// sendPause comes after so many tries.
func sendPause(tries uint64) time.Duration {
	return min(sendDelay<<min(max(tries, 1)-1, 16), maxSendDelay)
}

// deliver sends one outcome message. What becomes of it never changes a record.
func (e *engine) deliver(msg *message) {
	h := msg.Headers()
	id := msg.Subject()[strings.LastIndexByte(msg.Subject(), '.')+1:]
	d := &Destination{Kind: h.Get(headerKind), Param: h.Get(headerParam)}
	hops, _ := strconv.Atoi(h.Get(HeaderHops)) // absent: none
	ctx, cancel := context.WithTimeout(e.sends, destination.Timeout)
	defer cancel()
	accepted, _ := acceptedAt(id)
	err := e.sender.Send(
		ctx,
		d.Kind,
		d.Param,
		&destination.Message{RequestID: id, Accepted: accepted, Hops: hops, Text: msg.Data()},
	)
	if err != nil && e.sends.Err() != nil { // no fault of the destination's
		if err := msg.NakWithDelay(handBack); err != nil {
			e.q.cfg.Log.Debug("an outcome message is not handed back", zap.String("request_id", id), zap.Error(err))
		}
		return
	}
	fields := []zap.Field{zap.String("request_id", id), zap.String("destination", d.Kind), zap.Error(err)}
	if err == nil {
		e.q.counts.delivered.Add(1)
		err = msg.DoubleAck(ctx)
		if err != nil {
			e.q.cfg.Log.Debug("an outcome message may be sent again", append(fields, zap.Error(err))...)
		}
		return
	}
	tries := msg.tries()
	var refused *destination.Refused
	if tries >= sendAttempts || errors.As(err, &refused) && refused.Final {
		e.q.counts.undelivered.Add(1)
		e.q.cfg.Log.Error(
			"an outcome message is dropped: its destination does not take it",
			append(fields, zap.Uint64("tries", tries))...)
		err = msg.TermWithReason("not taken")
	} else {
		delay := sendPause(tries)
		if refused != nil && refused.After > 0 {
			delay = min(refused.After, maxSendServer)
		}
		e.q.cfg.Log.Warn("an outcome message is tried again", append(fields, zap.Duration("delay", delay))...)
		err = msg.NakWithDelay(delay)
	}
	if err != nil {
		e.q.cfg.Log.Debug("an outcome message was not acknowledged: the server redelivers it", zap.Error(err))
	}
}
