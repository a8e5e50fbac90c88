package agent

import (
	"context"
	"fmt"
	"gantry/api"
	fncontext "gantry/context"
	"gantry/extension"
	"gantry/fault"
	"gantry/instance"
	"gantry/logger"
	"gantry/metrics"
	"gantry/process"
	"gantry/runtime"
	"gantry/settings"
	"gantry/telemetry"
	"gantry/trigger/apig"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"
)

// openAgent starts the worker as the very first thing, then everything around it. On an error nothing is left behind.
func openAgent(c *settings.Config, o *Options) (_ *agent, err error) {
	in := &agent{cfg: c, shown: IsTerminal(o.Stdout), pid1: os.Getpid() == 1, kind: newDecision(c)}
	json := c.LogFormat == "json" || c.LogFormat == "auto" && !IsTerminal(o.Stderr)
	in.brief = in.shown && !json && !c.Verbose && (c.LogLevel != "debug" || c.Quiet)
	if err := hideSecrets(c.SecretNames); err != nil {
		return nil, err
	}
	in.limits = api.NewLimits(boundMemory(c))
	in.groups = process.OpenGroups("/", int64(c.Function.MemoryMB)<<20) // works beside what follows
	defer func() {
		if err != nil {
			in.groups.Close()
		}
	}()
	scripts, passed, err := extension.Discover(strings.Split(c.ExtensionDirs, ":"))
	if err != nil {
		return nil, fault.Mark(fault.Invalid, err)
	}
	if err := in.openLog(o.Stderr, json); err != nil {
		return nil, err
	}
	for _, file := range passed {
		in.log.Warn("a file in the extension folder is not started: "+file.Why, zap.String("want", file.Right))
	}
	if err := in.openFiles(); err != nil {
		return nil, fault.Mark(fault.Invalid, err)
	}
	in.openOutput(o.Stdout, json)
	in.host = extension.NewHost(&extension.Config{
		Function:   &c.Function,
		Wait:       c.ExtensionWait,
		Required:   c.ExtensionRequired,
		Strict:     c.ExtensionStrict,
		Restart:    c.ExtensionRestart,
		Env:        c.ExtensionEnvironment(),
		UID:        c.UID,
		GID:        c.GID,
		Supervisor: in.supervisor,
		Sink:       in.sink,
		Log:        in.log,
		Metrics:    in.metrics,
		Stream:     in.stream,
		Costs:      in.keptCosts(),
		Awaited:    c.Once,
	}, scripts)
	in.instance = instance.New(in.instanceConfig(o))
	in.instance.Start()
	in.gauges(&o.Build)
	in.extensions, err = api.ListenExtension(
		&api.ExtensionConfig{Addr: c.ExtensionAddr, Host: in.host, Function: &c.Function, Limits: in.limits, Log: in.log},
	)
	if err != nil {
		in.close(time.Now().Add(time.Second), extension.ReasonFailure)
		return nil, fault.Mark(fault.Unavailable, err)
	}
	in.groups.Wait()
	in.host.Begin(in.extensions.Addr().String())
	if in.groups.PidsErr() != nil || len(scripts) > 0 { // what starts here may use up all processes
		// While the worker starts, and before it runs user code.
		in.threads.Go(func() { process.KeepThreads(process.MaxProcesses()) })
	}
	return in, nil
}

// readRoutes reads the file of the front's routes; nil if there is none.
func readRoutes(c *settings.Config) (*apig.Routes, error) {
	if c.APIG.Addr == "" || c.APIG.RoutesFile == "" {
		return nil, nil
	}
	routes, err := apig.ReadRoutes(c.APIG.RoutesFile)
	if err != nil {
		return nil, fault.Mark(fault.Invalid, fmt.Errorf("GANTRY_APIG_ROUTES: %w", err))
	}
	return routes, nil
}

// openLog opens the agent's own log.
func (in *agent) openLog(output *os.File, json bool) (err error) {
	level := in.cfg.LogLevel
	if in.cfg.Quiet && level != "error" {
		level = "warn"
	}
	if in.own, err = logger.NewOwn(output, level, json, !json && !in.cfg.NoColor && IsTerminal(output)); err != nil {
		return fault.Mark(fault.Invalid, err)
	}
	in.log = in.own.Logger
	return nil
}

func hideSecrets(names []string) error {
	if err := process.HideEnvironment(names); err != nil {
		return fmt.Errorf("secrets cannot be hidden from /proc: %w", err)
	}
	if err := process.Protect(); err != nil {
		return fmt.Errorf("the agent cannot protect its memory: %w", err)
	}
	return nil
}

