package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/jetstream/control"
	"gantry/test/harness"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// patience bounds every wait; the tests wait for conditions, and the machine may be busy.
const patience = 60 * time.Second

// asProgram makes the test binary the program, asIntruder a process that dials the socket it names.
const (
	asProgram  = "JETSTREAM_TEST_PROGRAM"
	asIntruder = "JETSTREAM_TEST_INTRUDER"
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram)
		main()
	}
	if path := os.Getenv(asIntruder); path != "" {
		conn, err := net.Dial("unix", path)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		got, err := io.ReadAll(conn)
		fmt.Printf("%q %v", got, err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// running is the program under test; the test is its agent.
type running struct {
	t       *testing.T
	cmd     *exec.Cmd
	control *net.UnixConn
	answers *bufio.Reader
	stderr  *harness.Output
	config  control.Config
}

// start starts the program and sends it nothing.
func start(t *testing.T, change ...func(*exec.Cmd)) *running {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))

	dir := t.TempDir()
	r := &running{
		t: t, cmd: exec.Command("/proc/self/exe"), control: conn.(*net.UnixConn), answers: bufio.NewReader(conn), stderr: &harness.Output{},
		config: control.Config{Store: filepath.Join(dir, "store"), Socket: filepath.Join(dir, "socket"), Password: "secret-password"},
	}
	r.cmd.Env = append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0 halt_on_error=1")
	r.cmd.ExtraFiles = []*os.File{theirs}
	r.cmd.Stdout, r.cmd.Stderr = r.stderr, r.stderr
	for _, f := range change {
		f(r.cmd)
	}
	require.NoError(t, r.cmd.Start())
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		r.cmd.Wait()
		conn.Close()
		if t.Failed() {
			t.Log(r.stderr)
		}
	})
	return r
}

// open sends the line and returns the answer.
func (r *running) open() control.Answer {
	r.t.Helper()
	line, err := json.Marshal(r.config)
	require.NoError(r.t, err)
	return r.say(string(line))
}

func (r *running) say(line string) control.Answer {
	r.t.Helper()
	_, err := r.control.Write([]byte(line + "\n"))
	require.NoError(r.t, err)
	text, err := r.answers.ReadBytes('\n')
	require.NoError(r.t, err)
	var a control.Answer
	require.NoError(r.t, json.Unmarshal(text, &a), string(text))
	return a
}

// exit waits for the end and returns the exit code.
func (r *running) exit() int {
	r.t.Helper()
	late := time.AfterFunc(patience, func() { r.cmd.Process.Kill() })
	defer late.Stop()
	err := r.cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		require.NoError(r.t, err)
	}
	return r.cmd.ProcessState.ExitCode()
}

type socketDialer string

// Dial implements nats.CustomDialer.
func (path socketDialer) Dial(string, string) (net.Conn, error) {
	return net.Dial("unix", string(path))
}

