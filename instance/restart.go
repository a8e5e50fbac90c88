package instance

import (
	"fmt"
	"time"
)

// How a worker's time ended.
type ending uint8

const (
	neverStarted ending = iota // load or initializer failed, or the process could not be started
	unusable                   // likewise, and another attempt cannot change that: the code itself is wrong
	short                      // the process could not be started for a reason that can pass: process.Transient
	crashed                    // the process ended while it was ready, before it had answered any call
	spent                      // likewise, after it had answered calls
	retired                    // we took it out: a call timed out, or a reload
	canceled                   // we killed it, with a call that was canceled
)

const (
	maxAttempts   = 3 // docs/COMPATIBILITY.md
	firstBackoff  = 100 * time.Millisecond
	maxBackoff    = 5 * time.Second
	healthyUptime = time.Minute // after which earlier crashes are forgotten
)

// history is what is known about a worker position.
type history struct{ attempts, crashes, shortages int }

// decision says what happens next, and why in words.
type decision struct {
	fail   bool
	delay  time.Duration
	reason string
}

// decide is the whole restart policy. It changes h and uses no clock.
func (h *history) decide(how ending, uptime time.Duration) decision {
	if how == short {
		h.shortages++
		return decision{
			delay:  backoff(h.shortages),
			reason: "the machine is short of processes, memory or descriptors, or storage does not answer",
		}
	}
	h.shortages = 0
	switch how {
	case neverStarted, unusable:
		return h.decideStart(how)
	case spent: // each start was worth it, so no call waits longer than for the next one
		h.attempts, h.crashes = 0, 0
		return h.decideCrash(uptime)
	case crashed:
		h.attempts = 0
		if uptime >= healthyUptime {
			h.crashes = 0
		}
		return h.decideCrash(uptime)
	case canceled:
		h.attempts = 0
		return decision{reason: "a call was canceled, and the worker with it"}
	default:
		h.attempts = 0
		return decision{reason: "the worker was retired"}
	}
}

func (h *history) decideStart(how ending) decision {
	h.attempts++
	switch {
	case how == unusable:
		return decision{fail: true, reason: "the function's code cannot be used"}
	case h.attempts >= maxAttempts:
		return decision{
			fail:   true,
			reason: fmt.Sprintf("the function could not be loaded or initialised in %d attempts", h.attempts),
		}
	}
	return decision{reason: fmt.Sprintf("attempt %d of %d failed", h.attempts, maxAttempts)}
}

func (h *history) decideCrash(uptime time.Duration) decision {
	h.crashes++
	d := decision{reason: fmt.Sprintf("the worker crashed after %s", uptime.Round(time.Millisecond))}
	if h.crashes > 1 {
		d.delay = backoff(h.crashes - 1)
	}
	return d
}

// backoff is the delay before the nth repetition, from 1.
func backoff(n int) time.Duration { return min(maxBackoff, firstBackoff<<min(n-1, 16)) }
