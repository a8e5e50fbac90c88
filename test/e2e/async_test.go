package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"gantry/async"
	"gantry/jetstream/child"
	"gantry/process"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

const asyncPath = "/v2/" + apiProject + "/fgs/functions/hello/"

// queueSettings builds the queue's program and returns what an agent needs for a queue of its own.
func queueSettings(t *testing.T) (env []string, data string) {
	t.Helper()
	dir := t.TempDir()
	compile(t, "gantry/jetstream", filepath.Join(dir, queueProgram))
	data = filepath.Join(dir, "data")
	return []string{"GANTRY_DATA_DIR=" + data, "GANTRY_ASYNC_PROGRAM=" + filepath.Join(dir, queueProgram)}, data
}

// enqueue sends one event and returns its request id.
func (r *running) enqueue(event string, header ...string) string {
	r.t.Helper()
	a := r.request("POST", r.api+asyncPath+"invocations-async", event, header...)
	require.Equal(r.t, 202, a.status, a.body)
	var body struct {
		ID string `json:"request_id"`
	}
	require.NoError(r.t, json.Unmarshal([]byte(a.body), &body))
	require.Equal(r.t, body.ID, a.header.Get("X-Request-Id"))
	return body.ID
}

// status returns the status of a request, empty if it is not known.
func (r *running) status(id string) string {
	r.t.Helper()
	a := r.request("GET", r.api+asyncPath+"async-invocations?request_id="+id, "")
	require.Equal(r.t, 200, a.status, a.body)
	var page struct {
		Invocations []struct{ Status string }
	}
	require.NoError(r.t, json.Unmarshal([]byte(a.body), &page), a.body)
	if len(page.Invocations) == 0 {
		return ""
	}
	return page.Invocations[0].Status
}

func (r *running) waitStatus(id, want string) {
	r.t.Helper()
	got := ""
	require.Eventually(r.t, func() bool { got = r.status(id); return got == want }, patience, 10*time.Millisecond, "%s is %s, want %s", id, got, want)
}

func TestAsyncStatusFollowsRunsFailuresAndCancels(t *testing.T) {
	t.Parallel()
	env, data := queueSettings(t)
	r := ungated(t, outcomes, append(env, "RUNTIME_TIMEOUT=60")...)
	_, err := os.Stat(data)
	require.ErrorIs(t, err, os.ErrNotExist, "nothing is started before the first need")
	id := r.enqueue(`{}`)
	r.waitStatus(id, "SUCCESS")
	r.stdout.WaitFor(t, "Finish invoke request '"+id+"'")
	failed := r.enqueue(`{"fail":true}`)
	r.waitStatus(failed, "FAIL")

	slow := r.enqueue(`{"wait":60000}`)
	r.waitStatus(slow, "RUNNING")
	waiting := r.enqueue(`{}`)
	require.Equal(t, "WAIT", r.status(waiting))
	cancel := func(id string) answer {
		return r.request("POST", r.api+asyncPath+"cancel", `{"request_id":"`+id+`","type":"force"}`)
	}
	require.Equal(t, "{}", cancel(waiting).body)
	require.Equal(t, "DISCARD", r.status(waiting))
	require.Equal(t, 200, cancel(slow).status)
	r.waitStatus(slow, "FAIL")
	requireError(t, cancel(slow), 400, "FSS.0400", "Invalid RequestId")
	a := r.request("GET", r.api+asyncPath+"async-invocations?request_id="+slow, "")
	require.Contains(t, a.body, `"error_code":4208`)
	require.Contains(t, a.body, "function invocation canceled")
	require.Equal(t, 200, r.call(`{}`).status, "the next call works")
	require.Equal(t, "4", r.metric("gantry_async_accepted_total"))
	r.waitMetric("gantry_async_queue_length", "0")
}

