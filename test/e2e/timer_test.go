package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ticking is a function that prints its event and its request id.
const ticking = `exports.handler = async (event, context) => { console.log('GOT ' + JSON.stringify(event) + ' ' + context.getRequestID()); return 'ok'; };`

// TestTimersCallTheFunctionWithThePlatformsEvent: also without a platform API. What the agent logs and counts agrees
// with what the function got, and the stop leaves nothing.
func TestTimersCallTheFunctionWithThePlatformsEvent(t *testing.T) {
	t.Parallel()
	env, _ := queueSettings(t)
	r := function(t, ticking, append(env, "GANTRY_TIMER=fast=CRON_TZ=Asia/Shanghai * * * * * ?;{\"a\": \"<b>\"}\n@every 300ms")...)
	require.Empty(t, r.api)
	r.stdout.WaitFor(t, `"trigger_name":"Timer_002","user_event":""} `)
	r.stdout.WaitFor(t, `"trigger_name":"fast"`)
	_, line, _ := strings.Cut(lineWith(r.stdout.String(), `"trigger_name":"fast"`), "GOT ")
	text, id, _ := strings.Cut(line, "} ")
	var event map[string]any
	require.NoError(t, json.Unmarshal([]byte(text+"}"), &event), line)
	require.Equal(t, map[string]any{
		"version": "v1.0", "time": event["time"], "trigger_type": "TIMER", "trigger_name": "fast", "user_event": `{"a": "<b>"}`,
	}, event)
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+08:00$`, event["time"])
	for _, c := range r.stderr.Logged("timer tick accepted") {
		if c["request_id"] == strings.TrimSpace(id) {
			require.Equal(t, event["time"], c["tick"])
			require.Equal(t, "fast", c["timer"])
		}
	}
	require.Contains(t, r.stderr.String(), strings.TrimSpace(id))
	starts := r.stderr.Logged("timer set")
	require.Len(t, starts, 2)
	require.Equal(t, "Asia/Shanghai", starts[0]["zone"])
	require.Contains(t, r.stderr.String(), "the platform counts whole seconds")
	require.Equal(t, "0", r.metric(`gantry_timer_ticks_total{outcome="failed"}`))
	require.NotEqual(t, "0", r.metric(`gantry_timer_ticks_total{outcome="queued"}`))
	r.signal(syscall.SIGHUP)
	r.signal(syscall.SIGTERM)
	require.Zero(t, r.wait())
	_, after, _ := strings.Cut(r.stderr.String(), "stopping")
	require.NotContains(t, after, "a tick of a timer is lost")
}

func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

// TestMissedTicksAreNotRepeated: an agent that was stopped for a while calls once at most for the time that it missed.
func TestMissedTicksAreNotRepeated(t *testing.T) {
	t.Parallel()
	env, _ := queueSettings(t)
	r := function(t, ticking, append(env, "GANTRY_TIMER=@every 500ms")...)
	r.stdout.WaitFor(t, "GOT ")
	require.NoError(t, r.cmd.Process.Signal(syscall.SIGSTOP))
	paused := time.Now()
	require.Eventually(t, func() bool { return time.Since(paused) > 8*time.Second }, patience, 100*time.Millisecond)
	resumed := time.Now()
	require.NoError(t, r.cmd.Process.Signal(syscall.SIGCONT))
	r.stderr.WaitFor(t, "timers have missed ticks, which are not repeated")
	require.Eventually(t, func() bool {
		latest := ticksOf(t, r)
		return latest[len(latest)-1].After(resumed)
	}, patience, 10*time.Millisecond)
	within := 0
	for _, at := range ticksOf(t, r) {
		if at.After(paused.Add(time.Second)) && at.Before(resumed) {
			within++
		}
	}
	require.LessOrEqual(t, within, 1)
}

// TestTimerExampleReadsTheUserEvent: the example does what its comment says.
func TestTimerExampleReadsTheUserEvent(t *testing.T) {
	t.Parallel()
	env, _ := queueSettings(t)
	code, err := filepath.Abs("../../examples/nodejs/timer")
	require.NoError(t, err)
	r := start(t, code, append(env, `GANTRY_TIMER=clean=@every 1s;{"keep": 3}`)...)
	r.stdout.WaitFor(t, "clean of ")
	r.stdout.WaitFor(t, ": keeps 3")
	require.Contains(t, r.request("POST", r.url+"/invoke", `{}`).body, "called by a person")
}

// ticksOf are the ticks that the agent had queued.
func ticksOf(t *testing.T, r *running) (all []time.Time) {
	t.Helper()
	for _, line := range r.stderr.Logged("timer tick accepted") {
		at, err := time.Parse(time.RFC3339Nano, line["tick"].(string))
		require.NoError(t, err)
		all = append(all, at)
	}
	return all
}

// TestTimersCommandPrintsNextRunsAndWarnings: as a table, and as JSON.
func TestTimersCommandPrintsNextRunsAndWarnings(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "timers.json")
	require.NoError(t, os.WriteFile(file, []byte(`[{"name":"b","schedule":"CRON_TZ=Europe/Berlin 0 30 2 * * ?","user_event":"two\nlines"}]`), 0o600))
	timers := func(env []string, args ...string) (stdout, stderr string, code int) {
		t.Helper()
		cmd := exec.Command(program(t), append([]string{"timers"}, args...)...)
		cmd.Env = append([]string{"HOME=" + t.TempDir(), "TZ=Asia/Shanghai"}, env...)
		cmd.Dir = t.TempDir()
		var out, problem strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &problem
		_ = cmd.Run() // the exit code is returned
		return out.String(), problem.String(), cmd.ProcessState.ExitCode()
	}
	env := []string{"GANTRY_TIMER=*/5 * * * *", "GANTRY_TIMER_FILE=" + file}
	out, problem, code := timers(env, "--count", "2")
	require.Zero(t, code, problem)
	require.Empty(t, problem)
	lines := strings.Split(out, "\n")
	require.Equal(t, "TIMER SCHEDULE ZONE NEXT", strings.Join(strings.Fields(lines[0]), " "))
	require.Regexp(t, `^Timer_001  \*/5 \* \* \* \* +Asia/Shanghai +\S+:[0-5][05]\+08:00$`, lines[1])
	require.Regexp(t, `^b +CRON_TZ=Europe/Berlin 0 30 2 \* \* \?  Europe/Berlin  \S+T02:30:00\+0[12]:00$`, lines[3])
	require.Contains(t, out, `Timer_001: its five fields are read as the platform reads them`)
	require.Contains(t, out, "b: on 20")
	out, problem, code = timers(env, "--json")
	require.Zero(t, code, problem)
	var rows []struct {
		Name, Schedule, Zone string
		UserEvent            string `json:"user_event"`
		Next, Warnings       []string
	}
	require.NoError(t, json.Unmarshal([]byte(out), &rows))
	require.Len(t, rows, 2)
	require.Equal(t, "two\nlines", rows[1].UserEvent)
	require.Len(t, rows[1].Next, 3)
	require.Len(t, rows[1].Warnings, 2)
	out, problem, code = timers(nil)
	require.Zero(t, code)
	require.Empty(t, out)
	require.Contains(t, problem, "no timers are set")
	for args, want := range map[string]string{
		"--timer=0 61 * * * *":  `bootstrap: GANTRY_TIMER: "0 61 * * * *", from --timer: line 1, timer Timer_001: schedule "0 61 * * * *": the minute is "61"`,
		"--timer=0 0 0 30 2 ?":  "it would never run",
		"--timer-file=/missing": "GANTRY_TIMER_FILE: /missing",
		"--count=0":             "--count is 0, want 1 to 1000",
	} {
		out, problem, code := timers(nil, args)
		require.Equal(t, 2, code, args)
		require.Empty(t, out)
		require.Contains(t, problem, want)
	}
}

// TestTimersThatCannotRunEndTheStart: with exit code 2, and what would be right.
func TestTimersThatCannotRunEndTheStart(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct{ env, want string }{
		{"GANTRY_TIMER=0 9 * * MON", `write "0 0 9 * * MON"`},
		{"GANTRY_TIMER=CRON_TZ=Mars/X 0 0 2 * * ?", `there is no time zone "Mars/X"`},
		{"GANTRY_TIMER=@every 0s", "outside of 10ms to 8784h"},
		{"GANTRY_TIMER=@every 1m", "GANTRY_TIMER: the calls of timers go through the queue of asynchronous requests, and there is none: the queue's program is missing: put gantry-jetstream beside bootstrap, or set GANTRY_ASYNC_PROGRAM or GANTRY_NATS_URL"},
	} {
		r := prepare(t, writeFiles(t, map[string]string{"index.js": ticking}), c.env, "GANTRY_ASYNC_PROGRAM="+missing, "GANTRY_DATA_DIR="+t.TempDir())
		r.launch()
		require.Equal(t, 2, r.wait(), c.env)
		require.Contains(t, r.stderr.String(), c.want)
	}
}
