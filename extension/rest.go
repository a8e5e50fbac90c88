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
	// subscribeTime is how long after the last registration a subscription may come from an extension that is idle
	// meanwhile: it may wait for something that is no process here.
	subscribeTime = time.Second
)

// AwaitSubscription waits until an extension has subscribed to telemetry. It ends without one when none is registered,
// when subscribeTime has passed since the last registration and all that are registered have been idle for a moment, or
// when ctx ends. An extension has to register before it subscribes, and may be slow in between: as long as its
// processes run, or wait for a processor, it is not idle. Those that were started are waited for as WaitReady does: the
// function may have failed before they registered. It is for commands that stop right after their calls.
func (h *Host) AwaitSubscription(ctx context.Context) {
	if h.cfg.Stream.Subscribed() {
		return
	}
	h.awaitRegistrations(ctx)
	tick := time.NewTicker(restPoll)
	defer tick.Stop()
	var last process.Activity
	began := time.Now()
	for h.Registered() > 0 && !h.cfg.Stream.Subscribed() {
		now := h.activity()
		if used := now.Used - last.Used; now.Busy || used > restUse || used < 0 { // less than before: a thread has ended
			began, last = time.Now(), now
		}
		if time.Since(began) >= restTime && time.Since(h.lastRegistration()) >= subscribeTime {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// awaitRegistrations waits until those that were started have registered or ended, or the time for that is over.
func (h *Host) awaitRegistrations(ctx context.Context) {
	h.mu.Lock()
	left := time.Until(h.waitEnd)
	h.mu.Unlock()
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-h.settled:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// lastRegistration is when the last extension got a seat.
func (h *Host) lastRegistration() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.registeredAt
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
