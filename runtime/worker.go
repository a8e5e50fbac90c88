package runtime

import (
	"context"
	"errors"
	"gantry/fault"
	"gantry/logger"
	"gantry/process"
	"gantry/runtime/hang"
	"os"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

// Worker is one process with user code in it. Its process, transport, output and slots end together: they are fields of
// one type.
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

	mu    sync.Mutex
	state State
	busy  int
	// exclusive is set while the call that runs has no others behind it; ahead if there may be any: see takeAhead.
	exclusive, ahead bool

	loaded  chan struct{} // closed once the load ended, well or badly
	loadErr error
	retired chan struct{} // closed when the worker takes no new calls any more
	gone    chan struct{}
	death   *fault.Error
	stderr  lastLines
	// untrusted is why the worker's answers could not be read any more; nil if they could.
	untrusted error
	canceled  bool // killed by Cancel
	// parked is set until Begin: the worker waits before its load. parkedHello is what it said meanwhile.
	parked      bool
	parkedHello *helloMeta
	stopping    bool // Stop was called, or leave
	// prepared is closed when the pre-stop hook has ended, or is known not to run.
	prepared chan struct{}
	// obstacle is what stood in the way of the load when it was tried last.
	obstacle error
	// hello is set once the worker has said Hello, or done what stands for it; oneAtATime and preStop are what it said.
	hello, oneAtATime, preStop bool
	// answersStacks is set for a worker that sends its stacks when it is asked for them.
	answersStacks bool
	// answersBye is set for a worker that ends by itself after Bye, or answers it; wantsTerm is closed by that answer.
	answersBye bool
	wantsTerm  chan struct{}
	askForTerm sync.Once
	terminate  sync.Once // sends TERM

	// codeCache is what the worker made of its code cache.
	codeCache atomic.Pointer[CodeCache]

	exam *examination // nil unless Config.Examine

	answers   atomic.Int64 // of initializer, calls and pre-stop hook
	memoryErr error        // why the memory limit is not enforced; set before Start returns
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

// Acquire takes a slot for one call; false if the worker takes no calls or has no slot. Release must follow.
func (w *Worker) Acquire() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state != Ready || w.busy >= w.concurrency() {
		return false
	}
	w.busy++
	w.exclusive = w.ahead
	return true
}

// aheadMost is how many calls may wait in the socket of a worker behind the one that runs.
const aheadMost = 7

// AcquireAhead takes a slot for a call that HandOver gets: also behind others, if the worker has WritesAhead.
func (w *Worker) AcquireAhead() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	most := w.concurrency()
	if w.ahead {
		most += aheadMost
	}
	if w.state != Ready || w.exclusive || w.busy >= most {
		return false
	}
	w.busy++
	return true
}

// WritesAhead reports whether calls are written ahead to this worker.
func (w *Worker) WritesAhead() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ahead
}

// takeAhead notes that the worker reads its calls so that they can be written ahead.
func (w *Worker) takeAhead() {
	if !w.cfg.WritesAhead() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead = true
}

// endsAhead takes no more calls, before those that were written ahead are taken back.
func (w *Worker) endsAhead() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ahead && w.state == Ready {
		w.setState(Retiring)
	}
}

// TakeBack takes the calls back that were written ahead and that the worker has not begun to read. It waits for no
// answer.
func (w *Worker) TakeBack() { w.takeBack(false) }

func (w *Worker) takeBack(forGood bool) {
	if t, ok := w.transport.(interface{ takeBack(forGood bool) }); ok {
		t.takeBack(forGood)
	}
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

// Invoke runs one call; the caller holds a slot. A call whose deadline passes retires the worker.
func (w *Worker) Invoke(ctx context.Context, inv *fncontext.Call, event []byte, log *logger.Request) (Result, error) {
	return w.transport.Invoke(ctx, inv, event, log)
}

// Forward is Invoke for a request that a server gets as it came; see Forwarder.
func (w *Worker) Forward(
	ctx context.Context, inv *fncontext.Call, x Exchange, log *logger.Request,
) error {
	f, ok := w.transport.(Forwarder)
	if !ok {
		return fault.From(errors.New("a worker of " + w.cfg.language().Title + " takes events, not requests"))
	}
	return f.Forward(ctx, inv, x, log)
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

// offer is a transport, and what the process needs of it.
type offer struct {
	transport Transport
	files     []*os.File // from descriptor 3 on
	env       []string
}

type helloMeta struct {
	Version        int    `json:"version"`
	Runtime        string `json:"runtime"`
	RuntimeVersion string `json:"runtimeVersion"`
	Concurrency    bool   `json:"concurrency"`
	PreStop        bool   `json:"prestop"`
	Bye            bool   `json:"bye"`
	UserData       bool   `json:"userdata"`
	Stacks         bool   `json:"stacks"`
}

// output is what the process tree writes to its own stdout and stderr, past the worker.
type output struct {
	mu    sync.Mutex
	pumps []*logger.Pump
}

// examination is the look at a worker whose call has passed its deadline. Worker.mu guards begun and then.
type examination struct {
	diverted *hang.Diversion
	// offered says that the worker was started so that it can be asked for its stack, taken that user code keeps it from
	// being asked. dump is what it writes to, if that is how it is asked.
	offered bool
	taken   atomic.Bool
	dump    *os.File

	begun bool
	then  []func() // what waits for the end
	done  chan struct{}
	found *hang.Evidence // readable once done is closed
}
