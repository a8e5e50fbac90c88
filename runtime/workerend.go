package runtime

import (
	"context"
	"errors"
	"fmt"
	fncontext "gantry/context"
	"gantry/fault"
	"gantry/logger"
	"gantry/process"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Stop ends the worker: the pre-stop hook, Bye, time to end by itself, TERM to its group, KILL at the deadline. It
// waits until the worker is gone, and not much beyond the deadline for one that the kernel holds. It may be called
// again, with an earlier deadline.
func (w *Worker) Stop(deadline time.Time) {
	w.prepare(deadline.Add(-time.Until(deadline) / afterHook))
	w.end(deadline)
}

// leave ends a worker without a deadline: the hook has its own timeout, and what follows has stopGrace.
func (w *Worker) leave() {
	w.prepare(time.Now().Add(w.cfg.Function.PreStopTimeout))
	w.end(time.Now().Add(stopGrace))
}

// prepare takes no more calls and runs the pre-stop hook, or waits for the one that runs, until latest.
func (w *Worker) prepare(latest time.Time) {
	w.awaitExamination() // Bye would change what there is to see
	w.endsAhead()
	w.takeBack(true)
	w.mu.Lock()
	wasReady := w.state == Ready || w.state == Retiring
	w.setState(Retiring)
	hook := wasReady && w.preStop && w.busy == 0 && !w.canceled && w.untrusted == nil
	first := !w.stopping
	w.stopping = true
	w.mu.Unlock()
	if !first {
		timer := time.NewTimer(time.Until(latest))
		defer timer.Stop()
		select {
		case <-w.prepared:
		case <-timer.C:
		}
		return
	}
	defer close(w.prepared)
	if hook && w.cfg.Function.PreStop != "" && !w.transport.overdue() {
		w.runPreStop(latest)
	}
}

// end ends the worker, and waits until it is gone; process.End bounds the wait after KILL.
func (w *Worker) end(deadline time.Time) {
	if err := w.transport.Close(); err != nil {
		w.cfg.Log.Debug("Bye not sent to the worker", zap.Error(err))
	} else {
		w.awaitOwnEnd(deadline)
	}
	w.terminate.Do(func() { // once: a second TERM would cut off a handler that runs for the first one only
		if err := w.proc.Signal(unix.SIGTERM); err != nil {
			w.cfg.Log.Error("TERM not sent to the worker", zap.Error(err))
		}
	})
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-w.proc.Exited():
	case <-timer.C:
		w.cfg.Log.Info("worker killed: it did not end on TERM", zap.Int("pid", w.proc.PID))
		if err := w.proc.End(); err != nil {
			w.cfg.Log.Error("worker not ended; the agent goes on without waiting for it", zap.Error(err))
			return
		}
	}
	<-w.gone
}

// awaitOwnEnd waits after Bye until the process has ended by itself, which runs its exit hooks, or has asked for TERM.
func (w *Worker) awaitOwnEnd(deadline time.Time) {
	w.mu.Lock()
	answers := w.answersBye
	w.mu.Unlock()
	if !answers {
		return
	}
	share := time.Until(deadline) / ownEnd
	if !w.isLoaded() || w.transport.overdue() {
		share = time.Until(deadline) / busyEnd
	}
	timer := time.NewTimer(share)
	defer timer.Stop()
	select {
	case <-w.proc.Exited():
	case <-w.wantsTerm:
	case <-timer.C:
	}
}

// runPreStop runs the hook within its own limit, until latest.
func (w *Worker) runPreStop(latest time.Time) {
	fn := w.cfg.Function
	end := time.Now().Add(fn.PreStopTimeout)
	if latest.Before(end) {
		end = latest
	}
	inv := &fncontext.Invocation{RequestID: uuid.NewString(), Function: fn, Credentials: w.cfg.Credentials}
	log := logger.NewRequest(w.cfg.Sink, inv.RequestID, false, false)
	err := w.transport.PreStop(context.Background(), &fncontext.Call{Invocation: inv, Deadline: end}, log)
	log.Flush(time.Now())
	var f *fault.Error
	switch {
	case err == nil:
		w.cfg.Log.Debug("pre-stop hook ended", zap.String("request_id", inv.RequestID))
	case errors.As(err, &f) && f.Kind == fault.Timeout:
		w.cfg.Log.Warn("pre-stop hook cut off: it did not end in time (RUNTIME_PRESTOP_TIMEOUT, GANTRY_SHUTDOWN_TIMEOUT)",
			zap.String("request_id", inv.RequestID), zap.String("hint", f.Hint))
	default:
		w.cfg.Log.Warn("pre-stop hook failed", zap.String("request_id", inv.RequestID), zap.Error(err))
	}
}

