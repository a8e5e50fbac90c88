package main

import (
	"context"
	"fmt"
	"gantry/bench/results"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// unknown stands for a fact that the machine does not say.
const unknown = "unknown"

// facts collects what the figures depend on, before the first of them is measured.
func (b *bench) facts(ctx context.Context, quick bool) results.Run {
	r := results.Run{
		Date: time.Now().UTC().Truncate(time.Second), Rounds: b.rounds, Quick: quick, Scheduling: scheduling(),
		Load: loadAverages(), Machine: describeMachine(), Versions: b.versions(ctx),
	}
	r.Commit = b.git(ctx, "rev-parse", "--short=12", "HEAD")
	if r.Commit == "" {
		r.Commit = unknown
	}
	// What is made of the results is no part of what is measured.
	changes := b.git(ctx, "status", "--porcelain", "--", ".", ":!bench/results.json", ":!docs/bench", ":!README.md")
	r.Modified = changes != ""
	if b.given {
		r.Bootstrap = said(ctx, b.bootstrap, "version")
	}
	return r
}

// git returns what git says in the module, or nothing: an archive of the source has no repository.
func (b *bench) git(ctx context.Context, args ...string) string {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = b.root
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func (b *bench) versions(ctx context.Context) map[string]string {
	v := map[string]string{
		"go":     strings.TrimPrefix(said(ctx, "go", "env", "GOVERSION"), "go"),
		"node":   strings.TrimPrefix(said(ctx, b.node, "--version"), "v"),
		"python": strings.TrimPrefix(said(ctx, b.python, "--version"), "Python "),
	}
	// wrk prints its version with its usage, and says that it failed.
	text, _ := exec.CommandContext(ctx, "wrk", "-v").CombinedOutput()
	v["wrk"] = unknown
	if fields := strings.Fields(string(text)); len(fields) > 1 {
		v["wrk"] = fields[1]
	}
	if program := findNginx(); program != "" {
		_, version, _ := strings.Cut(said(ctx, program, "-v"), "nginx/")
		v["nginx"] = version
	}
	for name, args := range map[string][]string{"java": {"-version"}, "php": {"-r", "echo PHP_VERSION;"}} {
		if lacks(name) == "" {
			v[name] = said(ctx, name, args...)
		}
	}
	if b.framework.version != "" {
		v["functions-framework"] = b.framework.version
	}
	return v
}

// said returns the first line that a program prints.
func said(ctx context.Context, program string, args ...string) string {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil || line == "" {
		return unknown
	}
	return line
}

func describeMachine() results.Machine {
	m := results.Machine{
		Processor: unknown, CPUs: runtime.NumCPU(), System: unknown, Kernel: unknown, Arch: runtime.GOARCH,
	}
	info, _ := os.ReadFile("/proc/cpuinfo") // what it lacks stays unknown
	for line := range strings.Lines(string(info)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch strings.TrimSpace(key) {
		case "model name":
			m.Processor = strings.TrimSpace(value)
		case "flags":
			m.Virtual = strings.Contains(value+" ", " hypervisor ")
		}
	}
	memory, _ := os.ReadFile("/proc/meminfo")
	if _, rest, ok := strings.Cut(string(memory), "MemTotal:"); ok {
		kb, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
		m.MemoryMB = kb >> 10
	}
	release, _ := os.ReadFile("/etc/os-release")
	if _, rest, ok := strings.Cut("\n"+string(release), "\nPRETTY_NAME="); ok {
		line, _, _ := strings.Cut(rest, "\n")
		m.System = strings.Trim(line, `"`)
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	return m
}

// scheduling names the policy of this program, which everything that it starts inherits.
func scheduling() string {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return unknown
	}
	switch attr.Policy {
	case unix.SCHED_NORMAL:
		if attr.Nice != 0 {
			return fmt.Sprintf("normal, nice %d", attr.Nice)
		}
		return "normal"
	case unix.SCHED_FIFO:
		return fmt.Sprintf("first in, first out, priority %d", attr.Priority)
	case unix.SCHED_RR:
		return fmt.Sprintf("round robin, priority %d", attr.Priority)
	}
	return fmt.Sprintf("policy %d", attr.Policy)
}

func loadAverages() []float64 {
	text, _ := os.ReadFile("/proc/loadavg") // without it the results have none
	var a, b, c float64
	if _, err := fmt.Sscan(string(text), &a, &b, &c); err != nil {
		return nil
	}
	return []float64{a, b, c}
}

// resultsFile is where the results go: to the file that was named, or to that of the module; nowhere if what is
// measured is not this tree on the full budget.
func (b *bench) resultsFile(quick bool) string {
	switch {
	case b.json == "none":
		return ""
	case b.json != "":
		return b.json
	case quick, b.given, b.against != "":
		return ""
	}
	return filepath.Join(b.root, "bench", "results.json")
}
