package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"gantry/extension"
	"gantry/fault"
	"gantry/logger"
	"gantry/process"
	"gantry/telemetry"
	"io"
	"net"
	"strings"
	"time"

	"go.uber.org/zap"

	fncontext "gantry/context"
)

// Config describes one run of the kit. All fields but Log are needed.
type Config struct {
	// Extension is the absolute path of the extension's file.
	Extension string
	// Function is what the extension learns of the function when it registers.
	Function *fncontext.Function
	// Env is the extension's whole environment, as NAME=value.
	Env []string
	// UID and GID are those of the extension's process.
	UID, GID int
	// Wait is how long the extension may take to register; Shutdown is GANTRY_SHUTDOWN_TIMEOUT of the agent that the kit stands
	// for. An extension has a quarter of it.
	Wait, Shutdown time.Duration
	// Listen opens the extension API for host. An error of it is the error of Open.
	Listen func(host *extension.Host) (Listener, error)
	// Findings gets a line for each finding; Output gets the first 256 KiB that the extension prints.
	Findings, Output io.Writer
	// Log gets what an agent would log of the extension; nil for nothing.
	Log *zap.Logger

	metrics *telemetry.Metrics
}

// Listener is the extension API, as package api serves it. Close ends Serve.
type Listener interface {
	Addr() net.Addr
	Serve() error
	Close()
}

// Open prepares a run; nothing is started yet. The process becomes the reaper of orphans. A file that cannot be an extension is
// an error of kind fault.Invalid. On an error nothing is left behind.
func Open(cfg Config) (*Kit, error) {
	if err := process.Adopt(); err != nil {
		return nil, fmt.Errorf("orphans cannot be adopted: %w", err)
	}
	script, err := extension.Inspect(cfg.Extension)
	var passedOver *extension.PassedOver
	if err != nil && !errors.As(err, &passedOver) {
		return nil, fault.Mark(fault.Invalid, err)
	}
	file, err := readScriptFile(script, searchPath(cfg.Env))
	if err != nil {
		return nil, fault.Mark(fault.Invalid, err)
	}
	cfg.Log = cmp.Or(cfg.Log, zap.NewNop())
	cfg.metrics = telemetry.NewMetrics(nil) // there are no calls whose outcomes could be counted
	k := &Kit{
		cfg: &cfg, file: file, passedOver: passedOver, report: newReport(script.Name, cfg.Findings),
		registered: make(chan struct{}), rejected: make(chan struct{}),
		stream: telemetry.NewStream(cfg.Function.Name, cfg.Function.Version, cfg.Log), supervisor: process.NewSupervisor(true),
	}
	k.sink = logger.NewSink(&outputLimit{w: cfg.Output, left: maxShown}, false, k.line)
	k.host = extension.NewHost(&extension.Config{
		Function: cfg.Function, Wait: cfg.Wait, Env: cfg.Env, UID: cfg.UID, GID: cfg.GID, Supervisor: k.supervisor, Sink: k.sink,
		Log: cfg.Log, Metrics: cfg.metrics, Stream: k.stream, Costs: true, ListLeft: true, Observer: k.observer(),
	}, []extension.Script{script})
	if k.api, err = cfg.Listen(k.host); err != nil {
		k.sink.Close(time.Now())
		k.supervisor.Close()
		return nil, err
	}
	go func() { _ = k.api.Serve() }() // ends with Close, and no check depends on an error after that
	return k, nil
}

// searchPath is the last PATH in env.
func searchPath(env []string) (path string) {
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = value
		}
	}
	return path
}

// Parts of the time limit. What is left after the checks is for the stop, whatever happened before.
const (
	// stopShare is a divisor: at most so much of the whole limit is for the stop.
	stopShare = 2
	// aroundStop is what the stop needs beside the extension's own time.
	aroundStop = 2 * time.Second
	// lateness is how much later than the limit a check that hangs is given up.
	lateness = 2 * time.Second
)

// errTooLong is the cause of a context that --timeout ended.
var errTooLong = errors.New("--timeout has passed")

// Run makes the checks and stops the extension. It takes limit at most, and two seconds more when a check hangs: then the
// extension is killed and a finding says so. The end of ctx ends the checks early; its cause becomes a finding.
func (k *Kit) Run(ctx context.Context, limit time.Duration) {
	end := time.Now().Add(limit)
	bounded, cancel := context.WithDeadlineCause(ctx, end.Add(-min(limit/stopShare, k.stopTime()+aroundStop)), errTooLong)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.run(bounded, end)
	}()
	last := time.NewTimer(time.Until(end) + lateness)
	defer last.Stop()
	select {
	case <-done:
	case <-last.C: // no check may hang; this is for the kernel's and for our own mistakes
		k.Kill()
		k.report.add(finding{name: "time", verdict: verdictFail, seen: "the checks did not end at --timeout, and were given up", took: limit})
	}
}

// Kill kills the extension and all that it started. Any goroutine may call it during Run, which then ends by itself.
func (k *Kit) Kill() { k.supervisor.KillAll() }

// Failures is the number of checks that failed so far.
func (k *Kit) Failures() int { return k.report.count()[verdictFail] }

// Summary is one line with the number of checks for each verdict.
func (k *Kit) Summary() string { return k.report.summary() }

// WriteJUnit writes the findings so far as JUnit XML. An error is one of w.
func (k *Kit) WriteJUnit(w io.Writer) error { return k.report.writeJUnit(w) }

// maxShown is how much of the extension's output is shown, in bytes.
const maxShown = 256 << 10

// outputLimit writes until its limit; the rest is dropped, after a remark.
type outputLimit struct {
	w    io.Writer
	left int
}

func (l *outputLimit) Write(p []byte) (int, error) {
	switch {
	case l.left <= 0:
		return len(p), nil
	case len(p) < l.left:
		l.left -= len(p)
		return l.w.Write(p)
	}
	_, err := fmt.Fprintf(l.w, "%s\n(further output is not shown)\n", p[:l.left])
	l.left = 0
	return len(p), err
}