// openOutput makes what takes the output of the function and the extensions, and what starts processes.
func (in *agent) openOutput(output *os.File, json bool) {
	c := in.cfg
	in.stream = telemetry.NewStream(c.Function.Name, c.Function.Version, in.log)
	if c.Once { // a subscriber may come after a long call, and after everything else
		in.stream.KeepAll()
	}
	in.sink = logger.NewSink(output, json, in.stream.Line)
	if in.brief {
		in.sink.Brief()
	}
	if in.brief || c.Quiet {
		in.sink.OmitFrame()
	}
	if in.brief && !c.Quiet {
		in.callLines()
	}
	in.metrics = metrics.NewMetrics(instance.Outcomes())
	in.supervisor = process.NewSupervisor(in.pid1)
	in.supervisor.Orphans = func(int) { in.metrics.Orphans.Inc() }
	in.supervisor.Unmet = func(child, wish string, err error) {
		in.log.Debug("a process runs without "+wish, zap.String("process", child), zap.Error(err))
	}
}

// loadTimeout limits the load of user code, which has no setting on the platform; a longer initializer limit raises it.
const loadTimeout = 10 * time.Second

// openFiles reads the files of the front, of the queue and of the platform API. It comes before the worker's start, so
// that a wrong file is the first thing that is said.
func (in *agent) openFiles() (err error) {
	if in.routes, err = readRoutes(in.cfg); err != nil {
		return err
	}
	if in.endpoints, err = openEndpoints(in.cfg); err == nil {
		in.platform, err = openPlatform(in.cfg, in.log)
	}
	return err
}

// loadLimit is the limit of a load: for a server, whose readiness stands for it, that of the initializer. Where it is
// not known yet whether there is one, it stays that of all others.
func loadLimit(c *settings.Config) time.Duration {
	if c.Language.Listens() && !c.Language.Undecided() {
		return c.Function.InitTimeout
	}
	return max(loadTimeout, c.Function.InitTimeout)
}

// arguments follow the program of a server with a command line of its own.
func arguments(c *settings.Config) []string {
	if len(c.Command) == 0 {
		return nil
	}
	return c.Command[1:]
}

func (in *agent) instanceConfig(o *Options) *instance.Config {
	c := in.cfg
	var freeze *instance.Freeze
	if c.Freeze {
		freeze = &instance.Freeze{Quiet: in.quiet, Signal: in.freeze}
	}
	in.workers = &runtime.Config{
		Language:      c.Language,
		Program:       c.Program,
		Arguments:     arguments(c),
		Upstream:      c.Upstream,
		IncludeKeys:   c.IncludeKeys,
		StreamIdle:    c.StreamIdle(),
		Function:      &c.Function,
		Env:           c.WorkerEnvironment(),
		Dir:           c.WorkDir(),
		Concurrency:   c.Concurrency,
		Ahead:         c.Workers == 1 && c.Concurrency == 1 && !c.Freeze && !c.Once && !o.Examine && o.NewCodeCache == nil,
		Several:       c.Concurrency*c.Workers > 1,
		UID:           c.UID,
		GID:           c.GID,
		Supervisor:    in.supervisor,
		Groups:        in.groups,
		Sink:          in.sink,
		Log:           in.log,
		Credentials:   fncontext.NewCredentials(c.Secrets),
		Encrypted:     c.Encrypted,
		Examine:       o.Examine,
		CodeCache:     c.CodeCacheFile(),
		NewCodeCache:  o.NewCodeCache,
		Stray:         in.metrics.Stray.Inc,
		ListenRuntime: in.listenRuntime,
		Decided:       in.kind.decided,
	}
	return &instance.Config{
		Runtime:     in.workers,
		Workers:     c.Workers,
		Spares:      c.Spares,
		WaitingRoom: c.WaitingRoom,
		RoomWait:    c.RoomWait,
		LoadTimeout: loadLimit(c),
		Credentials: fncontext.NewCredentials(
			c.Secrets,
		),
		ExtensionsReady: in.host.WaitReady,
		Complete:        in.host.Complete,
		Notify:          in.host.Notify,
		Extended:        in.host.Extended,
		Stream:          in.stream,
		Freeze:          freeze,
		Once:            c.Once,
		Metrics:         in.metrics,
		Log:             in.log,
		Sink:            in.sink,
	}
}

// runtimeEnd bounds the end of a runtime API whose worker is gone, with its connections.
const runtimeEnd = time.Second

// listenRuntime serves the runtime API of one worker until that is gone.
func (in *agent) listenRuntime(a runtime.Events) (addr string, end func(), err error) {
	server, err := api.ListenRuntime(
		&api.RuntimeConfig{API: a, MaxResponse: in.cfg.Function.MaxResponse, Limits: in.limits, Log: in.log},
	)
	if err != nil {
		return "", nil, err
	}
	go func() {
		if err := server.Serve(); err != nil {
			in.log.Error("a worker cannot ask for events any more", zap.Error(err))
		}
	}()
	return server.Addr().String(), func() {
		go func() { // the next worker does not wait for it
			ctx, cancel := context.WithTimeout(context.Background(), runtimeEnd)
			defer cancel()
			if err := server.Shutdown(ctx); err != nil {
				in.log.Debug("connections left", zap.String("listener", server.Name()), zap.Error(err))
			}
		}()
	}, nil
}
