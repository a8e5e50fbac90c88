package async

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/fault"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Status is where a request is (page functiongraph_06_0112_00_3).
type Status string

// The platform's five.
const (
	Wait    Status = "WAIT"
	Running Status = "RUNNING"
	Success Status = "SUCCESS"
	Fail    Status = "FAIL"
	Discard Status = "DISCARD"
)

// Statuses is the closed list.
func Statuses() []Status { return []Status{Wait, Running, Success, Fail, Discard} }

// final statuses never change again, and their requests never run again.
func (s Status) final() bool { return s == Success || s == Fail || s == Discard }

// Record is what is known of one request. A request that has not been started yet has none stored: it is Wait because
// its event is in the queue.
type Record struct {
	RequestID    string    `json:"-"`
	Status       Status    `json:"status"`
	ErrorCode    int       `json:"errorCode,omitempty"`
	ErrorMessage string    `json:"errorMessage,omitempty"`
	Start        time.Time `json:"start,omitzero"` // of the latest attempt
	End          time.Time `json:"end,omitzero"`   // of the last one
	Attempts     attempts  `json:"attempts"`
	// Pending is an outcome message that is not in its queue yet.
	Pending *pending `json:"pending,omitempty"`
	// Next is the request that a destination made of the outcome.
	Next *next `json:"next,omitempty"`
}

// Started is the start of the latest attempt, or before the first one the acceptance.
func (r *Record) Started() time.Time {
	if r.Start.IsZero() {
		at, _ := acceptedAt(r.RequestID)
		return at
	}
	return r.Start
}

// Ended reports whether there is an outcome.
func (r *Record) Ended() bool { return r.Status.final() }

// acceptedAt reads the time of acceptance out of a request id: ids are UUIDs of version 7, made here and nowhere else.
func acceptedAt(id string) (time.Time, bool) {
	u, err := uuid.Parse(id)
	if err != nil || u.Version() != 7 || u.String() != id {
		return time.Time{}, false
	}
	sec, nsec := u.Time().UnixTime()
	return time.Unix(sec, nsec).UTC(), true
}

// Filter chooses records. A zero field matches everything.
type Filter struct {
	IDs    []string
	Status Status
	// Active leaves out requests that have an outcome.
	Active bool
	// Begin and End bound the time of acceptance.
	Begin, End time.Time
	// Offset and Limit are the page.
	Offset, Limit int
}

func (f *Filter) takes(id string) bool {
	at, ok := acceptedAt(id)
	switch {
	case !ok, len(f.IDs) > 0 && !slices.Contains(f.IDs, id):
		return false
	case !f.Begin.IsZero() && at.Before(f.Begin), !f.End.IsZero() && at.After(f.End):
		return false
	}
	return true
}

// Page is a part of what a filter found. Next is the offset of the next page, 0 at the end.
type Page struct {
	Records     []Record
	Count, Next int
}

const (
	// listTimeout bounds one listing.
	listTimeout = 30 * time.Second
	// listAnswer bounds its first answer: without a quorum there is none.
	listAnswer = 10 * time.Second
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
	all := make([]Record, 0, len(found))
	for _, r := range found {
		if f.Status != "" && r.Status != f.Status || f.Active && r.Ended() || r.Status.final() && r.End.Before(oldest) {
			continue
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Record) int { return strings.Compare(a.RequestID, b.RequestID) })
	p := &Page{Count: len(all)}
	from := min(max(f.Offset, 0), len(all))
	to := min(from+f.Limit, len(all))
	p.Records = all[from:to]
	if to < len(all) {
		p.Next = to
	}
	return p, nil
}

// waiting adds the requests whose events are in the queue.
func (e *engine) waiting(ctx context.Context, f *Filter, found map[string]Record) error {
	filter := e.subject("*")
	if len(f.IDs) == 1 {
		filter = e.subject(f.IDs[0])
	}
	ctx, cancel := context.WithTimeout(ctx, listAnswer)
	defer cancel()
	info, err := e.events.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return err
	}
	for subject := range info.State.Subjects {
		if id := subject[strings.LastIndexByte(subject, '.')+1:]; f.takes(id) {
			found[id] = Record{RequestID: id, Status: Wait}
		}
	}
	return nil
}

// recorded adds, over those, the requests with a record.
func (e *engine) recorded(ctx context.Context, f *Filter, found map[string]Record) error {
	if len(f.IDs) > 0 {
		for _, id := range f.IDs {
			r, _, err := e.record(ctx, id)
			if err != nil {
				return err
			}
			if r != nil && f.takes(id) {
				found[id] = *r
			}
		}
		return nil
	}
	watcher, err := e.records.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return err
	}
	defer func() { _ = watcher.Stop() }() // the listing is done
	for {
		select {
		case entry := <-watcher.Updates():
			if entry == nil { // all that was there
				return nil
			}
			if !f.takes(entry.Key()) {
				continue
			}
			r, err := readRecord(entry.Key(), entry.Value())
			if err != nil {
				return err
			}
			found[r.RequestID] = *r
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func readRecord(id string, text []byte) (*Record, error) {
	r := &Record{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("record %s: %w", id, err)
	}
	r.RequestID = id
	return r, nil
}

// record returns the stored record of a request and its revision; nil and 0 if it has none. On a cluster only the
// leader is asked: any other copy may lag, and a request with an outcome would run again, or it cannot be reached, and
// the read takes until its timeout.
func (e *engine) record(ctx context.Context, id string) (*Record, uint64, error) {
	if _, ok := acceptedAt(id); !ok {
		return nil, 0, nil
	}
	bucket := e.records.Bucket()
	msg, err := e.leader.GetLastMsg("KV_"+bucket, "$KV."+bucket+"."+id, nats.Context(ctx))
	if errors.Is(err, nats.ErrMsgNotFound) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	r, err := readRecord(id, msg.Data)
	return r, msg.Sequence, err
}

// errOvertaken says that another writer has changed the record meanwhile.
var errOvertaken = errors.New("the record was changed by another agent")

// write stores a record over the revision that was read; 0 for none. It returns the new revision. An outcome message
// that makes the record too large, for the servers or for what is left in the bucket, loses its payloads: an outcome is
// always recorded.
func (e *engine) write(ctx context.Context, r *Record, revision uint64) (uint64, error) {
	written, err := e.put(ctx, r, revision)
	for noRoom(err) && e.lighten(r, err) {
		written, err = e.put(ctx, r, revision)
	}
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		var api *jetstream.APIError
		if errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant {
			pause(ctx, fetchPause) // a cluster is still copying the other write: it cannot be read yet
		}
		return 0, errOvertaken
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
	if revision == 0 {
		return e.records.Create(ctx, r.RequestID, text)
	}
	return e.records.Update(ctx, r.RequestID, text, revision)
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func unavailable(message string, err error) *fault.Error {
	return &fault.Error{
		Kind:    fault.Unavailable,
		Type:    fault.TypeQueue,
		Code:    fault.CodeUnavailable,
		Message: "asynchronous invocation is not available: " + message,
		Err:     err,
	}
}
