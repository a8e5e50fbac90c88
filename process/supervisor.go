// Package process is the only one that starts, signals and waits for children. Each child leads a process group of its
// own, and the whole group ends with it. As PID 1 the Supervisor also reaps the orphans that others leave behind.
package process

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// drainDelay is how long the output of an ended child is still read. A daemon that inherited stdout would otherwise keep
// the child "running" for its whole life.
const drainDelay = 200 * time.Millisecond

// killGrace bounds the wait of an exit that waits for nobody.
const killGrace = 300 * time.Millisecond

// sweepEvery is the fallback for a SIGCHLD that was merged with another one.
const sweepEvery = time.Second

// Supervisor owns every child. Use NewSupervisor.
type Supervisor struct {
	// Orphans is called for each stranger that was reaped; set it before the first Start. May be nil.
	Orphans func(pid int)

	mu       sync.Mutex // held across start-and-register, so that no exit is seen before its record exists
	children map[int]*Process
	reap     bool

	spawn chan func()
	chld  chan os.Signal
	stop  chan struct{}
	wg    sync.WaitGroup
}

// NewSupervisor starts the supervisor. With reapOrphans set (the agent is PID 1) it also reaps children that are not its
// own; it only ever peeks at those it started, so no exit code is lost. Close must be called.
func NewSupervisor(reapOrphans bool) *Supervisor {
	s := &Supervisor{
		children: map[int]*Process{}, reap: reapOrphans,
		spawn: make(chan func()), chld: make(chan os.Signal, 1), stop: make(chan struct{}),
	}
	go s.spawner()
	signal.Notify(s.chld, unix.SIGCHLD)
	s.wg.Go(s.watch)
	return s
}

// spawner starts every child from one thread, which lives as long as the process: PDEATHSIG is bound to the thread that
// forked, and children inherit from it that they may not read the memory of the agent, even as root.
func (s *Supervisor) spawner() {
	runtime.LockOSThread()
	// Fails without CAP_SETPCAP; whoever lacks that has no CAP_SYS_PTRACE to lose in a container either.
	_ = unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_PTRACE, 0, 0, 0)
	for {
		select {
		case f := <-s.spawn:
			f()
		case <-s.stop:
			runtime.UnlockOSThread()
			return
		}
	}
}

// Command says what to start. Paths are absolute; nothing is looked up and no shell is involved.
type Command struct {
	// Name is how logs call the child.
	Name string
	Path string
	Args []string // including Args[0]
	Env  []string
	Dir  string
	// Stdin is never inherited: children read /dev/null. Stdout and Stderr get a pipe each, handed to Output.
	// Files become descriptors 3, 4, …; the caller closes its copies after Start.
	Files []*os.File
	// UID and GID are the child's identity, -1 to keep the agent's.
	UID, GID int
	// Nice is added to the priority value of the child's group: above 0 it yields to the others.
	Nice int
	// ListLeft finds out who outlives the child in its group, for Process.Left. It reads all of /proc when the child ends.
	ListLeft bool
	// Output reads one of the child's streams (stdout, stderr) until it ends. It runs in a goroutine of its own and must
	// keep reading.
	Output func(stream string, r *os.File)
}

// Start creates the process. It returns after the kernel has accepted the program; Process.Done tells its end.
func (s *Supervisor) Start(cmd *Command) (*Process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer outW.Close()
	errR, errW, err := os.Pipe()
	if err != nil {
		outR.Close()
		return nil, err
	}
	defer errW.Close()

	p := &Process{Name: cmd.Name, sup: s, done: make(chan struct{}), exited: make(chan struct{}), streams: []*os.File{outR, errR}, listLeft: cmd.ListLeft}
	p.pumps.Add(len(p.streams)) // before the process exists: it may end before its output is read
	reply := make(chan error, 1)
	select {
	case s.spawn <- func() { reply <- s.fork(cmd, p, []uintptr{null.Fd(), outW.Fd(), errW.Fd()}) }:
		err = <-reply
	case <-s.stop:
		err = os.ErrClosed
	}
	if err != nil {
		outR.Close()
		errR.Close()
		return nil, startError(cmd, err)
	}
	for i, stream := range []string{"stdout", "stderr"} {
		go func() {
			defer p.pumps.Done()
			cmd.Output(stream, p.streams[i])
		}()
	}
	return p, nil
}

// fork runs on the spawner thread.
func (s *Supervisor) fork(cmd *Command, p *Process, fds []uintptr) error {
	for _, f := range cmd.Files {
		fds = append(fds, f.Fd())
	}
	attr := &syscall.ProcAttr{
		Dir: cmd.Dir, Env: cmd.Env, Files: fds,
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	if cmd.UID >= 0 || cmd.GID >= 0 {
		attr.Sys.Credential = credential(cmd.UID, cmd.GID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.Started = time.Now()
	pid, err := syscall.ForkExec(cmd.Path, cmd.Args, attr)
	if err != nil {
		return err
	}
	p.PID = pid
	s.children[pid] = p
	if cmd.Nice != 0 {
		if own, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil { // which the system call returns as 20 minus the value
			_ = unix.Setpriority(unix.PRIO_PGRP, pid, 20-own+cmd.Nice) // a wish: the child runs as well without
		}
	}
	return nil
}

func credential(uid, gid int) *syscall.Credential {
	c := &syscall.Credential{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())}
	if uid >= 0 {
		c.Uid = uint32(uid)
	}
	if gid >= 0 {
		c.Gid = uint32(gid)
	}
	return c
}

func startError(cmd *Command, err error) error {
	return fmt.Errorf("start %s: %s: %w%s", cmd.Name, cmd.Path, err, explain(cmd, err))
}

func (s *Supervisor) watch() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.chld:
		case <-tick.C:
			s.settle()
		case <-s.stop:
			return
		}
		s.sweep()
	}
}

// settle is called once a period, before the sweep that collects who has ended in it.
func (s *Supervisor) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pid, p := range s.children {
		if peek(unix.P_PID, pid) != pid {
			p.cgroup.settle()
		}
	}
}

// sweep collects every ended child, then, as PID 1, every ended stranger.
func (s *Supervisor) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pid, p := range s.children {
		if peek(unix.P_PID, pid) == pid {
			p.collect()
			delete(s.children, pid)
		}
	}
	for s.reap {
		pid := peek(unix.P_ALL, 0)
		if pid <= 0 || s.children[pid] != nil {
			return // an own child that ended just now comes first; its SIGCHLD is on the way
		}
		if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err != nil {
			return
		}
		if s.Orphans != nil {
			s.Orphans(pid)
		}
	}
}

// Close stops the supervisor. Every child must have ended before.
func (s *Supervisor) Close() {
	s.sweep()
	signal.Stop(s.chld)
	close(s.stop)
	s.wg.Wait()
}

// KillAll ends every child's group at once, for an exit that waits for nobody; killGrace lets their control groups go.
func (s *Supervisor) KillAll() {
	s.mu.Lock()
	var killed []*Process
	for pid, p := range s.children {
		_ = unix.Kill(-pid, unix.SIGKILL)
		killed = append(killed, p)
	}
	s.mu.Unlock()
	late := time.After(killGrace)
	for _, p := range killed {
		select {
		case <-p.done:
		case <-late:
			return
		}
	}
}
