package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// grace is how long after GANTRY_SHUTDOWN_TIMEOUT the agent ends at the latest.
const grace = time.Second

// endsWithin waits for the end of an agent that was sent TERM, and checks that it came within the stop's time and a
// second.
func (r *running) endsWithin(signalled time.Time, limit time.Duration) int {
	r.t.Helper()
	code := r.wait()
	took := time.Since(signalled)
	r.t.Logf("ended after %s with code %d", took.Round(time.Millisecond), code)
	require.Less(r.t, took, limit+grace+500*time.Millisecond, "the process ends within the limit plus a second; half a second is this machine's")
	return code
}

// pipeWithoutReader returns the end of a small pipe that nothing reads.
func pipeWithoutReader(t *testing.T) *os.File {
	t.Helper()
	read, write, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = read.Close(), write.Close() })
	_, err = unix.FcntlInt(write.Fd(), unix.F_SETPIPE_SZ, 4096)
	require.NoError(t, err)
	return write
}

// unread starts an agent whose stderr, and stdout too if asked for, has no reader. Its addresses are in the
// environment, not in its log.
func unread(t *testing.T, stdout bool, dir string, env ...string) *running {
	t.Helper()
	function, ops := freeAddress(t), freeAddress(t)
	r := prepare(t, dir, append([]string{"GANTRY_ADDR=" + function, "GANTRY_OPS_ADDR=" + ops}, env...)...)
	r.cmd.Stderr = pipeWithoutReader(t)
	if stdout {
		r.cmd.Stdout = pipeWithoutReader(t)
	}
	r.url, r.ops = "http://"+function, "http://"+ops
	r.launch()
	require.Eventually(t, func() bool {
		a, err := get(r.ops + "/readyz")
		return err == nil && a.status != 0
	}, patience, 5*time.Millisecond)
	return r
}

func get(url string) (answer, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	return do(req)
}

// fillLog makes the agent's log lose lines: each reload fails, and its line has the long answer of the initializer.
func (r *running) fillLog() {
	r.t.Helper()
	restarts := func() int {
		n, err := strconv.Atoi(r.metric("gantry_worker_restarts_total"))
		require.NoError(r.t, err)
		return n
	}
	failed := func(after int) {
		require.Eventually(r.t, func() bool { return restarts() >= after && strings.HasPrefix(r.ready().body, "failed") }, patience, 5*time.Millisecond)
	}
	for failed(maxTries - 1); r.metric("gantry_agent_log_drops_total") == "0"; {
		before := restarts()
		r.signal(syscall.SIGHUP)
		failed(before + maxTries)
	}
}

// maxTries is how often a start is tried.
const maxTries = 3

// longFailure is a function whose start fails with so much text that a few lines are all that fits the buffer of the
// log.
const longFailure = `exports.init = (c, cb) => cb(new Error('x'.repeat(300000))); exports.handler = async (e, c) => 1`

// TestCallsAndStopWorkWhenStderrHasNoReader: calls and probes are answered, and the stop ends in time, also while
// stdout has no reader.
func TestCallsAndStopWorkWhenStderrHasNoReader(t *testing.T) {
	t.Parallel()
	for name, stdout := range map[string]bool{"stderr": false, "stderr and stdout": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := writeFiles(t, map[string]string{"index.js": longFailure})
			r := unread(t, stdout, dir, "RUNTIME_INITIALIZER_HANDLER=index.init", "GANTRY_SHUTDOWN_TIMEOUT=2")
			r.fillLog()
			require.Equal(t, 502, r.invoke("{}").status)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "index.js"), []byte("exports.init = (c, cb) => cb(null); exports.handler = async (e, c) => { if (e.crash) process.exit(1); return 1 }"), 0o644))
			r.signal(syscall.SIGHUP)
			require.Eventually(t, func() bool { return r.ready().status == 200 }, patience, 5*time.Millisecond)
			for range 5 {
				require.Equal(t, 502, r.invoke(`{"crash":true}`).status)
				require.Equal(t, 200, r.invoke("{}").status)
			}
			signalled := time.Now()
			r.signal(syscall.SIGTERM)
			require.Equal(t, 0, r.endsWithin(signalled, 2*time.Second))
		})
	}
}

// TestSecondSignalEndsAnAgentWithoutLogReaders: nothing is waited for.
func TestSecondSignalEndsAnAgentWithoutLogReaders(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"index.js": "exports.init = (c, cb) => cb(new Error('x'.repeat(300000))); exports.handler = async (e, c) => 1"})
	r := unread(t, true, dir, "RUNTIME_INITIALIZER_HANDLER=index.init", "GANTRY_SHUTDOWN_TIMEOUT=300", "RUNTIME_TIMEOUT=300")
	r.fillLog()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.js"), []byte("exports.init = (c, cb) => cb(null); exports.handler = (e, c, cb) => {}"), 0o644))
	r.signal(syscall.SIGHUP)
	require.Eventually(t, func() bool { return r.ready().status == 200 }, patience, 5*time.Millisecond)
	go r.try("{}")
	r.waitMetric("gantry_invocations_in_flight", "1")
	require.Equal(t, 143, r.force())
}

