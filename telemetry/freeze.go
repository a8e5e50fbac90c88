package telemetry

import (
	"context"
	"time"
)

// Freeze records that the subscriber's process is stopped, or goes on. Nothing is sent to it meanwhile, and a request
// that it left unanswered does not count as a failed attempt.
func (s *Stream) Freeze(stopped bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case stopped && s.thawed == nil:
		s.thawed = make(chan struct{})
		s.stops++
	case !stopped && s.thawed != nil:
		close(s.thawed)
		s.thawed = nil
	}
}

// awake waits while the subscriber is stopped, until ctx ends, and returns how often it was stopped so far.
func (s *Stream) awake(ctx context.Context) int {
	for {
		s.mu.Lock()
		thawed, stops := s.thawed, s.stops
		s.mu.Unlock()
		if thawed == nil {
			return stops
		}
		select {
		case <-thawed:
		case <-ctx.Done():
			return stops
		}
	}
}

// waitedFor is the least duration of an attempt that a stopped subscriber left unanswered. A shorter one was refused,
// which a stopped process cannot do.
const waitedFor = time.Second

// excused reports whether an attempt failed because the subscriber was stopped meanwhile.
func (s *Stream) excused(began time.Time, stops int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stops != stops && time.Since(began) >= waitedFor
}
