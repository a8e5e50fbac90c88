package runtime

import (
	"context"
	"fmt"
	"gantry/process"
	"gantry/runtime/hang"
	"gantry/runtime/language"
	"os"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// offerExamination completes a command for a worker that may be looked at. The file that is returned is the child's;
// the remark is that of Complete.
func (w *Worker) offerExamination(cmd *process.Command) (end *os.File, remark string, err error) {
	lang := w.cfg.Language
	x := &examination{diverted: hang.NewDiversion(), done: make(chan struct{}), offered: lang.Examinable(cmd.Env)}
	w.exam = x
	remark, err = lang.Complete(cmd, x.offered)
	if err != nil || lang.Stacks != language.ByTraceback || !x.offered {
		return nil, remark, err
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, remark, fmt.Errorf("pipe for the stack of a worker: %w", err)
	}
	x.dump = ours
	cmd.Files = append(cmd.Files, theirs) // behind the worker's source
	return theirs, remark, nil
}

// examine looks where the worker hangs, once, on a goroutine that prepare and supervise wait for; then runs afterwards:
// what asks the call to end would change what there is to see. reported is the stack that the worker has reported.
func (w *Worker) examine(reported []reportedFrame, then func()) {
	x := w.exam
	w.mu.Lock()
	if x == nil || w.stopping || w.examinationEnded() {
		w.mu.Unlock()
		then()
		return
	}
	x.then = append(x.then, then)
	first := !x.begun
	x.begun = true
	w.mu.Unlock()
	if !first {
		return
	}
	go func() {
		x.found = hang.Examine(w.proc, w.askStack(reported))
		w.cfg.Log.Debug("worker examined", zap.Int("pid", w.proc.PID), zap.Stringer("kind", x.found.Kind),
			zap.Duration("took", x.found.Took), zap.Strings("missing", x.found.Missing))
		w.concludeExamination()
	}()
}

// concludeExamination runs what waits for the end of the examination, before Bye can be sent, and then says that it has
// ended.
func (w *Worker) concludeExamination() {
	for {
		w.mu.Lock()
		waiting := w.exam.then
		w.exam.then = nil
		if len(waiting) == 0 {
			close(w.exam.done)
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		for _, f := range waiting {
			f()
		}
	}
}

// Examine looks where the worker hangs whose load has taken too long, if Config.Examine is set; Hang has what is found.
func (w *Worker) Examine() { w.examine(nil, func() {}) }

// examinationEnded reports whether the examination has ended; called with mu held.
func (w *Worker) examinationEnded() bool {
	select {
	case <-w.exam.done:
		return true
	default:
		return false
	}
}

// askStack returns how the language's workers are asked for their stack.
func (w *Worker) askStack(reported []reportedFrame) func(context.Context, *hang.Evidence) error {
	lang, x := w.cfg.language(), w.exam
	if !x.offered {
		return func(context.Context, *hang.Evidence) error {
			return fmt.Errorf("the function is being debugged: %s has %s", lang.DebugVariable, lang.DebugOption)
		}
	}
	code := hang.NewCode(w.cfg.Function.CodeRoot, lang.Libraries, lang.Own)
	switch lang.Stacks {
	case language.ByInspector:
		return (&hang.Inspector{Process: w.proc, Diverted: x.diverted, Code: code, Taken: &x.taken}).Stack
	case language.ByTraceback:
		t := &hang.Traceback{Process: w.proc, Signal: unix.Signal(language.TracebackSignal), Dump: x.dump, Code: code}
		for _, f := range reported {
			t.Reported = append(t.Reported, hang.Frame{Function: f.Function, File: f.File, Line: f.Line})
		}
		return t.Stack
	default:
		g := &hang.Goroutines{Process: w.proc, Diverted: x.diverted, Worker: lang.Own}
		w.mu.Lock()
		if w.answersStacks {
			g.Ask = w.transport.stacks
		}
		w.mu.Unlock()
		return g.Stack
	}
}

// awaitExamination waits for an examination that has begun, hang.Limit and a moment at most.
func (w *Worker) awaitExamination() {
	if w.Examined() {
		<-w.exam.done
	}
}

// Examined reports whether a call has passed its deadline and the worker was looked at, which may have ended it.
func (w *Worker) Examined() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.exam != nil && w.exam.begun
}

// Hang returns where the worker was when a call, the initializer or the load passed its deadline for the first time; it
// waits until that is known, hang.Limit and a moment at most. nil if no call has, or without Config.Examine.
func (w *Worker) Hang() *hang.Evidence {
	if !w.Examined() {
		return nil
	}
	<-w.exam.done
	return w.exam.found
}

func (w *Worker) closeDump() {
	if w.exam != nil && w.exam.dump != nil {
		_ = w.exam.dump.Close() // the agent only reads
	}
}
