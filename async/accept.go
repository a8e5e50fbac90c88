package async

import (
	"context"
	fncontext "gantry/context"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
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
