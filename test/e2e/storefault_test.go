package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"gantry/async"
	"gantry/jetstream/child"
	"gantry/process"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// disk is a small file system in memory, whose size and mode a test changes.
type disk struct {
	t    *testing.T
	path string
}

// mountDisk mounts one on path. Agents that use it are started later, so they end before it goes.
func mountDisk(t *testing.T, path, size string) *disk {
	t.Helper()
	require.NoError(t, os.MkdirAll(path, 0o700))
	if err := unix.Mount("gantry-test", path, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("NOT TESTED: a file system cannot be mounted here, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Errorf("%s is left mounted: %v", path, err)
		}
	})
	return &disk{t, path}
}

// remount waits for the files that a killed process still holds: it is a zombie before the last of its threads lets go
// of them.
func (d *disk) remount(flags uintptr, size string) {
	d.t.Helper()
	var err error
	require.Eventually(d.t, func() bool {
		err = unix.Mount("gantry-test", d.path, "tmpfs", unix.MS_REMOUNT|flags, "size="+size)
		return err != unix.EBUSY
	}, patience, time.Millisecond)
	require.NoError(d.t, err)
}

func (d *disk) free() uint64 {
	d.t.Helper()
	var info unix.Statfs_t
	require.NoError(d.t, unix.Statfs(d.path, &info))
	return info.Bavail * uint64(info.Bsize)
}

// noting is a function that notes every run of an event in a file, in the form of checkRuns. {"wait":ms} makes a run
// take that long, {"gate":file} lets it begin when the file is there; {"kill":…} ends the worker, or with "agent" the
// agent.
func noting(file string) string {
	return `const fs = require('fs'), fd = fs.openSync(` + strconv.Quote(file) + `, 'a');
const sleep = ms => new Promise(r => setTimeout(r, ms));
exports.handler = async (event, context) => {
    if (event.sync) return 'sync';
    while (event.gate && !fs.existsSync(event.gate)) await sleep(10);
    fs.writeSync(fd, Date.now() + ' ' + context.requestID + '\n');
    switch (event.kill) {
    case 'exit': process.exit(3);
    case 'abort': process.abort();
    case 'self': process.kill(process.pid, 'SIGKILL'); break;
    case 'agent': process.kill(process.ppid, 'SIGKILL'); break;
    }
    if (event.kill) await sleep(60000); // a signal takes its time
    if (event.wait) await sleep(event.wait);
    return 'ok';
};`
}

// runsIn counts the runs that a noting function has noted.
func runsIn(t *testing.T, file string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	runs := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if _, id, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			runs[id]++
		}
	}
	return runs
}

// pressed is an agent under load, and what the callers were answered.
type pressed struct {
	*running
	accepted killed // in the form of checkRuns

	mu           sync.Mutex
	refusals     map[string]int // by status and text
	unclear      []string       // neither 202 nor a clear refusal
	slowest      time.Duration
	calls        int // synchronous ones
	callsFailed  []string
	callsSlowest time.Duration

	stop func()
}

// press starts the load: callers who want an event accepted, and one who wants the function called.
func press(r *running, event string, callers int) *pressed {
	p := &pressed{running: r, accepted: killed{accepted: map[string]bool{}}, refusals: map[string]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers + 1}, Timeout: patience}
	var load sync.WaitGroup
	for range callers {
		load.Go(func() {
			for ctx.Err() == nil {
				p.accept(client, event)
			}
		})
	}
	load.Go(func() {
		for ctx.Err() == nil {
			p.callSync(client)
		}
	})
	p.stop = sync.OnceFunc(func() {
		cancel()
		load.Wait()
		client.CloseIdleConnections()
	})
	r.t.Cleanup(p.stop)
	return p
}

