package async

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Records lists requests in the order of their acceptance.
func (q *Queue) Records(ctx context.Context, f *Filter) (*Page, error) {
	e, err := q.engine(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	found := map[string]Record{}
	if err := e.waiting(ctx, f, found); err != nil {
		return nil, unavailable("the queue cannot be listed", err)
	}
	if err := e.recorded(ctx, f, found); err != nil {
		return nil, unavailable("the records cannot be listed", err)
	}
	oldest := q.cfg.Now().Add(-q.cfg.Retention)
	ids := make([]string, 0, len(found)) // sorting these links less than sorting records
	for id, r := range found {
		if f.Status != "" && r.Status != f.Status || f.Active && r.Ended() || r.Status.final() && r.End.Before(oldest) {
			continue
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	p := &Page{Count: len(ids)}
	from := min(max(f.Offset, 0), len(ids))
	to := min(from+f.Limit, len(ids))
	p.Records = make([]Record, 0, to-from)
	for _, id := range ids[from:to] {
		p.Records = append(p.Records, found[id])
	}
	if to < len(ids) {
		p.Next = to
	}
	return p, nil
}

// waiting adds the requests whose events are in the queue.
func (e *engine) waiting(ctx context.Context, f *Filter, found map[string]Record) error {
	ctx, cancel := context.WithTimeout(ctx, listAnswer)
	defer cancel()
	for _, id := range f.IDs {
		msg, _, err := e.storedEvent(ctx, id)
		if err != nil {
			return err
		}
		if msg != nil && f.takes(id) {
			found[id] = Record{RequestID: id, Status: Wait}
		}
	}
	if len(f.IDs) > 0 {
		return nil
	}
	for _, l := range e.layouts() {
		err := e.eachSubject(ctx, l.events, l.event+"*", func(subject string) {
			if id := lastToken(subject); f.takes(id) {
				found[id] = Record{RequestID: id, Status: Wait}
			}
		})
		if err != nil && !e.gone(ctx, l, l.events, err) {
			return err
		}
	}
	return nil
}

// recorded adds, over those, the requests with a record.
func (e *engine) recorded(ctx context.Context, f *Filter, found map[string]Record) error {
	for _, id := range f.IDs {
		r, _, err := e.record(ctx, id)
		if err != nil {
			return err
		}
		if r != nil && f.takes(id) {
			found[id] = *r
		}
	}
	if len(f.IDs) > 0 {
		return nil
	}
	layouts := e.layouts()
	slices.Reverse(layouts) // a record that was moved is in both
	for _, l := range layouts {
		err := e.eachRecord(ctx, l, func(id string, text []byte) error {
			if !f.takes(id) {
				return nil
			}
			r, err := readRecord(id, text)
			if err == nil {
				found[id] = *r
			}
			return err
		})
		if err != nil && !e.gone(ctx, l, l.records, err) {
			return err
		}
	}
	return nil
}

func readRecord(id string, text []byte) (*Record, error) {
	r := &Record{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("record %s: %w", id, err)
	}
	r.RequestID = id
	return r, nil
}

// record returns the stored record of a request and its revision; nil and 0 if it has none.
func (e *engine) record(ctx context.Context, id string) (*Record, uint64, error) {
	if _, ok := acceptedAt(id); !ok {
		return nil, 0, nil
	}
	for _, l := range e.layouts() {
		r, revision, err := e.recordIn(ctx, l, id)
		if e.gone(ctx, l, l.records, err) { // what was there has been moved since the first look
			return e.recordIn(ctx, e.lay, id)
		}
		if r != nil || err != nil {
			return r, revision, err
		}
	}
	return nil, 0, nil
}

// recordIn is record in one layout.
func (e *engine) recordIn(ctx context.Context, l *layout, id string) (*Record, uint64, error) {
	msg, err := e.last(ctx, l.records, l.record+id)
	if err != nil || msg == nil || len(msg.Data) == 0 {
		return nil, 0, err
	}
	r, err := readRecord(id, msg.Data)
	if r != nil {
		r.in = l
	}
	return r, msg.Sequence, err
}

// write stores a record over the revision that was read; 0 for none. It returns the new revision. An outcome message
// that makes the record too large, for the servers or for what is left in the stream, loses its payloads: an outcome is
// always recorded.
func (e *engine) write(ctx context.Context, r *Record, revision uint64) (uint64, error) {
	written, err := e.put(ctx, r, revision)
	for noRoom(err) && e.lighten(r, err) {
		written, err = e.put(ctx, r, revision)
	}
	if noRoom(err) {
		e.unrecorded.Store(e.q.cfg.Now().UnixNano())
	} else if err == nil {
		e.unrecorded.Store(0)
	}
	return written, err
}

// noRoom reports whether a smaller message could be stored where this one was not.
func noRoom(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, nats.ErrMaxPayload) || errors.As(err, &api) && full(api)
}

// put is one try of write.
func (e *engine) put(ctx context.Context, r *Record, revision uint64) (uint64, error) {
	text, err := plainJSON(r)
	if err != nil {
		return 0, err
	}
	if l := r.in; l != nil && l.ownRecords() {
		return e.replace(ctx, e.kvPrefix()+l.record+r.RequestID, text, revision)
	}
	age := e.q.cfg.Retention + recordGrace
	return e.replace(ctx, e.lay.record+r.RequestID, text, revision, jetstream.WithMsgTTL(age))
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
