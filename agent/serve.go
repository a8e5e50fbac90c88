package agent

import (
	"errors"
	"fmt"
	"gantry/api"
	"gantry/extension"
	"gantry/fault"
	"gantry/settings"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

// Serve runs the function until a signal ends it. An error that the start or the stop has chosen is marked with a kind
// (fault.Mark): Invalid for a setting, or a program that cannot run; Unavailable for an address that cannot be listened
// on; Init for a function that cannot be loaded, with GANTRY_EXIT_ON_FAILURE; Timeout for a start or stop that did not
// end in time. A second signal ends both with Forced.
func Serve(c *settings.Config, o *Options) error {
	if err := checkTimers(c); err != nil {
		return err
	}
	return runAgent(c, o, c.Listeners(), (*serving).listen)
}

// runAgent runs an instance until a signal ends it; open lets the calls in, at listeners.
func runAgent(c *settings.Config, o *Options, listeners []settings.Listener, open func(*serving) error) error {
	// A closed stdout or stderr must not end the agent, its last line included. Notify, not Ignore: children would
	// inherit that.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	s := &serving{cfg: c, terminal: findTerminal(), ended: make(chan error, mostListeners)}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2)
	s.signals = signals

	opened := make(chan error, 1)
	go func() { opened <- s.open(o, listeners, open) }()
	if err := s.await(opened); err != nil {
		return err
	}
	return s.run()
}

// open starts the instance and binds its listeners. On an error nothing is left behind.
func (s *serving) open(o *Options, listeners []settings.Listener, open func(*serving) error) (err error) {
	if err := checkPorts(listeners); err != nil {
		return err
	}
	if s.agent, err = openAgent(s.cfg, o); err != nil {
		return err
	}
	_ = withstand(s.log) // until the process ends
	if err := open(s); err != nil {
		for _, server := range append(s.callers, s.others...) {
			server.Close()
		}
		s.queue.stop(time.Now().Add(time.Second))
		s.close(time.Now().Add(time.Second), extension.ReasonFailure)
		return fault.Mark(fault.Unavailable, err)
	}
	return nil
}

// await waits until opening has ended. Signals that arrive meanwhile are carried out afterwards; but opening may read
// storage that does not answer, so the second signal to stop ends the program at once, and so does the end of the time
// for a stop.
func (s *serving) await(opened <-chan error) error {
	var late <-chan time.Time
	for {
		select {
		case err := <-opened:
			return err
		case sig := <-s.signals:
			switch {
			case s.wish.forced(sig, time.Now()):
				return &Forced{sig.(syscall.Signal)}
			case late == nil && s.wish.made():
				late = time.After(s.cfg.ShutdownTimeout + watchdogGrace)
			}
			if len(s.early) < cap(s.signals) {
				s.early = append(s.early, sig)
			}
		case <-late:
			return fault.Mark(fault.Timeout, errors.New(
				"stopped while starting: the start did not end within GANTRY_SHUTDOWN_TIMEOUT; storage that does not answer may hold it up",
			))
		}
	}
}

// listen binds what callers see. The extension API is bound already.
func (s *serving) listen() error {
	if !s.cfg.Language.Undecided() {
		if err := s.listenFunction(s.cfg.Language, s.cfg.Addr); err != nil {
			return err
		}
	}
	if s.platform != nil || len(s.cfg.Timers) > 0 {
		s.queue = s.openQueue()
	}
	if s.platform != nil {
		platform, err := s.listenPlatform()
		if err != nil {
			return err
		}
		s.callers = append(s.callers, platform)
	}
	return s.listenOps()
}

func (s *serving) listenOps() error {
	in, c := s.agent, s.cfg
	ops, err := api.ListenOps(
		&api.OpsConfig{
			Addr:       c.OpsAddr,
			Instance:   in.instance,
			Incomplete: in.host.Incomplete,
			Metrics:    in.metrics,
			Limits:     in.limits,
			Log:        in.log,
		},
	)
	if err != nil {
		return err
	}
	s.others = append(s.others, ops)
	return nil
}

func (s *serving) run() error {
	s.serve(append(append(slices.Clone(s.callers), s.others...), s.extensions)...)
	if !s.cfg.Language.Undecided() {
		s.listening(s.cfg.Language, s.cfg.Detected)
	}
	s.remark()
	s.pollers.start()
	if !s.cfg.Language.Undecided() { // else the decision starts them
		s.startTimers()
	}
	for _, sig := range s.early {
		if stop, err := s.signalled(sig); stop {
			return err
		}
	}
	var failed <-chan struct{}
	if s.cfg.ExitOnFailure {
		failed = s.instance.Failed()
	}
	for {
		select {
		case sig := <-s.signals:
			if stop, err := s.signalled(sig); stop {
				return err
			}
		case k := <-s.kind.known:
			if err := s.settle(k.language, k.because); err != nil {
				return err
			}
		case <-s.kind.failed(s.instance):
			if err := s.settle(s.workers.Settle(), s.cfg.Detected); err != nil {
				return err
			}
		case err := <-s.ended:
			return errors.Join(errors.New("a listener ended"), err, s.stop(extension.ReasonFailure))
		case <-s.instance.Fatal():
			return fault.Mark(fault.Invalid, errors.Join(s.instance.Failure(), s.stop(extension.ReasonFailure)))
		case <-failed:
			f := s.instance.Failure()
			return fault.Mark(fault.Init, errors.Join(
				fmt.Errorf("the function cannot be loaded or initialised: %w\n%s", f, f.Text(true)),
				s.stop(extension.ReasonFailure),
			))
		}
	}
}

// signalled carries a signal out; stop is true when the program ends with err.
func (s *serving) signalled(sig os.Signal) (stop bool, err error) {
	why := zap.Skip()
	switch {
	case sig == unix.SIGHUP && s.terminal.gone():
		why = zap.String("because", "the terminal it was started from is gone")
	case sig == unix.SIGHUP:
		s.instance.Reload()
		return false, nil
	case sig == unix.SIGUSR1 || sig == unix.SIGUSR2:
		s.instance.Signal(sig.(syscall.Signal))
		return false, nil
	}
	s.wish.forced(sig, time.Now())
	s.log.Info("stopping", zap.Stringer("signal", sig), zap.Duration("limit", s.cfg.ShutdownTimeout), why)
	return true, s.stop(extension.ReasonSpindown)
}

// listenPlatform binds the platform API.
func (in *agent) listenPlatform() (*api.Server, error) {
	c := &in.cfg.API
	return api.ListenPlatform(&api.PlatformConfig{
		Addr:           c.Addr,
		Instance:       in.instance,
		Function:       &in.cfg.Function,
		Credentials:    fncontext.NewCredentials(in.cfg.Secrets),
		Gate:           in.platform.gate,
		Local:          c.Local(),
		Certificate:    in.platform.certificate,
		BehindProxy:    c.BehindProxy,
		GatewayTimeout: c.GatewayTimeout,
		Queue:          in.queue.Queue,
		NoQueue:        in.queue.why,
		Metrics:        in.metrics,
		Limits:         in.limits,
		Log:            in.log,
	})
}

// Poll makes this agent the custom runtime of a platform: events come from the runtime API instead of a listener.
// Errors are those of serve.
func Poll(c *settings.Config, o *Options) error {
	if c.RuntimeAPI == "" {
		return fault.Mark(fault.Invalid, errors.New(
			"RUNTIME_API_ADDR is not set: the platform sets it for its custom runtime; elsewhere use bootstrap serve",
		))
	}
	return runAgent(c, o, nil, (*serving).openPollers)
}

// openPollers takes the place of the listeners. Ops has one only if its address is set: the platform may run more than
// one agent on a machine.
func (s *serving) openPollers() error {
	s.pollers = newPollers(s.agent)
	if s.cfg.IsSet("GANTRY_OPS_ADDR") {
		return s.listenOps()
	}
	return nil
}