func (p *pressed) accept(client *http.Client, event string) bool {
	began := time.Now()
	a, err := post(client, p.api+asyncPath+"invocations-async", event)
	took := time.Since(began)
	var body struct {
		ID   string `json:"request_id"`
		Code string `json:"error_code"`
		Text string `json:"error_msg"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(a.body), &body)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slowest = max(p.slowest, took)
	switch {
	case err == nil && a.status == 202 && body.ID != "":
		p.accepted.mu.Lock()
		p.accepted.accepted[body.ID] = true
		p.accepted.mu.Unlock()
		return true
	case err == nil && body.Code == fmt.Sprintf("FSS.0%d", a.status) && (a.status == 429 || a.status == 503) && body.Text != "":
		p.refusals[fmt.Sprint(a.status, " ", body.Text)]++
	default:
		p.unclear = append(p.unclear, fmt.Sprint(err, a.status, a.body))
	}
	return false
}

func (p *pressed) callSync(client *http.Client) {
	began := time.Now()
	a, err := post(client, p.url+"/invoke", `{"sync":true}`)
	took := time.Since(began)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	p.callsSlowest = max(p.callsSlowest, took)
	if err != nil || a.status != 200 {
		p.callsFailed = append(p.callsFailed, fmt.Sprint(err, a.status, a.body))
	}
}

func post(client *http.Client, url, body string) (answer, error) {
	resp, err := client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

func (p *pressed) refused() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, times := range p.refusals {
		n += times
	}
	return n
}

func (p *pressed) synchronous() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

// until waits for a condition and returns how long; the agent must live meanwhile.
func (r *running) until(what string, condition func() bool) time.Duration {
	r.t.Helper()
	began := time.Now()
	require.Eventually(r.t, func() bool {
		select {
		case <-r.ended:
			r.t.Errorf("the agent died: %s", r.state)
			return true
		default:
			return condition()
		}
	}, patience, 5*time.Millisecond, what)
	require.False(r.t, r.t.Failed())
	return time.Since(began).Round(time.Millisecond)
}

// untilRefused waits until the fault shows, and synchronous calls go on with it.
func (p *pressed) untilRefused() time.Duration {
	p.t.Helper()
	refused := p.refused()
	took := p.until("refused", func() bool { return p.refused() > refused })
	calls := p.synchronous()
	p.until("synchronous calls go on", func() bool { return p.synchronous() > calls+10 })
	return took
}

// untilAccepted asks anew until an event is accepted: others may wait for an answer of a child that is dead.
func (p *pressed) untilAccepted() time.Duration {
	p.t.Helper()
	began := time.Now()
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		client := &http.Client{Timeout: patience}
		for !p.accept(client, `{}`) && time.Since(began) < patience {
			time.Sleep(10 * time.Millisecond)
		}
	}()
	p.until("accepted", func() bool {
		select {
		case <-accepted:
			return true
		default:
			return false
		}
	})
	return time.Since(began).Round(time.Millisecond)
}

// idle reports whether no request waits or runs.
func (r *running) idle() bool {
	a := r.request("GET", r.api+asyncPath+"active-async-invocations?limit=1", "")
	return a.status == 200 && strings.Contains(a.body, `"count":0,`)
}

// childStarts is how often the queue's child has become ready.
func (r *running) childStarts() int { return strings.Count(r.stderr.String(), queueProgram+" ready") }

// calm ends the load, waits until nothing is left to run, and holds what callers were answered against what must be.
func (p *pressed) calm() {
	p.t.Helper()
	p.stop()
	took := p.until("requests are left", p.idle)
	p.t.Logf("drained in %s; %d accepted, the slowest answer after %s; refused: %v; %d starts of the child; %d synchronous calls, %d failed, the slowest took %s",
		took, p.accepted.count(), p.slowest.Round(time.Millisecond), p.refusals, p.childStarts(), p.calls, len(p.callsFailed), p.callsSlowest.Round(time.Millisecond))
	require.Empty(p.t, p.unclear, "neither accepted nor clearly refused")
	require.Empty(p.t, p.callsFailed, "synchronous calls")
}

// end stops the agent and requires one run and a record SUCCESS of everything that was accepted.
func (p *pressed) end(runs string, env []string) {
	p.t.Helper()
	p.endAfter(0, runs, env)
}

// endAfter is end for an agent that one of two requests in flight has killed so many times: at each death the other one
// may have run and not be recorded yet.
func (p *pressed) endAfter(deaths int, runs string, env []string) {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	require.Zero(p.t, p.wait())
	_, data, _ := strings.Cut(env[0], "=")
	checkRuns(p.t, &p.accepted, runs, recordsIn(p.t, env[1], data))
	var again []string
	for id, n := range runsIn(p.t, runs) {
		if p.accepted.accepted[id] {
			again = append(again, slices.Repeat([]string{id}, n-1)...)
		}
	}
	require.LessOrEqual(p.t, len(again), deaths, "%s", again)
}

// TestFullDiskRefusesEventsAndLosesNone: a full disk costs refusals, and nothing that was accepted.
func TestFullDiskRefusesEventsAndLosesNone(t *testing.T) {
	t.Parallel()
	d := mountDisk(t, filepath.Join(t.TempDir(), "disk"), "8m")
	env, _ := queueSettings(t)
	env[0] = "GANTRY_DATA_DIR=" + filepath.Join(d.path, "data")
	runs := filepath.Join(t.TempDir(), "runs")
	p := press(ungated(t, noting(runs), append(env, "GANTRY_CONCURRENCY=4")...), `{"wait":100,"pad":"`+strings.Repeat("x", 64<<10)+`"}`, 4)
	p.until("full", func() bool { return strings.Contains(p.stderr.String(), "no space left on device") })
	t.Logf("full with %d accepted, %d bytes free; first refusal %s later", p.accepted.count(), d.free(), p.untilRefused())
	p.until("the child starts again and again", func() bool { return p.childStarts() >= 4 && p.refused() >= 10 })
	d.remount(0, "512m")
	t.Logf("accepted again %s after there was room", p.untilAccepted())
	p.calm()
	p.end(runs, env)
}

// TestReadOnlyStoreRefusesEventsUntilItIsWritable: the store becomes read-only while the agent runs, or is so when it
// starts.
func TestReadOnlyStoreRefusesEventsUntilItIsWritable(t *testing.T) {
	t.Parallel()
	env, data := queueSettings(t)
	d := mountDisk(t, filepath.Join(data, "store"), "512m")
	runs, gate := filepath.Join(t.TempDir(), "runs"), filepath.Join(t.TempDir(), "gate")
	env = append(env, "GANTRY_CONCURRENCY=4", "GANTRY_SHUTDOWN_TIMEOUT=2")
	p := press(ungated(t, noting(runs), env...), `{"wait":10}`, 4)
	p.until("accepted", func() bool { return p.accepted.count() >= 20 })
	p.withoutChild(func() { d.remount(unix.MS_RDONLY, "512m") }) // not while files are open for writing
	p.stderr.WaitFor(t, "the queue is disconnected")
	began, calls := time.Now(), p.synchronous()
	a := p.request("POST", p.api+asyncPath+"invocations-async", `{}`)
	requireError(t, a, 503, "FSS.0503", "the event could not be stored")
	t.Logf("read-only with %d accepted; refused after %s, with %d synchronous calls meanwhile", p.accepted.count(), time.Since(began).Round(time.Millisecond), p.synchronous()-calls)
	d.remount(0, "512m")
	t.Logf("accepted again %s after it could be written", p.untilAccepted())
	p.calm()

	// What waits at the start runs once the store can be written, even if no request opens the queue.
	var left []string
	for range 20 {
		left = append(left, p.enqueue(`{"gate":`+strconv.Quote(gate)+`}`))
	}
	p.signal(syscall.SIGTERM)
	require.Zero(t, p.wait())
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	d.remount(unix.MS_RDONLY, "512m")
	r := ungated(t, noting(runs), env...)
	r.stderr.WaitFor(t, "the queue cannot be opened")
	requireError(t, r.request("POST", r.api+asyncPath+"invocations-async", `{}`), 503, "FSS.0503", "the queue cannot be opened")
	require.Equal(t, 200, r.invoke(`{"sync":true}`).status)
	d.remount(0, "512m")
	ran := r.until("what was left runs", func() bool {
		got := runsIn(t, runs)
		for _, id := range left {
			if got[id] == 0 {
				return false
			}
		}
		return true
	})
	t.Logf("what was left when the agent started had run %s after the store could be written", ran)
	for _, id := range left {
		p.accepted.accepted[id] = true
	}
	r.until("requests are left", r.idle)
	p.running = r
	p.end(runs, env)
}

// withoutChild kills the child, and does something before the agent can start it again.
func (r *running) withoutChild(do func()) {
	r.t.Helper()
	child := childOf(r.t, r, queueProgram)
	r.signal(syscall.SIGSTOP)
	defer r.signal(syscall.SIGCONT)
	require.NoError(r.t, syscall.Kill(child, syscall.SIGKILL))
	require.Eventually(r.t, func() bool {
		stat, err := os.ReadFile("/proc/" + itoa(child) + "/stat") // there until the agent has collected it
		require.NoError(r.t, err)
		return strings.Contains(string(stat), ") Z ")
	}, patience, time.Millisecond)
	do()
}

// acceptedSince returns the requests that were accepted at a time or later.
func (p *pressed) acceptedSince(at time.Time) map[string]bool {
	p.t.Helper()
	p.accepted.mu.Lock()
	defer p.accepted.mu.Unlock()
	later := map[string]bool{}
	for id := range p.accepted.accepted {
		u, err := uuid.Parse(id)
		require.NoError(p.t, err)
		if sec, nsec := u.Time().UnixTime(); !time.Unix(sec, nsec).Before(at) {
			later[id] = true
		}
	}
	return later
}

// TestRemovedStoreIsLoggedAndMadeAgain: the folder is removed while it is in use. What was in it is lost, and the log
// says so; the queue goes on with a new one.
func TestRemovedStoreIsLoggedAndMadeAgain(t *testing.T) {
	t.Parallel()
	for name, part := range map[string]string{"store": "store", "data folder": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, data := queueSettings(t)
			runs := filepath.Join(t.TempDir(), "runs")
			r := ungated(t, noting(runs), append(env, "GANTRY_CONCURRENCY=4")...)
			set := r.request("PUT", r.api+asyncPath+"async-invoke-config", `{"max_async_retry_attempts":2}`)
			require.Equal(t, 200, set.status, set.body)
			p := press(r, `{"wait":20}`, 4)
			p.until("accepted", func() bool { return p.accepted.count() >= 200 })
			began := time.Now()
			p.until("removed", func() bool { return os.RemoveAll(filepath.Join(data, part)) == nil }) // files are made meanwhile
			r.stderr.WaitFor(t, "the queue's store is empty")
			t.Logf("noticed, and made again, in %s", time.Since(began).Round(time.Millisecond))
			for line := range strings.Lines(r.stderr.String()) {
				if strings.Contains(line, "was removed or replaced while it was in use; lost with it: messages: ") {
					t.Log(strings.TrimSpace(line))
					began = time.Time{}
				}
			}
			require.Zero(t, began, "the log does not say what is lost")
			p.untilAccepted()
			since := time.Now()
			p.until("accepted", func() bool { return len(p.acceptedSince(since)) >= 100 })
			p.calm()
			require.Equal(t, 2, p.childStarts())
			require.Equal(t, set.body, r.request("GET", r.api+asyncPath+"async-invoke-config", "").body, "the configuration in force")
			all := len(p.accepted.accepted)
			ran := runsIn(t, runs)
			p.accepted.accepted = p.acceptedSince(since)
			require.NotEmpty(t, p.accepted.accepted)
			t.Logf("%d accepted in all, %d ran; of the new store:", all, len(ran))
			p.end(runs, env)
		})
	}
}

// TestDamagedStoreIsLoggedAndWhatIsReadableRuns: files are damaged while the agent is down. It starts, says what is
// damaged, and what can be read runs.
func TestDamagedStoreIsLoggedAndWhatIsReadableRuns(t *testing.T) {
	const waiting = 20
	env, data := queueSettings(t)
	runs, gate := filepath.Join(t.TempDir(), "runs"), filepath.Join(t.TempDir(), "gate")
	env = append(env, "GANTRY_SHUTDOWN_TIMEOUT=2")
	r := ungated(t, noting(runs), env...)
	for range waiting {
		r.enqueue(`{"gate":` + strconv.Quote(gate) + `}`)
	}
	r.signal(syscall.SIGTERM)
	require.Zero(t, r.wait())
	require.NoError(t, os.WriteFile(gate, nil, 0o600))

	cut := func(b []byte) []byte { return b[:len(b)/2] }
	overwrite := func(b []byte) []byte { return []byte(strings.Repeat("!", len(b))) }
	inTheMiddle := func(b []byte) []byte { copy(b[len(b)/2:], strings.Repeat("!", 64)); return b }
	for _, c := range []struct {
		file   string // a pattern, below the folder of the streams
		damage func([]byte) []byte
		least  int    // of what waited runs
		says   string // in the log
	}{
		{"gantry_events_0/msgs/1.blk", cut, 5, "Stream state outdated"},
		{"gantry_events_0/msgs/1.blk", inTheMiddle, 5, "corrupt record state"},
		{"gantry_events_0/msgs/1.blk", overwrite, 0, "Stream state outdated"},
		{"gantry_events_0/msgs/1.blk", nil, 0, "could not locate msg block"},
		{"gantry_events_0/msgs/index.db", overwrite, waiting, "Stream state checksum did not match"},
		{"gantry_events_0/obs/*/o.dat", overwrite, waiting, "is damaged: it was moved to"},
		{"gantry_records/msgs/1.blk", overwrite, waiting, "Stream state outdated"},
		{"*/meta.*", overwrite, waiting, "checksums do not match"},
	} {
		name := c.file + " removed"
		if c.damage != nil {
			name = fmt.Sprintf("%s to %.8q", c.file, c.damage([]byte("01234567")))
		}
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			require.NoError(t, os.CopyFS(folder, os.DirFS(data)))
			files, err := filepath.Glob(filepath.Join(folder, "store/jetstream/$G/streams", c.file))
			require.NoError(t, err)
			require.NotEmpty(t, files)
			for _, file := range files {
				if c.damage == nil {
					require.NoError(t, os.Remove(file))
					continue
				}
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(file, c.damage(text), 0o600))
			}
			require.NoError(t, os.WriteFile(runs, nil, 0o600))
			r := ungated(t, noting(runs), append(env, "GANTRY_DATA_DIR="+folder)...)
			began := time.Now()
			id := r.enqueue(`{}`)
			r.waitStatus(id, "SUCCESS")
			took := time.Since(began)
			require.Equal(t, 200, r.invoke(`{"sync":true}`).status)
			r.until("what can be read runs", func() bool { return len(runsIn(t, runs)) > c.least })
			r.stderr.WaitFor(t, c.says)
			ran := runsIn(t, runs)
			for id, n := range ran {
				require.Equal(t, 1, n, id)
			}
			t.Logf("a new request took %s; of %d that waited %d ran", took.Round(time.Millisecond), waiting, len(ran)-1)
		})
	}
}

// TestAcceptedEventsRunOnceAfterDamageInUse: the child dies and leaves a damaged file behind. What was accepted runs,
// and once.
func TestAcceptedEventsRunOnceAfterDamageInUse(t *testing.T) {
	t.Parallel()
	env, data := queueSettings(t)
	runs := filepath.Join(t.TempDir(), "runs")
	p := press(ungated(t, noting(runs), append(env, "GANTRY_CONCURRENCY=4")...), `{"wait":10}`, 1)
	p.until("accepted", func() bool { return p.accepted.count() >= 50 })
	p.withoutChild(func() {
		files, err := filepath.Glob(filepath.Join(data, "store/jetstream/$G/streams/gantry_events_0/obs/*/o.dat"))
		require.NoError(t, err)
		require.Len(t, files, 1)
		require.NoError(t, os.WriteFile(files[0], []byte("damaged"), 0o600))
	})
	p.stderr.WaitFor(t, "is damaged: it was moved to")
	p.stderr.WaitFor(t, "a part of the queue's store is missing, and is made again")
	t.Logf("accepted again after %s", p.untilAccepted())
	p.calm()
	p.end(runs, env)
}

// poisonConfiguration allows two retries, and has failures noted in a file.
const poisonConfiguration = `{"max_async_retry_attempts":2,"destination_config":{"on_failure":{"destination":"OBS","param":"{\"bucket\":\"failures\"}"}}}`

// requirePoisoned checks that a request has failed with 4204, and its destination got one outcome message.
func (r *running) requirePoisoned(id, data string) {
	r.t.Helper()
	r.waitStatus(id, "FAIL")
	a := r.request("GET", r.api+asyncPath+"async-invocations?request_id="+id, "")
	require.Contains(r.t, a.body, `"error_code":4204`)
	r.waitMetric("gantry_async_notified_total", "1")
	files, err := filepath.Glob(filepath.Join(data, "notifications/OBS/failures/hello/*/*/*/*"))
	require.NoError(r.t, err)
	require.Len(r.t, files, 1)
	require.Equal(r.t, id+".json", filepath.Base(files[0]))
	text, err := os.ReadFile(files[0])
	require.NoError(r.t, err)
	require.Contains(r.t, string(text), `"condition":"RetriesExhausted"`)
}

// TestEventThatKillsWorkersIsRetriedAsConfigured: an event that kills the worker each time is tried as often as the
// configuration says, and makes no other call fail.
func TestEventThatKillsWorkersIsRetriedAsConfigured(t *testing.T) {
	t.Parallel()
	for _, kill := range []string{"exit", "abort", "self"} {
		t.Run(kill, func(t *testing.T) {
			t.Parallel()
			env, data := queueSettings(t)
			runs := filepath.Join(t.TempDir(), "runs")
			r := ungated(t, noting(runs), append(env, "GANTRY_ASYNC_RETRY_DELAY=0.05", "RUNTIME_TIMEOUT=60")...)
			require.Equal(t, 200, r.request("PUT", r.api+asyncPath+"async-invoke-config", poisonConfiguration).status)
			p := press(r, `{}`, 1)
			p.until("accepted", func() bool { return p.accepted.count() >= 20 })
			began := time.Now()
			id := r.enqueue(`{"kill":"` + kill + `"}`)
			r.requirePoisoned(id, data)
			t.Logf("failed after %s", time.Since(began).Round(time.Millisecond))
			p.untilAccepted()
			p.calm()
			require.Equal(t, 3, runsIn(t, runs)[id], "attempts")
			require.Equal(t, "1", r.metric("gantry_async_failed_total"))
			require.Equal(t, "2", r.metric("gantry_async_retried_total"))
			p.end(runs, env)
		})
	}
}

// TestEventThatKillsTheAgentFailsAfterItsRetries: the same with an event that kills the agent, which is started again
// each time.
func TestEventThatKillsTheAgentFailsAfterItsRetries(t *testing.T) {
	t.Parallel()
	env, data := queueSettings(t)
	runs, gate := filepath.Join(t.TempDir(), "runs"), filepath.Join(t.TempDir(), "gate")
	start := func() *running { return ungated(t, noting(runs), append(env, "RUNTIME_TIMEOUT=60")...) }
	r := start()
	require.Equal(t, 200, r.request("PUT", r.api+asyncPath+"async-invoke-config", poisonConfiguration).status)
	id := r.enqueue(`{"kill":"agent","gate":` + strconv.Quote(gate) + `}`)
	p := &pressed{accepted: killed{accepted: map[string]bool{}}}
	for range 20 {
		p.accepted.accepted[r.enqueue(`{}`)] = true
	}
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	deaths := 0
	for lives := false; !lives; {
		require.Eventually(t, func() bool {
			select {
			case <-r.ended:
				return true
			default:
				lives = r.tryStatus(id) == "FAIL"
				return lives
			}
		}, patience, 10*time.Millisecond)
		if !lives {
			deaths++
			require.Less(t, deaths, 10, "it kills agents for ever")
			hurry(t, env[1], data)
			r = start()
		}
	}
	r.requirePoisoned(id, data)
	r.until("requests are left", r.idle)
	ran := runsIn(t, runs)
	t.Logf("%d deaths of the agent, %d runs of the poison", deaths, ran[id])
	require.LessOrEqual(t, ran[id], 4)
	p.running = r
	p.endAfter(deaths, runs, env)
}

// tryStatus is status for an agent that may be dead.
func (r *running) tryStatus(id string) string {
	resp, err := http.Get(r.api + asyncPath + "async-invocations?request_id=" + id)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var page struct {
		Invocations []struct{ Status string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&page); err != nil || len(page.Invocations) == 0 {
		return ""
	}
	return page.Invocations[0].Status
}

// firstConsumer returns the name of a consumer of a stream.
func firstConsumer(t *testing.T, js jetstream.JetStream, stream string) string {
	t.Helper()
	of, err := js.Stream(t.Context(), stream)
	require.NoError(t, err)
	names := of.ConsumerNames(t.Context())
	name := <-names.Name()
	require.NoError(t, names.Err())
	return name
}

// hurry makes what a dead agent had taken come again at once, not when the server's patience ends. It does so as
// another agent would that takes it and hands it back.
func hurry(t *testing.T, program, data string) {
	t.Helper()
	sup := process.NewSupervisor(false)
	defer sup.Close()
	_, program, _ = strings.Cut(program, "=")
	local := child.New(&child.Config{Program: program, Folder: data, MaxBytes: 1 << 40, Supervisor: sup, Log: zap.NewNop()})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer func() { require.NoError(t, local.Stop(ctx)) }()
	conn, err := async.Local(local)(ctx)
	require.NoError(t, err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	for stream := range js.ListStreams(ctx).Info() {
		if stream.Config.Name != "gantry_events_0" || stream.State.Consumers == 0 {
			continue
		}
		runner, err := js.Consumer(ctx, stream.Config.Name, firstConsumer(t, js, stream.Config.Name))
		require.NoError(t, err)
		config := runner.CachedInfo().Config
		patient := config.AckWait
		config.AckWait = 500 * time.Millisecond // long enough that none comes twice
		_, err = js.UpdateConsumer(ctx, stream.Config.Name, config)
		require.NoError(t, err)
		taken := map[string]jetstream.Msg{}
		for len(taken) < int(stream.State.Msgs) {
			msg, err := runner.Next(jetstream.FetchMaxWait(patience))
			require.NoError(t, err)
			taken[msg.Subject()] = msg
		}
		config.AckWait = patient
		_, err = js.UpdateConsumer(ctx, stream.Config.Name, config)
		require.NoError(t, err)
		for _, msg := range taken {
			require.NoError(t, msg.NakWithDelay(time.Millisecond))
		}
		require.NoError(t, conn.Flush())
	}
}
