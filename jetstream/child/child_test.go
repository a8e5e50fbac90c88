package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"gantry/process"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

// patience bounds every wait; the tests wait for conditions, and the machine may be busy.
const patience = 60 * time.Second

// roleVariable makes the test binary play another process; roleFolder, roleSocket and rolePassword are its parameters.
const (
	roleVariable = "ASYNC_TEST_ROLE"
	roleFolder   = "ASYNC_TEST_FOLDER"
	roleSocket   = "ASYNC_TEST_SOCKET"
	rolePassword = "ASYNC_TEST_PASSWORD"
	roleProgram  = "ASYNC_TEST_PROGRAM"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "agent":
		playAgent()
	case "intruder":
		playIntruder()
	case "impostor":
		playImpostor()
	default:
		code := m.Run()
		if built.folder != "" {
			os.RemoveAll(built.folder)
		}
		os.Exit(code)
	}
}

// playAgent is an agent with a child. It says the child's id and then waits to be killed.
func playAgent() {
	c := New(&Config{Program: os.Getenv(roleProgram), Folder: os.Getenv(roleFolder), Supervisor: process.NewSupervisor(false), Log: zap.NewNop()})
	conn, err := c.Dial(context.Background())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(c.current.proc.PID)
	io.Copy(io.Discard, os.Stdin)
	conn.Close()
}

// playIntruder dials the socket, sends what a client with the right password would send, and says what it was answered.
func playIntruder() {
	conn, err := net.Dial("unix", os.Getenv(roleSocket))
	if err != nil {
		fmt.Println("not connected:", err)
		os.Exit(1)
	}
	fmt.Fprintf(conn, "CONNECT {\"user\":\"gantry\",\"pass\":%q}\r\nPING\r\n", os.Getenv(rolePassword))
	conn.SetReadDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(conn)
	fmt.Printf("%q %t\n", got, errors.Is(err, os.ErrDeadlineExceeded))
}

// playImpostor listens where the child did, and says what the first connection brings.
func playImpostor() {
	listener, err := net.Listen("unix", os.Getenv(roleSocket))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("listening")
	conn, err := listener.Accept()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	got, _ := io.ReadAll(conn)
	fmt.Printf("%q\n", got)
}

// play starts the test binary as another process.
func play(t *testing.T, role string, env ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, bufio.NewReader(out)
}

var built struct {
	sync.Once
	folder, program string
	err             error
}

// childProgram builds gantry-jetstream, once for all tests.
func childProgram(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		if built.folder, built.err = os.MkdirTemp("", "gantry-test-"); built.err != nil {
			return
		}
		built.program = filepath.Join(built.folder, "gantry-jetstream")
		cmd := exec.Command("go", "build", "-o", built.program, "gantry/jetstream")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	require.NoError(t, built.err)
	return built.program
}

// testChild is a child under test.
type testChild struct {
	*Child
	t    *testing.T
	logs *observer.ObservedLogs
}

func newTestChild(t *testing.T, change ...func(*Config)) *testChild {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	sup := process.NewSupervisor(false)
	cfg := &Config{Program: childProgram(t), Folder: filepath.Join(t.TempDir(), "async"), Supervisor: sup, Log: zap.New(core)}
	for _, f := range change {
		f(cfg)
	}
	c := &testChild{Child: New(cfg), t: t, logs: logs}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, c.Stop(ctx))
		sup.Close()
		if t.Failed() {
			for _, e := range logs.All() {
				t.Log(e.Level, e.Message, e.ContextMap())
			}
		}
	})
	return c
}

func inFolder(folder string) func(*Config) {
	return func(c *Config) { c.Folder = folder }
}

func runs(program string) func(*Config) {
	return func(c *Config) { c.Program = program }
}

// script is a program of a few lines of shell.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700))
	return path
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// dial connects, or fails the test.
func (c *testChild) dial() net.Conn {
	c.t.Helper()
	conn, err := c.Dial(patient(c.t))
	require.NoError(c.t, err)
	return conn
}

