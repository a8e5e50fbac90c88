package function

import (
	"context"
	"errors"
	"sync"
	"time"
)

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
