package async

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
	childName = "gantry-jetstream"
	// childNice lets synchronous calls go first.
	childNice = 5
	// childStartLimit is how long one start may take: it reads the index of every stream.
	childStartLimit = time.Minute
	// childEndLimit is how long a process may take to end that is not wanted any more.
	childEndLimit = 5 * time.Second
	// childExitLimit is how long after its last answer a process may take to be gone.
	childExitLimit = time.Second
	// childGreetLimit is how long a process that is ready may let a connection wait for its first byte, which needs no
	// disk.
	childGreetLimit = 30 * time.Second
	// maxChildAnswer bounds the line that a process answers, in bytes.
	maxChildAnswer = 64 << 10

	childBackoff    = 100 * time.Millisecond // doubled with every end that follows
	maxChildBackoff = 5 * time.Second
	childHealth     = time.Minute // after that long, former ends are forgotten
)

// childTries are the pauses before each try of one start: after a power cut the first was once seen to fail.
var childTries = []time.Duration{0, 100 * time.Millisecond, 400 * time.Millisecond}

// ErrStopped is what Dial returns after Stop.
var ErrStopped = errors.New(childName + " was stopped with the agent")

// ChildConfig is what a Child needs.
type ChildConfig struct {
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
// NewChild.
type Child struct {
	cfg      ChildConfig
	password string
	greeting time.Duration   // childGreetLimit, but for tests
	ctx      context.Context // ends with Stop
	cancel   context.CancelFunc
	tasks    sync.WaitGroup

	mu       sync.Mutex
	current  *childProcess // the newest; it may have ended
	starting *childStart   // shared by all who wait for it
	stopped  bool
	ends     int       // since it was last healthy
	earliest time.Time // of the next start

	// Only the start in progress uses these, and Stop after it.
	lock   *os.File
	socket string
	own    string // the socket's folder, if it needs one of its own
}

// childStart is a start in progress; process and err are readable once done is closed.
type childStart struct {
	done    chan struct{}
	process *childProcess
	err     error
}

// NewChild returns a child that is started when it is first needed. The agent calls it once; Stop must follow.
func NewChild(cfg *ChildConfig) *Child {
	c := &Child{cfg: *cfg, password: rand.Text(), greeting: childGreetLimit}
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
			return nil, fmt.Errorf("%s cannot be reached: %w", childName, err)
		}
		p.discard.Do(func() { c.task(func() { c.discard(p, err) }) })
		select {
		case <-p.ended:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is being replaced: %w", childName, context.Cause(ctx))
		}
	}
}

// started returns the process once it is ready.
func (c *Child) started(ctx context.Context) (*childProcess, error) {
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
		c.starting = &childStart{done: make(chan struct{})}
		c.tasks.Go(c.start)
	}
	s := c.starting
	c.mu.Unlock()
	select {
	case <-s.done:
		return s.process, s.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%s is not ready yet: %w", childName, context.Cause(ctx))
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
func (c *Child) attempt() (*childProcess, error) {
	if err := c.prepare(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	wait := time.Until(c.earliest)
	c.mu.Unlock()
	var err error
	for try, pause := range childTries {
		if !c.pause(max(wait, pause)) {
			return nil, ErrStopped
		}
		wait = 0
		if err = c.claim(); err != nil { // the process of an agent that was just killed may still be ending
			continue
		}
		var p *childProcess
		if p, err = c.launch(); err == nil {
			return p, nil
		}
		if c.ctx.Err() != nil {
			return nil, ErrStopped
		}
		c.cfg.Log.Warn(childName+" has not started", zap.Int("try", try+1), zap.Int("of", len(childTries)), zap.Error(err))
	}
	if c.lock != nil {
		c.account(0)
	}
	return nil, err
}

// watch accounts for the end of a process.
func (c *Child) watch(p *childProcess) {
	<-p.proc.Exited()
	_ = p.control.Close()
	c.account(time.Since(p.ready))
	c.mu.Lock()
	c.current = nil
	stopped := c.stopped
	c.mu.Unlock()
	close(p.ended)
	if !stopped {
		c.cfg.Log.Error(childName+" ended; it is started again when it is needed", zap.Int("pid", p.proc.PID), zap.Stringer("exit", p.proc.Exit()))
	}
}

// account decides when the next process may start; the one that ended was healthy for so long.
func (c *Child) account(healthy time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if healthy >= childHealth {
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
	return min(childBackoff<<min(ends-1, 16), maxChildBackoff)
}

// discard ends a process that cannot be reached any more: the next one makes a socket of its own.
func (c *Child) discard(p *childProcess, why error) {
	select {
	case <-p.ended: // it was killed; its socket went first
		return
	case <-time.After(childExitLimit):
	}
	c.cfg.Log.Error(childName+" is started anew: it cannot be reached any more", zap.Error(why))
	limit := childEndLimit
	if errors.Is(why, errSilent) {
		limit = 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := p.proc.Stop(ctx); err != nil {
		c.cfg.Log.Warn(childName+" killed: it did not end on TERM", zap.Int("pid", p.proc.PID))
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
			err = fmt.Errorf("%s was killed: %w", childName, err)
		}
	}
	c.tasks.Wait()
	c.release()
	return err
}
