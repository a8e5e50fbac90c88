package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	// sameSignal is how long after the first signal to stop further ones count as that one: coreutils' timeout, for
	// example, signals the process and then its group.
	sameSignal = 250 * time.Millisecond
	// watchdogGrace is how long after GANTRY_SHUTDOWN_TIMEOUT the program ends, whatever the stop still waits for.
	watchdogGrace = time.Second
	// killLimit bounds the kill of all children by an exit that waits for nothing else. Those that it does not reach
	// die with the agent (PDEATHSIG).
	killLimit = 500 * time.Millisecond
	// lastWrite bounds the write of what is left of the agent's log, and that of the last line.
	lastWrite = 250 * time.Millisecond
)

// wish is what the signals have asked for so far. The zero value is none.
type wish struct{ since time.Time }

// made reports whether a signal has asked for a stop.
func (w *wish) made() bool { return !w.since.IsZero() }

// forced takes note of a signal that came now, and reports whether it is the second one to stop, which ends the program
// at once. One that follows the first within sameSignal is the same one.
func (w *wish) forced(sig os.Signal, now time.Time) bool {
	switch {
	case sig != unix.SIGTERM && sig != unix.SIGINT:
		return false
	case !w.made():
		w.since = now
		return false
	}
	return now.Sub(w.since) > sameSignal
}

// errForced is the cause of a stop that a second signal cut short.
type errForced struct{ sig syscall.Signal }

func (e errForced) Error() string { return "forced by a second signal: " + e.sig.String() }

// stop is the staged stop against one absolute deadline: not ready, calls in flight, workers, extensions, log,
// listeners. A second signal forces it. This goroutine waits for nothing but that, the stop's end, and the watchdog's
// time.
func (s *serving) stop(reason string) error {
	began := time.Now()
	if s.wish.made() {
		began = s.wish.since
	}
	watchdog := time.NewTimer(time.Until(began.Add(s.cfg.shutdownTimeout + watchdogGrace)))
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
				return &failure{128 + int(sig.(syscall.Signal)), errForced{sig.(syscall.Signal)}}
			}
		case <-watchdog.C:
			s.abandon()
			return &failure{exitStuck, fmt.Errorf("the stop did not end within GANTRY_SHUTDOWN_TIMEOUT (%s): everything is killed", s.cfg.shutdownTimeout)}
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
	// The last quarter belongs to the extensions, the quarter of a quarter before it to the worker's own end.
	limit := s.cfg.shutdownTimeout
	deadline := began.Add(limit)
	at := func(sixteenths float64) time.Time {
		return began.Add(time.Duration(float64(limit) / 16 * sixteenths))
	}
	for _, server := range s.callers {
		server.Drain()
	}
	s.stage("calls in flight", at(11.5), func() {
		ctx, cancel := context.WithDeadline(context.Background(), at(11))
		defer cancel()
		s.queue.pause()
		s.pollers.stop(ctx)
		if err := s.agent.Drain(ctx); err != nil {
			s.log.Warn("calls are cut off: they did not end in time", zap.Int("in_flight", s.agent.InFlight()))
		}
	})
	s.stage("workers", at(12.5), func() { s.agent.Stop(at(12)) })
	s.stage("queue", at(13.5), func() { s.queue.stop(at(13)) })
	s.stage("last answers", at(14.5), s.lastAnswers) // while extensions still run
	s.closeAfterAgent(deadline, reason)
	left := s.supervisor.Left()
	if len(left) == 0 {
		s.log.Info("stopped", zap.Duration("took", time.Since(began)))
	}
	s.own.Close(time.Now().Add(lastWrite))
	if len(left) > 0 {
		return &failure{exitStuck, errors.New("stopped, but not all that was started has ended in time: " + strings.Join(left, ", "))}
	}
	return nil
}

// lastAnswers ends the listeners of callers.
func (s *serving) lastAnswers() {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.shutdownTimeout/16)
	defer cancel()
	for _, server := range s.callers {
		if err := server.Shutdown(ctx); err != nil {
			s.log.Debug("connections left", zap.String("listener", server.Name()), zap.Error(err))
		}
	}
}

// stage runs one stage of the stop, until it has ended or latest has come: the next one begins at its time, whatever
// this one waits for.
func (in *instance) stage(name string, latest time.Time, run func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		run()
	}()
	timer := time.NewTimer(time.Until(latest))
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		in.log.Warn("the stop goes on: a stage has not ended in its time", zap.String("stage", name))
	}
}

// close ends the instance without listeners of callers: workers first, then the rest.
func (in *instance) close(deadline time.Time, reason string) {
	left := time.Until(deadline)
	in.stage("workers", deadline.Add(-left*7/32), func() { in.agent.Stop(deadline.Add(-left / 4)) })
	in.closeAfterAgent(deadline, reason)
	in.own.Close(time.Now().Add(lastWrite))
}

// closeAfterAgent is the end of the stop, once the workers had their time: what the extensions have not got yet,
// extensions, then the function's log, the supervisor last.
func (in *instance) closeAfterAgent(deadline time.Time, reason string) {
	left := max(time.Until(deadline), 0)
	in.stage("notifications and telemetry", deadline.Add(-left*7/16), func() {
		quiet, cancel := context.WithDeadline(context.Background(), deadline.Add(-left/2))
		defer cancel()
		in.quiet(quiet)
		if quiet.Err() != nil {
			in.log.Warn("the extensions are stopped before they have taken everything: notifications of calls or telemetry are left")
		}
	})
	in.stage("extensions", deadline.Add(-left*3/32), func() { in.host.Stop(deadline.Add(-left/8), reason) })
	in.stage("last telemetry", deadline.Add(-left/32), func() {
		last, cancel := context.WithDeadline(context.Background(), deadline.Add(-left/16))
		defer cancel()
		in.stream.Close(last)
	})
	if in.extensions != nil {
		in.extensions.Close()
	}
	in.platform.close()
	in.sink.Close(deadline)
	in.stage("collecting children", laterOf(deadline, time.Now().Add(killLimit)), func() {
		in.threads.Wait()
		in.supervisor.KillAll() // those whose exec has not ended, and no stage knows
		in.supervisor.Close()
		in.groups.Close()
	})
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
