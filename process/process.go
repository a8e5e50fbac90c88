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
	pumping chan struct{} // closed when pumps run, or never will
	cgroup  *Cgroup
	spawn   *spawn // until the child has no more use for it
	// groupErr is why the child is not in cgroup; set before Start returns.
	groupErr error

	listLeft  bool
	left      []Leftover
	abandoned bool // by KillAll; with the supervisor's lock

	exit   Exit
	exited chan struct{} // the process has ended and exit is readable
	done   chan struct{} // and its output is drained
}

// Done is closed when the child is gone and its output is drained. Exit is readable then.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exited is closed when the child is gone; its output may still be arriving.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Exit returns how the child ended. Valid after Exited is closed.
func (p *Process) Exit() Exit { return p.exit }

// collect is called with the supervisor's lock held, while the ended child is still a zombie: its process id and group
// cannot be reused yet.
func (p *Process) collect() {
	oom, peak := p.cgroup.oomKills(), p.cgroup.peak()
	if p.listLeft {
		p.left = members(p.PID)
	}
	_ = unix.Kill(-p.PID, unix.SIGKILL) // what is left of the group; ESRCH when nothing is
	var status unix.WaitStatus
	var usage unix.Rusage
	if _, err := unix.Wait4(p.PID, &status, 0, &usage); err != nil {
		p.exit = Exit{Code: -1}
	} else {
		p.exit = Exit{
			Code:    status.ExitStatus(),
			CPU:     time.Duration(usage.Utime.Nano() + usage.Stime.Nano()),
			PeakRSS: usage.Maxrss << 10,
		}
		if status.Signaled() {
			p.exit.Signal = status.Signal()
		}
	}
	p.exit.PeakGroup = peak
	p.exit.OutOfMemory = oom && p.exit.Signal == unix.SIGKILL || oom && p.exit.Code > 0
	p.exit.Abandoned = p.abandoned && p.exit.Signal == unix.SIGKILL
	p.spawn = nil
	close(p.exited)
	go p.drain()
}

// drain waits for the end of the output. A reader that has had no turn yet, on a busy machine, gets more time for what
// the child has left in the pipes.
func (p *Process) drain() {
	<-p.pumping // what is in the pipes is not lost to a child that is faster than Start
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.pumps.Wait()
	}()
	timer := time.NewTicker(drainDelay)
	defer timer.Stop()
	for last := time.Now().Add(drainLimit); ; {
		select {
		case <-ended:
		case now := <-timer.C:
			if p.unread() && now.Before(last) {
				continue
			}
			p.closeStreams()
			<-ended
		}
		break
	}
	p.closeStreams()
	p.cgroup.remove()
	close(p.done)
}

// unread reports whether there is output that was not read.
func (p *Process) unread() bool {
	left := 0
	for _, f := range p.streams {
		raw, err := f.SyscallConn()
		if err != nil {
			continue // closed
		}
		_ = raw.Control(func(fd uintptr) {
			if n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ); err == nil {
				left += n
			}
		})
	}
	return left > 0
}

func (p *Process) closeStreams() {
	for _, f := range p.streams {
		_ = f.Close() // the error of a second close does not matter
	}
}

// GroupErr says why the child does not run in the control group of its Command; nil if it does, or was given none.
func (p *Process) GroupErr() error { return p.groupErr }

// Signal sends sig to the child's whole group, and to the child itself if it has left its group. It is an error only if
// the child could not be signalled; a child that is gone already is none.
func (p *Process) Signal(sig unix.Signal) error {
	p.sup.mu.Lock()
	defer p.sup.mu.Unlock()
	return p.deliver(sig)
}

// deliver is called with the supervisor's lock held: until the child is collected, its id is its own.
func (p *Process) deliver(sig unix.Signal) error {
	select {
	case <-p.exited:
		return nil
	default:
	}
	err := unix.Kill(-p.PID, sig)
	if group, groupErr := unix.Getpgid(p.PID); sig == unix.SIGKILL || groupErr == nil && group != p.PID {
		err = unix.Kill(p.PID, sig)
	}
	if err != nil && err != unix.ESRCH {
		return fmt.Errorf("signal %s: %w", p.Name, err)
	}
	return nil
}

// errAlive says that a child has not ended although it was killed: the kernel holds it.
var errAlive = fmt.Errorf(
	"it is still there %s after KILL: it waits in the kernel, as for storage that does not answer",
	killLimit,
)

// Stop sends TERM to the group, KILL when ctx ends, and waits until the child is gone and drained, at most killLimit
// after KILL or its end. The error is ctx's if KILL was needed; if the child outlived that, it says so, and Done is
// closed later.
func (p *Process) Stop(ctx context.Context) error {
	err := p.Signal(unix.SIGTERM)
	select {
	case <-p.exited:
		p.settled() // its output may go on for drainLimit
		return err
	case <-ctx.Done():
	}
	if endErr := p.End(); endErr != nil {
		return endErr
	}
	return context.Cause(ctx)
}

// End kills the child, and waits until it is gone and drained, at most killLimit. The error says that it is not gone.
func (p *Process) End() error {
	if err := p.Kill(); err != nil {
		return err
	}
	if p.settled() {
		return nil
	}
	select {
	case <-p.exited:
		return nil
	default:
		return fmt.Errorf("%s, process %d: %w", p.Name, p.PID, errAlive)
	}
}

// settled waits until the child is gone and drained, at most killLimit.
func (p *Process) settled() bool {
	late := time.NewTimer(killLimit)
	defer late.Stop()
	select {
	case <-p.done:
		return true
	case <-late.C:
		return false
	}
}

// Kill ends the group at once, and all of the child's control group, if it has one. Done is closed when it is gone.
func (p *Process) Kill() error {
	err := p.Signal(unix.SIGKILL)
	p.cgroup.killAll()
	return err
}

// Supervisor owns every child. Use NewSupervisor.
type Supervisor struct {
	// Orphans is called for each stranger that was reaped; set it before the first Start. May be nil.
	Orphans func(pid int)
	// Unmet is called with what a child was to have and runs without, and why; set it before the first Start. May be nil.
	Unmet func(child, wish string, err error)

	mu       sync.Mutex // never held across fork, exec, or a wait
	children map[int]*Process
	slow     time.Duration // execLimit; tests have less time
	// forking counts the forks whose child is not in children yet: meanwhile, an unknown child may not be a stranger.
	forking int
	reap    bool

	spawn chan func()
	chld  chan os.Signal
	stop  chan struct{}
	wg    sync.WaitGroup
}

// drainDelay is how long the output of an ended child is still read. A daemon that inherited stdout would otherwise
// keep the child "running" for its whole life.
const drainDelay = 200 * time.Millisecond

// drainLimit is the same for output that is there and was not read, which a daemon can go on adding to.
const drainLimit = 2 * time.Second

// killLimit bounds the wait for the end of a killed child: one that waits in the kernel for storage ends when that
// answers.
const killLimit = 500 * time.Millisecond
