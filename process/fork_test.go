package process

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// heldExec is a program whose exec hangs, as on storage that does not answer, until release or the end of the test.
type heldExec struct {
	path   string
	events int // a fanotify group that is asked for permission
}

func holdExec(t *testing.T) *heldExec {
	h := &heldExec{path: filepath.Join(t.TempDir(), "held")}
	require.NoError(t, os.WriteFile(h.path, []byte("#!/bin/sh\nexit 0\n"), 0o755))
	var err error
	h.events, err = unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY)
	if err == nil {
		t.Cleanup(func() { _ = unix.Close(h.events) }) // which lets everything through
		err = unix.FanotifyMark(h.events, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, h.path)
	}
	if err != nil {
		t.Skipf("LOUD SKIP: an exec cannot be held here: %v", err)
	}
	return h
}

// held waits until an exec asks for permission, and returns the descriptor to answer with.
func (h *heldExec) held(t *testing.T) int32 {
	var event unix.FanotifyEventMetadata
	buf := (*[unsafe.Sizeof(event)]byte)(unsafe.Pointer(&event))
	until(t, "an exec asks for permission", func() bool {
		n, err := unix.Read(h.events, buf[:])
		return err == nil && n == len(buf)
	})
	return event.Fd
}

func (h *heldExec) release(t *testing.T, fd int32) {
	response := unix.FanotifyResponse{Fd: fd, Response: unix.FAN_ALLOW}
	_, err := unix.Write(h.events, (*[unsafe.Sizeof(response)]byte)(unsafe.Pointer(&response))[:])
	require.NoError(t, err)
	require.NoError(t, unix.Close(int(fd)))
}

func (h *heldExec) command(o *output) *Command {
	return &Command{Name: "held", Path: h.path, Args: []string{h.path}, UID: -1, GID: -1, Output: o.read}
}

// TestHangingExecHoldsUpNothingElse: an exec that hangs holds up its own start, and nothing else: neither the garbage
// collector, nor other starts, nor signals.
func TestHangingExecHoldsUpNothingElse(t *testing.T) {
	h := holdExec(t)
	s := newSupervisor(t)
	var o output
	other, err := s.Start(shell(&o, "sleep 1000"))
	require.NoError(t, err)
	type started struct {
		p   *Process
		err error
	}
	result := make(chan started, 1)
	go func() {
		p, err := s.Start(h.command(&o))
		result <- started{p, err}
	}()
	fd := h.held(t)

	within := func(what string, f func()) {
		t.Helper()
		done := make(chan struct{})
		go func() { defer close(done); f() }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s waits for an exec that hangs", what)
		}
	}
	within("the garbage collector", runtime.GC)
	within("another start", func() {
		p, err := s.Start(shell(&o, "exit 0"))
		require.NoError(t, err)
		<-p.Done()
	})
	within("a signal", func() { require.NoError(t, other.Signal(unix.SIGTERM)) })
	wait(t, other.Done())
	require.Empty(t, result, "the start goes on waiting")

	h.release(t, fd)
	r := <-result
	require.NoError(t, r.err)
	wait(t, r.p.Done())
	require.Zero(t, r.p.Exit().Code)
}

// TestStartGivesUpAnExecThatNeverEnds: the start gives up, its child is killed, and the error says that a later start
// may succeed.
func TestStartGivesUpAnExecThatNeverEnds(t *testing.T) {
	h := holdExec(t)
	s := newSupervisor(t)
	s.slow = 50 * time.Millisecond
	var o output
	_, err := s.Start(h.command(&o))
	require.ErrorContains(t, err, "its storage has not answered")
	require.True(t, Transient(err))
	until(t, "the child is gone", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.children) == 0
	})
}