func (r *running) client() jetstream.JetStream {
	r.t.Helper()
	nc, err := nats.Connect("nats://127.0.0.1", nats.SetCustomDialer(socketDialer(r.config.Socket)), nats.UserInfo(control.User, r.config.Password),
		nats.Timeout(patience), nats.NoReconnect())
	require.NoError(r.t, err)
	r.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	require.NoError(r.t, err)
	return js
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestProgramStartedByHandShowsItsUsage(t *testing.T) {
	try := func(args ...string) (string, int) {
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0")
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	for _, args := range [][]string{{}, {"serve"}, {"--help"}, {"version", "more"}} {
		out, code := try(args...)
		require.Equal(t, usage+"\n", out)
		require.Equal(t, exitUsage, code)
	}
	out, code := try("version")
	require.Contains(t, out, "gantry-jetstream "+version+" (")
	require.Zero(t, code)
}

// Descriptor 3 must come from the parent itself, not from a further ancestor.
func TestOnlyTheParentIsTheAgent(t *testing.T) {
	r := start(t, func(cmd *exec.Cmd) {
		exe, err := os.Executable()
		require.NoError(t, err)
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", exe + "; exit $?"}
	})
	require.Equal(t, exitUsage, r.exit())
	require.Equal(t, usage+"\n", r.stderr.String())
}

func TestProgramEndsWithTermOrWithItsAgent(t *testing.T) {
	for name, end := range map[string]func(*running){
		"term":     func(r *running) { r.cmd.Process.Signal(unix.SIGTERM) },
		"no agent": func(r *running) { r.control.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			require.Equal(t, control.Answer{Ready: true}, r.open())
			js := r.client()
			_, err := js.CreateStream(patient(t), jetstream.StreamConfig{Name: "tests", Subjects: []string{"tests.>"}})
			require.NoError(t, err)
			end(r)
			require.Equal(t, exitOK, r.exit())
			require.NoFileExists(t, r.config.Socket)
			require.Empty(t, r.stderr.String(), "an ordinary life has no lines")
		})
	}
}

func TestProgramEndsWhenTheAgentSendsNoLine(t *testing.T) {
	r := start(t)
	require.NoError(t, r.control.CloseWrite())
	text, err := io.ReadAll(r.answers)
	require.NoError(t, err)
	require.Contains(t, string(text), "the agent's line cannot be read: EOF")
	require.Equal(t, exitError, r.exit())
}

func TestBadLineIsRefusedWithoutShowingIt(t *testing.T) {
	for line, want := range map[string]string{
		"secret-password":                            "the agent's line is no JSON of ours",
		`{"store":"/s","socket":"/s"}`:               "the agent's line lacks store, socket or password",
		`{"password":"secret-password","store":"s"}`: "the agent's line lacks store, socket or password",
	} {
		r := start(t)
		require.Equal(t, control.Answer{Error: want}, r.say(line))
		require.Equal(t, exitError, r.exit())
	}
}

func TestStoreThatCannotBeOpenedEndsTheProgram(t *testing.T) {
	r := start(t)
	require.NoError(t, os.WriteFile(r.config.Store, nil, 0o600))
	a := r.open()
	require.False(t, a.Ready)
	require.Contains(t, a.Error, "Can't start JetStream: storage directory is not a directory (mkdir "+r.config.Store+": not a directory)")
	require.Equal(t, exitError, r.exit())
	require.Equal(t, "fatal: Can't start JetStream: storage directory is not a directory\n", r.stderr.String())
	require.NoFileExists(t, r.config.Socket)
}

// The server says no more than that it is "not writable".
func TestProbeSaysWhyAStoreCannotBeMade(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "store")
	require.Empty(t, probe(folder))
	require.Empty(t, probe(folder))
	inside, err := os.ReadDir(filepath.Join(folder, "jetstream"))
	require.NoError(t, err)
	require.Empty(t, inside)
	require.Contains(t, probe("/proc/1/store"), " (mkdir /proc/1/store: no such file or directory)")
}

func TestSocketOfAFormerProcessIsReplaced(t *testing.T) {
	r := start(t)
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.config.Socket, Net: "unix"})
	require.NoError(t, err)
	old.SetUnlinkOnClose(false)
	require.NoError(t, old.Close())
	require.True(t, r.open().Ready)
	r.client()
	info, err := os.Stat(r.config.Socket)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())
}

func TestFileInTheWayOfTheSocketIsKept(t *testing.T) {
	r := start(t)
	require.NoError(t, os.WriteFile(r.config.Socket, []byte("mine"), 0o600))
	require.Contains(t, r.open().Error, "address already in use")
	require.Equal(t, exitError, r.exit())
	text, err := os.ReadFile(r.config.Socket)
	require.NoError(t, err)
	require.Equal(t, "mine", string(text))
}

func TestDebugShowsServerNoticesWithoutThePassword(t *testing.T) {
	r := start(t)
	r.config.Debug = true
	require.True(t, r.open().Ready)
	require.Eventually(t, func() bool { return strings.Contains(r.stderr.String(), "notice: Server is ready\n") }, patience, time.Millisecond)
	require.NotContains(t, r.stderr.String(), plaintext)
	require.NotContains(t, r.stderr.String(), r.config.Password)
}

func TestRefusesOtherProcesses(t *testing.T) {
	r := start(t)
	require.True(t, r.open().Ready)
	for range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), asIntruder+"="+r.config.Socket, "GORACE=atexit_sleep_ms=0")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Equal(t, `"" <nil>`, string(out))
	}
	require.Equal(t, 1, strings.Count(r.stderr.String(), "warning: refused a connection of process "), "one line in a minute")
	r.client()
}

// The kernel gives the files of a process that is not dumpable to root.
func TestEnvironmentOfTheProcessBelongsToRoot(t *testing.T) {
	r := start(t, func(cmd *exec.Cmd) {
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
	})
	if os.Getuid() == 0 {
		folder := filepath.Dir(r.config.Store)
		require.NoError(t, os.Chown(folder, 65534, 65534))
		require.NoError(t, os.Chmod(filepath.Dir(folder), 0o711))
	}
	require.Equal(t, control.Answer{Ready: true}, r.open())
	info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", r.cmd.Process.Pid))
	require.NoError(t, err)
	require.Zero(t, info.Sys().(*syscall.Stat_t).Uid)
}

