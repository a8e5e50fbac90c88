package async

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/logger"
	"gantry/process"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

const (
	childName = "gantry-jetstream"
	// childNice lets calls that somebody waits for go first.
	childNice = 5
	// childStartLimit is how long one start may take: it reads the index of every stream.
	childStartLimit = time.Minute
	// childEndLimit is how long a process may take to end that is not wanted any more.
	childEndLimit = 5 * time.Second
	// childExitLimit is how long after its last answer a process may take to be gone.
	childExitLimit = time.Second
	// childGreetLimit is how long a process that is ready may let a connection wait for its first byte; it needs no disk for it.
	childGreetLimit = 30 * time.Second
	// maxChildAnswer bounds the line that a process answers, in bytes.
	maxChildAnswer = 64 << 10
	// maxSocketPath is the kernel's limit for the path of a socket, in bytes.
	maxSocketPath = 107

	childBackoff    = 100 * time.Millisecond // doubled with every end that follows
	maxChildBackoff = 5 * time.Second
	childHealth     = time.Minute // after that long, former ends are forgotten
)

// childTries are the pauses before each try of one start: after a power cut the first was once seen to fail.
var childTries = []time.Duration{0, 100 * time.Millisecond, 400 * time.Millisecond}

// ErrStopped is what Dial returns after Stop.
var ErrStopped = errors.New(childName + " was stopped with the agent")

// errStranger says that somebody else listens where the child should.
var errStranger = errors.New("the socket is not the child's")

// errSilent says that the process takes connections and does nothing with them.
var errSilent = errors.New("the process does not answer")

// ChildConfig is what a Child needs.
type ChildConfig struct {
	// Program is the path of gantry-jetstream.
	Program string
	// Folder keeps the messages. It is made if it is missing, for the agent's user only; only one agent may use it at a time.
	Folder string
	// MaxBytes bounds all messages together; 0 means three quarters of what the disk has free at the start.
	MaxBytes int64
	// Env is the process's whole environment.
	Env        []string
	Supervisor *process.Supervisor
	// Log gets the process's own lines too, each at its level.
	Log *zap.Logger
}

// Child is the process that keeps the messages, started at the first need and again after each of its ends. Use NewChild.
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

// childProcess is one run of the program.
type childProcess struct {
	proc    *process.Process
	control *net.UnixConn
	socket  string
	ready   time.Time
	ended   chan struct{} // closed when the process is gone and its end is accounted for

	mu   sync.Mutex
	last string // line of stderr
}

// childHello and childAnswer are the two lines on the control connection (jetstream/control.go).
type childHello struct {
	Store    string `json:"store"`
	Socket   string `json:"socket"`
	Password string `json:"password"`
	MaxBytes int64  `json:"maxBytes"`
	Debug    bool   `json:"debug,omitempty"`
}

