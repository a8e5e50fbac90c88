package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/jetstream/control"
	"gantry/logger"
	"gantry/process"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// launch starts a process and waits until it is ready.
func (c *Child) launch() (*run, error) {
	ours, theirs, err := controlPair()
	if err != nil {
		return nil, fmt.Errorf("socket pair for %s: %w", name, err)
	}
	defer theirs.Close()
	p := &run{control: ours, socket: c.socket, ended: make(chan struct{})}
	p.proc, err = c.cfg.Supervisor.Start(&process.Command{
		Name: name, Path: c.cfg.Program, Args: []string{name}, Env: c.cfg.Env, Dir: "/",
		Files: []*os.File{theirs, c.lock}, UID: -1, GID: -1, Nice: nice,
		Output: func(_ string, r *os.File) { c.output(p, r) },
	})
	if err != nil {
		_ = ours.Close()
		return nil, err
	}
	_ = theirs.Close() // or the process's end would not show
	if err := c.greet(p); err != nil {
		return nil, c.abort(p, err)
	}
	p.ready = time.Now()
	c.cfg.Log.Info(name+" ready", zap.Int("pid", p.proc.PID), zap.Duration("took", p.ready.Sub(p.proc.Started)))
	return p, nil
}

// greet sends the process its parameters and waits for its answer. The password goes this way because arguments and
// environment can be read by others.
func (c *Child) greet(p *run) error {
	if err := p.control.SetDeadline(time.Now().Add(startLimit)); err != nil {
		return err
	}
	defer context.AfterFunc(c.ctx, func() { _ = p.control.SetDeadline(time.Unix(1, 0)) })()
	hello, err := json.Marshal(control.Config{
		Store: c.store(), Socket: p.socket, Password: c.password, MaxBytes: c.cfg.MaxBytes,
		Debug: c.cfg.Log.Core().Enabled(zap.DebugLevel),
	})
	if err != nil {
		return err
	}
	if _, err := p.control.Write(append(hello, '\n')); err != nil {
		return err
	}
	line, err := bufio.NewReader(io.LimitReader(p.control, control.MaxLine)).ReadBytes('\n')
	if err != nil {
		return err
	}
	var answer control.Answer
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

// abort ends a process that did not get ready; it has stored nothing yet. The error names the cause as well as it is
// known.
func (c *Child) abort(p *run, err error) error {
	_ = p.control.Close()
	late := errors.Is(err, os.ErrDeadlineExceeded)
	if !late { // it ends by itself, and then its exit says more
		select {
		case <-p.proc.Exited():
		case <-time.After(exitLimit):
		}
	}
	if endErr := p.proc.End(); endErr != nil {
		return endErr
	}
	r := (*refusal)(nil)
	switch {
	case errors.As(err, &r):
		return fmt.Errorf("%s cannot start: %w", name, err)
	case late:
		return fmt.Errorf("%s was not ready after %s%s", name, startLimit, p.lastLine())
	case errors.Is(err, io.EOF), errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET): // its end says more
		return fmt.Errorf("%s ended before it was ready: %s%s", name, p.proc.Exit(), p.lastLine())
	default:
		return fmt.Errorf("%s did not get ready: %w%s", name, err, p.lastLine())
	}
}

// errStranger says that another process listens where the child should.
var errStranger = errors.New("the socket is not the child's")

// errSilent says that the process takes connections and does nothing with them.
var errSilent = errors.New("the process does not answer")

// levels are the words that the process puts before its lines. A line without one is a panic's.
var levels = map[string]zapcore.Level{
	"notice": zap.DebugLevel, "warning": zap.WarnLevel, "error": zap.ErrorLevel, "fatal": zap.ErrorLevel,
}

// output logs what the process writes.
func (c *Child) output(p *run, r *os.File) {
	logger.NewPump(r, func(part logger.Part) {
		line := strings.ToValidUTF8(string(part.Text), "\uFFFD")
		level := zap.ErrorLevel
		if word, rest, found := strings.Cut(line, ": "); found {
			if l, known := levels[word]; known {
				level, line = l, rest
			}
		}
		if level == zap.ErrorLevel {
			p.mu.Lock()
			p.last = line
			p.mu.Unlock()
		}
		c.cfg.Log.Log(level, name+": "+line)
	}).Run()
}

func (p *run) lastLine() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == "" {
		return ""
	}
	return "; its last line: " + p.last
}

func (p *run) gone() bool {
	select {
	case <-p.proc.Exited():
		return true
	default:
		return false
	}
}

// lastGreeting is what a connection has at least: a process that answers again is not given up.
const lastGreeting = 100 * time.Millisecond

// dial connects, and sends nothing before it is sure that the child listens: another process of the same user could
// replace the socket, and would get the password first. greeting limits all dials together, so each may have little
// time left.
func (p *run) dial(ctx context.Context, greeting time.Duration) (_ net.Conn, err error) {
	p.mu.Lock()
	left := max(greeting-p.silent, lastGreeting)
	p.mu.Unlock()
	began := time.Now()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.silent += time.Since(began); err == nil {
			p.silent = 0
		}
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, left, errSilent)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", p.socket)
	if err != nil {
		if ctx.Err() != nil { // the dialer says no more than that it was too late
			err = context.Cause(ctx)
		}
		return nil, err
	}
	unixConn := conn.(*net.UnixConn)
	var pid int
	pid, err = process.PeerPID(unixConn)
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

// awaitGreeting waits for the first byte and leaves it there: the server speaks first, and a process that is being
// killed still takes connections.
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
	for _, reason := range []error{
		errStranger, errSilent, io.EOF, unix.ECONNRESET, unix.ENOENT, unix.ECONNREFUSED, unix.EPROTOTYPE,
	} {
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
