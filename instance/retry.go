package instance

import (
	"gantry/fault"
	"time"
)

// Pauses before a failed instance is tried again. They double with each try that failed, and begin anew once a worker
// was ready.
const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// retry says when a failed instance is tried again: by the first call, or POST /init, after a pause. That call waits
// for the new worker; the others are answered with the stored reason. The zero value is that of an instance that has
// not failed. Instance.mu guards it.
type retry struct {
	pause time.Duration
	due   time.Time
	// final: the code itself is wrong, which only a reload can change.
	final bool
	// running is closed when the try under way has ended; nil without one.
	running chan struct{}
}

// failed takes note of a failure: of the instance, or of the try under way.
func (r *retry) failed(f *fault.Error, now time.Time) {
	r.end()
	r.final = f.Final
	r.pause = min(max(2*r.pause, firstPause), maxPause)
	r.due = now.Add(r.pause)
}

// end ends the try under way, if there is one.
func (r *retry) end() {
	if r.running != nil {
		close(r.running)
		r.running = nil
	}
}

// begin begins a try if one is due.
func (r *retry) begin(now time.Time) bool {
	if r.final || r.running != nil || now.Before(r.due) {
		return false
	}
	r.running = make(chan struct{})
	return true
}