// failure is the error of a Dial that must have one.
func (c *testChild) failure() error {
	c.t.Helper()
	conn, err := c.Dial(patient(c.t))
	if err == nil {
		conn.Close()
	}
	require.Error(c.t, err)
	return err
}

// processID is the one of the process that was ready last.
func (c *testChild) processID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	require.NotNil(c.t, c.current)
	return c.current.proc.PID
}

func (c *testChild) kill() {
	c.t.Helper()
	pid := c.processID()
	require.NoError(c.t, unix.Kill(pid, unix.SIGKILL))
	eventually(c.t, func() bool { return ended(pid) }, "the process runs no more")
}

type childDialer struct{ *testChild }

// Dial implements nats.CustomDialer.
func (d childDialer) Dial(string, string) (net.Conn, error) { return d.testChild.Dial(patient(d.t)) }

// connect returns a client that does not connect again.
func (c *testChild) connect(password string) (*nats.Conn, error) {
	return nats.Connect("nats://127.0.0.1", nats.SetCustomDialer(childDialer{c}), nats.UserInfo("gantry", password),
		nats.Timeout(patience), nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

// client returns a JetStream client.
func (c *testChild) client() jetstream.JetStream {
	c.t.Helper()
	nc, err := c.connect(c.Password())
	require.NoError(c.t, err)
	c.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(patience))
	require.NoError(c.t, err)
	return js
}

// stream makes the stream of the tests, or finds it.
func (c *testChild) stream(js jetstream.JetStream) jetstream.Stream {
	c.t.Helper()
	s, err := js.CreateOrUpdateStream(patient(c.t), jetstream.StreamConfig{Name: "tests", Subjects: []string{"tests.>"}, Storage: jetstream.FileStorage})
	require.NoError(c.t, err)
	return s
}

// stored returns the bodies of all messages.
func (c *testChild) stored() map[string]bool {
	c.t.Helper()
	s := c.stream(c.client())
	consumer, err := s.CreateConsumer(patient(c.t), jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy})
	require.NoError(c.t, err)
	all := map[string]bool{}
	for left := consumer.CachedInfo().NumPending; left > 0; {
		batch, err := consumer.Fetch(int(min(left, 500)), jetstream.FetchMaxWait(patience))
		require.NoError(c.t, err)
		for m := range batch.Messages() {
			all[string(m.Data())] = true
			left--
		}
		require.NoError(c.t, batch.Error())
	}
	return all
}

func (c *testChild) readyLines() int {
	return c.logs.FilterMessage("gantry-jetstream ready").Len()
}

// ended reports whether a process is gone; a zombie counts as gone.
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}

func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, patience, 5*time.Millisecond, what)
}

func TestChildStartsWithTheFirstDial(t *testing.T) {
	c := newTestChild(t)
	require.False(t, c.Running())
	require.NoDirExists(t, c.cfg.Folder)

	var dials sync.WaitGroup
	for range 8 {
		dials.Go(func() {
			conn, err := c.Dial(patient(t))
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		})
	}
	dials.Wait()
	require.Equal(t, 1, c.readyLines())
	require.True(t, c.Running())

	js := c.client()
	s := c.stream(js)
	_, err := js.Publish(patient(t), "tests.one", []byte("event"))
	require.NoError(t, err)
	consumer, err := s.CreateConsumer(patient(t), jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
	require.NoError(t, err)
	m, err := consumer.Next(jetstream.FetchMaxWait(patience))
	require.NoError(t, err)
	require.Equal(t, "event", string(m.Data()))
	require.NoError(t, m.DoubleAck(patient(t)))

	for path, mode := range map[string]os.FileMode{"": 0o700, "store": 0o700, "lock": 0o600, "run": 0o700, "run/socket": 0o600} {
		info, err := os.Stat(filepath.Join(c.cfg.Folder, path))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), path)
	}
	require.NoError(t, filepath.Walk(filepath.Join(c.cfg.Folder, "store"), func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %v", path, info.Mode())
		}
		return nil // what is gone meanwhile is no matter
	}))
	priority, err := unix.Getpriority(unix.PRIO_PROCESS, c.processID())
	require.NoError(t, err)
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	require.NoError(t, err)
	require.Equal(t, max(own-nice, 1), priority) // the system call says 20 minus the value
}

