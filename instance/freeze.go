package instance

import (
	"context"
	"gantry/runtime"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// quietLimit is how long an instance without calls still counts as busy for its extensions' sake.
const quietLimit = 2 * time.Second

// idle is called when a call has left everything behind: what waits for a moment without calls happens now.
func (a *Instance) idle() {
	if a.cfg.Freeze == nil && !a.cfg.Stream.Subscribed() {
		return
	}
	a.mu.Lock()
	calls, uses := a.inFlight, a.uses
	a.mu.Unlock()
	if calls > 0 {
		return
	}
	a.cfg.Stream.Idle()
	if a.cfg.Freeze != nil {
		go a.freeze(uses)
	}
}

// freeze stops everything, unless another call has begun since uses.
func (a *Instance) freeze(uses int) {
	ctx, cancel := context.WithTimeout(a.base, quietLimit)
	defer cancel()
	a.cfg.Freeze.Quiet(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.uses != uses || a.state != Ready || a.frozen {
		return
	}
	a.frozen = true
	a.cfg.Log.Debug("freeze rehearsal: stopped")
	for _, w := range a.workers { // and none that still starts: its time would run out
		if w != nil {
			a.signal(w, unix.SIGSTOP)
		}
	}
	a.cfg.Freeze.Signal(unix.SIGSTOP)
}

// thaw continues everything; called with mu held, before anything is asked of a worker or an extension.
func (a *Instance) thaw() {
	if !a.frozen {
		return
	}
	a.frozen = false
	a.cfg.Log.Debug("freeze rehearsal: continued")
	for w := range a.live {
		a.signal(w, unix.SIGCONT)
	}
	a.cfg.Freeze.Signal(unix.SIGCONT)
}

func (a *Instance) signal(w *runtime.Worker, sig unix.Signal) {
	if err := w.Signal(sig); err != nil {
		a.cfg.Log.Warn("worker not signalled", zap.String("signal", unix.SignalName(sig)), zap.Error(err))
	}
}

// Frozen reports whether the processes are stopped. For metrics.
func (a *Instance) Frozen() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.frozen
}
