// Package instance is the function instance: its state, the admission of calls, their deadlines, one Invoke, and the
// summary of each call. It is the only package that knows both workers and extensions, the latter as functions.
package instance

import (
	"container/list"
	"context"
	"errors"
	"gantry/fault"
	"gantry/logger"
	"gantry/metrics"
	"gantry/runtime"
	"gantry/runtime/hang"
	"gantry/telemetry"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	fncontext "gantry/context"
)

// Config is what an Instance needs. Functions may be nil.
type Config struct {
	Runtime *runtime.Config
	// Workers is the number of worker processes, WaitingRoom the size of the waiting room in calls.
	Workers, WaitingRoom int
	// RoomWait limits the wait in the room. Zero means the function's timeout, plus what a start may take while one is
	// under way.
	RoomWait time.Duration
	// LoadTimeout limits the load of user code; the initializer has its own limit.
	LoadTimeout time.Duration
	// Credentials are handed to the initializer.
	Credentials fncontext.Credentials
	// ExtensionsReady waits until the extensions that were started have registered, ended, or had their time. The error
	// is for those that the function does not start without.
	ExtensionsReady func(ctx context.Context) error
	// Complete waits for extensions without which no call is taken.
	Complete func(ctx context.Context) error
	// Notify sends the extensions the notification that a call begins. It blocks only for those that asked for it.
	Notify func(*fncontext.Call)
	// Extended reports whether there are extensions that are notified.
	Extended func() bool
	// Stream gets the telemetry of the instance and of its calls.
	Stream *telemetry.Stream
	// Spares is how many interpreters run in advance, for workers that have to be replaced; 0 for a language without.
	Spares int
	// Once says that the instance runs one call: a worker that has ended is replaced only for a call that waits.
	Once bool
	// Freeze is nil unless processes are stopped between calls.
	Freeze  *Freeze
	Metrics *metrics.Metrics
	Log     *zap.Logger
	Sink    *logger.Sink
}

// Instance is one function instance. Use New, then Start. Admission, workers and state change together under one mutex,
// so they are fields of one type.
type Instance struct {
	cfg  *Config
	base context.Context // the parent of every invocation's context
	stop context.CancelCauseFunc

	mu       sync.Mutex
	state    State
	workers  []*runtime.Worker // by position; nil while none takes calls
	waiting  *list.List        // the waiting room: synchronous calls, of *Lease, oldest first
	inFlight int
	failure  *fault.Error
	broken   map[int]struct{} // positions whose worker cannot be started
	retry    retry
	again    chan struct{} // has one keeper start a worker for the try under way
	served   bool          // a worker was ready once
	settled  chan struct{} // closed while the state is not Init
	reloads  int
	reloaded chan struct{} // closed and replaced at each reload
	empty    chan struct{} // closed when draining and nothing is in flight
	draining chan struct{} // closed when draining begins
	phases   []Phase
	keepers  sync.WaitGroup
	failed   chan struct{} // closed at the first failure; see Failure
	fatal    chan struct{} // closed when the interpreter cannot run the worker at all
	first    sync.Once
	deadly   sync.Once
	remark   sync.Once                    // of what a person should know about this start
	live     map[*runtime.Worker]struct{} // every worker that is not gone

	waitingAsync *list.List        // the waiting room of asynchronous calls, of *Lease, oldest first
	turns        turns             // between the two rooms
	asyncSlots   int               // how many of inFlight are asynchronous
	calls        map[string]*Lease // those in flight, by request id

	spares  []*runtime.Worker // parked: interpreters that have not seen user code
	filling bool              // spares are being started

	unbegun int    // calls that have a slot behind another call, and wait for its answer
	running *Lease // the one that runs, where calls are written ahead
	// handed are calls that have got a slot and are to be handed over; handing keeps their order, and comes before mu.
	handed  []*Lease
	handing sync.Mutex

	uses     int            // counts the slots that were given
	frozen   bool           // the processes are stopped
	hang     *hang.Evidence // of the load or the initializer
	initTook atomic.Int64   // of the first worker, in nanoseconds
	reported atomic.Bool    // initTook has been reported
}

// Phase is one step of the first worker's start, to show where the time went.
type Phase struct {
	Name string
	Took time.Duration
}

// Phases returns the steps of the start so far.
func (a *Instance) Phases() []Phase {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]Phase(nil), a.phases...)
}

func (a *Instance) phase(name string, began time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.phases) < 8 {
		a.phases = append(a.phases, Phase{Name: name, Took: time.Since(began)})
	}
}

// New returns an instance in state Init. Nothing runs before Start.
func New(cfg *Config) *Instance {
	a := &Instance{
		cfg:     cfg,
		workers: make([]*runtime.Worker, cfg.Workers),
		waiting: list.New(),
		reloaded: make(
			chan struct{},
		),
		empty:        make(chan struct{}),
		draining:     make(chan struct{}),
		failed:       make(chan struct{}),
		live:         map[*runtime.Worker]struct{}{},
		broken:       map[int]struct{}{},
		settled:      make(chan struct{}),
		fatal:        make(chan struct{}),
		waitingAsync: list.New(),
		calls:        map[string]*Lease{},
		again:        make(chan struct{}, 1),
	}
	a.base, a.stop = context.WithCancelCause(context.Background())
	cfg.Runtime.Draining = a.draining
	return a
}

