// Package runtime runs workers: processes that hold the user's code. One life cycle for all; the transport is the seam,
// because there are three: frames, Go's net/rpc, and the runtime API. What differs between languages is in the row of
// their table, package language.
package runtime

import (
	"context"
	"gantry/fault"
	"gantry/logger"
	"gantry/process"
	"gantry/runtime/language"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	fncontext "gantry/context"
)

// Transport carries calls to a worker. Implementations are safe for concurrent use. Errors are *fault.Error, or
// ErrNotSent.
type Transport interface {
	// Init runs the initializer; the deadline is the invocation's.
	Init(ctx context.Context, inv *fncontext.Call, log *logger.Request) error
	// Invoke runs the handler with event and returns the result, which the caller may keep.
	Invoke(ctx context.Context, inv *fncontext.Call, event []byte, log *logger.Request) (Result, error)
	// PreStop runs the pre-stop hook, with no call in flight.
	PreStop(ctx context.Context, inv *fncontext.Call, log *logger.Request) error
	// Close notifies the worker that no more calls will come.
	Close() error

	// serve reads what the worker says until there is no more; it reports the load's end to the worker.
	serve()
	// drain lets the last answers of an ended process through.
	drain()
	// fail ends every call that still waits, and the transport.
	fail(death *fault.Error)
	// only is the log of the one call in flight, nil if there is none or more than one; overdue reports whether calls were
	// given up that the worker may still be busy with.
	only() *logger.Request
	overdue() bool
	// stacks asks the worker for the stacks of all its goroutines; only if its Hello says so.
	stacks(ctx context.Context) (string, error)
}

// Forwarder is a transport that carries requests as they come.
type Forwarder interface {
	// Forward sends the request to the function's server and reads its answer. Headers that concern one connection only,
	// and the platform's, are replaced in the request.
	Forward(ctx context.Context, inv *fncontext.Call, x Exchange, log *logger.Request) error
}

// Result is what a handler answered.
type Result struct {
	Body []byte
	// Text is set when the handler answered a bare string, number or truth value, rather than a JSON document.
	Text bool
	Figures
}

// Figures are what a worker itself has measured of a call; zero where it does not.
type Figures struct {
	// Took is the time from the call's first byte to its answer, CPU what the process used meanwhile.
	Took, CPU time.Duration
}

// Events is what a listener of the runtime API serves: one worker's events, to its pollers, and their answers.
// RuntimeAPI implements it, and says there what each method does.
type Events interface {
	Next(alive func() bool) (*Event, error)
	Respond(requestID string, body []byte) error
	Fail(requestID string, body []byte) error
	TooLarge(requestID string, size int) error
}

// Event is one call on its way to a custom runtime.
type Event struct {
	// Headers are the facts of the call; the request id is among them.
	Headers map[string][]string
	// Body is the event; it is the receiver's.
	Body []byte
}

// Config is what every worker of a function has in common.
type Config struct {
	Language *language.Language
	// Program is the absolute path of the interpreter, or of the user's own program.
	Program string
	// Arguments follow Program, for a server with a command line of its own. Upstream is the address that a server listens
	// on, host:port. IncludeKeys hands the credentials to it, as headers.
	Arguments   []string
	Upstream    string
	IncludeKeys bool
	Function    *fncontext.Function
	// Env is the worker's whole environment.
	Env []string
	Dir string
	// Credentials are handed to the pre-stop hook.
	Credentials fncontext.Credentials
	// Encrypted are user variables that only the function's context knows.
	Encrypted fncontext.EncryptedData
	// Concurrency is how many calls may run at once.
	Concurrency int
	// Ahead allows to write calls ahead, to the only worker of an instance, which runs one at a time.
	Ahead bool
	// Draining is closed when the instance takes no new calls any more: streams without an end of their own end then.
	Draining <-chan struct{}
	// StreamIdle is how long nothing may pass after the first byte of an answer, for an exchange that is Streamed.
	StreamIdle time.Duration
	// Several says that calls run at once, in this worker or beside it: plain output names its call then.
	Several bool
	// UID and GID are the worker's identity, -1 for the agent's.
	UID, GID int

	Supervisor *process.Supervisor
	// Groups have the function's memory limit; nil for none.
	Groups *process.Groups
	Sink   *logger.Sink
	Log    *zap.Logger
	// Examine says that the worker is looked at when the first call has passed its deadline, for Hang: for one call of a
	// person's, not for a function that serves. The answer comes first and does not wait for it; what follows does.
	Examine bool
	// CodeCache is the file of the code cache; empty for none. NewCodeCache, in its place, is an empty file that a worker
	// is to write one to.
	CodeCache    string
	NewCodeCache *os.File
	// Stray is called for each answer that belongs to no call any more.
	Stray func()
	// ListenRuntime serves the runtime API of one worker until close is called; for languages that use it.
	ListenRuntime func(Events) (addr string, close func(), err error)
	// Decided is called once when a program of an undecided language has shown what it is, and how; it may be nil.
	Decided func(l *language.Language, how string)

	decided  atomic.Pointer[language.Language]
	remarked sync.Once // of what is not as on the platform
}

// language is how the function runs, as far as that is known.
func (c *Config) language() *language.Language {
	if l := c.decided.Load(); l != nil {
		return l
	}
	return c.Language
}

// WritesAhead reports whether workers are asked to take calls ahead.
func (c *Config) WritesAhead() bool { return c.Ahead && c.language().Ahead }

// Listens reports whether a worker is, or may be, a server of the user's: there is one address for it.
func (c *Config) Listens() bool { return c.language().Listens() }

// decide has every worker from now on run as l, which the log calls name; how says what the program does. False if it
// was decided otherwise.
func (c *Config) decide(l *language.Language, name, how string) bool {
	if !c.decided.CompareAndSwap(nil, l) {
		return c.decided.Load() == l
	}
	c.Log.Info(how + ": it runs as " + name)
	if c.Decided != nil {
		c.Decided(l, how)
	}
	return true
}

// Settle ends an undecided language: the function cannot be started, and is taken for a custom runtime, as long as it
// has not shown something else. It returns what it is.
func (c *Config) Settle() *language.Language {
	c.decided.CompareAndSwap(nil, c.Language.Poller)
	return c.language()
}

const (
	// stopGrace is how long a retired worker has to end after Bye.
	stopGrace = 2 * time.Second
	// silentGrace is how long a worker may live on after it closed its answers.
	silentGrace = time.Second
)
