package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// scaleAgentFlag, with a file, makes this program an agent of the kill rounds.
const scaleAgentFlag = "-scale-agent"

// scaleCall is how long a call of the kill rounds lasts.
const scaleCall = 20 * time.Millisecond

// agentFile is what an agent of the kill rounds runs.
type agentFile struct {
	URL       string
	Functions []string
	// Starts gets a line for each call: its request id, and the time of its start in ns.
	Starts string
}

// runScaleAgent runs the queues of several functions until a signal ends the process. It does not return.
func runScaleAgent(file string) {
	fmt.Fprintln(os.Stderr, "bench", scaleAgentFlag+":", scaleAgent(file)) // it ended by itself
	os.Exit(1)
}

func scaleAgent(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var what agentFile
	if err := json.Unmarshal(text, &what); err != nil {
		return err
	}
	starts, err := os.OpenFile(what.Starts, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	failed := make(chan error, 1)
	log := zap.New(zapcore.NewCore(
		zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(os.Stderr), zap.WarnLevel,
	))
	call := func(id string) {
		line := id + " " + strconv.FormatInt(time.Now().UnixNano(), 10) + "\n"
		if _, err := starts.WriteString(line); err != nil {
			select {
			case failed <- err:
			default: // the process ends with the first error
			}
		}
		time.Sleep(scaleCall)
	}
	go func() {
		_ = each(len(what.Functions), func(i int) error { // ends without an error, or with the process
			q := newScaleQueue(what.URL, what.Functions[i], log.With(zap.String("function", what.Functions[i])), call)
			for q.Start(ctx) != nil && ctx.Err() == nil {
				time.Sleep(200 * time.Millisecond)
			}
			return ctx.Err()
		})
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return errors.New("a signal ended it")
	}
}

// killAgent is an agent in a process of its own, which is killed and started again.
type killAgent struct {
	program, config, starts, log string // files

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // of cmd
	killed bool
	failed func(error) // gets an end of the process that was not asked for
}

// newKillAgent writes what an agent runs.
func newKillAgent(folder, name, url string, functions []string, failed func(error)) (*killAgent, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	base := filepath.Join(folder, name)
	a := &killAgent{program: program, config: base + ".json", starts: base + ".starts", log: base + ".log", failed: failed}
	text, err := json.Marshal(agentFile{URL: url, Functions: functions, Starts: a.starts})
	if err != nil {
		return nil, err
	}
	return a, os.WriteFile(a.config, text, 0o600)
}

// start starts the process.
func (a *killAgent) start() error {
	log, err := os.OpenFile(a.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(a.program, scaleAgentFlag, a.config)
	cmd.Env, cmd.Stdout, cmd.Stderr = []string{"PATH=" + os.Getenv("PATH")}, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	a.mu.Lock()
	a.cmd, a.exited, a.killed = cmd, exited, false
	a.mu.Unlock()
	go func() {
		err := cmd.Wait()
		a.mu.Lock()
		asked := a.killed
		a.mu.Unlock()
		close(exited)
		if !asked {
			a.failed(fmt.Errorf("%s ended: %w: %s", filepath.Base(a.config), errors.Join(err), a.tail()))
		}
	}()
	return nil
}

// kill ends the process with SIGKILL and waits for its end.
func (a *killAgent) kill() {
	a.mu.Lock()
	cmd, exited := a.cmd, a.exited
	a.killed = true
	a.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill() // an error says that it has ended
	<-exited
}

// tail is what the agent logged last.
func (a *killAgent) tail() string {
	text, _ := os.ReadFile(a.log)
	return string(text[max(0, len(text)-1000):])
}

// readStarts adds the starts of calls that the agent has noted.
func (a *killAgent) readStarts(starts map[string][]time.Time) error {
	file, err := os.Open(a.starts)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it was killed before its first call, each time
	}
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		id, at, ok := strings.Cut(lines.Text(), " ")
		ns, err := strconv.ParseInt(at, 10, 64)
		if !ok || err != nil {
			return fmt.Errorf("%s has the line %q", a.starts, lines.Text())
		}
		starts[id] = append(starts[id], time.Unix(0, ns))
	}
	return lines.Err()
}
