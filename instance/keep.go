package instance

import (
	"context"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/logger"
	"gantry/process"
	"gantry/runtime"
	"gantry/telemetry"
	"time"

	"go.uber.org/zap"

	fncontext "gantry/context"
)

// launch creates a worker and records it. It holds no lock meanwhile: an exec may take as long as the storage with the
// program does. A process that cannot be started for a reason that can pass is a shortage.
func (a *Instance) launch() (*runtime.Worker, error) {
	if a.base.Err() != nil {
		return nil, ErrStopped
	}
	if a.cfg.Runtime.Listens() {
		a.awaitGone()
	}
	generation, _ := a.generation()
	if w := a.takeSpare(generation); w != nil {
		return w, a.settle(w)
	}
	w, err := runtime.Start(a.cfg.Runtime, generation)
	if err != nil {
		f := &fault.Error{Kind: fault.Init, Type: fault.TypeStart, Code: fault.CodeStartTimeout, Message: err.Error()}
		if process.Transient(err) {
			return nil, shortage{f}
		}
		return nil, f
	}
	a.adopt(w)
	return w, a.settle(w)
}

// awaitGone waits until no worker is left: servers of the user's have one address, which is free only then.
func (a *Instance) awaitGone() {
	a.mu.Lock()
	var left []*runtime.Worker
	for w := range a.live {
		left = append(left, w)
	}
	a.mu.Unlock()
	for _, w := range left {
		select {
		case <-w.Gone():
		case <-a.base.Done():
			return
		}
	}
}

// shortage is a failure to start a process that can pass by itself.
type shortage struct{ error }

// Unwrap returns the failure.
func (s shortage) Unwrap() error { return s.error }

// settle ends a worker that a reload or the stop has not seen, which began while it was started.
func (a *Instance) settle(w *runtime.Worker) error {
	a.mu.Lock()
	stale := w.Generation != a.reloads
	a.mu.Unlock()
	switch {
	case a.base.Err() != nil:
		w.Cancel()
		<-w.Gone()
		return ErrStopped
	case stale:
		w.Retire()
	}
	return nil
}

// keep looks after one worker position until the instance stops: bring a worker up, wait for its end, decide what
// follows.
func (a *Instance) keep(position int, w *runtime.Worker, err error) {
	h, of := &history{}, 0
	for {
		reloads, reloaded := a.generation()
		if reloads != of {
			h, of = &history{}, reloads
		}
		if err == nil && w.Generation != reloads { // a reload came first, and has retired it
			w, err = a.launch()
			continue
		}
		if err == nil {
			err = a.bring(w)
		}
		how := howFailed(err)
		began := time.Now()
		if err == nil {
			how = a.serve(position, w)
		}
		if a.base.Err() != nil || a.cfg.Once && err == nil && !a.needed() {
			return
		}
		d := h.decide(how, time.Since(began))
		if a.cfg.Once && err == nil { // a call waits, and the next one comes only after its answer
			d.delay = 0
		}
		if now, _ := a.generation(); now == reloads && !a.after(position, h, d, err, reloaded) {
			return
		}
		a.cfg.Metrics.Restarts.Inc()
		w, err = a.launch()
	}
}

// neededPoll is how often needed looks.
const neededPoll = 5 * time.Millisecond

// needed waits until a call waits for a worker; false when the instance stops first.
func (a *Instance) needed() bool {
	tick := time.NewTicker(neededPoll)
	defer tick.Stop()
	for a.Waiting() == 0 {
		select {
		case <-tick.C:
		case <-a.base.Done():
			return false
		}
	}
	return true
}

// howFailed sorts the failures of a start.
func howFailed(err error) ending {
	switch {
	case errors.As(err, &shortage{}):
		return short
	case err != nil && fault.From(err).Final:
		return unusable
	}
	return neverStarted
}

// after carries a decision out: it waits, or fails the instance and waits for a reload. False when the instance stops.
func (a *Instance) after(position int, h *history, d decision, err error, reloaded <-chan struct{}) bool {
	if d.fail || a.isFatal(err) {
		return a.fail(position, h, err, reloaded)
	}
	if err != nil {
		a.cfg.Log.Warn("worker not ready", zap.String("reason", d.reason), zap.String("error", fault.From(err).UserMessage()))
	} else {
		a.cfg.Log.Info("worker replaced", zap.String("reason", d.reason), zap.Duration("delay", d.delay))
	}
	select {
	case <-time.After(d.delay):
	case <-reloaded:
	case <-a.base.Done():
		return false
	}
	return true
}

