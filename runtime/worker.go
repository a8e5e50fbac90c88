package runtime

import (
	"context"
	"fmt"
	"gantry/fault"
	"gantry/logger"
	"gantry/process"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

// Worker is one process with user code in it.
type Worker struct {
	// Generation numbers the workers of an instance; a message of an older one is never taken for a newer one's.
	Generation int
	// LoadLog is the log of the load phase.
	LoadLog *logger.Request

	cfg       *Config
	proc      *process.Process
	transport Transport
	meter     *process.Meter
	output    output

	mu      sync.Mutex
	state   State
	busy    int
	loaded  chan struct{} // closed once the load ended, well or badly
	loadErr error
	retired chan struct{} // closed when the worker takes no new calls any more
	gone    chan struct{}
	death   *fault.Error
	stderr  lastLines
	// untrusted is why the worker's answers could not be read any more; nil if they could.
	untrusted error
	canceled  bool // killed by Cancel
	stopping  bool // Stop was called, or leave
	// prepared is closed when the pre-stop hook has ended, or is known not to run.
	prepared chan struct{}
	// obstacle is what stood in the way of the load when it was tried last.
	obstacle error
	// hello is set once the worker has said Hello, or done what stands for it; oneAtATime and preStop are what it said.
	hello, oneAtATime, preStop bool
	// answersBye is set for a worker that ends by itself after Bye, or answers it; wantsTerm is closed by that answer.
	answersBye bool
	wantsTerm  chan struct{}
	askForTerm sync.Once
	terminate  sync.Once // sends TERM

	answers   atomic.Int64 // of initializer, calls and pre-stop hook
	memoryErr error        // why the memory limit is not enforced; set before Start returns
}

// Start creates a worker. It returns as soon as the process runs: the load continues in the background, and WaitLoaded
// waits for its end.
func Start(cfg *Config, generation int) (*Worker, error) {
	w := &Worker{
		Generation: generation, cfg: cfg,
		loaded: make(chan struct{}), retired: make(chan struct{}), gone: make(chan struct{}), prepared: make(chan struct{}),
		wantsTerm: make(chan struct{}),
	}
	w.LoadLog = logger.NewRequest(cfg.Sink, uuid.NewString(), false, false)
	offer, err := w.offer()
	if err != nil {
		return nil, err
	}
	defer closeAll(offer.files)
	w.transport = offer.transport
	cmd := &process.Command{
		Name: "worker", Path: cfg.Program, Args: []string{cfg.Program}, // the whole path: Python finds its library by it
		Env: append(slices.Clip(cfg.Env), offer.env...), Dir: cfg.Dir, Files: offer.files, UID: cfg.UID, GID: cfg.GID, Output: w.captured,
		Expendable: true,
	}
	if err = cfg.Language.complete(cmd); err == nil {
		// Before the start: an interpreter reads its limit once, when it begins.
		cmd.Group, w.memoryErr = cfg.Groups.New()
		w.proc, err = cfg.Supervisor.Start(cmd)
	}
	if err != nil {
		offer.transport.fail(nil)
		return nil, err
	}
	if refused := w.proc.GroupErr(); refused != nil {
		w.memoryErr = refused
	}
	w.meter = process.NewMeter(w.proc.PID)
	go w.transport.serve()
	go w.supervise()
	return w, nil
}

// offer is a transport, and what the process needs of it.
type offer struct {
	transport Transport
	files     []*os.File // from descriptor 3 on
	env       []string
}

// offer makes the language's transport.
func (w *Worker) offer() (o offer, err error) {
	switch w.cfg.Language.Carrier {
	case OverFrames:
		o.transport, o.files, err = newFrames(w)
		if w.cfg.Language.AsksConcurrency {
			o.env = []string{fmt.Sprintf("GANTRY_CONCURRENCY=%d", w.cfg.Concurrency)}
		}
	case OverFramesOrRPC:
		o, err = newGoTransport(w)
	case OverRuntimeAPI:
		o, err = newRuntimeAPI(w)
	}
	return o, err
}

// MemoryErr says why the memory limit is not enforced; nil if it is.
func (w *Worker) MemoryErr() error { return w.memoryErr }

// resultLimit is the longest payload a worker may send. Log pieces have a size of their own.
func resultLimit(f *fncontext.Function) int { return max(f.MaxResponse, 64<<10) }

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// supervise waits for the worker's end, lets its last answers through, and closes the books.
func (w *Worker) supervise() {
	<-w.proc.Exited()
	w.transport.drain()
	<-w.proc.Done()
	w.LoadLog.Flush(time.Now())
	exit := w.proc.Exit()
	w.meter.Ended(exit)
	if !w.helloReceived() {
		if err := w.tooOld(); err != nil {
			w.loadEnded(err)
		}
	}
	w.mu.Lock()
	w.death = w.deathFault(exit)
	w.setState(Gone)
	w.mu.Unlock()
	w.loadEnded(w.death)
	w.transport.fail(w.death)
	close(w.gone)
}

// recordHello records what the worker reported in its Hello.
func (w *Worker) recordHello(h *helloMeta) {
	w.mu.Lock()
	w.hello, w.oneAtATime, w.preStop, w.answersBye = true, !h.Concurrency, h.PreStop, h.Bye
	w.mu.Unlock()
	if !h.Concurrency && w.cfg.Concurrency > 1 {
		w.cfg.Log.Warn("calls run one at a time: this version cannot distinguish the log lines of several calls",
			zap.String("program", w.cfg.Program), zap.String("version", h.RuntimeVersion))
	}
}

// setLoadError records why the load cannot succeed.
func (w *Worker) setLoadError(err error) {
	w.mu.Lock()
	w.obstacle = err
	w.mu.Unlock()
}

// Silent says what a worker that is not loaded in time may have done instead.
func (w *Worker) Silent() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.obstacle != nil {
		return w.obstacle.Error()
	}
	return w.cfg.Language.Silent
}

