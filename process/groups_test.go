package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// testLimit is the memory that a test's child may have, in bytes.
const testLimit = 32 << 20

// openGroups returns the groups of this machine; the test is skipped where none can be made.
func openGroups(t *testing.T) *Groups {
	g := OpenGroups("/", testLimit)
	t.Cleanup(g.Close)
	if err := g.MemoryErr(); err != nil {
		t.Skipf("LOUD SKIP: no memory control group of version %d can be made: %v", g.memory.Version, err)
	}
	t.Logf("memory control groups of version %d", g.memory.Version)
	return g
}

// TestChildStartsInsideItsLimitedGroup: the first thing that a child does sees its limit. Twenty times, because it
// used to be a matter of luck.
func TestChildStartsInsideItsLimitedGroup(t *testing.T) {
	g := openGroups(t)
	s := newSupervisor(t)
	for range 20 {
		group, err := g.New()
		require.NoError(t, err)
		var o output
		cmd := &Command{Name: "child", Path: "/bin/cat", Args: []string{"cat", "/proc/self/cgroup"}, UID: -1, GID: -1, Output: o.read, Group: group}
		p, err := s.Start(cmd)
		require.NoError(t, err)
		require.NoError(t, p.GroupErr())
		wait(t, p.Done())
		require.Contains(t, o.String(), filepath.Base(g.workers)+"/"+filepath.Base(group.tree.Own))
		require.Positive(t, p.Exit().PeakGroup)
		_, err = os.Stat(group.tree.Own)
		require.ErrorIs(t, err, os.ErrNotExist, "the group goes with its child")
	}
}

// TestChildOverItsMemoryLimitIsKilled: a child that takes more than its limit is killed, and what it had taken is
// known.
func TestChildOverItsMemoryLimitIsKilled(t *testing.T) {
	g := openGroups(t)
	s := newSupervisor(t)
	group, err := g.New()
	require.NoError(t, err)
	var o output
	cmd := shell(&o, "exec tail /dev/zero")
	cmd.Group = group
	p, err := s.Start(cmd)
	require.NoError(t, err)
	wait(t, p.Done())
	require.True(t, p.Exit().OutOfMemory, "%s, %s", p.Exit(), o.String())
	require.InDelta(t, testLimit, p.Exit().PeakGroup, testLimit/10)
}

// killedInGroup kills a child in a group of its own once it has printed a line, which is the PID of a process that has
// to go with it. The script gets the folder of the group.
func killedInGroup(t *testing.T, script func(group string) string) (group string) {
	t.Helper()
	g := openGroups(t)
	s := newSupervisor(t)
	own, err := g.New()
	require.NoError(t, err)
	var o output
	cmd := shell(&o, script(own.tree.Own))
	cmd.Group = own
	p, err := s.Start(cmd)
	require.NoError(t, err)
	until(t, "the process runs", func() bool { return strings.HasSuffix(o.String(), "\n") })
	require.NoError(t, p.Kill())
	wait(t, p.Done())
	requireGone(t, o.String())
	return own.tree.Own
}

// TestKillReachesTheControlGroup: what has left the child's process group and session is killed with it.
func TestKillReachesTheControlGroup(t *testing.T) {
	killedInGroup(t, func(string) string { return "setsid sleep 1000 & echo $!; wait" })
}

// TestGroupsThatAChildHasMadeGoWithIt: such as those of an agent in the function, with the processes in them. What is
// left of a group would cost each later start of an agent its time.
func TestGroupsThatAChildHasMadeGoWithIt(t *testing.T) {
	group := killedInGroup(t, func(group string) string {
		nested := filepath.Join(group, "of-the-child", "deeper")
		return "mkdir -p " + nested + " && { sleep 1000 & } && echo $! > " + nested + "/cgroup.procs && echo $!; wait"
	})
	require.NoDirExists(t, group)
}

// TestGroupThatCannotBeEmptiedIsGivenUp: in the time for one group, however many are in it.
func TestGroupThatCannotBeEmptiedIsGivenUp(t *testing.T) {
	group := t.TempDir()
	deepest := filepath.Join(group, "a", "b", "c")
	require.NoError(t, os.MkdirAll(deepest, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(deepest, "stays"), nil, 0o600))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if emptyAndRemove(group) {
			t.Error("a folder with a file in it was removed")
		}
	}()
	wait(t, done)
}

