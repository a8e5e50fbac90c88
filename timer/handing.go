package timer

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// hand queues a tick for a sender, and starts one if there are too few.
func (s *Scheduler) hand(t *tick) {
	d := &s.sender
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) >= mostWaiting {
		s.failed(t, errOverflow)
		return
	}
	d.waiting = append(d.waiting, t)
	if d.active < mostSenders {
		d.active++
		d.running.Go(s.send)
	}
}

// send hands over what waits, one after the other.
func (s *Scheduler) send() {
	for {
		t := s.sender.take()
		if t == nil {
			return
		}
		if now := s.cfg.Now(); t.late(now) {
			s.failed(t, errLate)
			continue
		}
		if err := s.try(t); err != nil {
			s.sender.keep(t, err)
			select {
			case s.wake <- struct{}{}:
			default: // it is awake
			}
		}
	}
}

// try hands a tick over.
func (s *Scheduler) try(t *tick) error {
	ctx, cancel := context.WithTimeout(s.sender.tries, tryLimit)
	defer cancel()
	id := t.timer.RequestID(t.at)
	first, err := s.cfg.Queue(ctx, id, t.timer.Event(t.at))
	if err != nil {
		return err
	}
	fields := append(t.fields(), zap.String("request_id", id))
	if !t.next.IsZero() {
		fields = append(fields, zap.String("next", t.next.Format(time.RFC3339Nano)))
	}
	if first {
		s.counts.queued.Add(1)
		s.cfg.Log.Info("timer tick accepted", fields...)
	} else {
		s.counts.elsewhere.Add(1)
		s.cfg.Log.Debug("timer tick accepted by another agent", fields...)
	}
	return nil
}

// failed ends a tick whose call is not handed over any more.
func (s *Scheduler) failed(t *tick, err error) {
	s.counts.failed.Add(1)
	s.causes.Warn("a tick of a timer is lost: its call could not be queued before the next one", err, t.fields()...)
}