// After a failed write the server answers no publisher, whether there is room or not. The program ends, to be
// restarted.
func TestProgramEndsAfterAWriteError(t *testing.T) {
	r := start(t)
	require.True(t, r.open().Ready)
	js := r.client()
	_, err := js.CreateStream(patient(t), jetstream.StreamConfig{Name: "tests", Subjects: []string{"tests.>"}})
	require.NoError(t, err)
	const limit = 64 << 10
	require.NoError(t, unix.Prlimit(r.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit}, nil))
	ctx, cancel := context.WithCancel(patient(t))
	go func() {
		defer cancel()
		r.exit()
	}()
	for err == nil {
		_, err = js.Publish(ctx, "tests.one", make([]byte, 1<<10))
	}
	<-ctx.Done()
	require.Equal(t, exitError, r.cmd.ProcessState.ExitCode())
	require.Contains(t, r.stderr.String(), "file too large")
	require.Contains(t, r.stderr.String(), "error: the store could not be written")
}

// The server itself does not notice that its files are gone.
func TestProgramEndsWhenItsStoreVanishes(t *testing.T) {
	r := start(t)
	require.True(t, r.open().Ready)
	js := r.client()
	_, err := js.CreateStream(patient(t), jetstream.StreamConfig{Name: "tests", Subjects: []string{"tests.>"}})
	require.NoError(t, err)
	for range 3 {
		_, err := js.Publish(patient(t), "tests.one", nil)
		require.NoError(t, err)
	}
	require.NoError(t, os.RemoveAll(r.config.Store))
	require.Equal(t, exitError, r.exit())
	require.Contains(t, r.stderr.String(), "error: the store "+r.config.Store+" was removed or replaced while it was in use; lost with it: messages: 3 of tests\n")
}

func TestWatchNoticesARemovedOrReplacedStore(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	s, err := openStore(&control.Config{Store: store, Password: "secret-password"}, newJournal(io.Discard))
	require.NoError(t, err)
	defer s.Shutdown()
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.UserInfo(control.User, "secret-password"))
	require.NoError(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	w := newWatch(s, store)
	require.True(t, w.intact(), "nothing is stored yet")
	require.Equal(t, "no messages", w.contents())
	_, err = js.CreateStream(patient(t), jetstream.StreamConfig{Name: "tests", Subjects: []string{"tests.>"}})
	require.NoError(t, err)
	unseen := newWatch(s, store)
	for range 2 {
		require.True(t, w.intact())
	}

	require.NoError(t, os.CopyFS(store+".backup", os.DirFS(store)))
	require.NoError(t, os.Rename(store, store+".old"))
	require.False(t, w.intact(), "removed")
	require.True(t, unseen.intact(), "it could be about to be made")
	require.False(t, unseen.intact(), "it is not")
	require.NoError(t, os.Rename(store+".backup", store))
	require.False(t, w.intact(), "replaced")
	require.NoError(t, os.RemoveAll(store))
	require.NoError(t, os.Rename(store+".old", store))
	require.True(t, w.intact())
}

// Without the state of a consumer all messages come again; the server alone would refuse to make it anew.
func TestDamagedConsumerIsSetAsideAndMadeAnew(t *testing.T) {
	r := start(t)
	store := r.config.Store
	for round := range 2 {
		require.True(t, r.open().Ready)
		js := r.client()
		_, err := js.CreateOrUpdateStream(patient(t), jetstream.StreamConfig{Name: "tests", Subjects: []string{"tests.>"}})
		require.NoError(t, err)
		if round == 0 {
			_, err = js.Publish(patient(t), "tests.one", nil)
			require.NoError(t, err)
		}
		c, err := js.CreateOrUpdateConsumer(patient(t), "tests", jetstream.ConsumerConfig{Durable: "run", AckPolicy: jetstream.AckExplicitPolicy})
		require.NoError(t, err)
		_, err = c.Next(jetstream.FetchMaxWait(patience))
		require.NoError(t, err)
		r.cmd.Process.Signal(unix.SIGTERM)
		require.Equal(t, exitOK, r.exit())
		if round == 0 {
			state := filepath.Join(streamFolder(store), "tests", "obs", "run", "o.dat")
			require.NoError(t, os.WriteFile(state, []byte("damaged"), 0o600))
			r = start(t)
			r.config.Store = store
		}
	}
	to := filepath.Join(store, "damaged", "tests-run")
	require.Contains(t, r.stderr.String(), "error: the consumer run of tests is damaged: it was moved to "+to+", and is made anew\n")
	require.FileExists(t, filepath.Join(to, "o.dat"))
}