// TestChildThatCannotEnterItsGroupRunsWithout: a child that cannot enter its group runs without, and says so.
func TestChildThatCannotEnterItsGroupRunsWithout(t *testing.T) {
	s := newSupervisor(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	require.NoError(t, err)
	var o output
	cmd := shell(&o, "echo runs")
	cmd.Group = view(CgroupTree{})
	cmd.Group.entry = []*groupEntry{{file: full}}
	p, err := s.Start(cmd)
	require.NoError(t, err)
	require.ErrorContains(t, p.GroupErr(), "enter the control group: no space left on device")
	wait(t, p.Done())
	require.Equal(t, "runs\n", o.String())
}

// TestProcessesAreLimited: children that start as many processes as they can leave some for the agent.
func TestProcessesAreLimited(t *testing.T) {
	own := findCgroup("/", "pids", "cgroup.procs")
	if own.Version != 1 {
		t.Skip("LOUD SKIP: no process control group of version 1")
	}
	g := &Groups{denied: errors.New("not needed here"), ready: make(chan struct{})}
	close(g.ready)
	var err error
	if g.pids, err = g.processGroup(own.Own, 12); err != nil {
		t.Skipf("LOUD SKIP: no process control group can be made: %v", err)
	}
	t.Cleanup(g.Close)
	s := newSupervisor(t)
	group, _ := g.New()
	var o output
	cmd := shell(&o, "for i in $(seq 40); do sleep 1000 & done; echo never")
	cmd.Group = group
	p, err := s.Start(cmd)
	require.NoError(t, err)
	require.NoError(t, p.GroupErr())
	until(t, "fork fails", func() bool { return strings.Contains(strings.ToLower(o.String()), "fork") })
	var free output
	other, err := s.Start(shell(&free, "for i in $(seq 20); do true & done; wait; echo done"))
	require.NoError(t, err)
	wait(t, other.Done())
	require.Equal(t, "done\n", free.String())
	require.NoError(t, p.Kill())
	wait(t, p.Done())
}

func TestPidsForWorkersLeavesSomeForTheAgent(t *testing.T) {
	for limit, want := range map[int64]int64{60: 30, 100: 50, 512: 256, 2048: 1792, 1 << 20: 1<<20 - 256} {
		require.Equal(t, want, pidsForWorkers(limit), limit)
	}
	root := tree(t, map[string]string{
		"proc/self/cgroup": "3:pids:/a/b\n", "proc/sys/kernel/pid_max": "32768\n", "proc/sys/kernel/threads-max": "9000\n",
		"sys/fs/cgroup/pids/a/b/cgroup.procs": "", "sys/fs/cgroup/pids/a/b/pids.max": "max\n", "sys/fs/cgroup/pids/a/pids.max": "700\n",
	})
	require.EqualValues(t, 700, maxProcesses(root, findCgroup(root, "pids", "cgroup.procs")))
	require.EqualValues(t, 9000, maxProcesses(root, CgroupTree{}))
}

// TestKilledAgentLeavesNothing: the groups of an agent that was killed go when the next one starts, with what lives in
// them; those of an agent that runs stay.
func TestKilledAgentLeavesNothing(t *testing.T) {
	if openGroups(t).memory.Version == 2 {
		t.Skip("LOUD SKIP: in version 2 each agent is alone in its group, and its parent removes that")
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	agent := func() (*exec.Cmd, string, string) {
		cmd := exec.Command(exe)
		cmd.Env = []string{"PROCESS_TEST_ROLE=killed-agent", "PATH=" + os.Getenv("PATH")}
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		var group, daemon string
		_, err = fmt.Fscanln(out, &group, &daemon)
		require.NoError(t, err)
		return cmd, group, daemon
	}
	killed, group, daemon := agent()
	_, running, living := agent()
	require.NoError(t, killed.Process.Kill())
	_ = killed.Wait()
	requireAlive(t, daemon)
	next := OpenGroups("/", testLimit)
	defer next.Close()
	next.work.Wait()
	requireGone(t, daemon)
	require.NoDirExists(t, filepath.Dir(group))
	require.DirExists(t, running)
	requireAlive(t, living)
}

// killedAgent starts a worker with a daemon, prints its group and the daemon's id, and waits to be killed.
func killedAgent() {
	g := OpenGroups("/", testLimit)
	s := NewSupervisor(false)
	var o output
	group, err := g.New()
	cmd := shell(&o, "setsid sleep 1000 & echo $!; wait")
	cmd.Group = group
	if err == nil {
		_, err = s.Start(cmd)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	for !strings.HasSuffix(o.String(), "\n") {
		time.Sleep(time.Millisecond)
	}
	fmt.Print(group.tree.Own, " ", o.String())
	select {}
}

// living reports whether a process that printed its id is there, and no zombie.
func living(text string) bool {
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return false
	}
	_, _, alive := look(pid)
	return alive && unix.Kill(pid, 0) == nil
}

func requireAlive(t *testing.T, pid string) {
	t.Helper()
	require.True(t, living(pid), "%s runs", pid)
}

func requireGone(t *testing.T, pid string) {
	t.Helper()
	until(t, pid+" is gone", func() bool { return !living(pid) })
}
