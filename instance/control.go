package instance

import (
	"context"
	"gantry/runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// startPatience bounds the wait of Start for the first processes.
const startPatience = 200 * time.Millisecond

// Start creates the workers; it returns once the first processes run, so that they come before what is started next, or
// after startPatience: a program on storage that does not answer holds up nothing else. Everything after that goes on
// in the background.
func (a *Instance) Start() {
	var launching sync.WaitGroup
	launching.Add(len(a.workers))
	for position := range a.workers {
		a.keepers.Go(func() {
			w, err := a.launch()
			launching.Done()
			a.keep(position, w, err)
		})
	}
	launched := make(chan struct{})
	go func() {
		launching.Wait()
		close(launched)
	}()
	timer := time.NewTimer(startPatience)
	defer timer.Stop()
	select {
	case <-launched:
	case <-timer.C:
	}
}

// WaitReady waits until load and initializer ended; the error says why the function is not ready. An instance that has
// failed is tried again, if that is due.
func (a *Instance) WaitReady(ctx context.Context) error {
	for {
		a.mu.Lock()
		state, settled, err := a.state, a.settled, a.refusal()
		if a.tryAgain() {
			state, settled = Init, a.retry.running
		}
		a.mu.Unlock()
		if state != Init {
			return err
		}
		select {
		case <-settled:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Signal sends sig to the group of every worker.
func (a *Instance) Signal(sig syscall.Signal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.thaw()
	for w := range a.live {
		if slices.Contains(a.spares, w) { // it has no handler, and would end
			continue
		}
		if err := w.Signal(sig); err != nil {
			a.cfg.Log.Warn("signal not forwarded", zap.Error(err))
		}
	}
}

// Reload replaces every worker with a fresh one that loads the code anew. Calls in flight end undisturbed.
func (a *Instance) Reload() {
	a.mu.Lock()
	if a.state >= Draining {
		a.mu.Unlock()
		return
	}
	a.thaw()
	a.reloads++
	a.settleRetry()
	clear(a.broken)
	close(a.reloaded)
	a.reloaded = make(chan struct{})
	var old []*runtime.Worker
	for w := range a.live {
		old = append(old, w)
	}
	for position := range a.workers {
		a.workers[position] = nil
	}
	a.spares = nil // they end with the others: what they have preloaded may be old
	a.follow()
	a.mu.Unlock()
	a.cfg.Log.Info("reload")
	for _, w := range old {
		w.Retire()
	}
}

// Drain stops admission at once and waits until no call is in flight, or ctx ends. Calls in the waiting room are
// refused.
func (a *Instance) Drain(ctx context.Context) error {
	a.mu.Lock()
	if a.state < Draining {
		a.setState(Draining)
	}
	a.thaw()
	a.refuseAll()
	a.checkEmpty()
	a.mu.Unlock()
	a.takeBack()
	select {
	case <-a.empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop ends all workers and waits until each is gone; calls still in flight are answered with a fault at once. Workers
// are killed at the deadline. Call Drain first. The kernel may keep a killed process alive, or an exec from ending: a
// caller with limited time does not wait for Stop.
func (a *Instance) Stop(deadline time.Time) {
	a.stop(ErrStopped) // first: a worker whose start has not ended is killed as soon as that does
	a.mu.Lock()
	if a.state < Draining {
		a.setState(Draining)
	}
	a.thaw()
	a.refuseAll()
	var live []*runtime.Worker
	for w := range a.live {
		live = append(live, w)
	}
	a.mu.Unlock()
	var stopping sync.WaitGroup
	for _, w := range live {
		stopping.Go(func() { w.Stop(deadline) })
	}
	stopping.Wait()
	a.keepers.Wait()
	a.mu.Lock()
	a.setState(Stopped)
	a.mu.Unlock()
}