// TestOnlyUnfinishedAsyncRequestsRunAfterARestart: what waits or runs when the agent stops is run after the next
// start; what has run is not.
func TestOnlyUnfinishedAsyncRequestsRunAfterARestart(t *testing.T) {
	t.Parallel()
	env, data := queueSettings(t)
	file := filepath.Join(t.TempDir(), "runs")
	source := `const fs = require('fs'), file = ` + strconv.Quote(file) + `;
exports.handler = async (event, context) => {
    const again = fs.existsSync(file) && fs.readFileSync(file, 'utf8').includes(context.requestID);
    fs.appendFileSync(file, context.requestID + '\n');
    if (event.wait && !again) await new Promise(r => setTimeout(r, event.wait));
    return 'ok';
};`
	env = append(env, "RUNTIME_TIMEOUT=60", "GANTRY_SHUTDOWN_TIMEOUT=4")
	r := ungated(t, source, env...)
	done := r.enqueue(`{}`)
	r.waitStatus(done, "SUCCESS")
	running := r.enqueue(`{"wait":60000}`)
	r.waitStatus(running, "RUNNING")
	waiting := r.enqueue(`{}`)
	r.signal(syscall.SIGTERM)
	require.Zero(t, r.wait())
	_, err := os.Stat(filepath.Join(data, "store"))
	require.NoError(t, err)

	r = ungated(t, source, env...)
	r.waitStatus(waiting, "SUCCESS")
	require.Equal(t, "SUCCESS", r.status(done))
	r.waitStatus(running, "SUCCESS")
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), done))
	require.Equal(t, 2, strings.Count(string(text), running), "cut off, and run again")
	require.Equal(t, 1, strings.Count(string(text), waiting))
}

// TestAsyncRequestsOfAnotherVersionAreLoggedAtStart: the agent logs at the start that the folder still holds requests
// of another version.
func TestAsyncRequestsOfAnotherVersionAreLoggedAtStart(t *testing.T) {
	t.Parallel()
	env, _ := queueSettings(t)
	env = append(env, "RUNTIME_TIMEOUT=60", "GANTRY_SHUTDOWN_TIMEOUT=4")
	r := ungated(t, outcomes, append(env, "RUNTIME_FUNC_VERSION=v1")...)
	path := "/v2/" + apiProject + "/fgs/functions/" + apiProject + ":default:hello:v1/invocations-async"
	require.Equal(t, 202, r.request("POST", r.api+path, `{"wait":60000}`).status)
	r.signal(syscall.SIGTERM)
	require.Zero(t, r.wait())
	r = ungated(t, outcomes, append(env, "RUNTIME_FUNC_VERSION=v2")...)
	r.stderr.WaitFor(t, "the data folder holds requests of another function, version or region")
	r.stderr.WaitFor(t, ":function:default:hello:v1")
}

// TestAsyncKeepsNoCredentials: neither the store nor the child's memory that others may see has what callers sent.
func TestAsyncKeepsNoCredentials(t *testing.T) {
	t.Parallel()
	env, data := queueSettings(t)
	users := filepath.Join(t.TempDir(), "users.json")
	writeUsers(t, users, strings.Replace(apiUsers, `["invoke"]`, `["invoke", "invokeAsync"]`, 1))
	r := function(t, outcomes, append(env, "RUNTIME_FUNC_NAME=hello", "GANTRY_API_ADDR=127.0.0.1:0", "GANTRY_API_USERS_FILE="+users)...)
	_, token := r.login("correct horse")
	id := r.enqueue(`{"mark":"of-the-event"}`, "X-Auth-Token: "+token, "X-Cff-Auth-Token: another-credential")
	list := func() string {
		return r.request("GET", r.api+asyncPath+"async-invocations?request_id="+id, "", "X-Auth-Token: "+token).body
	}
	require.Eventually(t, func() bool { return strings.Contains(list(), "SUCCESS") }, patience, 10*time.Millisecond)
	seen := ""
	require.NoError(t, filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 && filepath.Dir(path) == data {
			t.Errorf("%s may be read by others: %s", path, info.Mode())
		}
		text, err := os.ReadFile(path)
		seen += string(text)
		return err
	}))
	require.Contains(t, seen, id)
	for _, hidden := range []string{token, "another-credential", apiSecret, "correct horse"} {
		require.False(t, strings.Contains(seen, hidden), hidden)
	}
	info, err := os.Stat(data)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

