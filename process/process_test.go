package process

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The test binary plays the misbehaving child, and PID 1 of a namespace of its own.
func TestMain(m *testing.M) {
	if role := os.Getenv("PROCESS_TEST_ROLE"); role != "" {
		play(role)
		return
	}
	os.Exit(m.Run())
}

func play(role string) {
	switch role {
	case "pid1":
		pid1()
	case "ignore-term":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "leave-group":
		leaveGroup()
	case "few-descriptors":
		fewDescriptors()
	case "few-processes":
		fewProcesses()
	case "killed-agent":
		killedAgent()
	case "peer":
		peer()
	case "sockets":
		openSockets()
	}
}

// self is a command that runs this test binary in a role.
func self(t *testing.T, o *output, role string) *Command {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	return &Command{Name: role, Path: exe, Args: []string{exe}, Env: []string{"PROCESS_TEST_ROLE=" + role, "PATH=" + os.Getenv("PATH")}, UID: -1, GID: -1, Output: o.read}
}

// until waits for a condition.
func until(t *testing.T, why string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 30*time.Second, time.Millisecond, why)
}

type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) read(_ string, r *os.File) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		o.mu.Lock()
		o.text.Write(buf[:n])
		o.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func shell(o *output, script string) *Command {
	return &Command{Name: "child", Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")}, UID: -1, GID: -1, Output: o.read}
}

func newSupervisor(t *testing.T) *Supervisor {
	s := NewSupervisor(false)
	t.Cleanup(s.Close)
	return s
}

func wait(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the child did not end")
	}
}

func TestExitCodesAndOutputArriveForEveryChild(t *testing.T) {
	s := newSupervisor(t)
	var all sync.WaitGroup
	for code := range 64 {
		all.Go(func() {
			var o output
			p, err := s.Start(shell(&o, fmt.Sprintf("echo out; echo err >&2; exit %d", code)))
			if err != nil {
				t.Error(err)
				return
			}
			<-p.Done()
			if p.Exit().Code != code || p.Exit().ShellCode() != code || strings.Count(o.String(), "\n") != 2 {
				t.Errorf("want %d: %s, %q", code, p.Exit(), o.String())
			}
		})
	}
	all.Wait()
}

func TestSignalledExitNamesTheSignal(t *testing.T) {
	s := newSupervisor(t)
	p, err := s.Start(shell(&output{}, "kill -9 $$"))
	require.NoError(t, err)
	wait(t, p.Done())
	require.Equal(t, unix.SIGKILL, p.Exit().Signal)
	require.Equal(t, 137, p.Exit().ShellCode())
	require.Equal(t, "signal 9 (SIGKILL)", p.Exit().String())
	require.NoError(t, p.Signal(unix.SIGTERM), "signalling a dead child is no error")
}

// TestDaemonHoldingStdoutDoesNotDelayDone: a grandchild outside the group keeps stdout open; Done comes all the same.
func TestDaemonHoldingStdoutDoesNotDelayDone(t *testing.T) {
	s := newSupervisor(t)
	var o output
	p, err := s.Start(shell(&o, "setsid sleep 30 & echo started; exit 5"))
	require.NoError(t, err)
	began := time.Now()
	wait(t, p.Done())
	require.Equal(t, 5, p.Exit().Code)
	require.Less(t, time.Since(began), 20*time.Second)
	require.Contains(t, o.String(), "started")
	_ = exec.Command("pkill", "-f", "^sleep 30$").Run()
}

// TestGroupEndsWithItsLeader: what a dead worker left behind in its group does not live on.
func TestGroupEndsWithItsLeader(t *testing.T) {
	s := newSupervisor(t)
	var o output
	p, err := s.Start(shell(&o, "sleep 1000 & echo $!"))
	require.NoError(t, err)
	wait(t, p.Done())
	pid := strings.TrimSpace(o.String())
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	}, 10*time.Second, time.Millisecond)
}

func TestStopKillsWhatIgnoresTerm(t *testing.T) {
	s := newSupervisor(t)
	var trapped output
	p, err := s.Start(shell(&trapped, "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(trapped.String(), "ready") }, 30*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, p.Stop(ctx))
	require.Equal(t, 3, p.Exit().Code)

	var o output
	exe, err := os.Executable()
	require.NoError(t, err)
	stubborn, err := s.Start(&Command{Name: "stubborn", Path: exe, Args: []string{exe}, Env: []string{"PROCESS_TEST_ROLE=ignore-term"}, UID: -1, GID: -1, Output: o.read})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(o.String(), "ready") }, 30*time.Second, time.Millisecond)
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, stubborn.Stop(ctx), context.DeadlineExceeded)
	require.Equal(t, unix.SIGKILL, stubborn.Exit().Signal)
}