func TestLimiterAllowsBurstsAndCountsDrops(t *testing.T) {
	l := limiter{every: time.Second, burst: 2}
	now := time.Unix(1000, 0)
	var got []string
	for _, ms := range []int{0, 1, 2, 3, 999, 1000, 1001, 1002, 5000, 5001, 9000} {
		ok, dropped := l.allow(now.Add(time.Duration(ms) * time.Millisecond))
		got = append(got, fmt.Sprintf("%d:%t:%d", ms, ok, dropped))
	}
	require.Equal(t, []string{
		"0:true:0", "1:true:0", "2:false:0", "3:false:0", "999:false:0", "1000:true:3", "1001:true:0", "1002:false:0",
		"5000:true:1", "5001:true:0", "9000:true:0",
	}, got)
}

func TestJournalWritesWarningsAndKeepsTheReason(t *testing.T) {
	out := &harness.Output{}
	j := newJournal(out)
	require.Contains(t, j.lastError(), "does not say why")
	j.Noticef("not %s", "shown")
	j.Debugf("nor this")
	j.Tracef("nor that")
	j.Warnf(plaintext + ", use nkeys or bcrypt")
	j.Warnf("a %d\nb", 1)
	j.Errorf("first")
	require.Equal(t, "first", j.lastError())
	require.False(t, j.fatal())
	j.Fatalf("the reason")
	j.Errorf("its consequence")
	require.Equal(t, "the reason", j.lastError())
	require.True(t, j.fatal())
	require.Equal(t, "warning: a 1 b\nerror: first\nfatal: the reason\nerror: its consequence\n", out.String())
	require.Empty(t, j.broken)

	j.Errorf("JetStream failed to store a msg on stream '$G > tests': no space left on device")
	j.Errorf("Critical write error: no space left on device")
	require.Len(t, j.broken, 1)
	for range 3 * journalBurst {
		j.Errorf("one of many")
	}
	require.LessOrEqual(t, strings.Count(out.String(), "\n"), journalBurst)
}

func TestJournalReportsHowManyLinesWereLeftOut(t *testing.T) {
	out := &harness.Output{}
	j := newJournal(out)
	j.limit.start = time.Now().Add(-2 * journalEvery)
	j.limit.dropped = 7
	j.Errorf("text")
	require.Equal(t, "warning: 7 lines were left out\nerror: text\n", out.String())
}

// socketPair returns the two ends of a connection like the agent's.
func socketPair(t *testing.T) (*net.UnixConn, *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	var ends []*net.UnixConn
	for _, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		conn, err := net.FileConn(f)
		require.NoError(t, err)
		f.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		t.Cleanup(func() { conn.Close() })
		ends = append(ends, conn.(*net.UnixConn))
	}
	return ends[0], ends[1]
}

func TestSpliceCarriesBytesAndTheServersLastWords(t *testing.T) {
	agent, outside := socketPair(t)
	inside, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		splice(outside, inside)
		close(done)
	}()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, way := range [][2]net.Conn{{agent, server}, {server, agent}} {
		go way[0].Write(big)
		got := make([]byte, len(big))
		_, err := io.ReadFull(way[1], got)
		require.NoError(t, err)
		require.True(t, bytes.Equal(big, got))
	}

	// The server says why and ends; the agent goes on writing, and still reads it.
	server.Write([]byte("-ERR"))
	server.Close()
	for range 100 {
		_, err := agent.Write([]byte("PING"))
		require.NoError(t, err)
	}
	got, err := io.ReadAll(agent)
	require.NoError(t, err)
	require.Equal(t, "-ERR", string(got))
	agent.Close()
	<-done
}

func TestSpliceEndsWithTheAgent(t *testing.T) {
	agent, outside := socketPair(t)
	inside, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		splice(outside, inside)
		close(done)
	}()
	agent.Write([]byte("last words"))
	agent.Close()
	got, err := io.ReadAll(server)
	require.NoError(t, err)
	require.Equal(t, "last words", string(got))
	<-done
}

// An agent that never hangs up does not hold an ended connection for ever.
func TestSpliceEndsWithTheServer(t *testing.T) {
	_, outside := socketPair(t)
	inside, server := net.Pipe()
	server.Close()
	splice(outside, inside)
}