func TestChildStartGoesOnWithoutTheDial(t *testing.T) {
	c := newTestChild(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := c.Dial(ctx)
	require.ErrorIs(t, err, context.Canceled)
	eventually(t, c.Running, "the start goes on")
	c.dial().Close()
	require.Equal(t, 1, c.readyLines())
}

func TestChildRefusesAWrongPassword(t *testing.T) {
	c := newTestChild(t)
	for _, password := range []string{"", "wrong", c.Password() + "x", strings.ToLower(c.Password())} {
		_, err := c.connect(password)
		require.ErrorIs(t, err, nats.ErrAuthorization)
	}
	require.NotEqual(t, c.Password(), newTestChild(t).Password())
}

// Attack: a process of the same user, even with the right password.
func TestChildRefusesOtherProcesses(t *testing.T) {
	c := newTestChild(t)
	c.dial().Close()
	for range 3 {
		_, out := play(t, "intruder", roleSocket+"="+c.socket, rolePassword+"="+c.Password())
		line, err := out.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "\"\" false\n", line, "closed without a byte")
	}
	eventually(t, func() bool {
		return c.logs.FilterLevelExact(zap.WarnLevel).Filter(func(e observer.LoggedEntry) bool {
			return strings.Contains(e.Message, "refused a connection of process")
		}).Len() == 1
	}, "one line for all refusals of a minute")
	c.stream(c.client())
}

// Attack: a process of the same user replaces the child's socket with its own, to receive the password.
func TestImpostorOfTheChildGetsNoPassword(t *testing.T) {
	c := newTestChild(t)
	c.dial().Close()
	first := c.processID()
	require.NoError(t, os.Remove(c.socket))
	_, out := play(t, "impostor", roleSocket+"="+c.socket)
	line, err := out.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "listening\n", line)

	c.stream(c.client())
	require.NotEqual(t, first, c.processID())
	line, err = out.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "\"\"\n", line)
}

func TestChildIsStartedAgain(t *testing.T) {
	c := newTestChild(t)
	js := c.client()
	c.stream(js)
	for i := range 20 {
		_, err := js.Publish(patient(t), "tests.one", []byte(strconv.Itoa(i)))
		require.NoError(t, err)
	}
	for range 3 {
		old := c.processID()
		c.kill()
		require.Len(t, c.stored(), 20)
		require.NotEqual(t, old, c.processID())
	}
	require.Equal(t, 3, c.logs.FilterMessage("gantry-jetstream ended; it is started again when it is needed").Len())
}

// A full disk, as a limit that is only the process's: once there is room, messages come and go again.
func TestChildIsStartedAgainAfterAWriteError(t *testing.T) {
	c := newTestChild(t)
	js := c.client()
	c.stream(js)
	const limit = 64 << 10
	pid := c.processID()
	require.NoError(t, unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: limit, Max: limit}, nil))
	ctx, cancel := context.WithCancel(patient(t))
	go func() {
		defer cancel()
		for !ended(pid) && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}()
	var acknowledged []string
	for i := 0; ; i++ {
		id := fmt.Sprintf("%04d%s", i, strings.Repeat("-", 1000))
		if _, err := js.Publish(ctx, "tests.full", []byte(id)); err != nil {
			break
		}
		acknowledged = append(acknowledged, id)
	}
	<-ctx.Done()
	require.NotEmpty(t, acknowledged)
	stored := c.stored()
	for _, id := range acknowledged {
		require.True(t, stored[id], id)
	}
	_, err := c.client().Publish(patient(t), "tests.full", []byte("room again"))
	require.NoError(t, err)
}

func TestChildIsStartedAgainWithoutItsSocket(t *testing.T) {
	c := newTestChild(t)
	c.dial().Close()
	require.NoError(t, os.Remove(c.socket))
	c.dial().Close()
	require.Equal(t, 2, c.readyLines())
}