func TestStartErrorsExplain(t *testing.T) {
	s := newSupervisor(t)
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		return path
	}
	elf := make([]byte, 64)
	copy(elf, "\x7fELF\x02\x01\x01")
	elf[16], elf[18], elf[19], elf[20], elf[52], elf[54], elf[58] = 2, 0xf3, 0, 1, 64, 56, 64 // RISC-V
	cases := map[string]struct{ path, want string }{
		"missing":     {filepath.Join(dir, "nothing"), "no such file"},
		"folder":      {dir, "it is a folder"},
		"no bit":      {file("nobit", "#!/bin/sh\n", 0o644), "execute bit"},
		"CR LF":       {file("crlf", "#!/bin/sh\r\necho\r\n", 0o755), "CR LF"},
		"interpreter": {file("interp", "#!/no/such/shell\n", 0o755), "does not exist"},
		"empty":       {file("empty", "", 0o755), "it is empty"},
		"text":        {file("text", "hello", 0o755), "neither a program nor a script"},
		"other CPU":   {file("riscv", string(elf), 0o755), "EM_RISCV"},
	}
	for name, c := range cases {
		_, err := s.Start(&Command{Name: "x", Path: c.path, Args: []string{c.path}, UID: -1, GID: -1, Output: func(_ string, r *os.File) { _, _ = io.Copy(io.Discard, r) }})
		require.ErrorContains(t, err, c.want, name)
	}
	_, err := s.Start(&Command{Name: "x", Path: "/bin/sh", Args: []string{"sh"}, Dir: "/no/such/dir", UID: -1, GID: -1, Output: func(string, *os.File) {}})
	require.ErrorContains(t, err, "working directory /no/such/dir does not exist")
}

