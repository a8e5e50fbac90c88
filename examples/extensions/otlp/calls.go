package main

import (
	"strings"
	"sync"
	"time"
)

const (
	// noticeLimit is how long what happened in a call waits for the notice of the call, which has the caller's trace.
	// Both come on their own ways, usually within a millisecond.
	noticeLimit = 500 * time.Millisecond
	// maxCalls bounds the calls that are remembered. An instance runs 1,000 at once at most, and lines may come late.
	maxCalls = 4096
)

// call is one invocation, or the start of a worker, which has an id too but no place in a trace.
type call struct {
	id    string
	begun time.Time // when it was heard of first
	known chan struct{}

	mu sync.Mutex
	// What follows is final once known is closed.
	isKnown bool
	traced  bool
	urn     string
	// ids as hex, parent is empty without a caller's
	trace, span, parent string
	flags               uint32

	started, ended bool // the calls' mu guards them
}

// place is a call's place in a trace.
type place struct {
	urn, trace, span, parent string
	flags                    uint32
}

// settle makes the place final and returns it. It waits for the notice, but not for long. False if it has none.
func (c *call) settle() (place, bool) {
	timer := time.NewTimer(time.Until(c.begun.Add(noticeLimit)))
	defer timer.Stop()
	select {
	case <-c.known:
	case <-timer.C:
		c.know("", "")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return place{c.urn, c.trace, c.span, c.parent, c.flags}, c.traced
}

// know makes the place final, unless it is.
func (c *call) know(urn, traceparent string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isKnown {
		return
	}
	c.urn, c.span, c.traced, c.isKnown = urn, randomHex(8), true, true
	if trace, parent, sampled, ok := parseTraceparent(traceparent); ok {
		c.trace, c.parent, c.flags = trace, parent, flagsRemote
		if sampled {
			c.flags |= flagSampled
		}
	} else {
		c.trace, c.flags = randomHex(16), flagSampled
	}
	close(c.known)
}

// parseTraceparent reads the header of W3C's trace context; later versions may have more behind what is known.
func parseTraceparent(s string) (trace, parent string, sampled, ok bool) {
	if len(s) < 55 || len(s) > 55 && (s[:2] == "00" || s[55] != '-') || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return "", "", false, false
	}
	version, trace, parent, flags := s[:2], s[3:35], s[36:52], s[53:55]
	if !isHex(version+trace+parent+flags) || version == "ff" || strings.Trim(trace, "0") == "" ||
		strings.Trim(parent, "0") == "" {
		return "", "", false, false
	}
	return trace, parent, strings.IndexByte("13579bdf", flags[1]) >= 0, true
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// calls remembers the latest calls by id.
type calls struct {
	mu    sync.Mutex
	byID  map[string]*call
	order []*call // oldest first
	open  int     // started and not ended
}

func newCalls() *calls { return &calls{byID: map[string]*call{}} }

// noticed records the notification of a call.
func (cs *calls) noticed(id, urn, traceparent string) {
	cs.mu.Lock()
	c := cs.byID[id]
	// The notice may come after the end of a short call. One more is of another attempt of an asynchronous call, which
	// keeps its id.
	if c == nil || c.ended && is(c.known) {
		c = cs.add(id)
	}
	cs.mu.Unlock()
	c.know(urn, traceparent)
}

// of returns the call that an event belongs to, and notes what it says of it.
func (cs *calls) of(e *event) *call {
	if e.TraceID == "" {
		return nil
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.byID[e.TraceID]
	if c == nil || c.ended && e.Name == "platform.start" {
		c = cs.add(e.TraceID)
	}
	switch e.Name {
	case "platform.initStart":
		c.isStart()
	case "platform.start":
		if !c.started {
			c.started = true
			cs.open++
		}
	case "platform.report":
		cs.end(c)
	}
	return c
}

// isStart says that this is the start of a worker.
func (c *call) isStart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isKnown {
		c.isKnown = true
		close(c.known)
	}
}

// add is called with mu held.
func (cs *calls) add(id string) *call {
	if len(cs.order) == maxCalls {
		oldest := cs.order[0]
		cs.order[0] = nil
		cs.order = cs.order[1:]
		cs.end(oldest)
		if cs.byID[oldest.id] == oldest {
			delete(cs.byID, oldest.id)
		}
	}
	c := &call{id: id, begun: time.Now(), known: make(chan struct{})}
	cs.byID[id] = c
	cs.order = append(cs.order, c)
	return c
}

// end is called with mu held.
func (cs *calls) end(c *call) {
	if c.started && !c.ended {
		cs.open--
	}
	c.ended = true
}

// idle reports whether no call is in flight.
func (cs *calls) idle() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.open == 0
}
