package main

import (
	"context"
	"errors"
	"fmt"
	"gantry/api"
	"gantry/extension"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

// serve runs the function until a signal ends it.
func (p *program) serve(c *config) error {
	return p.run(c, (*serving).listen)
}

// run runs an instance until a signal ends it; open lets the calls in.
func (p *program) run(c *config, open func(*serving) error) error {
	// A closed stdout must not end the agent. Notify, not Ignore: children would inherit that.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, unix.SIGPIPE)
	defer signal.Stop(broken)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(signals)

	in, err := openInstance(c, p.stdout, p.stderr)
	if err != nil {
		return err
	}
	defer withstand(in.log)()
	s := &serving{instance: in}
	if err := open(s); err != nil {
		for _, server := range append(s.callers, s.others...) {
			server.Close()
		}
		in.queue.stop(time.Now().Add(time.Second))
		in.close(time.Now().Add(time.Second), extension.ReasonFailure)
		return &failure{exitListen, err}
	}
	return s.run(signals)
}

// listen binds what callers see. The extension API is bound already.
func (s *serving) listen() error {
	in, c := s.instance, s.cfg
	function, err := api.ListenFunction(&api.FunctionConfig{
		Addr: c.addr, Agent: in.agent, Function: &c.fn,
		Credentials: fncontext.NewCredentials(c.secrets), TrustHeaders: c.trust, Limits: in.limits, Log: in.log,
	})
	if err != nil {
		return err
	}
	s.callers = append(s.callers, function)
	if in.platform != nil {
		platform, err := in.listenPlatform()
		if err != nil {
			return err
		}
		s.callers = append(s.callers, platform)
	}
	return s.listenOps()
}

func (s *serving) listenOps() error {
	in, c := s.instance, s.cfg
	ops, err := api.ListenOps(&api.OpsConfig{Addr: c.opsAddr, Agent: in.agent, Incomplete: in.host.Incomplete, Metrics: in.metrics, Limits: in.limits, Log: in.log})
	if err != nil {
		return err
	}
	s.others = append(s.others, ops)
	return nil
}

// serving is a running instance with its listeners.
type serving struct {
	*instance
	callers []*api.Server // those whose callers wait for the function
	others  []*api.Server
	pollers *pollers   // nil unless this is a custom runtime
	ended   chan error // of listeners
}

func (s *serving) run(signals <-chan os.Signal) error {
	fields := []zap.Field{zap.String("urn", s.cfg.fn.URN()), zap.String("runtime", s.cfg.fn.Runtime), zap.String("program", s.cfg.program)}
	if s.cfg.detected != "" {
		fields = append(fields, zap.String("because", s.cfg.detected))
	}
	what := "listening"
	if s.pollers != nil {
		what = "polling"
		fields = append(fields, zap.String("runtime_api", s.cfg.runtimeAPI), zap.Int("pollers", s.pollers.count))
	}
	servers := append(append(slices.Clone(s.callers), s.others...), s.extensions)
	s.ended = make(chan error, len(servers))
	for _, server := range servers {
		fields = append(fields, zap.Stringer(server.Name(), server.Addr()))
		go func() { s.ended <- server.Serve() }()
	}
	s.log.Info(what, fields...)
	if s.pollers == nil {
		for _, remark := range s.cfg.listenRemarks {
			s.log.Warn(remark)
		}
	}
	s.remark()
	s.pollers.start()
	var failed <-chan struct{}
	if s.cfg.exitOnFailure {
		failed = s.agent.Failed()
	}
	for {
		select {
		case sig := <-signals:
			if stop, err := s.signalled(sig, signals); stop {
				return err
			}
		case err := <-s.ended:
			return errors.Join(errors.New("a listener ended"), err, s.stop(signals, extension.ReasonFailure))
		case <-s.agent.Fatal():
			return &failure{exitUsage, errors.Join(s.agent.Failure(), s.stop(signals, extension.ReasonFailure))}
		case <-failed:
			f := s.agent.Failure()
			return &failure{exitFunction, errors.Join(fmt.Errorf("the function cannot be loaded or initialised: %w\n%s", f, f.Text(true)), s.stop(signals, extension.ReasonFailure))}
		}
	}
}

// signalled carries a signal out; stop is true when the program ends with err.
func (s *serving) signalled(sig os.Signal, signals <-chan os.Signal) (stop bool, err error) {
	switch sig {
	case unix.SIGHUP:
		s.agent.Reload()
	case unix.SIGUSR1, unix.SIGUSR2:
		s.agent.Signal(sig.(syscall.Signal))
	default:
		s.log.Info("stopping", zap.Stringer("signal", sig), zap.Duration("limit", s.cfg.shutdownTimeout))
		return true, s.stop(signals, extension.ReasonSpindown)
	}
	return false, nil
}

// errForced is the cause of a stop that a second signal cut short.
type errForced struct{ sig syscall.Signal }

func (e errForced) Error() string { return "forced by a second signal: " + e.sig.String() }

// stop is the staged stop against one absolute deadline: not ready, calls in flight, workers, extensions, log, listeners.
// A second signal forces it.
func (s *serving) stop(signals <-chan os.Signal, reason string) error {
	deadline := time.Now().Add(s.cfg.shutdownTimeout)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.staged(deadline, reason)
	}()
	for {
		select {
		case <-done:
			return nil
		case sig := <-signals:
			if sig == unix.SIGTERM || sig == unix.SIGINT {
				s.supervisor.KillAll()
				return &failure{128 + int(sig.(syscall.Signal)), errForced{sig.(syscall.Signal)}}
			}
		}
	}
}

func (s *serving) staged(deadline time.Time, reason string) {
	// The last quarter belongs to the extensions, the quarter of a quarter before it to the worker's own end.
	left := s.cfg.shutdownTimeout
	ctx, cancel := context.WithDeadline(context.Background(), deadline.Add(-left*5/16))
	defer cancel()
	s.queue.pause()
	s.pollers.stop(ctx)
	if err := s.agent.Drain(ctx); err != nil {
		s.log.Warn("calls are cut off: they did not end in time", zap.Int("in_flight", s.agent.InFlight()))
	}
	s.agent.Stop(deadline.Add(-left / 4))
	s.queue.stop(deadline.Add(-left * 3 / 16))
	answered, cancelAnswered := context.WithTimeout(context.Background(), left/16)
	defer cancelAnswered()
	for _, server := range s.callers { // the last answers, while extensions still run
		if err := server.Shutdown(answered); err != nil {
			s.log.Debug("connections left", zap.String("listener", server.Name()), zap.Error(err))
		}
	}
	s.close(deadline, reason)
	_ = s.log.Sync() // stderr may be a terminal, which cannot be synced
}
