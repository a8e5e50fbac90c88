// Package child is the agent's side of gantry-jetstream: it starts the program at the first need and again after each
// of its ends, keeps its folder to one agent, and gives connections to it. It knows no NATS.
package child

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"gantry/process"
	"net"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	name = "gantry-jetstream"
	// nice lets synchronous calls go first.
	nice = 5
	// startLimit is how long one start may take: it reads the index of every stream.
	startLimit = time.Minute
	// endLimit is how long a process may take to end that is not wanted any more.
	endLimit = 5 * time.Second
	// exitLimit is how long after its last answer a process may take to be gone.
	exitLimit = time.Second
	// greetLimit is how long a process that is ready may let a connection wait for its first byte, which needs no
	// disk.
	greetLimit = 30 * time.Second

	firstBackoff = 100 * time.Millisecond // doubled with every end that follows
	maxBackoff   = 5 * time.Second
	healthyAfter = time.Minute // after that long, former ends are forgotten
)

// startPauses are the pauses before each try of one start: after a power cut the first was once seen to fail.
var startPauses = []time.Duration{0, 100 * time.Millisecond, 400 * time.Millisecond}

// ErrStopped is what Dial returns after Stop.
var ErrStopped = errors.New(name + " was stopped with the agent")

// Config is what a Child needs.
type Config struct {
	// Program is the path of gantry-jetstream.
	Program string
	// Folder keeps the messages. It is made if it is missing, for the agent's user only; only one agent may use it at a
	// time.
	Folder string
	// MaxBytes bounds all messages together; 0 means three quarters of what the disk has free at the start.
	MaxBytes int64
	// Env is the process's whole environment.
	Env        []string
	Supervisor *process.Supervisor
	// Log gets the process's own lines too, each at its level.
	Log *zap.Logger
}

// Child is the process that keeps the messages, started at the first need and again after each of its ends. Use
// New.
type Child struct {
	cfg      Config
	password string
	greeting time.Duration   // greetLimit, but for tests
	ctx      context.Context // ends with Stop
	cancel   context.CancelFunc
	tasks    sync.WaitGroup

	mu       sync.Mutex
	current  *run          // the newest; it may have ended
	starting *pendingStart // shared by all who wait for it
	stopped  bool
	ends     int       // since it was last healthy
	earliest time.Time // of the next start

	// Only the start in progress uses these, and Stop after it.
	lock   *os.File
	socket string
	own    string // the socket's folder, if it needs one of its own
}

// pendingStart is a start in progress; process and err are readable once done is closed.
type pendingStart struct {
	done    chan struct{}
	process *run
	err     error
}

// New returns a child that is started when it is first needed. The agent calls it once; Stop must follow.
func New(cfg *Config) *Child {
	c := &Child{cfg: *cfg, password: rand.Text(), greeting: greetLimit}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Password is the one of the user "gantry". It is made anew for each Child, and is good for all of its processes.
func (c *Child) Password() string { return c.password }

// Running reports whether the process exists and has been ready. For health answers and metrics.
func (c *Child) Running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current != nil && !c.current.gone()
}

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