// TestAsyncCommandsUseAddressAndKeysOfTheSettings: the commands find address and keys in the agent's own settings.
func TestAsyncCommandsUseAddressAndKeysOfTheSettings(t *testing.T) {
	t.Parallel()
	env, _ := queueSettings(t)
	users := filepath.Join(t.TempDir(), "users.json")
	writeUsers(t, users, strings.Replace(apiUsers, `["invoke"]`, `["invokeAsync"]`, 1))
	r := function(t, outcomes, append(env, "RUNTIME_FUNC_NAME=hello", "RUNTIME_TIMEOUT=60", "GANTRY_API_ADDR=127.0.0.1:0", "GANTRY_API_USERS_FILE="+users)...)
	command := func(stdin string, args ...string) (stdout, stderr string, code int) {
		t.Helper()
		cmd := exec.Command(program(t), args...)
		cmd.Env = append(r.cmd.Env, "GANTRY_API_ADDR="+strings.TrimPrefix(r.api, "http://"))
		var out, errors strings.Builder
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errors
		_ = cmd.Run() // the exit code is checked instead
		return out.String(), errors.String(), cmd.ProcessState.ExitCode()
	}
	out, problem, code := command(`{}`, "invoke", "--async", "--event", "-")
	require.Zero(t, code, problem)
	id := strings.TrimSpace(out)
	require.Eventually(t, func() bool {
		out, _, _ = command("", "async", "show", id)
		return strings.Contains(out, `"status": "SUCCESS"`)
	}, patience, 10*time.Millisecond, "%s", &out)
	several := filepath.Join(t.TempDir(), "junit.xml")
	out, problem, code = command("", "invoke", "--async", "--event", "{}", "--event", "{}", "--junit", several)
	require.Zero(t, code, problem)
	ids := strings.Fields(out)
	require.Len(t, ids, 2)
	require.NotEqual(t, ids[0], ids[1])
	text, err := os.ReadFile(several)
	require.NoError(t, err)
	require.Equal(t, 2, parseJUnit(t, text).Tests)
	out, _, code = command(`{"wait":60000}`, "invoke", "--async", "--event", "-")
	require.Zero(t, code)
	slow := strings.TrimSpace(out)
	require.Eventually(t, func() bool {
		out, _, _ = command("", "async", "ls", "--status", "RUNNING")
		return strings.Contains(out, slow)
	}, patience, 10*time.Millisecond)
	require.NotContains(t, out, id)
	_, problem, code = command("", "async", "cancel", slow)
	require.Zero(t, code, problem)
	require.Eventually(t, func() bool {
		out, _, _ = command("", "async", "ls")
		return strings.Contains(out, "4208 function invocation canceled") && strings.Contains(out, id)
	}, patience, 10*time.Millisecond)
	out, problem, code = command("", "async", "show", id, "--to", r.api+"/")
	require.Zero(t, code, problem)
	require.Contains(t, out, id)
	for says, args := range map[string][]string{
		"the request id is empty":      {"async", "show", ""},
		"is empty, want the one":       {"async", "cancel", " "},
		"--limit is 0, want 1 or more": {"async", "ls", "--limit", "0"},
		"--limit is -1":                {"async", "ls", "--limit", "-1"},
		"--since is -1h0m0s, want":     {"async", "ls", "--since", "-1h"},
		"--tail, --timeline and":       {"invoke", "--async", "--tail"},
		"--async does not wait for":    {"invoke", "--async", "--timeline"},
		"for the end: see":             {"invoke", "--async", "--expect", "{}"},
	} {
		out, problem, code := command("", args...)
		require.Equal(t, exitUsage, code, args)
		require.Contains(t, problem, says)
		require.Empty(t, out)
	}
	for says, args := range map[string][]string{
		"Invalid RequestId":      {"async", "cancel", id},
		"no request":             {"async", "show", "nonsense"},
		"want one of WAIT":       {"async", "ls", "--status", "NOPE"},
		"does not answer":        {"async", "ls", "--to", "127.0.0.1:1"},
		"unknown flag":           {"async", "ls", "--nope"},
		"accepts 1 arg(s)":       {"async", "show"},
		"/no/such/file":          {"async", "ls", "--api-users-file", "/no/such/file"},
		"RUNTIME_FUNC_NAME: \"a": {"async", "ls", "--name", "a:b"},
	} {
		_, problem, code := command("", args...)
		require.NotZero(t, code, args)
		require.Contains(t, problem, says)
		require.NotContains(t, problem, apiSecret)
	}
}

