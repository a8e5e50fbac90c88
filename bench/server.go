package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
)

// server is a running process that answers POST /invoke.
type server struct {
	name      string
	addr, ops string // ops is empty for a plain server
	cmd       *exec.Cmd
	log       string // file of its stderr
	hello     bool   // it answers with "Hello, "
	exited    chan struct{}
}

const (
	startLimit = 20 * time.Second
	stopLimit  = 12 * time.Second
	pinServer  = "0"
	pinLoad    = "1"
)

// plain is the command of the plain Node server.
func (b *bench) plain(addr string) (args, env []string) {
	_, port, _ := strings.Cut(addr, ":")
	return []string{b.node, b.testdata("plain.js"), port}, nil
}

// none is a folder without extensions: there is no such folder.
const none = "/nonexistent"

// agent is the command of the agent; extensions is the folder it looks for extensions in.
func (b *bench) agent(addr, ops, extensions string) (args, env []string) {
	return []string{b.bootstrap, "serve"}, []string{
		"GANTRY_ADDR=" + addr,
		"GANTRY_OPS_ADDR=" + ops,
		"EXTENSION_API_ADDR=" + freeAddr(),
		"GANTRY_CONCURRENCY=64",
		"RUNTIME_MEMORY=2048",
		"RUNTIME_CODE_ROOT=" + b.testdata("function"),
		"GANTRY_EXTENSION_DIRS=" + extensions,
	}
}

// clean is a command with PATH and env as its whole environment, in a process group of its own: Ctrl-C reaches this
// program only, which then stops the others in order.
func clean(args, env []string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func pinned(cpu string, args []string) []string {
	return append([]string{"taskset", "-c", cpu}, args...)
}

// launch starts a server and does not wait for it.
func (b *bench) launch(name, addr, ops string, args, env []string) (*server, error) {
	s := &server{
		name: name, addr: addr, ops: ops, cmd: clean(args, env), exited: make(chan struct{}),
		log: filepath.Join(b.work, fmt.Sprintf("%s-%d.log", name, len(b.running))),
	}
	stderr, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	s.cmd.Stderr = stderr
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	b.running = append(b.running, s)
	go func() {
		defer close(s.exited)
		_ = s.cmd.Wait() // stop judges
	}()
	return s, nil
}

// up starts a server and waits for its first right answer.
func (b *bench) up(ctx context.Context, name, addr, ops string, args, env []string) (*server, error) {
	s, err := b.launch(name, addr, ops, args, env)
	if err != nil {
		return nil, err
	}
	return s, s.answers(ctx, 1)
}

// stopAll stops what runs, the newest first.
func (b *bench) stopAll() error {
	var errs []error
	for _, s := range slices.Backward(b.running) {
		errs = append(errs, s.stop())
	}
	b.running = nil
	return errors.Join(errs...)
}

// endedByTERM is how a JVM says that TERM ended it; others end by the signal itself.
const endedByTERM = 128 + int(syscall.SIGTERM)

// stop ends the server in order; a plain Node server has no order and ends at once.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // an error says that it ended already
	select {
	case <-s.exited:
	case <-time.After(stopLimit):
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.exited
		return s.problem(errors.New("killed: it did not end on TERM"))
	}
	if code := s.cmd.ProcessState.ExitCode(); code > 0 && (s.ops != "" || code != endedByTERM) {
		return s.problem(fmt.Errorf("exit code %d", code))
	}
	return nil
}

// problem adds what the server wrote last to err.
func (s *server) problem(err error) error {
	text, _ := os.ReadFile(s.log)
	return fmt.Errorf("%s: %w\n%s", s.name, err, text[max(0, len(text)-2000):])
}

// answers polls tightly until the server takes a connection, and checks one answer. A call that an agent holds back
// until its worker is ready needs no second try.
func (s *server) answers(ctx context.Context, size int) error {
	conn, err := s.dial(ctx)
	if err != nil {
		return s.problem(err)
	}
	defer conn.Close()
	name := strings.Repeat("x", size)
	event := `{"name":"` + name + `"}`
	request := "POST /invoke HTTP/1.1\r\nHost: " + s.addr + "\r\nContent-Type: application/json\r\n" +
		"Content-Length: " + strconv.Itoa(len(event)) + "\r\n\r\n" + event
	if err := conn.SetDeadline(time.Now().Add(startLimit)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		return s.problem(err)
	}
	var resp fasthttp.Response
	if err := resp.Read(bufio.NewReader(conn)); err != nil {
		return s.problem(err)
	}
	want := `{"statusCode":200,"body":"` + name + `"}`
	if s.hello {
		want = `{"statusCode":200,"headers":{},"body":"Hello, ` + name + `","isBase64Encoded":false}`
	}
	got := strings.NewReplacer(": ", ":", `, "`, `,"`).Replace(string(resp.Body())) // Python writes blanks
	if s.hello {
		got = string(resp.Body())
	}
	if resp.StatusCode() != fasthttp.StatusOK || got != want {
		return s.problem(fmt.Errorf("status %d: %.200s", resp.StatusCode(), resp.Body()))
	}
	return nil
}

func (s *server) dial(ctx context.Context) (net.Conn, error) {
	for began := time.Now(); ; {
		conn, err := net.Dial("tcp4", s.addr)
		if err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		select {
		case <-s.exited:
			return nil, errors.New("ended before it listened")
		default:
		}
		if time.Since(began) > startLimit {
			return nil, fmt.Errorf("does not listen after %s: %w", startLimit, err)
		}
		nap(100 * time.Microsecond)
	}
}

// nap sleeps in the kernel: the timers of the Go runtime may be a millisecond late.
func nap(d time.Duration) {
	ts := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&ts, nil) // a signal may end it early; callers look at the clock
}

// freeAddr returns an address without a listener, below the ports the kernel gives to clients: a client that polls such
// a port could connect to itself.
func freeAddr() string {
	for {
		addr := "127.0.0.1:" + strconv.Itoa(20000+rand.IntN(10000))
		if ln, err := net.Listen("tcp4", addr); err == nil {
			_ = ln.Close()
			return addr
		}
	}
}

// clockTick is the unit of times in /proc, the same on every Linux that Go supports.
const clockTick = 10 * time.Millisecond

// cpu returns the processor time of the process itself, and of it and all its descendants.
func (s *server) cpu() (own, tree time.Duration, err error) {
	own, err = cpuTime(s.cmd.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	tree, err = treeTime(s.cmd.Process.Pid)
	return own, tree, err
}

func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // the name may hold blanks
	user, err := strconv.Atoi(string(fields[11]))
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(string(fields[12]))
	return time.Duration(user+system) * clockTick, err
}

func treeTime(pid int) (time.Duration, error) {
	sum, err := cpuTime(pid)
	if err != nil {
		return 0, err
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		children, readErr := os.ReadFile(list)
		if readErr != nil {
			continue // the thread has ended
		}
		for child := range strings.FieldsSeq(string(children)) {
			id, _ := strconv.Atoi(child)
			t, childErr := treeTime(id)
			sum, err = sum+t, errors.Join(err, childErr)
		}
	}
	return sum, err
}

// residentMB is the memory of the server's own process.
func (s *server) residentMB() (float64, error) {
	mb, err := residentMB(s.cmd.Process.Pid)
	if err != nil {
		return 0, s.problem(err)
	}
	return mb, nil
}

// residentMB is the memory of a process.
func residentMB(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, errors.New("no VmRSS: it has ended")
	}
	kb, err := strconv.Atoi(fields[0])
	return float64(kb) / 1024, err
}
