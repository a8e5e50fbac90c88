package extension

import (
	"context"
	"fmt"
	"gantry/fault"
	"slices"
	"strings"
	"time"
)

const (
	// restartPause is the pause before the first restart; it doubles with each that follows, maxRestarts of them at most.
	restartPause = 500 * time.Millisecond
	maxRestarts  = 5
	// healthyTime is after how long earlier ends are forgotten.
	healthyTime = time.Minute
)

// attempts counts the starts of one extension, and those that failed in a row for a reason that can pass.
type attempts struct{ restarts, shortages int }

// short returns the pause before the next try of a start that failed for a reason that can pass. There is no last one.
func (a *attempts) short() time.Duration {
	pause := restartPause << min(a.shortages, maxRestarts-1)
	a.shortages++
	return pause
}

// next decides whether an extension that ended after that time is started anew, and when. It uses no clock.
func (a *attempts) next(lived time.Duration, wanted bool) (again bool, pause time.Duration) {
	if lived >= healthyTime {
		a.restarts = 0
	}
	if !wanted || a.restarts == maxRestarts {
		return false, 0
	}
	pause = restartPause << a.restarts
	a.restarts++
	return true, pause
}

// TypeRequired is the error type of a call, or a start, without an extension that is required.
const TypeRequired = "Extension.RequiredMissing"

// Complete waits until every required extension is registered, as long as WaitReady waits, or until ctx ends. The error
// is a *fault.Error. The agent asks before every call.
func (h *Host) Complete(ctx context.Context) error {
	if h.missing.Load() == 0 {
		return nil
	}
	timer := time.NewTimer(h.cfg.Wait)
	defer timer.Stop()
	for {
		h.mu.Lock()
		arrived := h.arrived
		h.mu.Unlock()
		if h.missing.Load() == 0 {
			return nil
		}
		select {
		case <-arrived:
		case <-timer.C:
			return h.whoIsMissing(fault.Unavailable)
		case <-h.stop:
			return h.whoIsMissing(fault.Unavailable)
		case <-ctx.Done():
			return h.whoIsMissing(fault.Unavailable)
		}
	}
}

// Incomplete says which required extensions are missing now, or nil. For readiness.
func (h *Host) Incomplete() error {
	if h.missing.Load() == 0 {
		return nil
	}
	return h.whoIsMissing(fault.Unavailable)
}

func (h *Host) whoIsMissing(kind fault.Kind) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for name, there := range h.required {
		if !there {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	code := fault.CodeUnavailable
	if kind == fault.Init {
		code = fault.CodeStartTimeout
	}
	return &fault.Error{
		Kind: kind,
		Type: TypeRequired,
		Code: code,
		Message: fmt.Sprintf(
			"extension %s is required and not registered (GANTRY_EXTENSION_REQUIRED)",
			strings.Join(names, ", "),
		),
	}
}