// deathFault returns the error for calls in flight when the worker process ended. Called with mu held.
func (w *Worker) deathFault(exit process.Exit) *fault.Error {
	if w.canceled {
		return CanceledFault()
	}
	if exit.Abandoned { // by a stop that a second signal forced, or that took too long
		return stoppedFault(nil, "")
	}
	stderr := w.stderr.lines()
	if long := (*tooLong)(nil); errors.As(w.untrusted, &long) {
		return &fault.Error{
			Kind: fault.Crash, Type: fault.TypeProtocol, Code: fault.CodeExited, Stderr: stderr,
			Message: "runtime process is exited: its answers could not be read: " + long.Error(),
			Hint:    "an answer of the function is far above RUNTIME_MAX_RESP_BODY_SIZE",
		}
	}
	if w.untrusted != nil {
		return &fault.Error{
			Kind: fault.Crash, Type: fault.TypeProtocol, Code: fault.CodeExited, Stderr: stderr,
			Message: "runtime process is exited: its answers could not be read: " + w.untrusted.Error(),
			Hint:    "user code wrote to descriptor 4, which belongs to the agent",
		}
	}
	if exit.OutOfMemory {
		f := &fault.Error{
			Kind:   fault.OutOfMemory,
			Type:   fault.TypeMemory,
			Code:   fault.CodeMemory,
			Stderr: stderr,
			Message: fmt.Sprintf(
				"runtime memory limit exceeded: the worker was killed at %d MB (RUNTIME_MEMORY)",
				w.cfg.Function.MemoryMB,
			),
			Hint: "raise RUNTIME_MEMORY, or use less memory",
		}
		if w.memoryErr != nil { // RUNTIME_MEMORY is not enforced here: another limit was reached
			f.Message = "runtime memory limit exceeded: the worker was killed at the memory limit of its container"
			f.Hint = "raise the container's limit (docker run --memory), or use less memory"
		}
		return f
	}

	hint := ""
	switch {
	case exit.Signal == 0:
		hint = w.cfg.language().EndHint(w.cfg.Program, exit.Code, stderr)
		if !w.hello {
			hint = w.cfg.language().EarlyHint(stderr, w.cfg.Function.CodeRoot, hint)
		}
	case exit.Signal == unix.SIGKILL:
		hint = "something killed the process from outside; if it was the kernel for want of memory, its log says so"
	case exit.Signal == unix.SIGABRT:
		hint = w.cfg.language().AbortHint(stderr)
	}
	return &fault.Error{
		Kind: fault.Crash, Type: fault.TypeExited, Code: fault.CodeExited, Stderr: stderr, Hint: hint,
		Message: "runtime process is exited: " + exit.String(),
	}
}

// distrust ends a worker whose answers cannot be read any more.
func (w *Worker) distrust(err error) {
	w.mu.Lock()
	w.untrusted = err
	w.setState(Retiring)
	w.mu.Unlock()
}

// tooOld explains a worker that ended before it said Hello: an interpreter that is too old cannot even read the source.
// nil if that is not the reason.
func (w *Worker) tooOld() error {
	lang := w.cfg.language()
	if lang.OwnProgram() {
		return nil
	}
	var out strings.Builder
	var mu sync.Mutex
	p, err := w.cfg.Supervisor.Start(&process.Command{
		Name: "version",
		Path: w.cfg.Program,
		Args: []string{lang.Program, "--version"},
		Env:  w.cfg.Env,
		Dir:  w.cfg.Dir,
		UID:  w.cfg.UID,
		GID:  w.cfg.GID,
		Output: func(_ string, r *os.File) {
			logger.NewPump(r, func(p logger.Part) {
				mu.Lock()
				defer mu.Unlock()
				if out.Len() < maxLastLine {
					out.Write(p.Text)
				}
			}).Run()
		},
	})
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	select {
	case <-p.Done():
	case <-ctx.Done():
		if err := p.End(); err != nil {
			w.cfg.Log.Warn("the query for the interpreter's version goes on", zap.Error(err))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if old := lang.TooOld(w.cfg.Program, lang.VersionIn(out.String())); old != nil {
		return old
	}
	return nil // and not old, which would be an error that holds nil
}

// Retire stops giving the worker new calls; it ends when the others have been answered, at the latest at their
// deadlines. A worker that is not ready yet is stopped.
func (w *Worker) Retire() {
	w.mu.Lock()
	starting := w.state == Starting
	idle := w.setState(Retiring) && w.busy == 0
	w.mu.Unlock()
	w.takeBack(true)
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

// Release returns a slot. A retiring worker ends with its last call.
func (w *Worker) Release() {
	w.mu.Lock()
	w.busy--
	w.exclusive = w.exclusive && w.busy > 0
	last := w.state == Retiring && w.busy == 0
	w.mu.Unlock()
	if last {
		go w.leave()
	}
}