type childAnswer struct {
	Ready bool   `json:"ready"`
	Error string `json:"error"`
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

// Dial connects to the process; it starts it if need be, and waits until it is ready. A start that ctx is too short for goes
// on, for the next one who asks. The NATS client calls it for every connection.
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
		c.discard(p, err)
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

// prepare makes the folders and chooses the path of the socket.
func (c *Child) prepare() error {
	program, err := filepath.Abs(c.cfg.Program)
	if err != nil {
		return err
	}
	folder, err := filepath.Abs(c.cfg.Folder)
	if err != nil {
		return err
	}
	c.cfg.Program, c.cfg.Folder = program, folder
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist: put %s, which keeps asynchronous calls, beside bootstrap", program, childName)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("the folder %s for asynchronous calls cannot be made: %w", folder, err)
	}
	// A folder that was there may be others' too, like a volume's root. What lies in it is not.
	if err := os.Mkdir(c.store(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("the folder %s for asynchronous calls cannot be written: %w", folder, err)
	}
	if err := os.Chmod(c.store(), 0o700); err != nil {
		return fmt.Errorf("the folder %s for asynchronous calls cannot be protected: %w", folder, err)
	}
	return c.place()
}

func (c *Child) store() string { return filepath.Join(c.cfg.Folder, "store") }

// place chooses the path of the socket: in the folder, or where its path is short enough.
func (c *Child) place() error {
	c.socket = filepath.Join(c.cfg.Folder, "socket")
	if len(c.socket) <= maxSocketPath {
		return nil
	}
	c.displace() // of a former process; whoever tidies up temporary folders may have taken it
	own, err := os.MkdirTemp("", "gantry-")
	if err != nil {
		return fmt.Errorf("%s is too long for a socket, and a shorter folder cannot be made: %w", c.cfg.Folder, err)
	}
	c.own, c.socket = own, filepath.Join(own, "socket")
	if len(c.socket) > maxSocketPath {
		c.displace()
		return fmt.Errorf("%s is too long for a socket, and so is %s", c.cfg.Folder, own)
	}
	return nil
}

// displace removes the socket's own folder.
func (c *Child) displace() {
	if c.own == "" {
		return
	}
	if err := os.RemoveAll(c.own); err != nil {
		c.cfg.Log.Warn("the folder of the socket is left behind", zap.Error(err))
	}
	c.own = ""
}

// claim takes the lock of the folder. The process inherits it: whoever kills the agent has the folder only when both are gone.
func (c *Child) claim() error {
	if c.lock != nil {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(c.cfg.Folder, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("the folder %s for asynchronous calls cannot be written: %w", c.cfg.Folder, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("the folder %s for asynchronous calls is in use by another agent; each needs one of its own", c.cfg.Folder)
		}
		return fmt.Errorf("the folder %s for asynchronous calls cannot be locked: %w", c.cfg.Folder, err)
	}
	c.lock = f
	return nil
}

// launch starts a process and waits until it is ready.
func (c *Child) launch() (*childProcess, error) {
	control, theirs, err := controlPair()
	if err != nil {
		return nil, fmt.Errorf("socket pair for %s: %w", childName, err)
	}
	defer theirs.Close()
	p := &childProcess{control: control, socket: c.socket, ended: make(chan struct{})}
	p.proc, err = c.cfg.Supervisor.Start(&process.Command{
		Name: childName, Path: c.cfg.Program, Args: []string{childName}, Env: c.cfg.Env, Dir: "/",
		Files: []*os.File{theirs, c.lock}, UID: -1, GID: -1, Nice: childNice,
		Output: func(_ string, r *os.File) { c.output(p, r) },
	})
	if err != nil {
		_ = control.Close()
		return nil, err
	}
	_ = theirs.Close() // or the process's end would not show
	if err := c.greet(p); err != nil {
		return nil, c.abort(p, err)
	}
	p.ready = time.Now()
	c.cfg.Log.Info(childName+" ready", zap.Int("pid", p.proc.PID), zap.Duration("took", p.ready.Sub(p.proc.Started)))
	return p, nil
}

// greet tells the process what it needs and waits for its answer. The password goes this way because arguments and
// environment can be read by others.
func (c *Child) greet(p *childProcess) error {
	if err := p.control.SetDeadline(time.Now().Add(childStartLimit)); err != nil {
		return err
	}
	defer context.AfterFunc(c.ctx, func() { _ = p.control.SetDeadline(time.Unix(1, 0)) })()
	hello, err := json.Marshal(childHello{
		Store: c.store(), Socket: p.socket, Password: c.password, MaxBytes: c.cfg.MaxBytes,
		Debug: c.cfg.Log.Core().Enabled(zap.DebugLevel),
	})
	if err != nil {
		return err
	}
	if _, err := p.control.Write(append(hello, '\n')); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(p.control, maxChildAnswer)).ReadBytes('\n')
	if err != nil {
		return err
	}
	var answer childAnswer
	if err := json.Unmarshal(line, &answer); err != nil {
		return err
	}
	if !answer.Ready {
		return &refusal{answer.Error}
	}
	return nil
}

// refusal is the process's own reason.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

// abort ends a process that did not get ready; it has stored nothing yet. The error says why as well as can be told.
func (c *Child) abort(p *childProcess, err error) error {
	_ = p.control.Close()
	late := errors.Is(err, os.ErrDeadlineExceeded)
	if !late { // it ends by itself, and then its exit says more
		select {
		case <-p.proc.Exited():
		case <-time.After(childExitLimit):
		}
	}
	if killErr := p.proc.Kill(); killErr != nil {
		return killErr
	}
	<-p.proc.Done()
	r := (*refusal)(nil)
	switch {
	case errors.As(err, &r):
		return fmt.Errorf("%s cannot start: %w", childName, err)
	case late:
		return fmt.Errorf("%s was not ready after %s%s", childName, childStartLimit, p.lastLine())
	default:
		return fmt.Errorf("%s ended before it was ready: %s%s", childName, p.proc.Exit(), p.lastLine())
	}
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

// Stop ends the process for good: TERM, and KILL when ctx ends. It returns when the process is gone and the folder is free
// for others. The error says that KILL was needed; messages are safe also then. The agent calls it once nobody dials any more.
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

// release leaves nothing but the messages, and the lock's file: whoever waits for it may have it open.
func (c *Child) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lock == nil {
		c.displace()
		return
	}
	if err := os.Remove(c.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.cfg.Log.Warn("the socket is left behind", zap.Error(err))
	}
	c.displace()
	_ = unix.Flock(int(c.lock.Fd()), unix.LOCK_UN) // closing would do, unless a child that starts just now has a copy
	c.lock.Close()
	c.lock = nil
}

// childLevels are the words that the process puts before its lines. A line without one is a panic's.
var childLevels = map[string]zapcore.Level{
	"notice": zap.DebugLevel, "warning": zap.WarnLevel, "error": zap.ErrorLevel, "fatal": zap.ErrorLevel,
}

// output logs what the process writes.
func (c *Child) output(p *childProcess, r *os.File) {
	logger.Pump(r, func(part logger.Part) {
		line := strings.ToValidUTF8(string(part.Text), "\uFFFD")
		level := zap.ErrorLevel
		if word, rest, found := strings.Cut(line, ": "); found {
			if l, known := childLevels[word]; known {
				level, line = l, rest
			}
		}
		if level == zap.ErrorLevel {
			p.mu.Lock()
			p.last = line
			p.mu.Unlock()
		}
		c.cfg.Log.Log(level, childName+": "+line)
	})
}

func (p *childProcess) lastLine() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == "" {
		return ""
	}
	return "; its last line: " + p.last
}

