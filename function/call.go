package function

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// The types of this file refer to each other. What a Context answers is in context.go, how a Logger writes in
// logger.go.

// call is one run of the handler or the initializer, and its context.Context. The state that the standard library needs
// for Done is created at its first use: most handlers never use it.
type call struct {
	info        Context
	logger      Logger
	initializes bool
	id          uint32 // of its frame; 0 for the load and on the platform
	answered    bool   // guarded by worker.mu

	mu     sync.Mutex
	err    error // of this context as long as there is no inner one
	inner  context.Context
	cancel context.CancelFunc
}

// Context is what a handler can know about its call. Its methods have the names of the platform's Go SDK (page
// functiongraph_02_0441), and may be called at any time, from any goroutine.
type Context struct {
	facts     *facts
	call      *call
	requestID string
	deadline  time.Time
	alias     string
	workflow  workflow
	secrets   func() secrets // nil if there are none; fmt looks into structs and pointers, but not into functions
}

type workflow struct{ id, runID, stateID string }

// secrets are the agency's credentials, under the names of a frame's meta.
type secrets struct {
	AccessKey         string `json:"accessKey"`
	SecretKey         string `json:"secretKey"`
	SecurityAccessKey string `json:"securityAccessKey"`
	SecuritySecretKey string `json:"securitySecretKey"`
	SecurityToken     string `json:"securityToken"`
	AuthToken         string `json:"authToken"`
}

// Logger writes to the log of one call. It may be used by many goroutines at once, and when it returns the line is out
// of the process: it is not lost should that end.
type Logger struct {
	call  *call
	sink  sink
	level slog.Leveler
}

// sink is where lines go: to frames, or to stdout.
type sink interface {
	log(c *call, level, text string)
}

type contextKey struct{}

func newCall(f *function, logs sink) *call {
	c := &call{}
	c.info.facts, c.info.call = &f.facts, c
	c.logger = Logger{call: c, sink: logs, level: f.level}
	return c
}

// Deadline implements context.Context, and so do the next ones.
func (c *call) Deadline() (time.Time, bool) { return c.info.deadline, true }

func (c *call) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.inner != nil:
	case errors.Is(c.errLocked(), context.Canceled):
		c.inner, c.cancel = context.WithCancel(context.Background())
		c.cancel()
	default:
		c.inner, c.cancel = context.WithDeadline(context.Background(), c.info.deadline)
	}
	return c.inner.Done()
}

func (c *call) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.errLocked()
}

func (c *call) errLocked() error {
	if c.inner != nil {
		return c.inner.Err()
	}
	if c.err == nil && !time.Now().Before(c.info.deadline) {
		c.err = context.DeadlineExceeded
	}
	return c.err
}

// Value hands the standard library its own values, by which derived contexts find the inner one without a goroutine.
func (c *call) Value(key any) any {
	if key == (contextKey{}) {
		return &c.info
	}
	c.mu.Lock()
	inner := c.inner
	c.mu.Unlock()
	if inner == nil {
		return nil
	}
	return inner.Value(key)
}

// String implements fmt.Stringer, for contexts that print what they are derived from.
func (c *call) String() string { return "function.Start" }

// end cancels the context.
func (c *call) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner != nil {
		c.cancel()
	} else if c.errLocked() == nil {
		c.err = context.Canceled
	}
}
