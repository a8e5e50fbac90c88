// Package runtime runs workers: processes that hold the user's code. One life cycle and one table of languages; the
// transport is the seam, because it has more than one implementation.
package runtime

import (
	"context"
	"gantry/logger"
	"gantry/process"
	"time"

	"go.uber.org/zap"

	fncontext "gantry/context"
)

// Transport carries calls to a worker. Implementations are safe for concurrent use. Errors are *fault.Error, or ErrNotSent.
type Transport interface {
	// Init runs the initializer; the deadline is the invocation's.
	Init(ctx context.Context, inv *fncontext.Invocation, log *logger.Request) error
	// Invoke runs the handler with event and returns the result, which the caller may keep.
	Invoke(ctx context.Context, inv *fncontext.Invocation, event []byte, log *logger.Request) (Result, error)
	// Close tells the worker that no more calls will come.
	Close() error
}

// Result is what a handler answered.
type Result struct {
	Body []byte
	// Text is set when the handler answered a bare string, number or truth value, rather than a JSON document.
	Text bool
}

// Config is what every worker of a function has in common.
type Config struct {
	Language *Language
	// Program is the interpreter's absolute path.
	Program  string
	Function *fncontext.Function
	// Env is the worker's whole environment.
	Env []string
	Dir string
	// Concurrency is how many calls may run at once.
	Concurrency int
	// UID and GID are the worker's identity, -1 for the agent's.
	UID, GID int

	Supervisor *process.Supervisor
	Cgroups    process.CgroupTree
	Sink       *logger.Sink
	Log        *zap.Logger
	// Stray is called for each frame that belongs to no call any more.
	Stray func()
}

const (
	// stopGrace is how long a worker may take after TERM when nobody waits for it.
	stopGrace = 2 * time.Second
	// silentGrace is how long a worker may live on after it closed its answers.
	silentGrace = time.Second
)
