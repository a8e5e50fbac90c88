package instance

import (
	"gantry/runtime"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	// spareDelay is how long a spare is started after a worker became ready: the calls that waited for it come first.
	spareDelay = 250 * time.Millisecond
	// sparePause is the wait after a spare that could not be started, or ended by itself.
	sparePause = 5 * time.Second
)

// takeSpare returns an interpreter that runs already, with the load begun; nil if there is none.
func (a *Instance) takeSpare(generation int) *runtime.Worker {
	for {
		a.mu.Lock()
		if len(a.spares) == 0 {
			a.mu.Unlock()
			return nil
		}
		w := a.spares[0]
		a.spares = slices.Delete(a.spares, 0, 1)
		a.mu.Unlock()
		err := w.Begin(generation)
		if err == nil {
			return w
		}
		a.cfg.Log.Debug("a spare interpreter is not used", zap.Int("pid", w.PID()), zap.Error(err))
		w.Cancel()
	}
}

// fillSpares starts what is missing of the spares, in the background. In an instance for one call they would take its
// CPU.
func (a *Instance) fillSpares() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.filling || len(a.spares) >= a.cfg.Spares || a.cfg.Once || a.base.Err() != nil {
		return
	}
	a.filling = true
	a.keepers.Go(a.fill)
}

// fill starts spares until there are enough, or the instance stops. A reload makes it begin anew.
func (a *Instance) fill() {
	wait := spareDelay
	for a.pause(wait) {
		generation, _ := a.generation()
		w, err := runtime.Park(a.cfg.Runtime)
		if err != nil {
			a.cfg.Log.Warn("a spare interpreter was not started", zap.Error(err), zap.Duration("next_try_in", sparePause))
			wait = sparePause
			continue
		}
		wait = 0
		a.adopt(w)
		if full := a.addSpare(w, generation); full {
			return
		}
	}
}

// addSpare adds a spare that was started at a generation, unless the instance stops or was reloaded since: what it has
// preloaded may be old. It reports whether there are enough.
func (a *Instance) addSpare(w *runtime.Worker, generation int) (full bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.base.Err() != nil || generation != a.reloads {
		w.Cancel()
		return false
	}
	a.spares = append(a.spares, w)
	a.keepers.Go(func() { a.watchSpare(w) })
	a.filling = len(a.spares) < a.cfg.Spares
	return !a.filling
}

// pause waits; false when the instance stops.
func (a *Instance) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return a.base.Err() == nil
	case <-a.base.Done():
		return false
	}
}

// watchSpare takes a spare that ended out of the list, and starts another one after a pause.
func (a *Instance) watchSpare(w *runtime.Worker) {
	<-w.Gone()
	a.mu.Lock()
	at := slices.Index(a.spares, w)
	if at >= 0 {
		a.spares = slices.Delete(a.spares, at, at+1)
	}
	a.mu.Unlock()
	if at < 0 || a.base.Err() != nil {
		return
	}
	a.cfg.Log.Warn("a spare interpreter ended, another one follows", zap.Int("pid", w.PID()), zap.Error(w.Death()),
		zap.Duration("in", sparePause))
	if a.pause(sparePause) {
		a.fillSpares()
	}
}

// Spares returns how many interpreters wait. For metrics.
func (a *Instance) Spares() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.spares)
}

// SpareMemory returns the memory that the interpreters that wait use, in bytes, as /proc has it now. For metrics.
func (a *Instance) SpareMemory() (memory int64) {
	a.mu.Lock()
	spares := slices.Clone(a.spares)
	a.mu.Unlock()
	for _, w := range spares {
		memory += w.Meter().Read(time.Now()).RSS
	}
	return memory
}