// helloReceived reports whether recordHello was called.
func (w *Worker) helloReceived() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hello
}

// setState is the only place that changes the state; it is called with mu held. It reports whether the change was
// legal.
func (w *Worker) setState(to State) bool {
	if err := w.state.next(to); err != nil {
		return false
	}
	w.cfg.Log.Debug("worker "+to.String(), zap.Int("pid", w.proc.PID), zap.Int("generation", w.Generation))
	w.state = to
	if to == Retiring || to == Gone {
		select {
		case <-w.retired:
		default:
			close(w.retired)
		}
	}
	return true
}

// State returns where the worker is in its life.
func (w *Worker) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// Signal sends sig to the worker's group.
func (w *Worker) Signal(sig unix.Signal) error { return w.proc.Signal(sig) }

// PID returns the process id.
func (w *Worker) PID() int { return w.proc.PID }

// Answers is how many answers of the worker were awaited: to the initializer, to calls, to the pre-stop hook. Once Gone
// is closed there will be no more. The agent's restart policy compares two readings.
func (w *Worker) Answers() int64 { return w.answers.Load() }

// Meter reads what the worker's process tree uses.
func (w *Worker) Meter() *process.Meter { return w.meter }

// Retired is closed when the worker takes no new calls any more, Gone when its process has ended.
func (w *Worker) Retired() <-chan struct{} { return w.retired }

// Gone is closed when the process has ended, every call was answered and all output was read.
func (w *Worker) Gone() <-chan struct{} { return w.gone }

// Death returns how the worker ended; nil before Gone is closed.
func (w *Worker) Death() *fault.Error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.death
}

// loadEnded notes the end of the load, once. What the process and its children have printed until then belongs to it.
func (w *Worker) loadEnded(err error) {
	if err == nil {
		w.output.settle()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.loaded:
	default:
		w.loadErr = err
		close(w.loaded)
	}
}

// WaitLoaded waits until user code is loaded. The error is the load's own, or a *fault.Error when ctx ended first.
func (w *Worker) WaitLoaded(ctx context.Context) error {
	select {
	case <-w.loaded:
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.loadErr
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Init runs the initializer.
func (w *Worker) Init(ctx context.Context, inv *fncontext.Call, log *logger.Request) error {
	return w.transport.Init(ctx, inv, log)
}

// SetReady lets the worker take calls. False if it ended meanwhile.
func (w *Worker) SetReady() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.setState(Ready)
}

// Acquire takes a slot for one call; false if the worker takes no calls or has no slot. Release must follow.
func (w *Worker) Acquire() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state != Ready || w.busy >= w.concurrency() {
		return false
	}
	w.busy++
	return true
}

// concurrency follows the worker's Hello: an old interpreter cannot distinguish calls. Called with mu held.
func (w *Worker) concurrency() int {
	if w.oneAtATime {
		return 1
	}
	return w.cfg.Concurrency
}

// oneByOne reports whether the worker runs its calls one after another.
func (w *Worker) oneByOne() bool {
	if w.cfg.Concurrency <= 1 {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.oneAtATime
}

// Busy returns how many slots are taken.
func (w *Worker) Busy() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.busy
}

// Release returns a slot. A retiring worker ends with its last call.
func (w *Worker) Release() {
	w.mu.Lock()
	w.busy--
	last := w.state == Retiring && w.busy == 0
	w.mu.Unlock()
	if last {
		go w.leave()
	}
}

// Invoke runs one call; the caller holds a slot. A call whose deadline passes retires the worker.
func (w *Worker) Invoke(ctx context.Context, inv *fncontext.Call, event []byte, log *logger.Request) (Result, error) {
	return w.transport.Invoke(ctx, inv, event, log)
}

// Retire stops giving the worker new calls; it ends when the others have been answered, at the latest at their
// deadlines. A worker that is not ready yet is stopped.
func (w *Worker) Retire() {
	w.mu.Lock()
	starting := w.state == Starting
	idle := w.setState(Retiring) && w.busy == 0
	w.mu.Unlock()
	if starting || idle {
		go w.leave()
	}
}

// Cancel kills the worker, without waiting for its end. Each of its calls that has no answer by then is answered with
// CanceledFault; those that never reached it with ErrNotSent, as after any end. A worker that is gone is left as it
// was.
func (w *Worker) Cancel() {
	w.mu.Lock()
	if w.state == Gone {
		w.mu.Unlock()
		return
	}
	w.canceled = true // before the kill: who finds the worker dead finds the reason
	w.setState(Retiring)
	w.mu.Unlock()
	if err := w.proc.Kill(); err != nil {
		w.cfg.Log.Error("worker not killed", zap.Error(err))
	}
}

// Canceled reports whether Cancel ended the worker.
func (w *Worker) Canceled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.canceled
}

// afterHook is the share of the time until the deadline that a pre-stop hook leaves for what follows: one part of so
// many.
const afterHook = 8

const (
	// ownEnd is the share of the time until the deadline that a worker has after Bye to end by itself: one part of so
	// many. The rest is for handlers of TERM.
	ownEnd = 2
	// busyEnd is the share of a worker that may be unable to read Bye: user code that was given up may still run in it.
	busyEnd = 8
)

const (
	maxLastLine  = 1 << 10
	maxLastLines = 12
)
