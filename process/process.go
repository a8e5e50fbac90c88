package process

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one child.
type Process struct {
	Name    string
	PID     int
	Started time.Time

	sup     *Supervisor
	streams []*os.File
	pumps   sync.WaitGroup
	cgroup  *Cgroup

	listLeft bool
	left     []Leftover

	exit   Exit
	exited chan struct{} // the process has ended and exit is readable
	done   chan struct{} // and its output is drained
}

// Exit is how a child ended.
type Exit struct {
	// Code is the exit code, or -1 if a signal ended it.
	Code   int
	Signal unix.Signal
	// OutOfMemory is set when the kernel killed a process of the child's cgroup for its memory.
	OutOfMemory bool
	// CPU is user plus system time of the child and the descendants it waited for; PeakRSS its own, in bytes.
	CPU     time.Duration
	PeakRSS int64
}

// ShellCode is the exit code a shell would report: 128 plus the signal.
func (e Exit) ShellCode() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// String says it in words.
func (e Exit) String() string {
	if e.Signal != 0 {
		return fmt.Sprintf("signal %d (%s)", int(e.Signal), unix.SignalName(e.Signal))
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Done is closed when the child is gone and its output is drained. Exit is readable then.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exited is closed when the child is gone; its output may still be arriving.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Exit returns how the child ended. Valid after Exited is closed.
func (p *Process) Exit() Exit { return p.exit }

// collect is called with the supervisor's lock held, while the ended child is still a zombie: its process id and group
// cannot belong to anybody else yet.
func (p *Process) collect() {
	oom := p.cgroup.oomKills()
	if p.listLeft {
		p.left = members(p.PID)
	}
	_ = unix.Kill(-p.PID, unix.SIGKILL) // what is left of the group; ESRCH when nothing is
	var status unix.WaitStatus
	var usage unix.Rusage
	if _, err := unix.Wait4(p.PID, &status, 0, &usage); err != nil {
		p.exit = Exit{Code: -1}
	} else {
		p.exit = Exit{Code: status.ExitStatus(), CPU: time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), PeakRSS: usage.Maxrss << 10}
		if status.Signaled() {
			p.exit.Signal = status.Signal()
		}
	}
	p.exit.OutOfMemory = oom && p.exit.Signal == unix.SIGKILL || oom && p.exit.Code > 0
	close(p.exited)
	go p.drain()
}

func (p *Process) drain() {
	late := time.AfterFunc(drainDelay, p.closeStreams)
	p.pumps.Wait()
	late.Stop()
	p.closeStreams()
	p.cgroup.remove()
	close(p.done)
}

func (p *Process) closeStreams() {
	for _, f := range p.streams {
		_ = f.Close() // a second close is an error nobody needs
	}
}

// Signal sends sig to the child's whole group. It is an error only if the child could not be signalled; a child that is
// gone already is none.
func (p *Process) Signal(sig unix.Signal) error {
	p.sup.mu.Lock()
	defer p.sup.mu.Unlock()
	select {
	case <-p.exited:
		return nil
	default:
	}
	if err := unix.Kill(-p.PID, sig); err != nil && err != unix.ESRCH {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return nil
}

// Stop sends TERM to the group, KILL when ctx ends, and always waits until the child is gone and drained. The error is
// ctx's, if KILL was needed.
func (p *Process) Stop(ctx context.Context) error {
	err := p.Signal(unix.SIGTERM)
	select {
	case <-p.exited:
	case <-ctx.Done():
		if killErr := p.Signal(unix.SIGKILL); killErr != nil {
			return killErr
		}
		err = context.Cause(ctx)
	}
	<-p.done
	return err
}

// Limit puts the child into g, which the process removes when it is gone. Called once, right after Start: making a group
// takes longer than starting a program, and a fresh program has nothing to count yet.
func (p *Process) Limit(g *Cgroup) error {
	p.sup.mu.Lock()
	select {
	case <-p.exited: // nobody removes it with the process any more
		p.sup.mu.Unlock()
		go g.remove()
		return nil
	default:
	}
	p.cgroup = g
	p.sup.mu.Unlock()
	return g.add(p.PID) // not under the lock: the kernel may take its time
}

// Kill ends the group at once. Done tells when it is gone.
func (p *Process) Kill() error { return p.Signal(unix.SIGKILL) }
