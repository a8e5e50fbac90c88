// Package process is the only one that starts, signals and waits for children. Each child leads a process group of its
// own, and the whole group ends with it. As PID 1 the Supervisor also reaps the orphans that others leave behind.
package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// killGrace bounds how long KillAll waits.
const killGrace = 300 * time.Millisecond

// sweepEvery is the fallback for a SIGCHLD that was merged with another one.
const sweepEvery = time.Second

// expendable is added to the oom_score_adj of a child that the kernel is to prefer when memory runs out, of 1000.
const expendable = 500

// NewSupervisor starts the supervisor. With reapOrphans set (the agent is PID 1) it also reaps children that are not
// its own; it only ever peeks at those it started, so no exit code is lost. Close must be called.
func NewSupervisor(reapOrphans bool) *Supervisor {
	closeInherited()
	s := &Supervisor{
		children: map[int]*Process{}, reap: reapOrphans, slow: execLimit,
		spawn: make(chan func()), chld: make(chan os.Signal, 1), stop: make(chan struct{}),
	}
	go s.spawner()
	signal.Notify(s.chld, unix.SIGCHLD)
	s.wg.Go(s.watch)
	return s
}

// spawner forks every child from one thread, which lives as long as the process: PDEATHSIG is bound to the thread that
// forked, and children inherit from it that they may not read the memory of the agent, even as root.
func (s *Supervisor) spawner() {
	runtime.LockOSThread()
	// Fails without CAP_SETPCAP. A container that lacks it has no CAP_SYS_PTRACE to drop either.
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

// Start creates the process. It returns after the kernel has accepted the program, or after execLimit; Process.Done is
// closed at its end. An error is transient (Transient), or the command's. Start takes over the command's Group, also on
// an error.
func (s *Supervisor) Start(cmd *Command) (*Process, error) {
	p, err := s.attempt(cmd, cmd.Group)
	if refused := (*stageError)(nil); errors.As(err, &refused) && refused.at == stageControlGroup {
		if p, err = s.attempt(cmd, cmd.Group.outside()); err == nil {
			p.groupErr = refused
		}
	}
	cmd.Group.entered()
	if err != nil {
		cmd.Group.remove()
		return nil, startError(cmd, err)
	}
	s.wishes(cmd, p)
	return p, nil
}

// attempt starts the command once, in this control group.
func (s *Supervisor) attempt(cmd *Command, group *Cgroup) (*Process, error) {
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
	p := &Process{
		Name: cmd.Name, sup: s, cgroup: group, listLeft: cmd.ListLeft, streams: []*os.File{outR, errR},
		done: make(chan struct{}), exited: make(chan struct{}), pumping: make(chan struct{}),
	}
	defer close(p.pumping)
	s.own(cmd, outW, errW)
	c, err := newSpawn(cmd, []*os.File{null, outW, errW}, group.entries())
	if err == nil {
		err = s.launch(p, c)
	}
	if err != nil {
		p.closeStreams()
		return nil, err
	}
	for i, stream := range []string{"stdout", "stderr"} {
		p.pumps.Go(func() { cmd.Output(stream, p.streams[i]) })
	}
	return p, nil
}

// own gives the child's output to its user, who could not open /dev/stdout otherwise.
func (s *Supervisor) own(cmd *Command, pipes ...*os.File) {
	if cmd.UID < 0 && cmd.GID < 0 {
		return
	}
	for _, f := range pipes {
		if err := f.Chown(cmd.UID, cmd.GID); err != nil {
			s.unmet(cmd.Name, "its user as owner of its output", err)
		}
	}
}

// launch forks on the spawner's thread and waits for exec on this one.
func (s *Supervisor) launch(p *Process, c *spawn) error {
	defer c.close()
	reply := make(chan error, 1)
	var err error
	select {
	case s.spawn <- func() { reply <- s.fork(p, c) }:
		err = <-reply
	case <-s.stop:
		err = os.ErrClosed
	}
	if err != nil {
		return err
	}
	if err = c.awaitExec(s.slow); err != nil { // the process has ended, or it ends now; the sweep collects it
		if errors.Is(err, errSlowExec) {
			if killErr := p.Kill(); killErr != nil {
				s.unmet(p.Name, "its end", killErr)
			}
		}
	}
	return err
}

// fork runs on the spawner's thread. The lock is free meanwhile: the kernel may take its time.
func (s *Supervisor) fork(p *Process, c *spawn) error {
	s.mu.Lock()
	s.forking++
	s.mu.Unlock()
	pid, err := c.fork()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.forking--; err == nil {
		p.PID, p.Started, p.spawn = pid, time.Now(), c
		s.children[pid] = p
	}
	select {
	case s.chld <- unix.SIGCHLD: // a sweep may have left an ended child alone
	default:
	}
	return err
}

// wishes gives a running child what it can do without.
func (s *Supervisor) wishes(cmd *Command, p *Process) {
	if cmd.Nice != 0 {
		own, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // which the system call returns as 20 minus the value
		if err == nil {
			err = unix.Setpriority(unix.PRIO_PGRP, p.PID, 20-own+cmd.Nice)
		}
		s.unmet(cmd.Name, "a lower priority", err)
	}
	if cmd.Expendable {
		score := strconv.Itoa(min(ownOOMScore()+expendable, 1000))
		s.unmet(
			cmd.Name,
			"to be ended first when memory runs out",
			write("/proc/"+strconv.Itoa(p.PID)+"/oom_score_adj", score),
		)
	}
}

// unmet reports a wish of a child's that failed with err, unless the child had no time for it.
func (s *Supervisor) unmet(child, wish string, err error) {
	if err != nil && s.Unmet != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
		s.Unmet(child, wish, err)
	}
}

// ownOOMScore is the agent's oom_score_adj.
var ownOOMScore = sync.OnceValue(func() int {
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0
	}
	return int(number(bytes.TrimSpace(text)))
})

// closeInherited has descriptors that this process was started with end with it: they are no business of its children.
// Whatever it opens itself is closed on exec anyway.
func closeInherited() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return // without /proc, close_range in the child does it
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
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
	for s.reap && s.forking == 0 {
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

// Left names the children that have not ended, each with its process id. After Close these are the ones that the kernel
// holds although they were killed.
func (s *Supervisor) Left() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []string
	for pid, p := range s.children {
		left = append(left, fmt.Sprintf("%s (process %d)", p.Name, pid))
	}
	slices.Sort(left)
	return left
}

// KillAll kills every child's group at once, for an exit that does not wait for the children; within killGrace their
// control groups are removed.
func (s *Supervisor) KillAll() {
	s.mu.Lock()
	var killed []*Process
	for _, p := range s.children {
		p.abandoned = true
		_ = p.deliver(unix.SIGKILL) // the exit does not depend on it
		killed = append(killed, p)
	}
	s.mu.Unlock()
	late := time.After(killGrace)
	for _, p := range killed {
		p.cgroup.killAll()
		select {
		case <-p.done:
		case <-late:
			return
		}
	}
}
