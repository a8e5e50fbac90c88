package extension

import (
	"context"
	"gantry/process"
	"time"
)

const (
	// restTime is how long extensions have to be idle until they count as having done what they do after their
	// registration.
	restTime = 200 * time.Millisecond
	restPoll = 10 * time.Millisecond
	// restUse is how much processor time they may use meanwhile: some look at the clock again and again.
	restUse = 5 * time.Millisecond
)

// AwaitSubscription waits until an extension has subscribed to telemetry, until all that are registered have been idle
// for a moment, or until ctx ends. An extension has to register before it subscribes, and may be slow in between: as
// long as its processes run, or wait for a processor, it is not idle. It is for tools that stop right after one call.
func (h *Host) AwaitSubscription(ctx context.Context) {
	tick := time.NewTicker(restPoll)
	defer tick.Stop()
	var last process.Activity
	began := time.Now()
	for h.Registered() > 0 && !h.cfg.Stream.Subscribed() {
		now := h.activity()
		if used := now.Used - last.Used; now.Busy || used > restUse || used < 0 { // less than before: a thread has ended
			began, last = time.Now(), now
		}
		if time.Since(began) >= restTime {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// activity sums up what the extensions that were started here do.
func (h *Host) activity() process.Activity {
	h.mu.Lock()
	var procs []*process.Process
	for _, e := range h.byName {
		if e.proc != nil {
			procs = append(procs, e.proc)
		}
	}
	h.mu.Unlock()
	var all process.Activity
	for _, p := range procs {
		a := p.Activity()
		all.Busy, all.Used = all.Busy || a.Busy, all.Used+a.Used
	}
	return all
}
