package runtime

import (
	"context"
	fncontext "gantry/context"
	"gantry/logger"

	"go.uber.org/zap"
)

// recordHello records what the worker reported in its Hello.
func (w *Worker) recordHello(h *helloMeta) {
	w.mu.Lock()
	w.hello, w.oneAtATime, w.preStop, w.answersBye = true, !h.Concurrency, h.PreStop, h.Bye
	w.answersStacks = h.Stacks
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
	return w.cfg.language().SilentFor(w.obstacle)
}

// helloReceived reports whether recordHello was called.
func (w *Worker) helloReceived() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hello
}

// isStopping reports whether the worker is being ended: what it does now says nothing about the next one.
func (w *Worker) isStopping() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopping
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

// keepsHello keeps what a parked worker says of itself until Begin; false for one that is not parked.
func (w *Worker) keepsHello(h *helloMeta) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.parked {
		w.parkedHello = h
	}
	return w.parked
}
