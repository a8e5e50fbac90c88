package async

import (
	"context"
	"errors"
	"maps"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// publishSeparate stores the event msg in the streams of an earlier release, as long as its agents may accept the same
// id there: only there the servers see that it is the same. decided is false if it has to go to the shared streams.
func (e *engine) publishSeparate(ctx context.Context, id string, msg *nats.Msg) (first, decided bool, err error) {
	if e.confined.Load() {
		return false, false, nil
	}
	old := e.old.Load()
	if !e.q.cfg.Alone {
		theirs := &nats.Msg{Subject: separateLayout(e.key).event + id, Data: msg.Data, Header: maps.Clone(msg.Header)}
		stored, err := e.publishOnce(ctx, theirs, jetstream.WithMsgID(id), jetstream.WithRetryAttempts(0))
		if err == nil {
			if old == nil {
				e.noteSeparate()
			}
			return !stored.Duplicate, true, nil
		}
		if !errors.Is(err, jetstream.ErrNoStreamResponse) {
			return false, true, err
		}
	}
	if old == nil {
		return false, false, nil
	}
	stream, err := e.js.Stream(ctx, old.events)
	if err == nil && !e.q.cfg.Alone && !isClosed(&stream.CachedInfo().Config, old) {
		return false, true, jetstream.ErrNoStreamResponse // it has no leader
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, true, err
	}
	event, _, err := e.storedEvent(ctx, id) // it may have come before they were closed
	if err != nil || event != nil {
		return false, true, err
	}
	r, _, err := e.record(ctx, id)
	return false, err != nil || r != nil, err
}
