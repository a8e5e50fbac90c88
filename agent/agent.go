// Package agent is the process around a function instance: it builds all parts from the settings, lets calls in,
// carries out signals, and stops everything in stages. Commands choose what it runs; their exit codes are not its
// business.
package agent

import (
	"context"
	"fmt"
	"gantry/api"
	"gantry/async/destination"
	"gantry/extension"
	"gantry/instance"
	"gantry/logger"
	"gantry/metrics"
	"gantry/process"
	"gantry/runtime"
	"gantry/settings"
	"gantry/telemetry"
	"gantry/timer"
	"gantry/trigger/apig"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// agent is the process around one function instance: what serve and invoke have in common.
type agent struct {
	cfg        *settings.Config
	shown      bool // stdout is a terminal
	brief      bool // and shows a line for each call, in place of all details
	log        *zap.Logger
	own        *logger.Own // what log writes to
	sink       *logger.Sink
	metrics    *metrics.Metrics
	supervisor *process.Supervisor
	groups     *process.Groups
	instance   *instance.Instance
	workers    *runtime.Config
	kind       decision // of an undecided language
	host       *extension.Host
	stream     *telemetry.Stream
	extensions *api.Server
	platform   *platform              // nil without a platform API
	queue      *queue                 // nil without a platform API and timers
	timers     *timer.Scheduler       // nil without timers
	endpoints  *destination.Endpoints // of destinations; nil for none
	routes     *apig.Routes           // of the front; nil for everything
	limits     *api.Limits
	pid1       bool
	threads    sync.WaitGroup // makes threads in advance; ends by itself
	lines      sync.WaitGroup // writes a line for each call on a terminal; ends with stream
}

// remark logs what a person should know about the settings.
func (in *agent) remark() {
	for _, remark := range append(in.cfg.Unknown, in.cfg.Remarks...) {
		in.log.Warn(remark)
	}
}

// gauges registers what others count.
func (in *agent) gauges(b *Build) {
	m := in.metrics
	m.Gauge(
		"gantry_invocations_in_flight",
		"Calls that have a slot.",
		func() float64 { return float64(in.instance.InFlight()) },
	)
	m.Gauge(
		"gantry_queue_length",
		"Synchronous calls in the waiting room.",
		func() float64 { return float64(in.instance.Waiting()) },
	)
	m.Gauge(
		"gantry_spare_interpreters",
		"Interpreters that wait to replace a worker.",
		func() float64 { return float64(in.instance.Spares()) },
	)
	m.Gauge(
		"gantry_spare_memory_bytes",
		"Resident memory of the interpreters that wait.",
		func() float64 { return float64(in.instance.SpareMemory()) },
	)
	m.Gauge(
		"gantry_extensions_registered",
		"Extensions registered.",
		func() float64 { return float64(in.host.Registered()) },
	)
	count := func(pick func(lines, splits, drops int64) int64) func() float64 {
		return func() float64 { return float64(pick(in.sink.Counts())) }
	}
	m.Counter("gantry_log_lines_total", "Lines of function and extensions.", count(func(l, _, _ int64) int64 { return l }))
	m.Counter(
		"gantry_log_splits_total",
		"Parts cut from lines that were too long.",
		count(func(_, s, _ int64) int64 { return s }),
	)
	m.Counter(
		"gantry_log_drops_total",
		"Lines lost because the log was not read in time.",
		count(func(_, _, d int64) int64 { return d }),
	)
	m.Counter(
		"gantry_agent_log_drops_total",
		"Lines of the agent's own log lost because it was not read in time.",
		func() float64 { return float64(in.own.Drops()) },
	)
	m.Counter(
		"gantry_telemetry_events_total",
		"Telemetry events that a subscriber may want.",
		func() float64 { return float64(in.stream.Counts().Accepted) },
	)
	m.Counter(
		"gantry_telemetry_delivered_total",
		"Telemetry events that the subscriber took.",
		func() float64 { return float64(in.stream.Counts().Delivered) },
	)
	for _, reason := range telemetry.ReasonNames() {
		m.Counter(
			fmt.Sprintf("gantry_telemetry_drops_total{reason=%q}", reason),
			"Telemetry events dropped, by reason.",
			func() float64 { return float64(in.stream.Counts().Dropped[reason]) },
		)
	}
	m.Gauge(
		fmt.Sprintf("gantry_build_info{version=%q,commit=%q,go=%q}", b.Version, b.Commit, b.Go),
		"Build of the agent; the value is 1.",
		func() float64 { return 1 },
	)
}

// freeze stops the extensions, or lets them go on.
func (in *agent) freeze(sig unix.Signal) {
	in.stream.Freeze(sig == unix.SIGSTOP)
	in.host.Signal(sig)
}

// quiet waits until notifications are answered and telemetry events delivered, or ctx ends.
func (in *agent) quiet(ctx context.Context) {
	in.host.Quiet(ctx)
	in.stream.Flush(ctx)
}

// close ends the instance without listeners of callers: workers first, then the rest.
func (in *agent) close(deadline time.Time, reason string) {
	began := time.Now()
	plan := schedule{began, deadline.Sub(began), in.log}
	plan.run("workers", in.instance.Stop)
	in.closeAfterInstance(deadline, reason)
	in.own.Close(time.Now().Add(lastWrite))
}

// closeAfterInstance is the end of the stop, once the workers had their time: what the extensions have not got yet,
// extensions, then the function's log, the supervisor last.
func (in *agent) closeAfterInstance(deadline time.Time, reason string) {
	began := time.Now()
	left := max(deadline.Sub(began), 0)
	plan := schedule{deadline.Add(-left), left, in.log}
	plan.run("notifications and telemetry", func(until time.Time) {
		quiet, cancel := context.WithDeadline(context.Background(), until)
		defer cancel()
		in.quiet(quiet)
		if quiet.Err() != nil {
			in.log.Warn(
				"the extensions are stopped before they have taken everything: notifications of calls or telemetry are left",
			)
		}
	})
	plan.run("extensions", func(until time.Time) { in.host.Stop(until, reason) })
	plan.run("last telemetry", func(until time.Time) {
		last, cancel := context.WithDeadline(context.Background(), until)
		defer cancel()
		in.stream.Close(last)
	})
	if in.extensions != nil {
		in.extensions.Close()
	}
	in.platform.close()
	in.lines.Wait()
	in.sink.Close(deadline)
	plan.run("collecting children", func(time.Time) {
		in.threads.Wait()
		in.supervisor.KillAll() // those whose exec has not ended, and no stage knows
		in.supervisor.Close()
		in.groups.Close()
	})
}

// Options are what the process gives to an agent.
type Options struct {
	// Stdout receives the lines of function and extensions, stderr the agent's log.
	Stdout, Stderr *os.File
	Build          Build
	// Examine has Once find out where a call was that passed its deadline: Call.Hang. It costs such a call 200 ms.
	Examine bool
	// NewCodeCache is an empty file that a worker is to write its code cache to; Warm sets it.
	NewCodeCache *os.File
}

// Build names the program, for the metric gantry_build_info.
type Build struct{ Version, Commit, Go string }

// lastWrite bounds the write of what is left of the agent's log.
const lastWrite = 250 * time.Millisecond