// TestManyStartsSurviveTheGarbageCollector: children share the agent's memory until exec, so the garbage collector
// must leave them what they use.
func TestManyStartsSurviveTheGarbageCollector(t *testing.T) {
	s := newSupervisor(t)
	stop := make(chan struct{})
	var collector, all sync.WaitGroup
	collector.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	})
	for worker := range 8 {
		all.Go(func() {
			for i := range 25 {
				var o output
				want := (worker*25 + i) % 100
				p, err := s.Start(shell(&o, fmt.Sprintf("echo %d; exit %d", i, want)))
				if err != nil {
					t.Error(err)
					return
				}
				<-p.Done()
				if p.Exit().Code != want || o.String() != fmt.Sprintln(i) {
					t.Errorf("%d: %s, %q", i, p.Exit(), o.String())
				}
				if _, err := s.Start(&Command{Name: "x", Path: "/no/such/program", Args: []string{"x"}, UID: -1, GID: -1, Output: o.read}); !errors.Is(err, unix.ENOENT) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	close(stop)
	collector.Wait()
}

// TestChildGetsItsDescriptorsOnly: neither what this process inherited nor what it opened reaches a child.
func TestChildGetsItsDescriptorsOnly(t *testing.T) {
	s := newSupervisor(t)
	leaked, err := unix.Dup(2) // as if inherited: no close-on-exec flag
	require.NoError(t, err)
	defer unix.Close(leaked)
	extra, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer extra.Close()
	var o output
	cmd := shell(&o, `cd /proc/$$/fd; echo *`)
	cmd.Files = []*os.File{extra, extra}
	p, err := s.Start(cmd)
	require.NoError(t, err)
	wait(t, p.Done())
	require.Equal(t, "0 1 2 3 4 5\n", o.String(), "with the shell's own one, of the folder")

	NewSupervisor(false).Close()
	flags, err := unix.FcntlInt(uintptr(leaked), unix.F_GETFD, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.FD_CLOEXEC, "without close_range, exec closes it")
}

// TestChildStartsAsTheAgentDid: signals and the limit of descriptors are those of before Go changed them.
func TestChildStartsAsTheAgentDid(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command("/bin/sh", "-c", "trap '' HUP; ulimit -Sn 777; exec "+exe)
	cmd.Env = []string{"PROCESS_TEST_ROLE=few-descriptors", "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	const hup, term = 1 << (unix.SIGHUP - 1), 1 << (unix.SIGTERM - 1)
	var soft int
	var blocked, ignored uint64
	_, err = fmt.Sscanf(string(out), "%d\nSigBlk: %x\nSigIgn: %x\n", &soft, &blocked, &ignored)
	require.NoError(t, err, string(out))
	require.Equal(t, 777, soft)
	require.Zero(t, blocked)
	require.EqualValues(t, hup, ignored&(hup|term))
}

func fewDescriptors() {
	s := NewSupervisor(false)
	var o output
	p, err := s.Start(shell(&o, "ulimit -Sn; grep -e SigBlk -e SigIgn /proc/self/status"))
	if err != nil {
		fmt.Println(err)
		return
	}
	<-p.Done()
	fmt.Print(o.String())
}

// TestOutputCanBeOpened: a child of another user can open its own output by name.
func TestOutputCanBeOpened(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("LOUD SKIP: another user needs root")
	}
	s := newSupervisor(t)
	for uid, gid := range map[int]int{65534: 65534, 12345: -1} {
		var o output
		cmd := shell(&o, "echo out >/dev/stdout && echo err >/dev/stderr && id -u")
		cmd.UID, cmd.GID = uid, gid
		p, err := s.Start(cmd)
		require.NoError(t, err)
		wait(t, p.Done())
		require.Zero(t, p.Exit().Code, o.String())
		require.Contains(t, o.String(), strconv.Itoa(uid))
		require.Contains(t, o.String(), "err")
	}
}

// TestExpendableChildHasAHigherOOMScore: the kernel ends such a child before the agent.
func TestExpendableChildHasAHigherOOMScore(t *testing.T) {
	s := newSupervisor(t)
	s.Unmet = func(child, wish string, err error) { t.Error(child, wish, err) }
	var o output
	cmd := shell(&o, "sleep 1000")
	cmd.Expendable = true
	p, err := s.Start(cmd)
	require.NoError(t, err)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.PID))
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintln(min(ownOOMScore()+500, 1000)), string(text))
	require.NoError(t, p.Kill())
	wait(t, p.Done())
}

// TestChildThatLeftItsGroupIsKilled: a child that has joined another process group, and takes no TERM, is killed all
// the same.
func TestChildThatLeftItsGroupIsKilled(t *testing.T) {
	s := newSupervisor(t)
	var o output
	p, err := s.Start(self(t, &o, "leave-group"))
	require.NoError(t, err)
	until(t, "the child has left", func() bool { return strings.Contains(o.String(), "left") })
	require.NoError(t, p.Signal(unix.SIGUSR1))
	until(t, "a signal reaches it", func() bool { return strings.Contains(o.String(), "user defined signal 1") })
	require.NoError(t, p.Kill())
	wait(t, p.Done())
	require.Equal(t, unix.SIGKILL, p.Exit().Signal)
}

func leaveGroup() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGUSR1)
	group, err := unix.Getpgid(os.Getppid())
	if err == nil {
		err = unix.Setpgid(0, group)
	}
	fmt.Println("left", err)
	fmt.Println(<-signals)
	select {}
}