func TestAsyncCallsGet503WithoutAUsableQueue(t *testing.T) {
	t.Parallel()
	r := ungated(t, outcomes, "GANTRY_ASYNC_PROGRAM=/no/such/program", "GANTRY_DATA_DIR="+t.TempDir())
	a := r.request("POST", r.api+asyncPath+"invocations-async", `{}`)
	requireError(t, a, 503, "FSS.0503", "the queue's program is missing")
	require.Equal(t, 200, r.call(`{}`).status)
	env, _ := queueSettings(t)
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		r = ungated(t, outcomes, "XDG_STATE_HOME=/dev/shm", env[1])
		requireError(t, r.request("POST", r.api+asyncPath+"invocations-async", `{}`), 503, "FSS.0503", "lies in memory (tmpfs)")
	}
	r = ungated(t, outcomes, "GANTRY_DATA_DIR=/dev/null/x", env[1])
	requireError(t, r.request("POST", r.api+asyncPath+"invocations-async", `{}`), 503, "FSS.0503", "the queue cannot be opened")
}

// killRounds is 3 in CI; make soak sets 20.
func killRounds(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("KILL_ROUNDS"))
	if err != nil {
		return 1
	}
	return n
}

// killed is the load of TestNoAcceptedAsyncRequestIsLostThroughKills: it accepts for as long as it may, whatever dies
// meanwhile.
type killed struct {
	mu       sync.Mutex
	url      string
	accepted map[string]bool
}

func (k *killed) send(client *http.Client) {
	k.mu.Lock()
	url := k.url
	k.mu.Unlock()
	resp, err := client.Post(url+asyncPath+"invocations-async", "application/json", strings.NewReader(`{}`))
	if err != nil {
		time.Sleep(time.Millisecond) // the agent is dead; the next one will listen elsewhere
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	var answer struct {
		ID string `json:"request_id"`
	}
	if err != nil || resp.StatusCode != http.StatusAccepted || json.Unmarshal(body, &answer) != nil {
		return
	}
	k.mu.Lock()
	k.accepted[answer.ID] = true
	k.mu.Unlock()
}

func (k *killed) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.accepted)
}

// TestNoAcceptedAsyncRequestIsLostThroughKills kills the agent, the child, or both, at random moments under load: of
// what was accepted nothing is lost, and nothing runs again after its outcome was recorded.
func TestNoAcceptedAsyncRequestIsLostThroughKills(t *testing.T) {
	t.Parallel()
	rounds := killRounds(t)
	env, data := queueSettings(t)
	runs := filepath.Join(t.TempDir(), "runs")
	dir := writeFiles(t, map[string]string{"index.js": `const fs = require('fs');
const fd = fs.openSync(` + strconv.Quote(runs) + `, 'a');
exports.handler = async (event, context) => { fs.writeSync(fd, Date.now() + ' ' + context.requestID + '\n'); return 'ok'; };`})
	bootstrap := filepath.Join(t.TempDir(), "bootstrap")
	compile(t, "gantry/bootstrap", bootstrap)
	start := func() *running {
		r := prepare(t, dir, append(env, "RUNTIME_FUNC_NAME=hello", "GANTRY_API_ADDR=127.0.0.1:0", "GANTRY_API_AUTH=none", "GANTRY_CONCURRENCY=16", "GANTRY_LOG_LEVEL=info")...)
		r.cmd.Path, r.cmd.Args[0] = bootstrap, bootstrap // as it is released: the race detector would make it too slow
		r.launch()
		r.findAddresses()
		return r
	}
	r := start()
	k := &killed{url: r.api, accepted: map[string]bool{}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	for range 16 {
		client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
		load.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				k.send(client)
			}
		})
	}
	target := 0
	for n := range rounds {
		target += 10_000 / rounds * (8 + rand.IntN(5)) / 10
		require.Eventually(t, func() bool { return k.count() >= target }, 5*patience, time.Millisecond, "%d accepted", k.count())
		child := childOf(t, r, queueProgram)
		victims := [][]int{{r.cmd.Process.Pid}, {child}, {r.cmd.Process.Pid, child}}[n%3]
		for _, pid := range victims {
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		}
		t.Logf("round %d: %d accepted, killed %v", n+1, k.count(), victims)
		if victims[0] == r.cmd.Process.Pid {
			<-r.ended
			r = start()
			k.mu.Lock()
			k.url = r.api
			k.mu.Unlock()
		}
	}
	require.Eventually(t, func() bool { return k.count() >= 10_000 }, 5*patience, time.Millisecond)
	stop()
	load.Wait()
	began := time.Now()
	require.Eventually(t, func() bool { // of the last hour: of the whole test
		a := r.request("GET", r.api+asyncPath+"active-async-invocations?limit=1", "")
		return a.status == 200 && strings.Contains(a.body, `"count":0,`)
	}, 10*patience, 500*time.Millisecond, "requests are left")
	t.Logf("%d accepted; drained %s after the last", k.count(), time.Since(began).Round(time.Millisecond))
	r.signal(syscall.SIGTERM)
	require.Zero(t, r.wait())
	checkRuns(t, k, runs, recordsIn(t, env[1], data))
}

