package agent

import (
	"gantry/logger"
	"os"
	"os/signal"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// fatalSignals end a Go program at once, with the stacks of all goroutines on stderr. A function that runs as the
// agent's user may send them, to PID 1 too. What the kernel sends for a fault in the program itself ends it as before.
var fatalSignals = []os.Signal{
	unix.SIGQUIT,
	unix.SIGILL,
	unix.SIGTRAP,
	unix.SIGABRT,
	unix.SIGBUS,
	unix.SIGFPE,
	unix.SIGSEGV,
	unix.SIGSTKFLT,
	unix.SIGSYS,
}

// withstand has the agent go on when it is sent such a signal, and log it, until the returned function is called.
// Children start with the default: signal.Ignore would be inherited.
func withstand(log *zap.Logger) (stop func()) {
	sent := make(chan os.Signal, len(fatalSignals))
	signal.Notify(sent, fatalSignals...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var limit logger.Limit
		for sig := range sent {
			if left, ok := limit.Take(time.Now()); ok {
				log.Warn(
					"signal ignored: it was sent to the agent and would have ended it",
					zap.Stringer("signal", sig),
					zap.Int64("others_not_logged", left),
				)
			}
		}
	}()
	return func() {
		signal.Stop(sent)
		close(sent)
		<-done
	}
}
