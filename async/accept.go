package async

import (
	"context"
	fncontext "gantry/context"
	"strconv"
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

// Accept stores an event and returns its request id: once it returns, the request runs at least once, whatever dies.
func (q *Queue) Accept(ctx context.Context, ev *Event) (requestID string, err error) {
	id := newID()
	if _, err := q.store(ctx, id, ev, false); err != nil {
		return "", err
	}
	return id, nil
}

// sameWindow is how long the store knows the ids of the requests that came by AcceptOnce.
const sameWindow = 2 * time.Minute

// AcceptOnce is Accept with a request id of the caller's, a UUID of version 7: of several requests with the same id,
// also of other agents, the first is stored. Later than sameWindow after it another one may be stored; it does not run
// if the first has ended by then.
func (q *Queue) AcceptOnce(ctx context.Context, id string, ev *Event) (first bool, err error) {
	return q.store(ctx, id, ev, true)
}

// store stores an event, and reports whether it was not there yet. With once, another one with the same id is refused.
func (q *Queue) store(ctx context.Context, id string, ev *Event, once bool) (bool, error) {
	if len(ev.Body) > MaxEvent {
		return false, tooLarge(MaxEvent, len(ev.Body), "", nil)
	}
	e, err := q.engine(ctx)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	ctx, release := e.whileConnected(ctx)
	defer release()
	if !e.hasRecordRoom(ctx) {
		q.counts.refused.Add(1)
		return false, noRecordRoom()
	}
	if !e.load.reserve(ctx, len(ev.Body)) {
		q.counts.refused.Add(1)
		return false, queueFull(nil)
	}
	first, err := e.publishEvent(ctx, id, ev, once)
	if err != nil || !first {
		e.load.unreserve()
	}
	if err != nil {
		return false, e.notStored(err, len(ev.Body))
	}
	if first {
		q.counts.accepted.Add(1)
	}
	return first, nil
}

// publishEvent makes the event's message.
func (e *engine) publishEvent(ctx context.Context, id string, ev *Event, once bool) (first bool, err error) {
	msg := &nats.Msg{Subject: e.lay.event + id, Data: ev.Body, Header: eventHeader(ev)}
	if !once {
		_, err := e.js.PublishMsg(ctx, msg)
		return err == nil, err
	}
	if first, decided, err := e.publishSeparate(ctx, id, msg); decided {
		return first, err
	}
	stored, err := e.publishOnce(ctx, msg, jetstream.WithMsgID(e.messageID(e.lay, id)))
	if err == nil && stored.Duplicate && !e.q.cfg.Alone {
		return e.publishUnknown(ctx, id, ev)
	}
	return err == nil && !stored.Duplicate, err
}

// publishUnknown stores an event whose id the servers say they know, if nothing is known of the request: another
// function that uses the stream may have sent that id.
func (e *engine) publishUnknown(ctx context.Context, id string, ev *Event) (first bool, err error) {
	event, _, err := e.storedEvent(ctx, id)
	if err != nil || event != nil {
		return false, err
	}
	r, _, err := e.record(ctx, id)
	if err != nil || r != nil {
		return false, err
	}
	msg := &nats.Msg{Subject: e.lay.event + id, Data: ev.Body, Header: eventHeader(ev)}
	_, err = e.js.PublishMsg(ctx, msg, jetstream.WithExpectLastSequencePerSubject(0))
	if isOvertaken(err) { // a copy that was read did not have it yet, or it has just been removed
		return false, nil
	}
	return err == nil, err
}

// messageID is what the servers know a request's message by, in a stream that other functions use.
func (e *engine) messageID(l *layout, id string) string {
	if l.shared {
		return e.key + "." + id
	}
	return id
}

func eventHeader(ev *Event) nats.Header {
	h := nats.Header{headerVersion: {ev.Version}}
	set := func(name, value string) {
		if value != "" {
			h[name] = []string{value}
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
	return h
}
