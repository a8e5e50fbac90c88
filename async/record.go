package async

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
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

// changes holds every legal change of a status; all others are refused. Running follows Running when the attempt before
// never reported an outcome, Wait follows Wait when a call found no slot. A final status has no row.
var changes = map[Status][]Status{
	Wait:    {Running, Wait, Fail, Discard},
	Running: {Running, Wait, Success, Fail, Discard},
}

// change is the only place that sets the status. A record that is not stored yet waits.
func (r *Record) change(to Status) error {
	from := cmp.Or(r.Status, Wait)
	if !slices.Contains(changes[from], to) {
		return fmt.Errorf("request %s: no change from %s to %s", r.RequestID, from, to)
	}
	r.Status = to
	return nil
}

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
	// Due is when the next attempt may begin, for a consumer that has lost the delay.
	Due time.Time `json:"due,omitzero"`
	// in is where it is stored; nil means where new ones are.
	in *layout
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

// next is the request that a destination made of an outcome.
type next struct {
	// Prefix is of the function's subjects on the same cluster; empty at an agent that is reached by its platform API.
	Prefix    string `json:"prefix,omitempty"`
	URN       string `json:"urn"`
	RequestID string `json:"request_id"`
}

// pending is an outcome message that is not in its queue yet. It is stored with the outcome, so that neither is lost
// alone.
type pending struct {
	Destination Destination     `json:"destination"`
	Hops        int             `json:"hops,omitempty"`
	Text        json.RawMessage `json:"text"`
}