func TestChildKeepsWhatItAcknowledged(t *testing.T) {
	c := newTestChild(t)
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	for round := range 5 {
		js := c.client()
		c.stream(js)
		var acks atomic.Int32
		after := rand.Int32N(150)
		ctx, cancel := context.WithCancel(patient(t)) // an acknowledgement that cannot come any more is not waited for
		var publishers sync.WaitGroup
		for p := range 4 {
			publishers.Go(func() {
				for i := 0; ; i++ {
					id := fmt.Sprintf("%d-%d-%d", round, p, i)
					_, err := js.Publish(ctx, "tests.kill", []byte(id))
					if err != nil {
						return
					}
					mu.Lock()
					acknowledged[id] = true
					mu.Unlock()
					acks.Add(1)
				}
			})
		}
		eventually(t, func() bool { return acks.Load() > after }, "messages are acknowledged")
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) // not to wait for anything: the moment must be random
		c.kill()
		eventually(t, func() bool { return !js.Conn().IsConnected() }, "the client notices")
		cancel()
		publishers.Wait()
	}
	stored := c.stored()
	for id := range acknowledged {
		require.True(t, stored[id], "%s was acknowledged and is lost", id)
	}
	t.Logf("%d acknowledged, %d stored", len(acknowledged), len(stored))
}

func TestChildEndsWithItsAgent(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "async")
	agent, out := play(t, "agent", roleFolder+"="+folder, roleProgram+"="+childProgram(t))
	line, err := out.ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err, line)
	require.False(t, ended(pid))
	require.NoError(t, agent.Process.Kill())
	eventually(t, func() bool { return ended(pid) }, "the child ends")
	newTestChild(t, inFolder(folder)).dial().Close() // and neither lock nor socket are in the way
}

func TestChildWithoutItsProgramFailsAtOnce(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "gantry-jetstream")
	c := newTestChild(t, runs(missing))
	for range 20 { // an error that no waiting changes comes at once
		require.ErrorContains(t, c.failure(), missing+" does not exist: put gantry-jetstream")
	}
	require.Zero(t, c.ends)
	require.NoError(t, os.Symlink(childProgram(t), missing))
	c.dial().Close()
}

func TestChildNamesTheFolderItCannotUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	c := newTestChild(t, inFolder(filepath.Join(file, "async")))
	require.ErrorContains(t, c.failure(), "the folder "+file+"/async for asynchronous calls cannot be made")

	require.ErrorContains(t, newTestChild(t, inFolder("/sys")).failure(), "the folder /sys for asynchronous calls cannot be written")
	if os.Getuid() == 0 {
		return // may write whatever the mode is
	}
	readOnly := t.TempDir()
	require.NoError(t, os.Chmod(readOnly, 0o500))
	require.ErrorContains(t, newTestChild(t, inFolder(readOnly)).failure(), "the folder "+readOnly+" for asynchronous calls cannot be written")
}

func TestChildSaysWhyTheStoreCannotBeOpened(t *testing.T) {
	c := newTestChild(t)
	require.NoError(t, os.MkdirAll(filepath.Join(c.cfg.Folder, "store"), 0o700))
	in := filepath.Join(c.cfg.Folder, "store", "jetstream")
	require.NoError(t, os.WriteFile(in, nil, 0o600))
	err := c.failure()
	require.ErrorContains(t, err, "gantry-jetstream cannot start: Can't start JetStream: storage directory is not a directory (mkdir "+in+": not a directory)")
	require.Equal(t, 3, c.logs.FilterMessage("gantry-jetstream has not started").Len())
	require.NoError(t, os.Remove(in))
	c.dial().Close()
}

func TestChildThatEndsAtOnceReportsItsLastLine(t *testing.T) {
	c := newTestChild(t, runs(script(t, "echo 'panic: at once' >&2; exit 7")))
	require.ErrorContains(t, c.failure(), "gantry-jetstream ended before it was ready: exit code 7; its last line: panic: at once")
	require.Equal(t, 3, c.logs.FilterMessage("gantry-jetstream: panic: at once").FilterLevelExact(zapcore.ErrorLevel).Len())
	require.Equal(t, 1, c.ends)
}

