package telemetry

import "sync/atomic"

// reason is why events did not reach the subscriber.
type reason uint8

const (
	overflow    reason = iota // they came faster than they were taken
	undelivered               // the subscriber did not take them
	feedback                  // the subscriber's own lines, too many
	abandoned                 // the subscription or the instance ended first
	unasked                   // there was no subscriber: no loss
	reasons
)

var reasonNames = [reasons]string{"overflow", "undelivered", "feedback", "abandoned", "unasked"}

// ReasonNames is the closed list of why telemetry events are dropped.
func ReasonNames() []string { return reasonNames[:] }

var reasonTexts = [reasons]string{
	"events came faster than the subscriber took them", "the subscriber did not take them",
	"the subscriber's own lines: too many in one batch", "the subscription ended before they were delivered",
	"there was no subscriber, and only a little is kept for one",
}

func (r reason) text() string { return reasonTexts[r] }

// drops counts dropped events that have not been reported yet.
type drops struct {
	reason         reason
	records, bytes int64
}

// Counts is what became of all telemetry events so far that were for the subscriber; Accepted is Delivered plus all
// Dropped plus what is still on its way.
type Counts struct {
	Accepted, Delivered int64
	Dropped             map[string]int64
}

type counters struct {
	accepted, delivered atomic.Int64
	dropped             [reasons]atomic.Int64
}