func (p *childProcess) gone() bool {
	select {
	case <-p.proc.Exited():
		return true
	default:
		return false
	}
}

// dial connects, and sends nothing before it is sure who listens: others of the same user could replace the socket, and the
// first thing to come would be the password.
func (p *childProcess) dial(ctx context.Context, greeting time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, greeting, errSilent)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", p.socket)
	if err != nil {
		return nil, err
	}
	unixConn := conn.(*net.UnixConn)
	pid, err := process.PeerPID(unixConn)
	if err == nil && pid != p.proc.PID {
		err = fmt.Errorf("%w: process %d listens on %s", errStranger, pid, p.socket)
	}
	if err == nil {
		err = awaitGreeting(ctx, unixConn)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// awaitGreeting waits for the first byte and leaves it there: the server speaks first, and a process that is being killed
// still takes connections.
func awaitGreeting(ctx context.Context, conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	var n int
	var peekErr error
	err = raw.Read(func(fd uintptr) bool {
		n, _, peekErr = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return !errors.Is(peekErr, unix.EAGAIN)
	})
	switch {
	case !stop():
		return context.Cause(ctx)
	case err != nil:
		return err
	case peekErr != nil:
		return peekErr
	case n == 0:
		return io.EOF
	}
	return nil
}

// lost reports whether the socket does not lead to the process any more.
func lost(err error) bool {
	for _, reason := range []error{errStranger, errSilent, io.EOF, unix.ECONNRESET, unix.ENOENT, unix.ECONNREFUSED, unix.EPROTOTYPE} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// controlPair returns the agent's end and the process's.
func controlPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	theirs := os.NewFile(uintptr(fds[1]), "child end")
	ours := os.NewFile(uintptr(fds[0]), "agent end")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

// Volatile reports whether what is stored in folder is gone with the next start of the container or machine: whether it, or
// the part of its path that exists, lies in memory (tmpfs, ramfs). The agent asks before it promises durability.
func Volatile(folder string) (bool, error) {
	path, err := filepath.Abs(folder)
	if err != nil {
		return false, err
	}
	for {
		var info unix.Statfs_t
		err := unix.Statfs(path, &info)
		if err == nil {
			return info.Type == unix.TMPFS_MAGIC || info.Type == unix.RAMFS_MAGIC, nil
		}
		missing := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
		if parent := filepath.Dir(path); missing && parent != path {
			path = parent
			continue
		}
		return false, fmt.Errorf("the file system of %s is not known: %w", folder, err)
	}
}
