package telemetry

import (
	"context"

	"go.uber.org/zap"
)

// Flush sends everything that was published so far, and waits until it was delivered or dropped, or ctx ends.
func (s *Stream) Flush(ctx context.Context) {
	if s == nil {
		return
	}
	s.mu.Lock()
	if s.sub == nil || s.waiting() == 0 && s.sub.sending == 0 {
		s.mu.Unlock()
		return
	}
	s.flush = s.seq
	w := waiter{s.seq, make(chan struct{})}
	s.waiters = append(s.waiters, w)
	s.nudge()
	s.mu.Unlock()
	select {
	case <-w.left:
	case <-ctx.Done():
	}
}

// Close flushes until ctx ends, drops what is left, and takes nothing more. It waits for batches that are under way,
// which end with the context that Send has. If there was a subscriber, it logs what became of all events.
func (s *Stream) Close(ctx context.Context) {
	if s == nil {
		return
	}
	s.Flush(ctx)
	s.mu.Lock()
	s.closed = true
	s.taps.end()
	s.want(0)
	subscribed, served := s.sub != nil, s.served
	if subscribed {
		s.end()
	}
	s.discard(abandoned) // no subscriber took it
	if s.window != nil {
		s.window.Stop()
	}
	s.mu.Unlock()
	s.loops.Wait()
	c := s.Counts()
	fields := []zap.Field{
		zap.Int64("events", c.Accepted),
		zap.Int64("delivered", c.Delivered),
		zap.Any("dropped", c.Dropped),
	}
	switch {
	case !served:
	case subscribed && c.Accepted > c.Delivered,
		c.Accepted > c.Delivered+c.Dropped[reasonNames[abandoned]]+c.Dropped[reasonNames[unasked]]:
		s.log.Warn("telemetry was lost", fields...)
	case c.Accepted > c.Delivered: // a subscriber that ends may leave its last lines behind
		s.log.Info("telemetry ended", fields...)
	default:
		s.log.Debug("telemetry ended", fields...)
	}
}