// TestEndGivesUpAChildTheKernelHolds: the supervisor does not wait for a killed child longer than killLimit.
func TestEndGivesUpAChildTheKernelHolds(t *testing.T) {
	freezer := findCgroup("/", "freezer", "freezer.state")
	if freezer.Version != 1 {
		t.Skip("LOUD SKIP: only a freezer of version 1 keeps a killed process")
	}
	dir := filepath.Join(freezer.Own, fmt.Sprintf("gantry-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("LOUD SKIP: no freezer group can be made: %v", err)
	}
	t.Cleanup(func() { until(t, "the group is empty", func() bool { return os.Remove(dir) == nil }) })
	s := newSupervisor(t)
	var o output
	p, err := s.Start(shell(&o, "sleep 1000"))
	require.NoError(t, err)
	require.NoError(t, write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(p.PID)))
	require.NoError(t, write(filepath.Join(dir, "freezer.state"), "FROZEN"))
	until(t, "the child is frozen", func() bool {
		state, err := os.ReadFile(filepath.Join(dir, "freezer.state"))
		return err == nil && strings.HasPrefix(string(state), "FROZEN")
	})
	began := time.Now()
	require.ErrorContains(t, p.End(), "is still there")
	require.GreaterOrEqual(t, time.Since(began), killLimit)
	require.NoError(t, write(filepath.Join(dir, "freezer.state"), "THAWED"))
	wait(t, p.Done())
}

// TestThreadsMadeInAdvanceCarryBlockedGoroutines: with threads made in advance, a process that can get no more lives
// on while its goroutines block.
func TestThreadsMadeInAdvanceCarryBlockedGoroutines(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("LOUD SKIP: a user without other processes needs root")
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	program := filepath.Join(t.TempDir(), "starved") // where the other user can find it
	require.NoError(t, os.Chmod(filepath.Dir(program), 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(program)), 0o755))
	text, err := os.ReadFile(exe)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, text, 0o755))
	cmd := exec.Command(program)
	cmd.Env = []string{"PROCESS_TEST_ROLE=few-processes", "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(500000 + os.Getpid()), Gid: 65534}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "all block")
}

func fewProcesses() {
	const limit = 80
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s := NewSupervisor(false)
	KeepThreads(MaxProcesses())
	var o output
	for { // the function takes all that is left
		if _, err := s.Start(shell(&o, "exec sleep 1000")); err != nil {
			fmt.Println(Transient(err), err)
			break
		}
	}
	var blocking, ended sync.WaitGroup
	const calls = limit/4 - 4 // the spawner's, the garbage collector's and such are in use
	var ends [calls][2]int
	for i := range ends {
		if err := unix.Pipe2(ends[i][:], unix.O_CLOEXEC); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		blocking.Add(1)
		ended.Go(func() {
			blocking.Done()
			_, _ = unix.Read(ends[i][0], make([]byte, 1)) // on a thread of its own
		})
	}
	blocking.Wait()
	for i := range ends {
		_, _ = unix.Write(ends[i][1], []byte{1})
	}
	ended.Wait()
	fmt.Println("all block")
	s.KillAll()
	os.Exit(0)
}

// TestUsageReadingStopsAtItsFileLimit: a tree of more threads than a reading may open files costs no more than that.
func TestUsageReadingStopsAtItsFileLimit(t *testing.T) {
	var made, ended sync.WaitGroup
	release := make(chan struct{})
	defer ended.Wait()
	defer close(release)
	for range usageFiles + 20 {
		made.Add(1)
		ended.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			made.Done()
			<-release
		})
	}
	made.Wait()
	r := reading{files: usageFiles}
	require.True(t, r.add(os.Getpid(), 0))
	require.Less(t, r.files, 0, "it stops there")
	require.Positive(t, r.sum.RSS)
	all := reading{files: math.MaxInt}
	require.True(t, all.add(os.Getpid(), 0))
	require.Greater(t, math.MaxInt-all.files, usageFiles)
}

// TestMeterKeepsThePeak of a process that was killed for its memory: the control group's, not the last reading's.
func TestMeterKeepsThePeak(t *testing.T) {
	m := NewMeter(os.Getpid())
	before := m.Read(time.Now()).Peak
	m.Ended(Exit{PeakRSS: before + 1<<20, PeakGroup: 1 << 40})
	require.Equal(t, before+1<<20, m.Read(time.Now()).Peak, "a group holds more than its processes: files")
	m.Ended(Exit{PeakRSS: before + 2<<20, PeakGroup: before, OutOfMemory: true})
	require.Equal(t, before, m.Read(time.Now().Add(time.Hour)).Peak, "the limit does not count the interpreter's file")
	m.Ended(Exit{PeakRSS: before + 3<<20, OutOfMemory: true})
	require.Equal(t, before+3<<20, m.Read(time.Now()).Peak, "killed at another group's limit")
}