// setState is the only place that changes the state; it is called with mu held.
func (a *Instance) setState(to State) {
	if a.state == to {
		return
	}
	if err := a.state.next(to); err != nil {
		a.cfg.Log.Error("state not changed", zap.Error(err))
		return
	}
	if ce := a.cfg.Log.Check(zap.DebugLevel, "instance state changed"); ce != nil {
		ce.Write(zap.Stringer("state", to), zap.Int("in_flight", a.inFlight))
	}
	if a.state == Init {
		close(a.settled)
	}
	if to == Init {
		a.settled = make(chan struct{})
	}
	if to == Draining {
		close(a.draining)
	}
	a.state = to
}

// follow derives Init, Ready and Busy from the workers and the calls in flight; called with mu held.
func (a *Instance) follow() {
	if a.state > Busy {
		return
	}
	for _, w := range a.workers {
		if w != nil {
			if a.state == Init {
				a.setState(Ready)
			}
			if a.inFlight > 0 {
				a.setState(Busy)
			} else {
				a.setState(Ready)
			}
			return
		}
	}
	a.setState(Init)
}

// State returns the instance's state.
func (a *Instance) State() State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state
}

// InFlight returns the number of calls that have a slot.
func (a *Instance) InFlight() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inFlight
}

// Waiting returns the number of synchronous calls that GANTRY_QUEUE bounds: those in the waiting room, and those that
// are written ahead and have not begun.
func (a *Instance) Waiting() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.waiting.Len() + a.unbegun
}

// WaitingAsync returns the number of asynchronous calls that wait for a slot; their caller bounds it.
func (a *Instance) WaitingAsync() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.waitingAsync.Len()
}

// CheckMeta refuses a call that no worker can be given, because its credentials, ids and trace headers are too long
// together. A synchronous call is refused for the same reason; the caller of an asynchronous one checks it before it
// accepts the call.
func (a *Instance) CheckMeta(inv *fncontext.Invocation) error { return a.cfg.Runtime.CheckMeta(inv) }

// Base is the context that every call descends from: it ends when the instance stops, never when a client leaves.
func (a *Instance) Base() context.Context { return a.base }

// Failed is closed when load or initializer have failed for the first time in all attempts; Failure returns the reason.
// The instance can recover by a reload or by a later call; see retry.
func (a *Instance) Failed() <-chan struct{} { return a.failed }

// Failure returns the stored reason, or nil.
func (a *Instance) Failure() *fault.Error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failure
}

// Fatal is closed when the interpreter cannot run the worker at all; Failure returns the reason. It is closed only
// before the first worker was ready.
func (a *Instance) Fatal() <-chan struct{} { return a.fatal }

// Hang returns where load or initializer were when they passed their deadline last; nil unless runtime.Config.Examine.
func (a *Instance) Hang() *hang.Evidence {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hang
}

// checkEmpty is called with mu held.
func (a *Instance) checkEmpty() {
	if a.state != Draining || a.inFlight+a.unbegun > 0 {
		return
	}
	select {
	case <-a.empty:
	default:
		close(a.empty)
	}
}

// Lease is one call's right to run, from its admission to its summary: its request id, and a slot of a worker or a
// place where it waits for one. It ends with Invoke, or with Drop if the call does not begin. Instance.mu guards
// worker, place, canceled and ended; the call's own goroutine may read worker once it was given.
type Lease struct {
	instance *Instance
	// call has its deadline since announce.
	call fncontext.Call
	log  *logger.Request
	line []byte // the first one of the log
	// worker is nil while the call has no slot, place while it is in no waiting room.
	worker *runtime.Worker
	place  *list.Element
	// late is the worker on which the call passed its deadline.
	late *runtime.Worker
	// given is closed when the call leaves the waiting room, with a slot or to look why not.
	given chan struct{}
	// canceled calls are answered with fault.Canceled. Once ended, a call has its outcome, and no cancel changes it.
	canceled, ended bool
	// try counts the workers that were tried, from 1.
	try int
	// began is when the function began.
	began time.Time
	// waited is the time in the waiting room.
	waited time.Duration

	// Of calls that may be written ahead, see ahead.go. ahead is nil for others; came and latest are when its wait began
	// and when it ends. Instance.mu guards unbegun, which is set while it has a slot and has not begun, and over: the next
	// call has begun and has its slot.
	ahead         *runtime.Ahead
	came, latest  time.Time
	unbegun, over bool
	// cpu and others are what the worker and its descendants had used when it began.
	cpu, others time.Duration
}

// Freeze stops the processes between calls, as a cloud does, for GANTRY_FREEZE.
type Freeze struct {
	// Quiet waits until the extensions have nothing to answer any more, or ctx ends.
	Quiet func(ctx context.Context)
	// Signal sends STOP or CONT to the group of every extension.
	Signal func(unix.Signal)
}

// ErrStopped is the cause of calls that a stop cut off.
var ErrStopped = errors.New("the instance stopped")

// adopt records a worker whose process runs, until it is gone.
func (a *Instance) adopt(w *runtime.Worker) {
	a.mu.Lock()
	a.live[w] = struct{}{}
	a.mu.Unlock()
	go func() {
		<-w.Gone()
		a.mu.Lock()
		delete(a.live, w)
		a.mu.Unlock()
	}()
}

func (a *Instance) generation() (int, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reloads, a.reloaded
}