// isFatal reports whether another attempt cannot help: no program, or a wrong version. A shortage is never fatal, and
// neither is any failure once a worker was ready: then the machine is the cause, and it can recover.
func (a *Instance) isFatal(err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return err != nil && !a.served && fault.From(err).Type == fault.TypeStart && howFailed(err) != short
}

// fail marks a position as broken. With every position broken the instance has failed: all waiting calls are answered
// with the stored reason, until a reload, or until a call after a pause tries again. Otherwise the other positions
// serve, and the position is tried again from time to time. False when the instance stops.
func (a *Instance) fail(position int, h *history, err error, reloaded <-chan struct{}) bool {
	f := fault.From(err)
	fatal := a.isFatal(err)
	next := a.broke(position, f)
	text := "the function cannot be loaded or initialised; " + next
	if fatal {
		text = "the function cannot be started"
	}
	if !a.cfg.Once { // the one call is answered with it, and nothing tries again
		a.cfg.Log.Error(text, zap.String("type", f.UserType()), zap.String("error", f.UserMessage()))
	}
	if fatal {
		a.deadly.Do(func() { close(a.fatal) })
	}
	for {
		select {
		case <-reloaded:
			return true
		case <-a.base.Done():
			return false
		case <-a.again:
			h.attempts = maxAttempts - 1 // one attempt per try
			return true
		case <-time.After(maxBackoff):
			if a.State() != Failed {
				*h = history{}
				return true
			}
		}
	}
}

// broke takes note of a position that has failed, and says what happens next.
func (a *Instance) broke(position int, f *fault.Error) (next string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.broken[position] = struct{}{}
	if len(a.broken) < len(a.workers) || a.state != Init && a.state != Failed {
		return "other workers serve, and this one is tried again in " + maxBackoff.String()
	}
	a.failure = f
	a.retry.failed(f, time.Now())
	a.setState(Failed)
	a.refuseAll()
	a.first.Do(func() { close(a.failed) })
	if f.Final {
		return "a reload (SIGHUP) tries again"
	}
	return fmt.Sprintf("the first call after %s tries again, and so does a reload (SIGHUP)", a.retry.pause)
}

// bring waits for the load, then for the extensions, then runs the initializer. On an error the worker is stopped.
func (a *Instance) bring(w *runtime.Worker) error {
	began := time.Now()
	id := w.LoadLog.ID()
	a.cfg.Stream.Publish(&telemetry.Event{Kind: telemetry.InitStart, Begin: began, RequestID: id})
	err := a.load(w)
	took := time.Since(began)
	a.remark.Do(func() {
		if why := w.MemoryErr(); why != nil {
			a.cfg.Log.Info(
				"RUNTIME_MEMORY is not enforced here",
				zap.Int("limit_mb", a.cfg.Runtime.Function.MemoryMB),
				zap.Error(why),
				zap.String(
					"want",
					fmt.Sprintf("a limit of the container: docker run --memory %dm", a.cfg.Runtime.Function.MemoryMB),
				),
			)
		}
	})
	if err == nil && a.cfg.ExtensionsReady != nil {
		waited := time.Now()
		err = a.cfg.ExtensionsReady(a.base)
		a.phase("wait for extensions", waited)
	}
	if err == nil && a.cfg.Runtime.Function.Initializer != "" {
		initializing := time.Now()
		err = a.initialize(w)
		took += time.Since(initializing)
	}
	a.initEvents(w, began, took, err)
	if err == nil && !w.SetReady() {
		err = a.death(w)
	}
	if err != nil {
		if found := w.Hang(); found != nil {
			a.mu.Lock()
			a.hang = found
			a.mu.Unlock()
		}
		a.discard(w)
		return err
	}
	a.cfg.Metrics.InitDuration.Observe(time.Since(began))
	return nil
}

// endLimit bounds the wait for the end of a worker that failed to start: half of it until KILL, half for the kernel.
const endLimit = 2 * time.Second

// discard ends a worker that failed to start. The next one does not start beside it, unless the kernel cannot end it.
func (a *Instance) discard(w *runtime.Worker) {
	go w.Stop(time.Now().Add(endLimit / 2))
	if !gone(w, endLimit) {
		a.cfg.Log.Error("worker was killed and has not ended; the next one starts beside it", zap.Int("pid", w.PID()))
	}
}

// death is how a worker ended that takes nothing any more.
func (a *Instance) death(w *runtime.Worker) error {
	if !gone(w, endLimit) {
		return &fault.Error{
			Kind:    fault.Init,
			Type:    fault.TypeExited,
			Code:    fault.CodeExited,
			Message: "the worker takes no calls, and has not ended",
		}
	}
	return w.Death()
}

