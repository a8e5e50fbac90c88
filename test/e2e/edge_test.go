package e2e

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCallsGoOnWhenStdoutIsClosed: the function goes on when the reader of the log goes away.
func TestCallsGoOnWhenStdoutIsClosed(t *testing.T) {
	t.Parallel()
	dir, err := filepath.Abs(chaos)
	require.NoError(t, err)
	r := prepare(t, dir)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	r.cmd.Stdout = write
	r.launch()
	require.NoError(t, write.Close())
	r.findAddresses()
	_, err = bufio.NewReader(read).ReadString('\n')
	require.NoError(t, err)
	require.NoError(t, read.Close())
	for range 5 {
		require.Equal(t, 200, r.invoke(`{"do":"flood","n":10}`).status)
	}
	require.Eventually(t, func() bool { return r.metric("gantry_log_drops_total") != "0" }, patience, 10*time.Millisecond, "what nobody can read is counted")
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.wait())
}

// TestCallsAreServedWhenOneOfTwoWorkersFails: the others serve, whichever comes up first.
func TestCallsAreServedWhenOneOfTwoWorkersFails(t *testing.T) {
	t.Parallel()
	flag := filepath.Join(t.TempDir(), "flag")
	source := `const fs = require('fs');
let first = true;
try { fs.writeFileSync('` + flag + `', '', { flag: 'wx' }) } catch (e) { first = false }
if (!first) throw new Error('only one of us');
exports.handler = async (e, c) => 'served'`
	r := function(t, source, "GANTRY_WORKERS=2", "RUNTIME_TIMEOUT=20")
	r.stderr.WaitFor(t, "the function cannot be loaded")
	require.Equal(t, "served", r.invoke("{}").body)
	require.Equal(t, 200, r.ready().status)
}

// TestTooOldNodeIsRefusedAtTheStart uses a program that behaves as Node.js 8 does with the worker's arguments.
func TestTooOldNodeIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	bin := writeFiles(t, map[string]string{"node": "#!/bin/sh\n[ \"$1\" = --version ] && { echo v8.17.0; exit 0; }\necho 'node: bad option' >&2\nexit 9\n"})
	r := prepare(t, writeFiles(t, map[string]string{"index.js": ""}), "PATH="+bin)
	r.launch()
	require.Equal(t, exitUsage, r.wait())
	r.stderr.WaitFor(t, "is Node.js 8.17.0; Node.js 10 or later is needed")
}

func TestInitNeedsNoSlot(t *testing.T) {
	t.Parallel()
	r := chaosAgent(t, "RUNTIME_TIMEOUT=60", "GANTRY_QUEUE=0")
	require.Equal(t, 200, r.invoke("{}").status, "a start is waited for, even without a waiting room")
	go r.try(`{"do":"hang"}`)
	r.waitMetric("gantry_invocations_in_flight", "1")
	require.Equal(t, 200, r.request("POST", r.url+"/init", "{}").status)
	require.Equal(t, 429, r.invoke("{}").status)
	require.Equal(t, "1", r.metric("gantry_invocations_in_flight"))
}

func TestLongLinesAreSplitAndUnfinishedOnesWritten(t *testing.T) {
	t.Parallel()
	source := `exports.handler = async (e, c) => {
  setTimeout(() => { process.stdout.write('after the answer, without an end'); require('fs').writeFileSync(e.flag, '') }, 20);
  c.getLogger().info('€'.repeat(30000));
  return 'ok';
}`
	r := function(t, source)
	flag := filepath.Join(t.TempDir(), "flag")
	a := r.invoke(`{"flag":"` + flag + `"}`)
	require.Equal(t, 200, a.status)
	r.stdout.WaitFor(t, "[part 1 last] €")
	for line := range strings.Lines(r.stdout.String()) {
		require.NotContains(t, line, "\uFFFD")
		require.LessOrEqual(t, len(line), 64<<10+120)
	}
	require.Eventually(t, func() bool { _, err := os.Stat(flag); return err == nil }, patience, time.Millisecond)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.wait())
	r.stdout.WaitFor(t, "after the answer, without an end")
}

// TestSlowWorkerKeepsDeadlines: a worker that does not read for longer than the deadline; no call outlives its own.
func TestSlowWorkerKeepsDeadlines(t *testing.T) {
	t.Parallel()
	r := chaosAgent(t, "RUNTIME_TIMEOUT=2", "GANTRY_CONCURRENCY=64", "GANTRY_QUEUE=200")
	require.Equal(t, 200, r.invoke("{}").status)
	big := `{"do":"answer","pad":"` + strings.Repeat("x", 400<<10) + `"}`
	results := make(chan time.Duration, 31)
	go r.try(`{"do":"loop"}`)
	r.waitMetric("gantry_invocations_in_flight", "1")
	for range 30 { // more than the socket holds
		go func() {
			began := time.Now()
			r.try(big)
			results <- time.Since(began)
		}()
	}
	for range 30 {
		require.Less(t, <-results, 40*time.Second, "one deadline, with room for a busy machine")
	}
	require.Equal(t, 200, r.invoke("{}").status)
}

func TestOpsRefusesForeignOriginAndHost(t *testing.T) {
	t.Parallel()
	r := function(t, okFunction)
	require.Equal(t, 403, r.request("GET", r.ops+"/metrics", "", "Origin: http://evil.example").status)
	require.Equal(t, 403, r.request("GET", r.ops+"/metrics", "", "Host: evil.example").status)
}

func TestExtensionsOfARelativeFolderAreStarted(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"index.js": okFunction, "ext/extensionRel.sh": "#!/bin/sh\necho relative works\n"})
	r := prepare(t, dir, "GANTRY_EXTENSION_DIRS=ext", "GANTRY_EXTENSION_WAIT=60")
	r.cmd.Dir = dir
	r.launch()
	r.findAddresses()
	r.stdout.WaitFor(t, "[extensionRel.sh] relative works")
}

// TestLongHeadersAreRefusedNotFatal: what does not fit a frame is an answer, not the end of the worker.
func TestLongHeadersAreRefusedNotFatal(t *testing.T) {
	t.Parallel()
	r := function(t, okFunction, "GANTRY_TRUST_PLATFORM_HEADERS=true")
	a := r.invoke("{}", "X-Cff-Auth-Token: "+strings.Repeat("\xff", 15<<10))
	require.Equal(t, 400, a.status, a.body)
	require.Contains(t, a.body, "too long together")
	require.Equal(t, 200, r.invoke("{}", "X-Cff-Auth-Token: "+strings.Repeat("t", 15<<10)).status, "a real token is long, and fits")
}
