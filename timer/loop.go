package timer

import (
	"container/heap"
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// Start begins to wait: ticks from now on are called, those before never are.
func (s *Scheduler) Start() {
	s.begun.Do(func() {
		s.plan(s.cfg.Now())
		go s.run()
	})
}

// Halt ends the waiting: nothing is due any more. Calls that are being handed over go on, without retries.
func (s *Scheduler) Halt() {
	if s == nil {
		return
	}
	s.begun.Do(func() { close(s.loop) }) // it never began
	s.stop()
	<-s.loop
}

// Wait waits until the calls that are being handed over have been, or ctx ends, which gives them up. Halt comes first.
func (s *Scheduler) Wait(ctx context.Context) {
	if s == nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.sender.running.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	s.sender.giveUp()
	<-done
	for _, t := range s.sender.takeRetries() {
		s.failed(t, errors.Join(errStopping, t.err))
	}
}

// plan makes the agenda anew. Tries of ticks stay, and come now: their times may be of a clock that was set back since.
func (s *Scheduler) plan(now time.Time) {
	kept := s.agenda[:0]
	for _, e := range s.agenda {
		if e.retry != nil {
			e.at = now
			kept = append(kept, e)
		}
	}
	s.agenda = kept
	for _, t := range s.cfg.Timers {
		if at := t.Next(now); !at.IsZero() {
			s.agenda = append(s.agenda, entry{at: at, timer: t})
		}
	}
	heap.Init(&s.agenda)
	s.seen = now
}

// run is the loop: one goroutine with one timer for all.
func (s *Scheduler) run() {
	defer close(s.loop)
	defer s.abandon()
	for {
		now := s.cfg.Now()
		if now.Round(0).Before(s.seen.Round(0).Add(-grace)) {
			s.cfg.Log.Warn("the clock was set back: timers are due by what it shows now", zap.Time("before", s.seen))
			s.plan(now)
		}
		s.seen = now
		s.turn(now)
		sleep := mostSleep
		if len(s.agenda) > 0 {
			sleep = min(max(s.agenda[0].at.Sub(s.cfg.Now()), 0), mostSleep)
		}
		rings, stop := s.cfg.After(sleep)
		select {
		case <-rings:
		case <-s.wake:
			stop()
		case <-s.halt.Done():
			stop()
			return
		}
	}
}

// turn hands over what is due.
func (s *Scheduler) turn(now time.Time) {
	for _, t := range s.sender.takeRetries() {
		if at, ok := t.again(now); ok {
			s.causes.Warn("the call of a timer cannot be queued yet, and is tried again until the next tick", t.err, t.fields()...)
			heap.Push(&s.agenda, entry{at: at, timer: t.timer, retry: t})
		} else {
			s.failed(t, t.err)
		}
	}
	var p missed
	for len(s.agenda) > 0 && !s.agenda[0].at.After(now) && s.halt.Err() == nil {
		e := s.agenda[0]
		if e.retry != nil {
			heap.Pop(&s.agenda)
			s.hand(e.retry)
			continue
		}
		at := e.at
		if now.Sub(at) > grace {
			at = p.skip(e, now)
		}
		next := e.timer.Next(now)
		if !at.IsZero() {
			next = e.timer.Next(at)
			s.hand(&tick{timer: e.timer, at: at, next: next})
		}
		if next.IsZero() {
			heap.Pop(&s.agenda)
			continue
		}
		s.agenda[0].at = next
		heap.Fix(&s.agenda, 0)
	}
	if p.ticks > 0 {
		s.counts.missed.Add(p.ticks)
		p.log(s.cfg.Log)
	}
}

// abandon ends the ticks that would be tried again, once the loop has ended.
func (s *Scheduler) abandon() {
	for _, e := range s.agenda {
		if e.retry != nil {
			s.failed(e.retry, errors.Join(errStopping, e.retry.err))
		}
	}
	s.agenda = nil
}
