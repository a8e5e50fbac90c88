package async

import (
	"context"
	"fmt"
	"gantry/jetstream/child"
	"gantry/process"
	"gantry/test/harness"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

// localChild is a child whose log is observed.
type localChild struct {
	*child.Child
	logs *observer.ObservedLogs
}

func buildChild(t *testing.T, program string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-o", program, "gantry/jetstream")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func startChild(t *testing.T, program string) *localChild {
	t.Helper()
	return startChildIn(t, program, filepath.Join(t.TempDir(), "async"))
}

func startChildIn(t *testing.T, program, folder string) *localChild {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	supervisor := process.NewSupervisor(false)
	c := child.New(&child.Config{Program: program, Folder: folder, Supervisor: supervisor, Log: zap.New(core)})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = c.Stop(ctx) // a child that the test stopped is killed
		supervisor.Close()
	})
	return &localChild{c, logs}
}

// ready are the process ids of the children that were ready, the newest last.
func (c *localChild) ready() (pids []int) {
	for _, line := range c.logs.FilterMessage("gantry-jetstream ready").All() {
		pids = append(pids, int(line.ContextMap()["pid"].(int64)))
	}
	return pids
}

func (c *localChild) pid() int { pids := c.ready(); return pids[len(pids)-1] }

func (c *localChild) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, unix.Kill(c.pid(), unix.SIGKILL))
}

// TestHungChildBlocksNeitherCallersNorStop: events that fill the socket of a child that does not read block neither
// callers nor the stop.
func TestHungChildBlocksNeitherCallersNorStop(t *testing.T) {
	program := filepath.Join(t.TempDir(), "gantry-jetstream")
	buildChild(t, program)
	c := startChild(t, program)
	q := open(t, nil, &testFunction{}, func(cfg *Config) { cfg.Connect, cfg.Log = Local(c.Child), zap.NewNop() })
	waitStatus(t, q, accept(t, q, "{}"), Success)
	pid := c.pid()
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	harness.Eventually(t, func() bool { return harness.Stopped(t, pid) }, "all its threads stop")
	body := []byte(`"` + strings.Repeat("x", 250_000) + `"`)
	began := time.Now()
	var accepts sync.WaitGroup
	for range 4 {
		accepts.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, err := q.Accept(ctx, &Event{Body: body, Version: "latest"}); err == nil {
				t.Error("accepted by a process that stands still")
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	q.Close(ctx)
	accepts.Wait()
	require.Less(t, time.Since(began), 45*time.Second, "nats.go has a minute for a write")
	require.NoError(t, unix.Kill(pid, unix.SIGCONT))
}

// TestSlowChildStartBlocksNeitherCallsNorStop: a slow start blocks no call, and neither the metrics nor the stop.
func TestSlowChildStartBlocksNeitherCallsNorStop(t *testing.T) {
	hang := filepath.Join(t.TempDir(), "hang")
	program := filepath.Join(t.TempDir(), "gantry-jetstream")
	script := filepath.Join(t.TempDir(), "script")
	text := fmt.Sprintf("#!/bin/sh\nwhile [ -e %s ]; do sleep 0.05; done; exec %s", hang, program)
	require.NoError(t, os.WriteFile(script, []byte(text), 0o700))
	buildChild(t, program)
	c := startChild(t, script)
	change := func(cfg *Config) {
		cfg.Connect = Local(c.Child)
		cfg.Log = zap.NewNop()
	}
	q := open(t, nil, &testFunction{}, change)
	id := accept(t, q, "{}")
	waitStatus(t, q, id, Success)
	const soon = 30 * time.Second // the half of what a start may take
	quick := func(what string, do func()) {
		t.Helper()
		began := time.Now()
		do()
		require.Less(t, time.Since(began), soon, what)
	}
	interrupt := func(q *Queue) {
		require.NoError(t, os.WriteFile(hang, nil, 0o600))
		c.kill(t)
		harness.Eventually(t, q.open.away.Load, "the loss is known")
	}
	interrupt(q)
	quick("metrics", func() { q.Depth() })
	quick("accept", func() {
		ctx, cancel := context.WithTimeout(t.Context(), 2*firstRedial)
		defer cancel()
		_, err := q.Accept(ctx, &Event{Body: []byte("{}")})
		require.Error(t, err)
	})
	quick("cancel", func() {
		ctx, cancel := context.WithTimeout(t.Context(), 2*firstRedial)
		defer cancel()
		require.Error(t, q.Cancel(ctx, id, false))
	})
	require.NoError(t, os.Remove(hang))
	waitStatus(t, q, accept(t, q, "{}"), Success)
	require.Equal(t, 2, len(c.ready()), "the start went on")
	interrupt(q)
	quick("stop", func() {
		ctx, cancel := context.WithTimeout(t.Context(), firstRedial)
		defer cancel()
		q.Close(ctx)
	})
	require.NoError(t, os.Remove(hang))
}
