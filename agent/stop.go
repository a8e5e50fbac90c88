package agent

import (
	"context"
	"errors"
	"fmt"
	"gantry/fault"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
)

const (
	// watchdogGrace is how long after GANTRY_SHUTDOWN_TIMEOUT the program ends, whatever the stop still waits for.
	watchdogGrace = time.Second
)

// Forced is the error of a start or stop that a second signal cut short.
type Forced struct{ Signal syscall.Signal }

// Error names the signal.
func (e *Forced) Error() string { return "forced by a second signal: " + e.Signal.String() }

// stop is the staged stop against one absolute deadline: timers, not ready, calls in flight, workers, extensions, log,
// listeners. A second signal forces it. This goroutine waits for nothing but that, the stop's end, and the watchdog's
// time.
func (s *serving) stop(reason string) error {
	began := time.Now()
	if s.wish.made() {
		began = s.wish.since
	}
	watchdog := time.NewTimer(time.Until(began.Add(s.cfg.ShutdownTimeout + watchdogGrace)))
	defer watchdog.Stop()
	done := make(chan error, 1)
	go func() { done <- s.staged(began, reason) }()
	for {
		select {
		case err := <-done:
			return err
		case sig := <-s.signals:
			if s.wish.forced(sig, time.Now()) {
				s.abandon()
				return &Forced{sig.(syscall.Signal)}
			}
		case <-watchdog.C:
			s.abandon()
			return fault.Mark(fault.Timeout, fmt.Errorf(
				"the stop did not end within GANTRY_SHUTDOWN_TIMEOUT (%s): everything is killed", s.cfg.ShutdownTimeout,
			))
		}
	}
}

// abandon kills every child and gives the log a moment. It waits for no lock: the kill runs beside it.
func (s *serving) abandon() {
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		s.supervisor.KillAll()
	}()
	timer := time.NewTimer(killLimit)
	defer timer.Stop()
	select {
	case <-killed:
	case <-timer.C:
	}
	s.own.Close(time.Now().Add(lastWrite))
}

// staged is the stop itself. Its error names what could not be ended.
func (s *serving) staged(began time.Time, reason string) error {
	plan := schedule{began, s.cfg.ShutdownTimeout, s.log}
	s.timers.Halt()
	for _, server := range s.callers {
		server.Drain()
	}
	plan.run("calls in flight", func(until time.Time) {
		ctx, cancel := context.WithDeadline(context.Background(), until)
		defer cancel()
		s.queue.pause()
		s.pollers.stop(ctx)
		if err := s.instance.Drain(ctx); err != nil {
			s.log.Warn("calls are cut off: they did not end in time", zap.Int("in_flight", s.instance.InFlight()))
		}
		s.timers.Wait(ctx)
	})
	plan.run("workers", s.instance.Stop)
	plan.run("queue", s.queue.stop)
	plan.run("last answers", s.lastAnswers)
	s.closeAfterInstance(began.Add(s.cfg.ShutdownTimeout), reason)
	left := s.supervisor.Left()
	if len(left) == 0 {
		s.log.Info("stopped", zap.Duration("took", time.Since(began)))
	}
	s.own.Close(time.Now().Add(lastWrite))
	if len(left) > 0 {
		return fault.Mark(fault.Timeout, errors.New(
			"stopped, but not all that was started has ended in time: "+strings.Join(left, ", "),
		))
	}
	return nil
}

// lastAnswers ends the listeners of callers.
func (s *serving) lastAnswers(until time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	for _, server := range s.callers {
		if err := server.Shutdown(ctx); err != nil {
			s.log.Debug("connections left", zap.String("listener", server.Name()), zap.Error(err))
		}
	}
}
