package extension

import (
	"context"
	"gantry/logger"
	"gantry/process"
	"gantry/telemetry"
	"net/netip"
	"os"
	"path/filepath"
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
	// Strict refuses names that were not started here.
	Strict bool
	// Env is the extensions' whole environment.
	Env        []string
	UID, GID   int
	Supervisor *process.Supervisor
	Sink       *logger.Sink
	Log        *zap.Logger
	Metrics    *telemetry.Metrics
}

// Host owns the slots. Use NewHost.
type Host struct {
	cfg     *Config
	urn     string
	scripts []Script

	mu       sync.Mutex
	byName   map[string]*extension
	slots    [Slots]*slot
	taken    atomic.Int32 // slots
	stopping bool
	// pending are the names that were started and have neither registered nor ended; settled is closed when none is left.
	pending map[string]struct{}
	settled chan struct{}
	waitEnd time.Time

	deliveries sync.WaitGroup
}

// extension is one extension by name: started here, registered, or both.
type extension struct {
	name string
	proc *process.Process
	slot *slot
}

// NewHost returns a host that will start these scripts; from now on WaitReady waits for them.
func NewHost(cfg *Config, scripts []Script) *Host {
	h := &Host{
		cfg: cfg, urn: cfg.Function.URN(), scripts: scripts, byName: map[string]*extension{},
		pending: map[string]struct{}{}, settled: make(chan struct{}), waitEnd: time.Now().Add(cfg.Wait),
	}
	for _, s := range scripts {
		h.pending[s.Name] = struct{}{}
		h.byName[s.Name] = &extension{name: s.Name}
	}
	h.checkSettled()
	return h
}

// Start starts the scripts side by side; apiAddr is where they register. One that cannot be started is logged, and the
// function runs without it.
func (h *Host) Start(apiAddr string) {
	var starting sync.WaitGroup
	for _, s := range h.scripts {
		starting.Go(func() { h.start(s, apiAddr) })
	}
	starting.Wait()
}

// yielding is the nice value of extensions: when the processor is short, the function comes first.
const yielding = 10

func (h *Host) start(s Script, apiAddr string) {
	cmd := &process.Command{
		Name: s.Name, Path: s.Path, Args: []string{s.Path}, Dir: filepath.Dir(s.Path),
		Env: append([]string{"EXTENSION_API_ADDR=" + apiAddr, "EXTENSION_ROOT=" + filepath.Dir(filepath.Dir(s.Path))}, h.cfg.Env...),
		UID: h.cfg.UID, GID: h.cfg.GID, Nice: yielding, Output: func(stream string, r *os.File) { h.output(s.Name, stream, r) },
	}
	if !s.Executable {
		h.cfg.Log.Warn("extension lacks the execute bit: /bin/sh runs it", zap.String("extension", s.Name))
		cmd.Path, cmd.Args = "/bin/sh", []string{"/bin/sh", s.Path}
	}
	proc, err := h.cfg.Supervisor.Start(cmd)
	if err != nil {
		h.cfg.Log.Error("extension not started; the function runs without it", zap.String("extension", s.Name), zap.Error(err))
		h.settle(s.Name)
		return
	}
	h.mu.Lock()
	h.byName[s.Name].proc = proc
	h.mu.Unlock()
	go h.watch(s.Name, proc)
}

func (h *Host) output(name, stream string, r *os.File) {
	logger.Pump(r, func(p logger.Part) {
		h.cfg.Sink.Write(&logger.Line{Time: time.Now(), Source: name, Stream: stream, Text: p.Text, Part: p.Number, More: !p.Last})
	})
}

// watch frees the slot of an extension that ends. The function is not touched: a monitor's death is no reason to stop.
func (h *Host) watch(name string, proc *process.Process) {
	<-proc.Exited()
	h.mu.Lock()
	e := h.byName[name]
	delete(h.byName, name)
	if e != nil && e.slot != nil {
		h.vacate(e)
	}
	stopping := h.stopping
	h.mu.Unlock()
	if !stopping {
		h.cfg.Log.Error("extension ended; the function runs on without it", zap.String("extension", name), zap.Stringer("exit", proc.Exit()))
	}
	h.settle(name)
}

// settle records that there is nothing to wait for from this extension any more.
func (h *Host) settle(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settled1(name)
}

func (h *Host) settled1(name string) {
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

// registered counts the taken slots; called with mu held.
func (h *Host) registered() int {
	n := 0
	for _, s := range h.slots {
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

// occupy gives e the slot of addr; called with mu held.
func (h *Host) occupy(e *extension, addr netip.AddrPort) {
	e.slot = newSlot(e.name, addr, h)
	h.slots[slotOf(addr)] = e.slot
	h.taken.Add(1)
	h.cfg.Log.Info("extension registered", zap.String("extension", e.name), zap.String("address", addr.String()))
	h.settled1(e.name)
}

// vacate frees the slot of e; called with mu held.
func (h *Host) vacate(e *extension) {
	h.slots[slotOf(e.slot.addr)] = nil
	h.taken.Add(-1)
	e.slot.close()
	e.slot = nil
}

// lost frees the slot of an extension that nobody watches and that does not listen any more.
func (h *Host) lost(s *slot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.byName[s.name]
	if e == nil || e.slot != s || e.proc != nil {
		return
	}
	h.vacate(e)
	delete(h.byName, s.name)
	h.cfg.Log.Warn("extension is gone: it refuses connections, and its address is free again", zap.String("extension", s.name), zap.String("address", s.addr.String()))
}

// WaitReady waits until every extension started here has registered or ended, at most for the configured time since the
// start. Those that are late are named in the log, and the function runs without them until they register.
func (h *Host) WaitReady(ctx context.Context) {
	h.mu.Lock()
	left := time.Until(h.waitEnd)
	h.mu.Unlock()
	select {
	case <-h.settled:
		return
	default:
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-h.settled:
	case <-ctx.Done():
	case <-timer.C:
		h.giveUp()
	}
}

// giveUp stops waiting, for this and all later workers.
func (h *Host) giveUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name := range h.pending {
		h.cfg.Log.Warn("extension has not registered in time; the function starts without it",
			zap.String("extension", name), zap.Duration("waited", h.cfg.Wait), zap.String("setting", "GANTRY_EXTENSION_WAIT"))
	}
	clear(h.pending)
	h.checkSettled()
}

// Notify tells all registered extensions that a call begins. It never blocks: what does not fit a queue is dropped and
// counted. The queues are filled beside the caller, who has a call to hand over; inv must not change any more.
func (h *Host) Notify(inv *fncontext.Invocation) {
	if h.taken.Load() > 0 {
		go h.offer(newNotification(inv, h.urn))
	}
}

func (h *Host) offer(n *notification) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.slots {
		if s != nil {
			s.offer(n)
		}
	}
}

// Stop ends the extensions: TERM to each group, KILL at the deadline. It waits until all are gone.
func (h *Host) Stop(deadline time.Time) {
	h.mu.Lock()
	h.stopping = true
	var procs []*process.Process
	for _, e := range h.byName {
		if e.proc != nil {
			procs = append(procs, e.proc)
		}
		if e.slot != nil {
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
				h.cfg.Log.Warn("extension killed: it did not end on TERM", zap.String("extension", p.Name))
			}
		})
	}
	ending.Wait()
	delivered := make(chan struct{})
	go func() {
		h.deliveries.Wait()
		close(delivered)
	}()
	select { // one that never answers holds its delivery for replyTimeout, which may be longer than we have
	case <-delivered:
	case <-ctx.Done():
	}
}
