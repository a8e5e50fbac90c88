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

// Conditions of a notification; the platform lists none (docs/COMPATIBILITY.md).
const (
	conditionExhausted = "RetriesExhausted"
	conditionAge       = "EventAgeExceeded"
	conditionCanceled  = "Canceled"
)

// Notification is what a destination gets (page functiongraph_01_0390_03).
type Notification struct {
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

// maxResult is the largest result that is passed on; above it the notification has an empty one.
const maxResult = 256 << 10

const (
	// maxNotification leaves room, beside the destination's param, for the rest of the record and headers within what
	// the server takes in one message.
	maxNotification = maxServerMessage - 16<<10
	// maxServerMessage is the default of the servers' max_payload.
	maxServerMessage = 1 << 20
)

// outcome is how a request ended, for its notification.
type outcome struct {
	result    []byte
	fault     *fault.Error
	condition string
	// recursive keeps it from functions: they would be made to run by what was cancelled.
	recursive bool
}

// notification builds the text for a destination, of at most limit bytes unless it is longer without payloads.
func (e *engine) notification(r *Record, event []byte, o *outcome, limit int) ([]byte, error) {
	n := &Notification{Timestamp: r.Started().UTC().Format("2006-01-02T15:04:05.000Z07:00"), RequestPayload: payload(event)}
	n.Request.RequestID, n.Request.FunctionURN = r.RequestID, e.q.cfg.Function.URN()
	n.Request.Condition, n.Request.Invocations = o.condition, r.Attempts.Started
	n.Response.Status = 200
	result := o.result
	if f := o.fault; f != nil {
		n.Response.Error, result = messageOf(f), f.Text(false)
		if !f.UserSide() {
			n.Response.Status = 500 // not 200 means: no error of the function's
		}
	} else if r.Status != Success {
		n.Response.Error = r.ErrorMessage
	}
	if len(result) <= maxResult {
		n.ResponsePayload = payload(result)
	}
	text, err := plainJSON(n)
	for _, large := range []*json.RawMessage{&n.ResponsePayload, &n.RequestPayload} {
		if err == nil && len(text) > limit {
			*large = payload(nil)
			text, err = plainJSON(n)
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

// pending is a notification that is not in its queue yet. It is stored with the outcome, so that neither is lost alone.
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
	return min(maxNotification, int(e.conn.MaxPayload())-(maxServerMessage-maxNotification)) - len(param)
}

// lighten makes a record smaller that was refused for its size: the notification loses its payloads, or is dropped if
// it had none. why is the refusal. It returns false if there is no notification.
func (e *engine) lighten(r *Record, why error) bool {
	if r.Pending == nil {
		return false
	}
	var n Notification
	err := json.Unmarshal(r.Pending.Text, &n)
	none := payload(nil)
	if err == nil && len(n.RequestPayload)+len(n.ResponsePayload) > 2*len(none) {
		n.RequestPayload, n.ResponsePayload = none, none
		if text, err := plainJSON(&n); err == nil {
			r.Pending.Text = text
			e.q.cfg.Log.Warn("a notification loses its payloads: with them it has no room on the servers", zap.String("request_id", r.RequestID), zap.Error(why))
			return true
		}
	}
	r.Pending = nil
	e.q.counts.unnotified.Add(1)
	e.q.cfg.Log.Error("a notification is dropped: it has no room on the servers; look at their max_payload and GANTRY_ASYNC_MAX_RECORD_BYTES",
		zap.String("request_id", r.RequestID), zap.Error(errors.Join(why, err)))
	return true
}

// Headers of a notification in its queue.
const (
	headerKind  = "Gantry-Destination"
	headerParam = "Gantry-Param"
)

// HeaderHops says how many outcomes led to an event, in the queue and between agents.
const HeaderHops = "Gantry-Hops"

func (e *engine) notifySubject(id string) string { return e.prefix + ".notify." + id }

// hand puts the notification that is stored with r into the queue of notifications. The server forgets a second one.
func (e *engine) hand(ctx context.Context, r *Record) error {
	for r.Pending != nil {
		p := r.Pending
		msg := &nats.Msg{Subject: e.notifySubject(r.RequestID), Data: p.Text, Header: nats.Header{
			headerKind: {p.Destination.Kind}, headerParam: {p.Destination.Param}, HeaderHops: {strconv.Itoa(p.Hops)}, nats.MsgIdHdr: {r.RequestID},
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
	// notifyParallel is how many notifications are sent at once.
	notifyParallel = 4
	notifyAckWait  = time.Minute
	// notifyAttempts is how often one is tried; then it is dropped, counted, and in the log.
	notifyAttempts  = 8
	notifyDelay     = time.Second
	maxNotifyDelay  = time.Minute
	maxNotifyServer = time.Hour // of what a Retry-After may ask for
	// maxHops bounds how far outcomes of outcomes go: two functions may be each other's destination.
	maxHops = 8
)

// prepareNotifications makes the queue of notifications; it is apart from that of events.
func (e *engine) prepareNotifications(ctx context.Context, name string) (err error) {
	e.outbox, err = insist(ctx, e.js.CreateOrUpdateStream, jetstream.StreamConfig{
		Name: name + "_notifications", Subjects: []string{e.notifySubject("*")}, Retention: jetstream.WorkQueuePolicy,
		Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage, Replicas: e.q.cfg.Replicas, MaxBytes: e.q.cfg.MaxBytes,
	})
	if err != nil {
		return fmt.Errorf("stream of notifications: %w", err)
	}
	e.notifier, err = insist(ctx, e.outbox.CreateOrUpdateConsumer, jetstream.ConsumerConfig{
		Durable: "notify", AckPolicy: jetstream.AckExplicitPolicy, AckWait: notifyAckWait, MaxAckPending: -1, MaxDeliver: -1,
	})
	if err != nil {
		return fmt.Errorf("consumer of notifications: %w", err)
	}
	return nil
}

// notifyPause comes after so many tries.
func notifyPause(tries uint64) time.Duration {
	return min(notifyDelay<<min(max(tries, 1)-1, 16), maxNotifyDelay)
}

// deliver sends one notification. What becomes of it never changes a record.
func (e *engine) deliver(msg *message) {
	h := msg.Headers()
	id := msg.Subject()[strings.LastIndexByte(msg.Subject(), '.')+1:]
	d := &Destination{Kind: h.Get(headerKind), Param: h.Get(headerParam)}
	hops, _ := strconv.Atoi(h.Get(HeaderHops)) // absent: none
	ctx, cancel := context.WithTimeout(e.sends, destination.Timeout)
	defer cancel()
	accepted, _ := acceptedAt(id)
	err := e.sender.Send(ctx, d.Kind, d.Param, &destination.Notification{RequestID: id, Accepted: accepted, Hops: hops, Text: msg.Data()})
	if err != nil && e.sends.Err() != nil { // no fault of the destination's
		if err := msg.NakWithDelay(handBack); err != nil {
			e.q.cfg.Log.Debug("a notification is not handed back", zap.String("request_id", id), zap.Error(err))
		}
		return
	}
	fields := []zap.Field{zap.String("request_id", id), zap.String("destination", d.Kind), zap.Error(err)}
	if err == nil {
		e.q.counts.notified.Add(1)
		err = msg.DoubleAck(ctx)
		if err != nil {
			e.q.cfg.Log.Debug("a notification may be sent again", append(fields, zap.Error(err))...)
		}
		return
	}
	tries := msg.tries()
	var refused *destination.Refused
	if tries >= notifyAttempts || errors.As(err, &refused) && refused.Final {
		e.q.counts.unnotified.Add(1)
		e.q.cfg.Log.Error("a notification is dropped: its destination does not take it", append(fields, zap.Uint64("tries", tries))...)
		err = msg.TermWithReason("not taken")
	} else {
		delay := notifyPause(tries)
		if refused != nil && refused.After > 0 {
			delay = min(refused.After, maxNotifyServer)
		}
		e.q.cfg.Log.Warn("a notification is tried again", append(fields, zap.Duration("delay", delay))...)
		err = msg.NakWithDelay(delay)
	}
	if err != nil {
		e.q.cfg.Log.Debug("a notification was not acknowledged: the server redelivers it", zap.Error(err))
	}
}
