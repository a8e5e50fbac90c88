package agent

import (
	"fmt"
	"time"
)

// How a worker's time ended.
type ending uint8

const (
	neverStarted ending = iota // load or initializer failed, or the process could not be started
	crashed                    // the process ended while it was ready
	retired                    // we took it out: a call timed out, or a reload
	canceled                   // we killed it, with a call that was canceled
)

const (
	maxAttempts   = 3 // docs/COMPATIBILITY.md
	firstBackoff  = 100 * time.Millisecond
	maxBackoff    = 5 * time.Second
	healthyUptime = time.Minute // after which earlier crashes are forgotten
)

// history is what is known about a worker slot.
type history struct{ attempts, crashes int }

// decision says what happens next, and why in words.
type decision struct {
	fail   bool
	delay  time.Duration
	reason string
}

// decide is the whole restart policy. It changes h and uses no clock.
func (h *history) decide(how ending, uptime time.Duration) decision {
	switch how {
	case neverStarted:
		h.attempts++
		if h.attempts >= maxAttempts {
			return decision{fail: true, reason: fmt.Sprintf("the function could not be loaded or initialised in %d attempts", h.attempts)}
		}
		return decision{reason: fmt.Sprintf("attempt %d of %d failed", h.attempts, maxAttempts)}
	case crashed:
		h.attempts = 0
		if uptime >= healthyUptime {
			h.crashes = 0
		}
		h.crashes++
		delay := time.Duration(0)
		if h.crashes > 1 {
			delay = min(maxBackoff, firstBackoff<<min(h.crashes-2, 16))
		}
		return decision{delay: delay, reason: fmt.Sprintf("the worker crashed after %s", uptime.Round(time.Millisecond))}
	case canceled:
		h.attempts = 0
		return decision{reason: "a call was canceled, and the worker with it"}
	default:
		h.attempts = 0
		return decision{reason: "the worker was retired"}
	}
}
