package extension

import (
	"context"
	"gantry/logger"
	"gantry/process"
	"gantry/telemetry"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Start starts the scripts side by side, and returns once each runs or is known not to; apiAddr is where they register.
// One that cannot be started is logged, and the function runs without it; one that cannot be started for a reason that
// can pass (process.Transient) is tried again until it can.
func (h *Host) Start(apiAddr string) { h.Begin(apiAddr).Wait() }

// Begin is Start without the wait: a program on storage that does not answer holds up nothing else. The result ends
// with the starts.
func (h *Host) Begin(apiAddr string) *sync.WaitGroup {
	h.apiAddr = apiAddr
	starting := &sync.WaitGroup{}
	starting.Add(len(h.scripts))
	for _, s := range h.scripts {
		h.lives.Go(func() {
			defer starting.Done()
			h.start(s, &attempts{})
		})
	}
	return starting
}

// yielding is the nice value of extensions: when the processor is short, the function comes first.
const yielding = 10

// nice is the nice value of the extensions. On a busy machine one that yields may not even register in its time.
func (h *Host) nice() int {
	if h.cfg.Awaited {
		return 0
	}
	return yielding
}

func (h *Host) start(s Script, a *attempts) {
	h.mu.Lock()
	if h.stopping {
		h.mu.Unlock()
		return
	}
	e := h.byName[s.Name]
	if e == nil {
		e = newExtension(s.Name)
		h.byName[s.Name] = e
	}
	h.mu.Unlock()
	cmd := &process.Command{
		Name: s.Name,
		Path: s.Path,
		Args: []string{s.Path},
		Dir:  filepath.Dir(s.Path),
		Env: append(
			[]string{"EXTENSION_API_ADDR=" + h.apiAddr, "EXTENSION_ROOT=" + filepath.Dir(filepath.Dir(s.Path))},
			h.cfg.Env...),
		UID:        h.cfg.UID,
		GID:        h.cfg.GID,
		Nice:       h.nice(),
		Expendable: true,
		ListLeft:   h.cfg.ListLeft,
		Output:     func(stream string, r *os.File) { h.output(e, stream, r) },
	}
	if !s.Executable {
		h.cfg.Log.Warn("extension lacks the execute bit: /bin/sh runs it", zap.String("extension", s.Name))
		cmd.Path, cmd.Args = "/bin/sh", []string{"/bin/sh", s.Path}
	}
	proc, err := h.cfg.Supervisor.Start(cmd)
	h.cfg.Observer.started(s, proc, err)
	if err != nil {
		h.notStarted(s, a, err)
		return
	}
	a.shortages = 0
	h.mu.Lock()
	e.proc = proc
	stopping := h.stopping
	h.mu.Unlock()
	if stopping { // the stop has not seen it
		if err := proc.Kill(); err != nil {
			h.cfg.Log.Warn("extension not killed", zap.String("extension", s.Name), zap.Error(err))
		}
	}
	h.lives.Go(func() { h.watch(s, e, a) })
}

// notStarted carries on after a start that failed: a reason that can pass is waited for, any other is final.
func (h *Host) notStarted(s Script, a *attempts, err error) {
	if process.Transient(err) {
		pause := a.short()
		h.cfg.Log.Warn(
			"extension not started yet; it is tried again",
			zap.String("extension", s.Name),
			zap.Duration("in", pause),
			zap.Error(err),
		)
		h.lives.Go(func() { h.restart(s, a, pause) })
		return
	}
	h.cfg.Log.Error("extension not started", zap.String("extension", s.Name), zap.Error(err))
	h.state(s.Name, telemetry.StateExited, err.Error())
	h.settle(s.Name)
}

func (h *Host) output(e *extension, stream string, r *os.File) {
	logger.NewPump(r, func(p logger.Part) {
		e.output.Add(int64(len(p.Text)) + 1)
		if i := e.index.Load(); i >= 0 {
			h.cfg.Metrics.ExtensionOutput[i].Set(uint64(e.output.Load()))
		}
		h.cfg.Sink.Write(
			&logger.Line{Time: time.Now(), Source: e.name, Stream: stream, Text: p.Text, Part: p.Number, More: !p.Last},
		)
	}).Run()
}

// watch frees the seat of an extension that ends, whatever its exit code. The function is not touched: a monitor's
// death is no reason to stop.
func (h *Host) watch(s Script, e *extension, a *attempts) {
	<-e.proc.Exited()
	h.mu.Lock()
	if h.byName[e.name] == e {
		delete(h.byName, e.name)
	}
	if e.seat != nil {
		h.vacate(e)
	}
	h.unlisten(e.name)
	stopping := h.stopping
	h.mu.Unlock()
	exit := e.proc.Exit().String()
	h.state(e.name, telemetry.StateExited, exit)
	again, pause := false, time.Duration(0)
	if !stopping {
		again, pause = a.next(time.Since(e.proc.Started), h.cfg.Restart || slices.Contains(h.cfg.Required, e.name))
		fields := []zap.Field{zap.String("extension", e.name), zap.String("exit", exit)}
		if again {
			h.cfg.Log.Error("extension ended; it is started anew", append(fields, zap.Duration("in", pause))...)
			h.lives.Go(func() { h.restart(s, a, pause) })
		} else {
			h.cfg.Log.Error("extension ended; the function runs on without it", fields...)
		}
	}
	if !again {
		h.settle(e.name)
	}
	<-e.proc.Done() // Stop waits for this goroutine: the last lines are with the sink before that is closed
}

// Stop ends the extensions: a shutdown notice to those that asked for it, then TERM to each group, and KILL at the
// deadline. It waits until all are gone. Notifications of calls are delivered before that. No extension can register
// any more.
func (h *Host) Stop(deadline time.Time, reason string) {
	h.mu.Lock()
	if !h.stopping {
		h.stopping = true
		close(h.stop)
	}
	h.mu.Unlock()
	h.sendShutdown(deadline, reason)
	h.mu.Lock()
	var procs []*process.Process
	for _, e := range h.byName {
		if e.proc != nil {
			procs = append(procs, e.proc)
		}
		if e.seat != nil {
			h.vacate(e)
		}
	}
	h.mu.Unlock()
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	var ending sync.WaitGroup
	for _, p := range procs {
		ending.Go(func() {
			if err := p.Stop(ctx); err != nil {
				h.cfg.Log.Warn("extension killed: it did not end on TERM", zap.String("extension", p.Name), zap.Error(err))
			}
		})
	}
	ending.Wait()
	over := make(chan struct{})
	go func() {
		h.lives.Wait()
		h.deliveries.Wait()
		close(over)
	}()
	select { // one that never answers holds its delivery for replyTimeout, which may be longer than we have
	case <-over:
	case <-ctx.Done():
	}
}

// NewHost returns a host that will start these scripts; from now on WaitReady waits for them.
func NewHost(cfg *Config, scripts []Script) *Host {
	h := &Host{
		cfg: cfg, urn: cfg.Function.URN(), scripts: scripts, byName: map[string]*extension{},
		pending: map[string]struct{}{}, settled: make(chan struct{}), waitEnd: time.Now().Add(cfg.Wait),
		stop: make(chan struct{}), costs: costs{limit: cfg.Costs, calls: map[string]*callCosts{}},
		required: map[string]bool{}, arrived: make(chan struct{}),
	}
	for _, s := range scripts {
		h.pending[s.Name] = struct{}{}
		h.byName[s.Name] = newExtension(s.Name)
	}
	for _, name := range cfg.Required {
		h.pending[name] = struct{}{}
		h.required[name] = false
	}
	h.missing.Store(int32(len(h.required)))
	h.checkSettled()
	return h
}

func (h *Host) restart(s Script, a *attempts, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		h.start(s, a)
	case <-h.stop:
	}
}
