package child

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"
)

// Dial connects to the process; it starts it if need be, and waits until it is ready. A start that outlasts ctx goes
// on, for the next caller. The NATS client calls Dial for every connection.
func (c *Child) Dial(ctx context.Context) (net.Conn, error) {
	for try := 0; ; try++ {
		p, err := c.started(ctx)
		if err != nil {
			return nil, err
		}
		conn, err := p.dial(ctx, c.greeting)
		if err == nil {
			return conn, nil
		}
		if try > 0 || !lost(err) {
			return nil, fmt.Errorf("%s cannot be reached: %w", name, err)
		}
		p.discard.Do(func() { c.task(func() { c.discard(p, err) }) })
		select {
		case <-p.ended:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is being replaced: %w", name, context.Cause(ctx))
		}
	}
}

// started returns the process once it is ready.
func (c *Child) started(ctx context.Context) (*run, error) {
	c.mu.Lock()
	for c.current != nil && c.current.gone() { // its end decides when the next one may start
		p := c.current
		c.mu.Unlock()
		<-p.ended
		c.mu.Lock()
	}
	if c.stopped {
		c.mu.Unlock()
		return nil, ErrStopped
	}
	if p := c.current; p != nil {
		c.mu.Unlock()
		return p, nil
	}
	if c.starting == nil {
		c.starting = &pendingStart{done: make(chan struct{})}
		c.tasks.Go(c.start)
	}
	s := c.starting
	c.mu.Unlock()
	select {
	case <-s.done:
		return s.process, s.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%s is not ready yet: %w", name, context.Cause(ctx))
	}
}

// task runs in a goroutine beside its caller; Stop waits for its end, and after Stop none begins.
func (c *Child) task(run func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped {
		c.tasks.Go(run)
	}
}

// start is the one start in progress.
func (c *Child) start() {
	p, err := c.attempt()
	c.mu.Lock()
	s := c.starting
	s.process, s.err = p, err
	c.current, c.starting = p, nil
	c.mu.Unlock()
	if p != nil {
		c.tasks.Go(func() { c.watch(p) })
	}
	close(s.done)
}

// attempt tries a few times; what no second try would change is tried once.
func (c *Child) attempt() (*run, error) {
	if err := c.prepare(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	wait := time.Until(c.earliest)
	c.mu.Unlock()
	var err error
	for try, pause := range startPauses {
		if !c.pause(max(wait, pause)) {
			return nil, ErrStopped
		}
		wait = 0
		if err = c.claim(); err != nil { // the process of an agent that was just killed may still be ending
			continue
		}
		var p *run
		if p, err = c.launch(); err == nil {
			return p, nil
		}
		if c.ctx.Err() != nil {
			return nil, ErrStopped
		}
		c.cfg.Log.Warn(name+" has not started", zap.Int("try", try+1), zap.Int("of", len(startPauses)), zap.Error(err))
	}
	if c.lock != nil {
		c.account(0)
	}
	return nil, err
}

// watch accounts for the end of a process.
func (c *Child) watch(p *run) {
	<-p.proc.Exited()
	_ = p.control.Close()
	c.account(time.Since(p.ready))
	c.mu.Lock()
	c.current = nil
	stopped := c.stopped
	c.mu.Unlock()
	close(p.ended)
	if !stopped {
		c.cfg.Log.Error(
			name+" ended; it is started again when it is needed",
			zap.Int("pid", p.proc.PID),
			zap.Stringer("exit", p.proc.Exit()),
		)
	}
}

// account decides when the next process may start; the one that ended was healthy for so long.
func (c *Child) account(healthy time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if healthy >= healthyAfter {
		c.ends = 0
	}
	c.earliest = time.Now().Add(backoff(c.ends))
	c.ends++
}

// backoff is the pause after so many ends before this one: 0, 100 ms, 200 ms and so on up to 5 s.
func backoff(ends int) time.Duration {
	if ends == 0 {
		return 0
	}
	return min(firstBackoff<<min(ends-1, 16), maxBackoff)
}

// discard ends a process that cannot be reached any more: the next one makes a socket of its own.
func (c *Child) discard(p *run, why error) {
	select {
	case <-p.ended: // it was killed; its socket went first
		return
	case <-time.After(exitLimit):
	}
	c.cfg.Log.Error(name+" is started anew: it cannot be reached any more", zap.Error(why))
	limit := endLimit
	if errors.Is(why, errSilent) {
		limit = 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := p.proc.Stop(ctx); err != nil {
		c.cfg.Log.Warn(name+" killed: it did not end on TERM", zap.Int("pid", p.proc.PID))
	}
	<-p.ended
}

// pause waits; false if Stop came.
func (c *Child) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return c.ctx.Err() == nil
	case <-c.ctx.Done():
		return false
	}
}

// Stop ends the process for good: TERM, and KILL when ctx ends. It returns when the process is gone and the folder is
// free for others. The error says that KILL was needed; messages are safe even then. The agent calls it when no
// connection is dialled any more.
func (c *Child) Stop(ctx context.Context) error {
	c.mu.Lock()
	c.stopped = true
	starting := c.starting
	c.mu.Unlock()
	c.cancel()
	if starting != nil {
		<-starting.done
	}
	c.mu.Lock()
	p := c.current
	c.mu.Unlock()
	var err error
	if p != nil {
		if err = p.proc.Stop(ctx); err != nil {
			err = fmt.Errorf("%s was killed: %w", name, err)
		}
	}
	c.tasks.Wait()
	c.release()
	return err
}

// startPauses are the pauses before each try of one start: after a power cut the first was once seen to fail.
var startPauses = []time.Duration{0, 100 * time.Millisecond, 400 * time.Millisecond}

// Running reports whether the process exists and has been ready. For health answers and metrics.
func (c *Child) Running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current != nil && !c.current.gone()
}
