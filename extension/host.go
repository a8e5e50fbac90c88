package extension

import (
	"context"
	"gantry/logger"
	"gantry/metrics"
	"gantry/process"
	"gantry/telemetry"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	fncontext "gantry/context"
)

// Config is what a Host needs.
type Config struct {
	Function *fncontext.Function
	// Wait is how long initializer and first call wait for those that were started here.
	Wait time.Duration
	// Required are names without which the function does not start, and takes no calls.
	Required []string
	// Strict refuses names that were not started here.
	Strict bool
	// Restart starts those that end anew, after a while; required ones are always started anew.
	Restart bool
	// Env is the extensions' whole environment.
	Env        []string
	UID, GID   int
	Supervisor *process.Supervisor
	Sink       *logger.Sink
	Log        *zap.Logger
	Metrics    *metrics.Metrics
	// Stream gets what happens to extensions; it may be nil.
	Stream *telemetry.Stream
	// Costs keeps what each extension cost each call, for Costs.
	Costs bool
	// Observer gets what happens, ListLeft fills process.Process.Left. Both are for tools.
	Observer Observer
	ListLeft bool
}

// Host owns the seats. Use NewHost.
type Host struct {
	cfg     *Config
	urn     string
	scripts []Script
	apiAddr string

	mu       sync.Mutex
	byName   map[string]*extension
	seats    [Seats]*seat
	taken    atomic.Int32 // seats
	inSync   atomic.Int32 // seats whose answers are waited for
	stopping bool
	stop     chan struct{} // closed with it
	costs    map[string][]Cost
	// required are the names that must be there; missing says how many are not.
	required map[string]bool
	missing  atomic.Int32
	arrived  chan struct{} // closed and replaced when one of them arrives
	// pending are the names that were started and have neither registered nor ended; settled is closed when none is left.
	pending map[string]struct{}
	settled chan struct{}
	waitEnd time.Time

	// outstanding are notifications that are buffered or under way; listener is the telemetry subscriber's place.
	outstanding atomic.Int64
	listener    *listener
	refusals    logger.Limit // of registrations, as telemetry events
	deliveries  sync.WaitGroup
	lives       sync.WaitGroup // of those that were started, and of starts to come
}

// extension is one extension by name: started here, registered, or both.
type extension struct {
	name   string
	proc   *process.Process
	seat   *seat
	output atomic.Int64 // bytes so far
	index  atomic.Int32 // of its seat; -1 without one
}

func newExtension(name string) *extension {
	e := &extension{name: name}
	e.index.Store(-1)
	return e
}

// NewHost returns a host that will start these scripts; from now on WaitReady waits for them.
func NewHost(cfg *Config, scripts []Script) *Host {
	h := &Host{
		cfg: cfg, urn: cfg.Function.URN(), scripts: scripts, byName: map[string]*extension{},
		pending: map[string]struct{}{}, settled: make(chan struct{}), waitEnd: time.Now().Add(cfg.Wait),
		stop: make(chan struct{}), costs: map[string][]Cost{}, required: map[string]bool{}, arrived: make(chan struct{}),
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
		Nice:       yielding,
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

// state publishes a change in an extension's life to the telemetry subscriber.
func (h *Host) state(name, state, detail string) {
	h.cfg.Stream.Publish(
		&telemetry.Event{Kind: telemetry.ExtensionState, Begin: time.Now(), Extension: name, State: state, Detail: detail},
	)
}

// settle records that there is nothing to wait for from this extension any more.
func (h *Host) settle(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settledLocked(name)
}

func (h *Host) settledLocked(name string) {
	delete(h.pending, name)
	h.checkSettled()
}

// checkSettled is called with mu held.
func (h *Host) checkSettled() {
	if len(h.pending) > 0 {
		return
	}
	select {
	case <-h.settled:
	default:
		close(h.settled)
	}
}

// registered counts the taken seats; called with mu held.
func (h *Host) registered() int {
	n := 0
	for _, s := range h.seats {
		if s != nil {
			n++
		}
	}
	return n
}

// Registered returns how many extensions are registered.
func (h *Host) Registered() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.registered()
}

// occupy gives e the seat of addr; called with mu held.
func (h *Host) occupy(e *extension, addr netip.AddrPort, o *options) {
	e.seat = newSeat(e.name, addr, h, o)
	h.seats[seatOf(addr)] = e.seat
	e.index.Store(int32(e.seat.index))
	h.taken.Add(1)
	if o.sync && o.invoke {
		h.inSync.Add(1)
	}
	if there, ok := h.required[e.name]; ok && !there {
		h.required[e.name] = true
		h.missing.Add(-1)
		close(h.arrived)
		h.arrived = make(chan struct{})
	}
	h.cfg.Log.Info("extension registered", zap.String("extension", e.name), zap.String("address", addr.String()))
	h.state(e.name, telemetry.StateRegistered, addr.String())
	h.settledLocked(e.name)
}

// vacate frees the seat of e; called with mu held.
func (h *Host) vacate(e *extension) {
	h.seats[seatOf(e.seat.addr)] = nil
	e.index.Store(-1)
	h.taken.Add(-1)
	if e.seat.sync && e.seat.invoke {
		h.inSync.Add(-1)
	}
	if h.required[e.name] {
		h.required[e.name] = false
		h.missing.Add(1)
	}
	e.seat.close()
	e.seat = nil
}

// lost frees the seat of an extension that was not started here and does not listen any more.
func (h *Host) lost(s *seat) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.byName[s.name]
	if e == nil || e.seat != s || e.proc != nil {
		return
	}
	h.vacate(e)
	h.unlisten(s.name)
	delete(h.byName, s.name)
	h.state(s.name, telemetry.StateExited, "it refuses connections")
	h.cfg.Log.Warn(
		"extension is gone: it refuses connections, and its address is free again",
		zap.String("extension", s.name),
		zap.String("address", s.addr.String()),
	)
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