func TestChildIsTriedThreeTimes(t *testing.T) {
	count := filepath.Join(t.TempDir(), "count")
	c := newTestChild(t, runs(script(t, fmt.Sprintf("echo >> %s; [ $(wc -l < %s) -lt 3 ] && exit 1; exec %s", count, count, childProgram(t)))))
	c.stream(c.client())
	require.Equal(t, 2, c.logs.FilterMessage("gantry-jetstream has not started").Len())
	require.Zero(t, c.ends)
}

func TestChildStopEndsItsProcessAndFreesItsFolder(t *testing.T) {
	c := newTestChild(t)
	conn := c.dial()
	pid := c.processID()
	require.NoError(t, c.Stop(patient(t)))
	require.True(t, ended(pid))
	require.False(t, c.Running())
	require.Equal(t, []string{"lock", "run", "store"}, entries(t, c.cfg.Folder))
	_, err := io.Copy(io.Discard, conn)
	require.NoError(t, err, "the server said good-bye")
	_, err = c.Dial(patient(t))
	require.ErrorIs(t, err, ErrStopped)
	require.NoError(t, c.Stop(patient(t)))
	require.Empty(t, c.logs.FilterLevelExact(zap.ErrorLevel).All())

	again := newTestChild(t, inFolder(c.cfg.Folder))
	again.dial().Close()
}

// A process that does not end on TERM is killed, and that is said.
func TestChildStopKillsWhatDoesNotEndOnTerm(t *testing.T) {
	c := newTestChild(t)
	c.dial().Close()
	pid := c.processID()
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, c.Stop(ctx), context.Canceled)
	require.True(t, ended(pid))
	require.Equal(t, []string{"lock", "run", "store"}, entries(t, c.cfg.Folder))
}

// Stop while a start is in progress: in a pause between tries, and while the process does not answer.
func TestChildStopEndsAStartInProgress(t *testing.T) {
	for name, text := range map[string]string{"pause": "exit 1", "silent": "echo 'error: silent' >&2; exec sleep 600"} {
		t.Run(name, func(t *testing.T) {
			c := newTestChild(t, runs(script(t, text)))
			failed := make(chan error, 1)
			go func() {
				_, err := c.Dial(context.Background())
				failed <- err
			}()
			eventually(t, func() bool { return c.logs.Len() > 0 }, "a try")
			require.NoError(t, c.Stop(patient(t)))
			require.ErrorIs(t, <-failed, ErrStopped)
			require.Equal(t, []string{"lock", "run", "store"}, entries(t, c.cfg.Folder))
		})
	}
}

func TestChildShowsNoPassword(t *testing.T) {
	c := newTestChild(t)
	js := c.client()
	c.stream(js)
	_, err := js.Publish(patient(t), "tests.one", []byte("event"))
	require.NoError(t, err)
	for _, file := range []string{"environ", "cmdline"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", c.processID(), file))
		if !errors.Is(err, os.ErrPermission) {
			require.NoError(t, err)
		}
		require.NotContains(t, string(text), c.Password())
	}
	require.NoError(t, c.Stop(patient(t)))
	require.NoError(t, filepath.Walk(c.cfg.Folder, func(path string, info os.FileInfo, err error) error {
		require.NoError(t, err)
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NotContains(t, string(text), c.Password(), path)
		}
		return nil
	}))
	for _, e := range c.logs.All() {
		require.NotContains(t, fmt.Sprint(e.Message, e.ContextMap()), c.Password())
	}
}

func TestChildBackoffGrowsUpToALimit(t *testing.T) {
	var got []time.Duration
	for ends := range 10 {
		got = append(got, backoff(ends))
	}
	ms := time.Millisecond
	require.Equal(t, []time.Duration{0, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms, 5000 * ms}, got)
	require.Equal(t, maxBackoff, backoff(1000))

	c := New(&Config{})
	for range 3 {
		c.account(healthyAfter - 1)
	}
	require.Equal(t, 3, c.ends)
	c.account(healthyAfter)
	require.Equal(t, 1, c.ends, "a minute of health makes good what was before")
}
