package telemetry

import (
	"context"
	"time"
)

// Subscribe makes sub the subscriber: it gets what was kept for it, in order, and everything from now on. False if
// there is another one, or the stream is closed.
func (s *Stream) Subscribe(sub *Subscriber) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sub != nil || s.closed {
		return false
	}
	if s.window != nil {
		s.window.Stop()
		s.window = nil
	}
	sub.ctx, sub.stop = context.WithCancel(context.Background())
	sub.wake = make(chan struct{}, 1)
	s.sub, s.own, s.served = sub, 0, true
	s.want(sub.Types)
	s.omitUnwanted(sub.Types)
	if sub.Envelope && sub.Types&TypePlatform != 0 {
		s.counts.accepted.Add(1)
		s.push(&Event{Kind: subscribed, Begin: time.Now(), Extension: sub.Name, types: sub.Types})
		s.published(false)
	}
	s.flush = s.seq
	s.loops.Go(func() { s.run(sub) })
	return true
}