// TestSignalRepeatedAtOnceForcesNothing: coreutils' timeout signals the process, and then its group.
func TestSignalRepeatedAtOnceForcesNothing(t *testing.T) {
	t.Parallel()
	r := function(t, "exports.handler = async (e, c) => { await new Promise(r => setTimeout(r, 600)); return 1 }", "RUNTIME_TIMEOUT=30")
	require.Equal(t, 200, r.invoke("{}").status)
	slow := make(chan answer, 1)
	go func() { slow <- r.try("{}") }()
	r.waitMetric("gantry_invocations_in_flight", "1")
	for range 3 {
		r.signal(syscall.SIGTERM)
	}
	require.Equal(t, 200, (<-slow).status, "the calls in flight end")
	require.Equal(t, 0, r.wait())
	require.NotContains(t, r.stderr.String(), "forced")
	require.Regexp(t, `INFO stopped \{"took": "[^"]+"\}\n$`, r.stderr.String(), "the last line")
}

// freezer is a control group of version 1 that stops its processes where they are: not even KILL ends them.
type freezer struct {
	t   *testing.T
	dir string
}

func newFreezer(t *testing.T) *freezer {
	t.Helper()
	const root = "/sys/fs/cgroup/freezer"
	if _, err := os.Stat(root); err != nil {
		t.Skip("no freezer of control groups version 1 here: ", err)
	}
	dir, err := os.MkdirTemp(root, "gantry-test-")
	if err != nil {
		t.Skip("the freezer of control groups version 1 cannot be used here: ", err)
	}
	f := &freezer{t, dir}
	t.Cleanup(func() {
		f.set("THAWED")
		require.Eventually(t, func() bool { return os.Remove(dir) == nil }, patience, 10*time.Millisecond)
	})
	return f
}

func (f *freezer) set(state string) {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(filepath.Join(f.dir, "freezer.state"), []byte(state), 0o644))
}

// freeze stops a process for good.
func (f *freezer) freeze(pid string) {
	f.t.Helper()
	f.set("THAWED")
	require.NoError(f.t, os.WriteFile(filepath.Join(f.dir, "cgroup.procs"), []byte(pid), 0o644))
	f.set("FROZEN")
	require.Eventually(f.t, func() bool {
		b, err := os.ReadFile(filepath.Join(f.dir, "freezer.state"))
		return err == nil && strings.TrimSpace(string(b)) == "FROZEN"
	}, patience, time.Millisecond)
}

// TestUnkillableWorkerHoldsUpNeitherCallsNorStop: its call has its answer in time, the next call a worker of its own,
// and the stop its deadline.
func TestUnkillableWorkerHoldsUpNeitherCallsNorStop(t *testing.T) {
	t.Parallel()
	f := newFreezer(t)
	r := function(t, "exports.handler = async (e, c) => { if (e.hang) await new Promise(() => {}); return process.pid }", "RUNTIME_TIMEOUT=2", "GANTRY_SHUTDOWN_TIMEOUT=3")
	pid := r.invoke("{}").body
	hung := make(chan answer, 1)
	go func() { hung <- r.try(`{"hang":true}`) }()
	r.waitMetric("gantry_invocations_in_flight", "1")
	f.freeze(pid)
	require.Equal(t, 504, (<-hung).status)
	next := r.invoke("{}")
	require.Equal(t, 200, next.status)
	require.NotEqual(t, pid, next.body)
	require.Equal(t, 200, r.ready().status)
	require.NotEmpty(t, r.metric("gantry_worker_restarts_total"))
	signalled := time.Now()
	r.signal(syscall.SIGTERM)
	require.Equal(t, exitStuck, r.endsWithin(signalled, 3*time.Second))
	r.stderr.WaitFor(t, "not all that was started has ended in time: worker (process "+pid+")")
}

// TestWorkerThatLeftItsGroupIsStillEnded: it is ended all the same, by its deadline and by the stop.
func TestWorkerThatLeftItsGroupIsStillEnded(t *testing.T) {
	t.Parallel()
	source := `import os
def handler(event, context):
    if not event.get("leave"):
        return os.getpid()
    os.setpgid(0, os.getpgid(os.getppid()))
    while True: pass
`
	r := start(t, writeFiles(t, map[string]string{"index.py": source}), "RUNTIME_TIMEOUT=1", "GANTRY_SHUTDOWN_TIMEOUT=2")
	first := r.invoke("{}").body
	require.Equal(t, 504, r.invoke(`{"leave":true}`).status)
	require.Eventually(t, func() bool { _, err := os.Stat("/proc/" + first); return os.IsNotExist(err) }, patience, 10*time.Millisecond)
	second := r.invoke("{}").body
	require.NotEqual(t, first, second)
	go r.try(`{"leave":true}`)
	r.waitMetric("gantry_invocations_in_flight", "1")
	signalled := time.Now()
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.endsWithin(signalled, 2*time.Second))
	require.NoDirExists(t, "/proc/"+second)
}
