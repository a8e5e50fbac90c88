package main

import (
	"context"
	"fmt"
	"gantry/agent"
	"gantry/api"
	"gantry/extension"
	"gantry/fault"
	"gantry/logger"
	"gantry/process"
	"gantry/runtime"
	"gantry/telemetry"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

// instance is the wiring of one function instance: what serve and invoke have in common.
type instance struct {
	cfg        *config
	log        *zap.Logger
	own        *logger.Own // what log writes to
	sink       *logger.Sink
	metrics    *telemetry.Metrics
	supervisor *process.Supervisor
	groups     *process.Groups
	agent      *agent.Agent
	host       *extension.Host
	stream     *telemetry.Stream
	extensions *api.Server
	platform   *platform // nil without a platform API
	queue      *queue    // nil likewise
	limits     *api.Limits
	pid1       bool
	threads    sync.WaitGroup // makes threads in advance; ends by itself
}

// openInstance starts the worker as the very first thing, then everything around it. output receives the function's
// lines. On an error nothing is left behind.
func openInstance(c *config, output, stderr *os.File) (_ *instance, err error) {
	in := &instance{cfg: c, pid1: os.Getpid() == 1}
	if err := process.HideEnvironment(c.secretNames); err != nil {
		return nil, fmt.Errorf("secrets cannot be hidden from /proc: %w", err)
	}
	if err := process.Protect(); err != nil {
		return nil, fmt.Errorf("the agent cannot protect its memory: %w", err)
	}
	in.limits = api.NewLimits(boundMemory(c))
	in.groups = process.OpenGroups("/", int64(c.fn.MemoryMB)<<20) // works beside what follows
	defer func() {
		if err != nil {
			in.groups.Close()
		}
	}()
	scripts, passed, err := extension.Discover(strings.Split(c.extensionDirs, ":"))
	if err != nil {
		return nil, fault.Mark(fault.Invalid, err)
	}
	json := c.logFormat == "json" || c.logFormat == "auto" && !isTerminal(stderr)
	if in.own, err = logger.NewOwn(stderr, c.logLevel, json, !json && !c.noColor && isTerminal(stderr)); err != nil {
		return nil, fault.Mark(fault.Invalid, err)
	}
	in.log = in.own.Logger
	for _, file := range passed {
		in.log.Warn("a file in the extension folder is not started: "+file.Why, zap.String("want", file.Right))
	}
	if in.platform, err = openPlatform(c, in.log); err != nil {
		return nil, fault.Mark(fault.Invalid, err)
	}
	in.stream = telemetry.NewStream(c.fn.Name, c.fn.Version, in.log)
	in.sink = logger.NewSink(output, json, in.stream.Line)
	in.metrics = telemetry.NewMetrics(agent.Outcomes())
	in.supervisor = process.NewSupervisor(in.pid1)
	in.supervisor.Orphans = func(int) { in.metrics.Orphans.Inc() }
	in.supervisor.Unmet = func(child, wish string, err error) {
		in.log.Debug("a process runs without "+wish, zap.String("process", child), zap.Error(err))
	}
	in.host = extension.NewHost(&extension.Config{
		Function: &c.fn, Wait: c.extensionWait, Required: c.extensionRequired, Strict: c.extensionStrict, Restart: c.extensionRestart, Env: c.extensionEnvironment(), UID: c.uid, GID: c.gid,
		Supervisor: in.supervisor, Sink: in.sink, Log: in.log, Metrics: in.metrics, Stream: in.stream, Costs: c.timeline,
	}, scripts)
	in.agent = agent.New(in.agentConfig())
	in.agent.Start()
	in.gauges()
	in.extensions, err = api.ListenExtension(&api.ExtensionConfig{Addr: c.extensionAddr, Host: in.host, Function: &c.fn, Limits: in.limits, Log: in.log})
	if err != nil {
		in.close(time.Now().Add(time.Second), extension.ReasonFailure)
		return nil, fault.Mark(fault.Unavailable, err)
	}
	in.groups.Wait()
	in.host.Begin(in.extensions.Addr().String())
	// While the worker starts, and before it runs user code.
	in.threads.Go(func() { process.KeepThreads(process.MaxProcesses()) })
	return in, nil
}

// remark logs what a person should know about the settings.
func (in *instance) remark() {
	for _, remark := range append(in.cfg.unknown, in.cfg.remarks...) {
		in.log.Warn(remark)
	}
}

func (in *instance) agentConfig() *agent.Config {
	c := in.cfg
	var freeze *agent.Freeze
	if c.freeze {
		freeze = &agent.Freeze{Quiet: in.quiet, Signal: in.freeze}
	}
	return &agent.Config{
		Runtime: &runtime.Config{
			Language: c.language, Program: c.program, Function: &c.fn, Env: c.workerEnvironment(), Dir: c.workDir(),
			Concurrency: c.concurrency, Several: c.concurrency*c.workers > 1, UID: c.uid, GID: c.gid,
			Supervisor: in.supervisor, Groups: in.groups, Sink: in.sink, Log: in.log, Credentials: fncontext.NewCredentials(c.secrets), Encrypted: c.encrypted,
			Stray: in.metrics.Stray.Inc, ListenRuntime: in.listenRuntime,
		},
		Workers: c.workers, Queue: c.queue, QueueWait: c.queueWait, LoadTimeout: max(loadTimeout, c.fn.InitTimeout),
		Credentials: fncontext.NewCredentials(c.secrets), ExtensionsReady: in.host.WaitReady, Complete: in.host.Complete, Notify: in.host.Notify,
		Stream: in.stream, Freeze: freeze, Once: c.once,
		Metrics: in.metrics, Log: in.log, Sink: in.sink,
	}
}

// runtimeEnd bounds the end of a runtime API whose worker is gone, with its connections.
const runtimeEnd = time.Second

// listenRuntime serves the runtime API of one worker until that is gone.
func (in *instance) listenRuntime(a *runtime.RuntimeAPI) (addr string, end func(), err error) {
	server, err := api.ListenRuntime(&api.RuntimeConfig{API: a, MaxResponse: in.cfg.fn.MaxResponse, Limits: in.limits, Log: in.log})
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

// gauges registers what others count.
func (in *instance) gauges() {
	m := in.metrics
	m.Gauge("gantry_invocations_in_flight", "Calls that have a slot.", func() float64 { return float64(in.agent.InFlight()) })
	m.Gauge("gantry_queue_length", "Synchronous calls in the waiting room.", func() float64 { return float64(in.agent.Waiting()) })
	m.Gauge("gantry_extensions_registered", "Extensions registered.", func() float64 { return float64(in.host.Registered()) })
	count := func(pick func(lines, splits, drops int64) int64) func() float64 {
		return func() float64 { return float64(pick(in.sink.Counts())) }
	}
	m.Counter("gantry_log_lines_total", "Lines of function and extensions.", count(func(l, _, _ int64) int64 { return l }))
	m.Counter("gantry_log_splits_total", "Parts cut from lines that were too long.", count(func(_, s, _ int64) int64 { return s }))
	m.Counter("gantry_log_drops_total", "Lines lost because the log was not read in time.", count(func(_, _, d int64) int64 { return d }))
	m.Counter("gantry_agent_log_drops_total", "Lines of the agent's own log lost because it was not read in time.", func() float64 { return float64(in.own.Drops()) })
	m.Counter("gantry_telemetry_events_total", "Telemetry events that a subscriber may want.", func() float64 { return float64(in.stream.Counts().Accepted) })
	m.Counter("gantry_telemetry_delivered_total", "Telemetry events that the subscriber took.", func() float64 { return float64(in.stream.Counts().Delivered) })
	for _, reason := range telemetry.ReasonNames() {
		m.Counter(fmt.Sprintf("gantry_telemetry_drops_total{reason=%q}", reason), "Telemetry events dropped, by reason.", func() float64 { return float64(in.stream.Counts().Dropped[reason]) })
	}
	b := readBuild()
	m.Gauge(fmt.Sprintf("gantry_build_info{version=%q,commit=%q,go=%q}", b.Version, b.Commit, b.Go), "Build of the agent; the value is 1.", func() float64 { return 1 })
}

// freeze stops the extensions, or lets them go on.
func (in *instance) freeze(sig unix.Signal) {
	in.stream.Freeze(sig == unix.SIGSTOP)
	in.host.Signal(sig)
}

// quiet waits until notifications are answered and events delivered, or ctx ends.
func (in *instance) quiet(ctx context.Context) {
	in.host.Quiet(ctx)
	in.stream.Flush(ctx)
}