// childOf returns the process id of a child by its program's name.
func childOf(t *testing.T, r *running, name string) (pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		tasks, _ := filepath.Glob("/proc/" + itoa(r.cmd.Process.Pid) + "/task/*/children")
		for _, task := range tasks {
			text, _ := os.ReadFile(task)
			for field := range strings.FieldsSeq(string(text)) {
				if comm, _ := os.ReadFile("/proc/" + field + "/comm"); strings.HasPrefix(name, strings.TrimSpace(string(comm))) {
					pid, _ = strconv.Atoi(field)
				}
			}
		}
		return pid != 0
	}, patience, time.Millisecond, "no child %s", name)
	return pid
}

// recordsIn reads all records of a data folder that no agent uses any more.
func recordsIn(t *testing.T, program, data string) map[string]async.Record {
	t.Helper()
	sup := process.NewSupervisor(false)
	defer sup.Close()
	_, program, _ = strings.Cut(program, "=")
	local := child.New(&child.Config{Program: program, Folder: data, MaxBytes: 1 << 40, Supervisor: sup, Log: zap.NewNop()})
	fn := &fncontext.Function{Region: "local-1", Project: apiProject, Package: "default", Name: "hello", Version: "latest"}
	q := async.New(&async.Config{Function: fn, Connect: async.Local(local), Replicas: 1, MaxEvents: 1 << 20, MaxBytes: 1 << 30, Parallel: 1, Retention: time.Hour, Log: zap.NewNop()})
	q.Pause()
	page, err := q.Records(t.Context(), &async.Filter{Limit: 1 << 30})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	q.Close(ctx)
	require.NoError(t, local.Stop(ctx))
	all := map[string]async.Record{}
	for _, r := range page.Records {
		all[r.RequestID] = r
	}
	return all
}

// checkRuns holds the function's own notes against what was accepted and recorded.
func checkRuns(t *testing.T, k *killed, file string, records map[string]async.Record) {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	ran, twice, late := map[string]int{}, 0, 0
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		millis, id, ok := strings.Cut(scanner.Text(), " ")
		if !ok {
			continue // a line that a kill cut off
		}
		at, err := strconv.ParseInt(millis, 10, 64)
		require.NoError(t, err)
		if ran[id]++; ran[id] > 1 {
			twice++
		}
		// Times in the record are exact, those of the function whole milliseconds, rounded down.
		if r := records[id]; r.Ended() && time.UnixMilli(at).After(r.End) {
			late++
		}
	}
	require.NoError(t, scanner.Err())
	lost, open := 0, 0
	for id := range k.accepted {
		if ran[id] == 0 {
			lost++
		}
		if r := records[id]; r.Status != async.Success {
			open++
		}
	}
	t.Logf("%d accepted, %d ran, %d of them more than once; lost %d, without outcome %d, run again after their outcome %d", len(k.accepted), len(ran), twice, lost, open, late)
	require.Zero(t, lost, "lost")
	require.Zero(t, open, "without an outcome")
	require.Zero(t, late, "run again after the outcome was recorded")
}

// TestOverlongTraceHeadersAreRefusedForAsyncCallsToo: what a call at once is refused for is not accepted for later,
// where no attempt could run.
func TestOverlongTraceHeadersAreRefusedForAsyncCallsToo(t *testing.T) {
	t.Parallel()
	env, _ := queueSettings(t)
	r := ungated(t, outcomes, env...)
	parent := "Traceparent: " + strings.Repeat("\xff", 15<<10)
	for _, path := range []string{invocations, asyncPath + "invocations-async"} {
		requireError(t, r.request("POST", r.api+path, `{}`, parent), 400, "FSS.0400", "trace headers are too long")
	}
	id := r.enqueue(`{}`, "Traceparent: "+strings.Repeat("a", 15<<10))
	require.Eventually(t, func() bool { return r.status(id) == "SUCCESS" }, patience, 10*time.Millisecond)
	r.stderr.WaitFor(t, `"route": "POST invocations-async"`)
	r.stderr.WaitFor(t, id)
}
