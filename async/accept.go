package async

import (
	"context"
	"errors"
	"fmt"
	fncontext "gantry/context"
	"gantry/fault"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Event is one request to be run later.
type Event struct {
	Body  []byte
	Alias string
	// Version is what the URN said when it named no alias; it chooses the configuration.
	Version  string
	MemoryMB int
	Trace    fncontext.Trace
	// Hops counts the outcomes that led to this event, one as the event of the next; 0 for a caller's own.
	Hops int
}

// publishTimeout bounds one durable write.
const publishTimeout = 10 * time.Second

// full reports whether a message was refused because its stream has as much as it may have.
func full(err *jetstream.APIError) bool {
	return err != nil && err.ErrorCode == storeFailed && strings.Contains(err.Description, "maximum")
}

// Accept stores an event and returns its request id: once it returns, the request runs at least once, whatever dies.
func (q *Queue) Accept(ctx context.Context, ev *Event) (requestID string, err error) {
	if len(ev.Body) > MaxEvent {
		return "", tooLarge(MaxEvent, len(ev.Body), "", nil)
	}
	e, err := q.engine(ctx)
	if err != nil {
		return "", err
	}
	id := newID()
	msg := &nats.Msg{Subject: e.subject(id), Data: ev.Body, Header: nats.Header{headerVersion: {ev.Version}}}
	set := func(name, value string) {
		if value != "" {
			msg.Header[name] = []string{value}
		}
	}
	set(headerAlias, ev.Alias)
	set(headerParent, ev.Trace.Parent)
	set(headerState, ev.Trace.State)
	if ev.MemoryMB > 0 {
		set(headerMemory, strconv.Itoa(ev.MemoryMB))
	}
	if ev.Hops > 0 {
		set(HeaderHops, strconv.Itoa(ev.Hops))
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	ctx, release := e.whileConnected(ctx)
	defer release()
	if !e.hasRecordRoom(ctx) {
		q.counts.refused.Add(1)
		return "", noRecordRoom()
	}
	if _, err := e.js.PublishMsg(ctx, msg); err != nil {
		return "", e.notStored(err, len(ev.Body))
	}
	q.counts.accepted.Add(1)
	return id, nil
}

// tooLarge is the platform's refusal of an event; detail says whose limit it is if it is not the platform's.
func tooLarge(limit int64, size int, detail string, err error) *fault.Error {
	return &fault.Error{
		Kind: fault.TooLarge, Type: fault.TypeTooLarge, Code: fault.CodeRequestSize, Err: err,
		Message: fmt.Sprintf("the size of request body is beyond maximum:%d, body size:%d", limit, size) + detail,
	}
}

// notStored returns the fault for an event of size bytes that the servers refused: for its size, for lack of room, or
// for a reason that may pass.
func (e *engine) notStored(err error, size int) *fault.Error {
	q := e.q
	var api *jetstream.APIError
	switch errors.As(err, &api); {
	case errors.Is(err, nats.ErrMaxPayload):
		return tooLarge(
			e.conn.MaxPayload(),
			size,
			"; the limit is the max_payload of the queue's servers or account, and counts headers too",
			err,
		)
	case api != nil && api.ErrorCode == messageTooLarge:
		return tooLarge(
			maxMessage,
			size,
			"; the limit is the max_msg_size of the stream of events, and counts headers too",
			err,
		)
	case full(api):
		q.counts.refused.Add(1)
		return &fault.Error{
			Kind:    fault.Throttled,
			Type:    fault.TypeThrottled,
			Code:    fault.CodeMaxInstances,
			Message: "too many requests: the queue is full (GANTRY_ASYNC_MAX_EVENTS, GANTRY_ASYNC_MAX_BYTES)",
			Err:     err,
		}
	}
	return unavailable("the event could not be stored", err)
}

// Headers of an event in the queue.
const (
	headerVersion = "Gantry-Version"
	headerAlias   = "Gantry-Alias"
	headerMemory  = "Gantry-Memory"
	headerParent  = "Traceparent"
	headerState   = "Tracestate"
)

// Codes of JetStream for a message that was not stored.
const (
	storeFailed     jetstream.ErrorCode = 10077 // the description has the reason
	messageTooLarge jetstream.ErrorCode = 10054
)