// gone waits until the worker has ended, or limit has passed.
func gone(w *runtime.Worker, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-w.Gone():
		return true
	case <-timer.C:
		return false
	}
}

func (a *Instance) load(w *runtime.Worker) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(a.base, a.cfg.LoadTimeout)
	defer cancel()
	w.LoadLog.Platform(
		began,
		fmt.Appendf(nil, "Start load request '%s', version: %s", w.LoadLog.ID(), a.cfg.Runtime.Function.Version),
	)
	err := w.WaitLoaded(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		w.Examine()
		err = startTimeout(a.cfg.LoadTimeout, w.Silent())
	}
	a.phaseEnded(w, w.LoadLog, "load", began, err)
	a.noteCodeCache(w)
	return err
}

func startTimeout(limit time.Duration, hint string) *fault.Error {
	return &fault.Error{
		Kind: fault.Init, Type: fault.TypeInitTimeout, Code: fault.CodeStartTimeout, Hint: hint,
		Message: fmt.Sprintf("runtime initialization timed out after %gs", limit.Seconds()),
	}
}

func (a *Instance) initialize(w *runtime.Worker) error {
	fn := a.cfg.Runtime.Function
	began := time.Now()
	// The same id as the load's: together they are the phase that telemetry calls init.
	inv := &fncontext.Invocation{RequestID: w.LoadLog.ID(), Function: fn, Credentials: a.cfg.Credentials}
	log := logger.NewRequest(a.cfg.Sink, inv.RequestID, false, false)
	log.Platform(began, fmt.Appendf(nil, "Start initialize request '%s', version: %s", inv.RequestID, fn.Version))
	err := w.Init(a.base, &fncontext.Call{Invocation: inv, Deadline: began.Add(fn.InitTimeout)}, log)
	var f *fault.Error
	switch {
	case errors.Is(err, runtime.ErrNotSent):
		err = a.death(w)
	case errors.As(err, &f) && f.Kind == fault.Timeout:
		hint := f.Hint
		if hint == "" {
			hint = "the initializer did not call its callback in time; raise RUNTIME_INITIALIZER_TIMEOUT if it needs longer"
		}
		err = startTimeout(fn.InitTimeout, hint)
	}
	a.phaseEnded(w, log, "initialize", began, err)
	return err
}

// phaseEnded writes the Finish line of a phase, which ends in a full stop, unlike that of a call
// (docs/COMPATIBILITY.md).
func (a *Instance) phaseEnded(w *runtime.Worker, log *logger.Request, phase string, began time.Time, err error) {
	now := time.Now()
	a.phase(phase, began)
	log.Flush(now)
	failed := ""
	if err != nil {
		failed = fmt.Sprintf("(%s Failed)", phase)
		if a.base.Err() != nil {
			log.Logger(now, "WARN", fmt.Appendf(nil, "the instance stopped before %s ended", phase), false)
		} else if f := fault.From(err); len(f.Body) == 0 {
			log.Logger(now, "ERROR", []byte(f.Message), false)
		}
		if f := fault.From(err); f.Hint != "" && a.base.Err() == nil && !a.cfg.Once { // there the answer has it
			log.Logger(now, "WARN", []byte(f.Hint), false)
		}
	}
	log.Platform(
		now,
		fmt.Appendf(nil, "Finish %s request '%s'%s, duration: %.3fms, memory used: %.3fMB.", phase, log.ID(), failed,
			millis(now.Sub(began)), megabytes(w.Meter().Read(now).Peak)),
	)
}

// serve offers the worker to calls until it takes no more, and says how that ended.
func (a *Instance) serve(position int, w *runtime.Worker) ending {
	before := w.Answers() // the initializer's
	a.mu.Lock()
	if w.Generation == a.reloads {
		a.workers[position] = w
		a.served = true
		delete(a.broken, position)
		a.settleRetry()
		a.follow()
		a.dispatch()
	}
	a.mu.Unlock()
	a.handOver()
	a.fillSpares()
	select {
	case <-w.Retired():
	case <-a.base.Done():
	}
	a.mu.Lock()
	a.workers[position] = nil
	a.follow()
	a.dispatch() // a call that came meanwhile may have tried this worker only, and waits although another one has room
	a.mu.Unlock()
	a.handOver()
	if w.Canceled() {
		return canceled
	}
	if death := w.Death(); (death != nil || w.State() == runtime.Gone) && !w.Examined() {
		a.cfg.Log.Error("worker ended", zap.Int("pid", w.PID()), zap.Error(death))
		if w.Answers() > before {
			return spent
		}
		return crashed
	}
	return retired
}
