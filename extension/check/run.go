package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"gantry/extension"
	"gantry/fault"
	"gantry/junit"
	"gantry/logger"
	"gantry/metrics"
	"gantry/process"
	"gantry/telemetry"
	"io"
	"math"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Open prepares a run; nothing is started yet. The process becomes the reaper of orphans. A file that cannot be an
// extension is an error of kind fault.Invalid. On an error nothing is left behind.
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
	k := &Kit{
		cfg:        &cfg,
		file:       file,
		passedOver: passedOver,
		report:     newReport(script.Name, cfg.Findings, cfg.Color),
		registered: make(chan struct{}),
		rejected:   make(chan struct{}),
		metrics:    metrics.NewMetrics(nil), // there are no calls whose outcomes could be counted
		stream: telemetry.NewStream(
			cfg.Function.Name,
			cfg.Function.Version,
			cfg.Log,
		),
		supervisor: process.NewSupervisor(true),
	}
	k.sink = logger.NewSink(&outputLimit{w: cfg.Output, left: maxShown}, false, k.line)
	k.host = extension.NewHost(&extension.Config{
		Function:   cfg.Function,
		Wait:       cfg.Wait,
		Env:        cfg.Env,
		UID:        cfg.UID,
		GID:        cfg.GID,
		Supervisor: k.supervisor,
		Sink:       k.sink,
		Log:        cfg.Log,
		Metrics:    k.metrics,
		Stream:     k.stream,
		Costs:      math.MaxInt,
		ListLeft:   true,
		Observer:   k.observer(),
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

// Run makes the checks and stops the extension. It takes limit at most, and two seconds more when a check hangs: then
// the extension is killed and a finding says so. The end of ctx ends the checks early; its cause becomes a finding.
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
		k.report.add(
			finding{
				name:    "time",
				verdict: verdictFail,
				seen:    "the checks did not end at --timeout, and were given up",
				took:    limit,
			},
		)
	}
}

// Kill kills the extension and all that it started. Any goroutine may call it during Run, which then ends by itself.
func (k *Kit) Kill() { k.supervisor.KillAll() }

// Failures is the number of checks that failed so far.
func (k *Kit) Failures() int { return k.report.count()[verdictFail] }

// Summary is one line with the number of checks for each verdict.
func (k *Kit) Summary() string { return k.report.summary() }

// Suite returns the findings so far, for a file of JUnit XML.
func (k *Kit) Suite() *junit.Suite { return k.report.suite() }

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

const (
	needNothing need = iota
	needRegistered
	needCalls // and that it wants calls and has answered some
)

// check is one of the kit's.
type check struct {
	name string
	need need
	run  func(ctx context.Context) finding
}

// checks are all but those of the end, in order.
func (k *Kit) checks() []check {
	return []check{
		{"file", needNothing, k.checkFile},
		{"start", needNothing, k.checkStart},
		{"registration", needNothing, k.checkRegistration},
		{"registration name", needRegistered, k.checkName},
		{"registration address", needRegistered, k.checkAddress},
		{"calls", needRegistered, k.checkCalls},
		{"calls at once", needCalls, k.checkCallsAtOnce},
		{"calls after pauses", needCalls, k.checkPauses},
		{"freeze and thaw", needRegistered, k.checkFreeze},
		{"telemetry", needRegistered, k.checkTelemetry},
		{"telemetry feedback", needRegistered, k.checkFeedback},
		{"second registration", needRegistered, k.checkSecondRegistration},
		{"burst", needCalls, k.checkBurst},
	}
}

// run makes all checks until ctx ends, and then those of the end, which has to be over at the end.
func (k *Kit) run(ctx context.Context, end time.Time) {
	during := ""
	for _, c := range k.checks() {
		began := time.Now()
		f := k.make(ctx, c)
		f.name, f.took = c.name, time.Since(began)
		k.report.add(f)
		if _, gone := k.gone(); gone && during == "" {
			during = c.name
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		f := failed("", "not all checks were made: %v", cause)
		if errors.Is(cause, errTooLong) {
			f.right = "a larger --timeout, or an extension that is faster"
		}
		k.report.add(named("time", f))
	}
	k.end(end, during)
}

// noticed is within what time the end of a process is noticed.
const noticed = 100 * time.Millisecond

// make makes one check, or says why not.
func (k *Kit) make(ctx context.Context, c check) finding {
	how, gone := k.gone()
	r := k.seen()
	switch {
	case ctx.Err() != nil:
		return skipped("%v", context.Cause(ctx))
	case k.blocked != "":
		return skipped("%s", k.blocked)
	case c.need == needNothing:
		return c.run(ctx)
	case gone:
		return skipped("it has ended: %s", how)
	case r == nil:
		return skipped("it is not registered")
	case c.need == needCalls && !r.invoke:
		return skipped("it did not ask for calls")
	case c.need == needCalls && k.mute:
		return skipped("it answers no calls")
	}
	f := c.run(ctx)
	if f.verdict == verdictFail { // its end, if that is why, may not have been noticed yet
		select {
		case <-k.proc.Exited():
		case <-time.After(noticed):
		}
	}
	if how, gone := k.gone(); gone {
		return failed("stay, whatever happens", "it ended meanwhile: %s", how)
	}
	return f
}

// need is what a check needs of the extension.
type need int