// TestSupervisorAsPID1LosesNoExitCode runs the supervisor as PID 1 of a namespace: 300 children each leave orphans,
// no exit code is lost, no zombie stays.
func TestSupervisorAsPID1LosesNoExitCode(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("LOUD SKIP: a PID namespace needs root")
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = []string{"PROCESS_TEST_ROLE=pid1", "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "lost 0, zombies 0")
}

func pid1() {
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil { // to count zombies; the namespace is private
		fmt.Println("mount:", err)
		os.Exit(1)
	}
	s := NewSupervisor(true)
	var mu sync.Mutex
	lost := 0
	var orphans atomic.Int64
	s.Orphans = func(int) { orphans.Add(1) }
	var all sync.WaitGroup
	for i := range 300 {
		if i%25 == 0 {
			all.Wait()
		}
		all.Go(func() {
			want := i % 200
			p, err := s.Start(&Command{
				Name: "c", Path: "/bin/sh", Args: []string{"sh", "-c", fmt.Sprintf("(setsid sleep 0.01 &) ; (setsid true &) ; exit %d", want)},
				Env: []string{"PATH=" + os.Getenv("PATH")}, UID: -1, GID: -1, Output: func(_ string, r *os.File) { _, _ = io.Copy(io.Discard, r) },
			})
			if err == nil {
				<-p.Done()
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil || p.Exit().Code != want {
				lost++
			}
		})
	}
	all.Wait()
	zombies := 1
	for end := time.Now().Add(20 * time.Second); zombies > 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		zombies = 0
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, stat := range stats {
			if b, err := os.ReadFile(stat); err == nil && strings.Contains(string(b), ") Z ") {
				zombies++
			}
		}
	}
	fmt.Printf("lost %d, zombies %d, orphans %d\n", lost, zombies, orphans.Load())
	if lost > 0 || zombies > 0 || orphans.Load() < 300 {
		os.Exit(1)
	}
	os.Exit(0)
}

func TestMeterReadsCPUAndMemoryOfAProcess(t *testing.T) {
	s := newSupervisor(t)
	p, err := s.Start(shell(&output{}, "sh -c 'while :; do :; done' & while :; do :; done"))
	require.NoError(t, err)
	m := NewMeter(p.PID)
	var u Usage
	require.Eventually(t, func() bool { u = m.Read(time.Now()); return u.CPU > 50*time.Millisecond && u.RSS > 100<<10 }, 30*time.Second, 5*time.Millisecond)
	require.GreaterOrEqual(t, u.Peak, u.RSS)
	require.GreaterOrEqual(t, m.CPU(time.Now()), u.CPU)
	require.NoError(t, p.Kill())
	wait(t, p.Done())
	require.GreaterOrEqual(t, m.Read(time.Now().Add(time.Second)).CPU, u.CPU, "the last reading stays")
}

// tree makes a file system of fixture files.
func tree(t *testing.T, files map[string]string) string {
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return root
}

func TestFindCgroupFindsBothVersions(t *testing.T) {
	v1 := tree(t, map[string]string{"proc/self/cgroup": "5:devices:/\n4:cpu,memory:/a/b\n0::/\n", "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "1", "sys/fs/cgroup/memory/a/b/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"})
	g := FindCgroup(v1)
	require.Equal(t, CgroupTree{Version: 1, Own: filepath.Join(v1, "sys/fs/cgroup/memory/a/b")}, g)
	require.EqualValues(t, 3, g.OOMKills())
	v2 := tree(t, map[string]string{"proc/self/cgroup": "0::/x\n", "sys/fs/cgroup/x/cgroup.procs": "", "sys/fs/cgroup/x/memory.events": "low 0\noom 2\noom_kill 1\n"})
	g = FindCgroup(v2)
	require.Equal(t, CgroupTree{Version: 2, Own: filepath.Join(v2, "sys/fs/cgroup/x")}, g)
	require.EqualValues(t, 1, g.OOMKills())
	inside := tree(t, map[string]string{"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/memory.events": "oom_kill 0\n"})
	require.Equal(t, filepath.Join(inside, "sys/fs/cgroup"), FindCgroup(inside).Own, "a container sees its group as the root")
	require.Equal(t, CgroupTree{}, FindCgroup(t.TempDir()))
	require.EqualValues(t, -1, CgroupTree{}.OOMKills())
}

// TestGroupsOfVersion2SetTheirLimits works on fixture files: the kernel of most machines that run the tests has
// version 1.
func TestGroupsOfVersion2SetTheirLimits(t *testing.T) {
	own := "sys/fs/cgroup/x/"
	workers := fmt.Sprintf("%sgantry-%d-workers/", own, os.Getpid())
	root := tree(t, map[string]string{
		"proc/self/cgroup": "0::/x\n", own + "cgroup.procs": "", own + "cgroup.subtree_control": "cpu memory\n", own + "memory.events": "oom_kill 5\n", own + "pids.max": "100\n",
		workers + "cgroup.subtree_control": "", workers + "pids.max": "max",
		workers + "1/memory.max": "max", workers + "1/memory.swap.max": "max", workers + "1/cgroup.procs": "", workers + "1/memory.events": "oom_kill 0\n", workers + "1/memory.peak": "4096\n",
	})
	holds := func(file, want string) {
		b, err := os.ReadFile(filepath.Join(root, file))
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(b), want), "%s holds %s", file, b)
	}
	groups := &Groups{memory: FindCgroup(root), workers: filepath.Join(root, workers), limit: 64 << 20}
	g, err := groups.make()
	require.NoError(t, err)
	require.True(t, g.Enforced())
	holds(workers+"1/memory.max", "67108864")
	holds(workers+"1/memory.swap.max", "0")
	require.NotNil(t, g.entries()[0].folder, "a child can be born in it")
	require.EqualValues(t, 4096, g.peak())
	require.False(t, g.oomKills())
	require.NoError(t, os.WriteFile(filepath.Join(root, workers, "1/memory.events"), []byte("oom 1\noom_kill 1\n"), 0o644))
	require.True(t, g.oomKills())
	g.entered()
	require.Empty(t, g.entries())

	opened := OpenGroups(root, 1<<20)
	defer opened.Close()
	require.NoError(t, opened.MemoryErr())
	require.NoError(t, opened.PidsErr())
	holds(own+"cgroup.subtree_control", "+pids")
	holds(workers+"cgroup.subtree_control", "+memory")
	holds(workers+"pids.max", "50") // half of what the agent has
}

func TestDelegateMovesTheAgentIntoALeaf(t *testing.T) {
	bare := tree(t, map[string]string{"cgroup.subtree_control": "cpu\n", "gantry-agent/cgroup.procs": ""})
	require.NoError(t, delegate(bare))
	b, err := os.ReadFile(filepath.Join(bare, "gantry-agent/cgroup.procs"))
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(os.Getpid()), string(b), "the agent moves into a leaf of its own")
	require.Error(t, delegate(filepath.Join(bare, "nothing")))
}

func TestMissingControlGroupsEnforceNothing(t *testing.T) {
	none := OpenGroups(t.TempDir(), 1)
	defer none.Close()
	require.Error(t, none.PidsErr())
	g, err := none.New()
	require.ErrorContains(t, err, "no memory control group")
	require.False(t, g.Enforced() || g.oomKills())
	require.Zero(t, g.peak())
	g, err = (*Groups)(nil).New()
	require.Error(t, err)
	require.False(t, g.Enforced())
	var missing *Cgroup
	require.False(t, missing.Enforced() || missing.oomKills())
	require.Empty(t, missing.entries())
}

// TestSlowReaderStillGetsAllOutput: what a child has left in its pipes is not lost to a reader that gets its turn late.
func TestSlowReaderStillGetsAllOutput(t *testing.T) {
	s := newSupervisor(t)
	var o output
	cmd := shell(&o, "echo out; echo err >&2")
	turn := make(chan struct{})
	cmd.Output = func(stream string, r *os.File) { <-turn; o.read(stream, r) }
	p, err := s.Start(cmd)
	require.NoError(t, err)
	wait(t, p.Exited())
	<-time.After(drainDelay * 2)
	close(turn)
	wait(t, p.Done())
	require.Equal(t, 2, strings.Count(o.String(), "\n"), "%q", o.String())
}
