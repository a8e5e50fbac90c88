package e2e

import (
	"bytes"
	"encoding/json"
	"gantry/test/harness"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// note is what the misbehaving extension writes down about itself.
type note struct {
	What       string
	At         float64
	PID        int
	ID, Reason string
	Status     int
	DeadlineMs int64
	Events     []event
}

// notes reads them, in order; a line that is being written is left out.
func notes(t *testing.T, file string) []note {
	t.Helper()
	b, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	var all []note
	for line := range bytes.Lines(b) {
		var n note
		if bytes.HasSuffix(line, []byte("\n")) {
			require.NoError(t, json.Unmarshal(line, &n), "%s", line)
			all = append(all, n)
		}
	}
	return all
}

// where finds the first note of what was wanted; -1 without one.
func where(all []note, wanted func(*note) bool) int {
	return slices.IndexFunc(all, func(n note) bool { return wanted(&n) })
}

// reported finds the note of the batch that has the report of a call.
func reported(id string) func(*note) bool {
	return func(n *note) bool {
		return slices.ContainsFunc(n.Events, func(e event) bool { return e.Name == "platform.report" && e.TraceID == id })
	}
}

// are counts the notes of one kind.
func are(all []note, what string) int {
	n := 0
	for i := range all {
		if all[i].What == what {
			n++
		}
	}
	return n
}

// misbehaving writes one script for each row, the misbehaving extension with variables of its own, and returns their
// folder. The first variable of a row is its name.
func misbehaving(t *testing.T, rows ...[]string) string {
	t.Helper()
	chaos, err := filepath.Abs("../../examples/chaos/extension/chaos.py")
	require.NoError(t, err)
	files := map[string]string{}
	for _, row := range rows {
		script := "#!/bin/sh\nexport CHAOS_NAME=" + row[0] + "\n"
		for _, variable := range row[1:] {
			script += "export " + variable + "\n"
		}
		files[row[0]] = script + "exec python3 -u " + chaos + "\n"
	}
	return writeFiles(t, files)
}

// registered waits until so many extensions are registered.
func (r *running) registered(n int) {
	r.t.Helper()
	r.waitMetric("gantry_extensions_registered", itoa(n))
}

// TestNineBadExtensionsDisturbNeitherCallsNorTheTenth: nine misbehave, each in its own way. All calls succeed, and
// the healthy one is notified of all.
func TestNineBadExtensionsDisturbNeitherCallsNorTheTenth(t *testing.T) {
	harness.FixedPorts(t)
	file := filepath.Join(t.TempDir(), "notes")
	signal := filepath.Join(t.TempDir(), "signal")
	dir := misbehaving(t,
		[]string{"extension_healthy.sh", "CHAOS_ADDR=127.0.0.1:8081", "CHAOS_RECORD=" + file},
		[]string{"extension_silent.sh", "CHAOS=silent"},
		[]string{"extension_twice.sh", "CHAOS=twice", "CHAOS_ADDR=127.0.0.1:8082"},
		[]string{"extension_wrong.sh", "CHAOS=wrong", "CHAOS_ADDR=127.0.0.1:8083"},
		[]string{"extension_crash.sh", "CHAOS=crash"},
		[]string{"extension_fragile.sh", "CHAOS=fragile", "CHAOS_ADDR=127.0.0.1:8084"},
		[]string{"extension_never.sh", "CHAOS=never", "CHAOS_ADDR=127.0.0.1:8085"},
		[]string{"extension_error.sh", "CHAOS=error", "CHAOS_ADDR=127.0.0.1:8086"},
		[]string{"extension_flood.sh", "CHAOS=flood", "CHAOS_ADDR=127.0.0.1:8087"},
		[]string{"extension_thief.sh", "CHAOS=deaf", "CHAOS_ADDR=127.0.0.1:8082", "CHAOS_AFTER=" + signal},
	)
	r := function(t, okFunction, "GANTRY_EXTENSION_DIRS="+dir, "GANTRY_EXTENSION_WAIT=1.5", "GANTRY_EXTENSION_RESTART=true", "GANTRY_SHUTDOWN_TIMEOUT=2")
	require.Equal(t, 200, r.invoke("{}").status)
	for _, name := range []string{"healthy", "twice", "never", "error", "flood"} {
		r.stderr.WaitFor(t, `extension registered {"extension": "extension_`+name+`.sh"`)
	}
	r.stderr.WaitFor(t, "AlreadyRegistered")
	require.NoError(t, os.WriteFile(signal, nil, 0o644))
	r.stderr.WaitFor(t, "AddressInUse")
	r.stderr.WaitFor(t, "InvalidAddress")
	const calls = 50
	var ids []string
	slowest := time.Duration(0)
	for range calls {
		began := time.Now()
		a := r.invoke("{}")
		slowest = max(slowest, time.Since(began))
		require.Equal(t, 200, a.status, a.body)
		ids = append(ids, a.header.Get("X-Cff-Request-Id"))
	}
	for _, id := range ids {
		require.Eventually(t, func() bool { return where(notes(t, file), func(n *note) bool { return n.ID == id }) >= 0 }, patience, 20*time.Millisecond)
	}
	stopped := r.stop()
	t.Logf("%d calls beside nine that misbehave, the slowest took %s; the healthy one got all notifications; the stop took %s", calls, slowest, stopped)
	require.Less(t, slowest, 20*time.Second)
	require.Less(t, stopped, 2*time.Second+5*time.Second)
}

// TestRegistrationFloodDisturbsNeitherCallsNorLog: a thousand registrations a second, good and bad, disturb neither
// calls nor the log.
func TestRegistrationFloodDisturbsNeitherCallsNorLog(t *testing.T) {
	harness.FixedPorts(t)
	r := function(t, okFunction, "GANTRY_EXTENSION_WAIT=60")
	s := r.beside("extensionGood", 8081)
	require.Equal(t, 200, r.subscribe("", "http://"+s.addr).status)
	alone := r.took(100, "{}")
	const clients, lasts = 4, 3 * time.Second
	var asked, answered atomic.Int64
	until := time.Now().Add(lasts)
	var flood sync.WaitGroup
	for client := range clients {
		flood.Go(func() {
			connection := &http.Client{Transport: &http.Transport{}}
			defer connection.CloseIdleConnections()
			tick := time.NewTicker(time.Second * clients / 1000)
			defer tick.Stop()
			for i := client; time.Now().Before(until); i += clients {
				<-tick.C
				asked.Add(1)
				if floods(connection, r.ext, i) {
					answered.Add(1)
				}
			}
		})
	}
	var took []time.Duration
	for time.Now().Before(until) {
		took = append(took, r.took(1, "{}"))
	}
	flood.Wait()
	slices.Sort(took)
	median := took[len(took)/2]
	log, peak := strings.Count(r.stderr.String(), "\n"), r.peak()
	r.registered(1)
	c := r.totals()
	t.Logf("%d registrations in %s, %d as expected; %d calls meanwhile, the median %.1f times as long as alone (%s); %d MB, %d lines of log; telemetry: %s",
		asked.Load(), lasts, answered.Load(), len(took), float64(median)/float64(alone), median, peak, log, c)
	require.Equal(t, asked.Load(), answered.Load())
	require.Less(t, median, 10*alone+time.Second)
	require.Less(t, peak, memoryLimit())
	require.Less(t, log, 200)
	require.Less(t, c.accepted, 5*len(took)+2000, "refusals are events, but not each")
	s.waitFor(1, func(e *event) bool { return e.State == "Refused" })
}

// floods sends one of several registrations and reports whether it was answered as it should be.
func floods(client *http.Client, api string, i int) bool {
	path := "/extension/register"
	kinds := []struct {
		name, address string
		status        int
	}{
		{"extensionGood", "127.0.0.1:8081", 200},
		{"", "", 400}, // a subscription without a body
		{"extensionOther" + itoa(i), "127.0.0.1:8081", 409},
		{"extensionGood", "127.0.0.1:8082", 409},
		{"", "127.0.0.1:8082", 400},
		{"extension/" + itoa(i), "127.0.0.1:8082", 400},
		{"extensionFar" + strings.Repeat("x", 200), "192.168.1.1:8081", 400},
	}
	k := kinds[i%len(kinds)]
	if k.address == "" {
		path = "/telemetry"
	}
	req, err := http.NewRequest("POST", api+path, nil)
	if err != nil {
		return false
	}
	req.Header.Set("FunctionGraph-Extension-Name", k.name)
	req.Header.Set("FunctionGraph-Extension-Address", k.address)
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == k.status
}

// TestKilledExtensionsComeBackAndNoCallFails: extensions are killed under load and come back; no call fails, and a
// subscriber sees it.
func TestKilledExtensionsComeBackAndNoCallFails(t *testing.T) {
	harness.FixedPorts(t)
	names := []string{"extension_a.sh", "extension_b.sh"}
	files := map[string]string{}
	var rows [][]string
	for i, name := range names {
		files[name] = filepath.Join(t.TempDir(), name)
		rows = append(rows, []string{name, "CHAOS_ADDR=127.0.0.1:" + itoa(8081+i), "CHAOS_RECORD=" + files[name]})
	}
	r := function(t, okFunction, "GANTRY_EXTENSION_DIRS="+misbehaving(t, rows...), "GANTRY_EXTENSION_WAIT=60", "GANTRY_EXTENSION_RESTART=true", "GANTRY_CONCURRENCY=4")
	s := r.beside("extensionWitness", 8083)
	require.Equal(t, 200, r.subscribe("", "http://"+s.addr).status)
	require.Equal(t, 200, r.invoke("{}").status)
	r.registered(3)
	var calls, failed atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 3 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				calls.Add(1)
				if a := r.try("{}"); a.status != 200 {
					failed.Add(1)
				}
			}
		})
	}
	began, kills := time.Now(), 0
	for round := 1; round <= 3; round++ {
		for _, name := range names {
			time.Sleep(rand.N(100 * time.Millisecond)) // anywhere in a notification
			all := notes(t, files[name])
			require.NoError(t, syscall.Kill(all[len(all)-1].PID, syscall.SIGKILL))
			kills++
		}
		s.waitFor(kills, func(e *event) bool { return e.State == "Exited" && strings.Contains(e.Detail, "SIGKILL") })
		s.waitFor(len(names)+kills, func(e *event) bool { return e.State == "Registered" && slices.Contains(names, e.Extension) })
		r.registered(3)
	}
	close(stop)
	load.Wait()
	t.Logf("%d kills in %s beside %d calls, of which %d failed", kills, time.Since(began).Round(time.Millisecond), calls.Load(), failed.Load())
	require.Zero(t, failed.Load())
	for _, name := range names {
		got := are(notes(t, files[name]), "invoke")
		id := r.invoke("{}").header.Get("X-Cff-Request-Id")
		require.Eventually(t, func() bool {
			return where(notes(t, files[name]), func(n *note) bool { return n.ID == id }) >= 0
		}, patience, 10*time.Millisecond, "%s gets notifications as before", name)
		t.Logf("%s got notifications of %d calls", name, got)
	}
	require.Equal(t, "0", r.metric(`gantry_notification_drops_total{slot="8083"}`))
}

// TestShutdownEndsCallThenWorkerThenExtension: the call, the worker, its report, the notice, TERM; and no longer than
// needed.
func TestShutdownEndsCallThenWorkerThenExtension(t *testing.T) {
	harness.FixedPorts(t)
	code := writeFiles(t, map[string]string{"index.js": `const fs = require('fs');
setInterval(() => fs.appendFileSync(__dirname + '/alive', Date.now() / 1000 + '\n'), 5);
exports.initializer = (c, callback) => setTimeout(() => callback(new TypeError('no database')), 300);
exports.handler = async (e, c) => { await new Promise((r) => setTimeout(r, e.ms || 0)); console.log('done'); return 'ok' }`})
	shutting := func(t *testing.T, how string, env ...string) (*running, string) {
		file := filepath.Join(t.TempDir(), "notes")
		dir := misbehaving(t, []string{"extension_notes.sh", "CHAOS=" + how, "CHAOS_EVENTS=INVOKE,SHUTDOWN", "CHAOS_TELEMETRY=good", "CHAOS_RECORD=" + file})
		return prepare(t, code, append([]string{"GANTRY_EXTENSION_DIRS=" + dir, "GANTRY_EXTENSION_WAIT=60"}, env...)...), file
	}
	running := func(r *running, file string) {
		r.launch()
		r.findAddresses()
		require.Equal(r.t, 200, r.invoke("{}").status)
		require.Eventually(r.t, func() bool { return are(notes(r.t, file), "/telemetry") == 1 }, patience, 5*time.Millisecond)
	}
	t.Run("in order", func(t *testing.T) {
		r, file := shutting(t, "good")
		running(r, file)
		last := make(chan answer, 1)
		go func() { last <- r.try(`{"ms":500}`) }()
		r.waitMetric("gantry_invocations_in_flight", "1")
		began := time.Now()
		r.signal(syscall.SIGTERM)
		a := <-last
		answered := time.Since(began)
		require.Equal(t, 0, r.wait())
		stopped := time.Since(began)
		require.Equal(t, 200, a.status, a.body)
		all := notes(t, file)
		report := where(all, reported(a.header.Get("X-Cff-Request-Id")))
		notice := where(all, func(n *note) bool { return n.What == "shutdown" })
		term := where(all, func(n *note) bool { return n.What == "TERM" })
		require.GreaterOrEqual(t, report, 0, "the report of the last call")
		require.Greater(t, notice, report)
		require.Greater(t, term, notice)
		require.Equal(t, "spindown", all[notice].Reason)
		alive, err := os.ReadFile(filepath.Join(code, "alive"))
		require.NoError(t, err)
		beats := strings.Fields(string(alive))
		worker, err := strconv.ParseFloat(beats[len(beats)-1], 64)
		require.NoError(t, err)
		require.Less(t, worker, all[notice].At, "the worker ends first")
		c := r.accounts()
		require.Equal(t, c.accepted, c.gone())
		t.Logf("answered after %s, worker last alive %.0f ms before the notice, TERM %.0f ms after it, all in %s of 8s; %s", answered.Round(time.Millisecond),
			1000*(all[notice].At-worker), 1000*(all[term].At-all[notice].At), stopped.Round(time.Millisecond), c)
	})
	t.Run("ignores both", func(t *testing.T) {
		r, file := shutting(t, "stubborn,mute", "GANTRY_SHUTDOWN_TIMEOUT=3")
		running(r, file)
		stopped := r.stop()
		all := notes(t, file)
		require.Equal(t, 1, are(all, "shutdown"))
		r.stderr.WaitFor(t, "shutdown notice not answered by the extension")
		r.stderr.WaitFor(t, "extension killed")
		t.Logf("the stop took %s of 3s", stopped.Round(time.Millisecond))
		require.Less(t, stopped, 3*time.Second+5*time.Second)
		require.ErrorIs(t, syscall.Kill(all[0].PID, 0), syscall.ESRCH)
	})
	t.Run("failure", func(t *testing.T) {
		r, file := shutting(t, "good", "GANTRY_EXIT_ON_FAILURE=true", "RUNTIME_INITIALIZER_HANDLER=index.initializer")
		r.launch()
		require.Equal(t, exitFunction, r.wait())
		all := notes(t, file)
		notice := where(all, func(n *note) bool { return n.What == "shutdown" })
		require.GreaterOrEqual(t, notice, 0)
		require.Equal(t, "failure", all[notice].Reason)
		require.GreaterOrEqual(t, where(all, func(n *note) bool {
			return slices.ContainsFunc(n.Events, func(e event) bool { return e.Name == "platform.initReport" && e.Status == "error" })
		}), 0, "why it failed")
	})
}

// TestFunctionTakesNoCallsWithoutItsRequiredExtension: without it the function does not start, and takes no calls.
func TestFunctionTakesNoCallsWithoutItsRequiredExtension(t *testing.T) {
	harness.FixedPorts(t)
	t.Run("missing at the start", func(t *testing.T) {
		r := function(t, okFunction, "GANTRY_EXTENSION_REQUIRED=extensionGhost.sh", "GANTRY_EXTENSION_WAIT=0.3")
		began := time.Now()
		a := r.invoke("{}")
		t.Logf("answered with %d after %s: %s", a.status, time.Since(began).Round(time.Millisecond), a.body)
		require.Equal(t, 503, a.status)
		require.Contains(t, a.body, "Extension.RequiredMissing")
		require.Contains(t, a.body, "extensionGhost.sh")
		require.Equal(t, 503, r.ready().status)
		r.stderr.WaitFor(t, "the function cannot be loaded or initialised")
		r.beside("extensionGhost.sh", 8081) // after all
		a = r.invoke("{}")
		t.Logf("once it is there: %d %s", a.status, a.body)
		r.signal(syscall.SIGHUP)
		require.Eventually(t, func() bool { return r.ready().status == 200 }, patience, 5*time.Millisecond)
		require.Equal(t, 200, r.invoke("{}").status)

		dead := prepare(t, r.dir, "GANTRY_EXTENSION_REQUIRED=extensionGhost.sh", "GANTRY_EXTENSION_WAIT=0.3", "GANTRY_EXIT_ON_FAILURE=true")
		began = time.Now()
		dead.launch()
		require.Equal(t, exitFunction, dead.wait())
		require.Contains(t, dead.stderr.String(), "Extension.RequiredMissing")
		t.Logf("with GANTRY_EXIT_ON_FAILURE it ended after %s", time.Since(began).Round(time.Millisecond))
	})
	t.Run("ends while serving", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "notes")
		dir := misbehaving(t, []string{"extension_needed.sh", "CHAOS_RECORD=" + file})
		r := function(t, okFunction, "GANTRY_EXTENSION_DIRS="+dir, "GANTRY_EXTENSION_REQUIRED=extension_needed.sh", "GANTRY_EXTENSION_WAIT=60")
		require.Equal(t, 200, r.invoke("{}").status)
		require.NoError(t, syscall.Kill(notes(t, file)[0].PID, syscall.SIGKILL))
		r.registered(0)
		began := time.Now()
		var waiting sync.WaitGroup
		for range 5 {
			waiting.Go(func() {
				if a := r.try("{}"); a.status != 200 {
					t.Errorf("a call that waited has status %d: %s", a.status, a.body)
				}
			})
		}
		waiting.Wait()
		t.Logf("five calls waited %s for it to come back", time.Since(began).Round(time.Millisecond))
		require.GreaterOrEqual(t, time.Since(began), 300*time.Millisecond, "it is started anew after half a second")
	})
	t.Run("never comes back", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "notes")
		dir := misbehaving(t, []string{"extension_needed.sh", "CHAOS_RECORD=" + file})
		r := function(t, okFunction, "GANTRY_EXTENSION_DIRS="+dir, "GANTRY_EXTENSION_REQUIRED=extension_needed.sh", "GANTRY_EXTENSION_WAIT=60")
		require.Equal(t, 200, r.invoke("{}").status)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "extension_needed.sh"), []byte("#!/bin/sh\nexit 7\n"), 0o755))
		require.NoError(t, syscall.Kill(notes(t, file)[0].PID, syscall.SIGKILL))
		r.registered(0)
		require.Equal(t, 503, r.ready().status)
		waits := make(chan answer, 1)
		go func() { waits <- r.try("{}") }()
		r.stderr.WaitFor(t, "exit code 7")
		began := time.Now()
		r.signal(syscall.SIGTERM)
		a := <-waits
		require.Equal(t, 503, a.status, a.body)
		t.Logf("a call that waits when the stop comes is answered after %s: %s", time.Since(began).Round(time.Millisecond), a.body)
		require.Equal(t, 0, r.wait())
	})
	t.Run("does not come back in time", func(t *testing.T) {
		gone := filepath.Join(t.TempDir(), "gone")
		dir := writeFiles(t, map[string]string{"extension_needed.sh": "#!/bin/sh\n" + // no Python: it has three seconds to start
			"curl -s -d '' -H 'FunctionGraph-Extension-Name: extension_needed.sh' -H 'FunctionGraph-Extension-Address: 127.0.0.1:8083' " +
			"-H 'FunctionGraph-Extension-Events: SHUTDOWN' http://$EXTENSION_API_ADDR/extension/register\n" +
			"while ! test -e " + gone + "; do sleep 0.05; done\n"})
		r := function(t, okFunction, "GANTRY_EXTENSION_DIRS="+dir, "GANTRY_EXTENSION_REQUIRED=extension_needed.sh", "GANTRY_EXTENSION_WAIT=3")
		require.Equal(t, 200, r.invoke("{}").status)
		require.NoError(t, os.Remove(filepath.Join(dir, "extension_needed.sh")))
		require.NoError(t, os.WriteFile(gone, nil, 0o644))
		r.registered(0)
		began := time.Now()
		a := r.invoke("{}")
		require.Equal(t, 503, a.status, a.body)
		require.Contains(t, a.body, "Extension.RequiredMissing")
		t.Logf("answered with 503 after %s of 3s", time.Since(began).Round(time.Millisecond))
	})
}

// state is the state of a process as the kernel has it: T when it is stopped, empty when it is gone.
func state(pid int) string {
	b, err := os.ReadFile("/proc/" + itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	return strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))[0]
}

// TestWorkerAndExtensionsStandStillBetweenCalls: between calls worker and extensions stand still; no call notices.
func TestWorkerAndExtensionsStandStillBetweenCalls(t *testing.T) {
	harness.FixedPorts(t)
	for _, mode := range []string{"async", "sync"} {
		t.Run(mode, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "notes")
			dir := misbehaving(t, []string{"extension_cold.sh", "CHAOS_EVENTS=INVOKE,SHUTDOWN", "CHAOS_MODE=" + mode, "CHAOS_TELEMETRY=good", "CHAOS_RECORD=" + file})
			r := function(t, okFunction, "GANTRY_EXTENSION_DIRS="+dir, "GANTRY_EXTENSION_WAIT=60", "GANTRY_FREEZE=true")
			r.stderr.WaitFor(t, "telemetry subscribed") // it could not while it stands still
			require.Equal(t, 200, r.invoke("{}").status)
			pids := []int{notes(t, file)[0].PID}
			for _, pid := range r.children() {
				if pid != pids[0] {
					pids = append(pids, pid)
				}
			}
			require.Len(t, pids, 2, "a worker and an extension")
			frozen := func() {
				t.Helper()
				require.Eventually(t, func() bool { return state(pids[0]) == "T" && state(pids[1]) == "T" }, patience, time.Millisecond, "not stopped: %v", pids)
			}
			frozen()
			ids := []string{r.invoke("{}").header.Get("X-Cff-Request-Id")}
			frozen()
			before := where(notes(t, file), reported(ids[0])) >= 0 // on a machine that is not too busy
			const calls = 60
			var slowest time.Duration
			for range calls {
				time.Sleep(rand.N(20 * time.Millisecond)) // before, in, and after the freeze
				began := time.Now()
				a := r.invoke("{}")
				slowest = max(slowest, time.Since(began))
				require.Equal(t, 200, a.status, a.body)
				ids = append(ids, a.header.Get("X-Cff-Request-Id"))
			}
			frozen()
			require.Equal(t, calls+2, are(notes(t, file), "invoke"))
			stopped := r.stop()
			all := notes(t, file)
			for _, id := range ids {
				require.GreaterOrEqual(t, where(all, reported(id)), 0, "the report of %s", id)
			}
			require.Equal(t, 1, are(all, "shutdown"), "it is awake for the notice")
			require.Equal(t, 1, are(all, "TERM"))
			c := r.accounts()
			require.Equal(t, c.accepted, c.gone())
			t.Logf("the report came before the freeze: %t; %d calls, the slowest took %s; stopped out of the freeze in %s; %s", before, calls, slowest, stopped.Round(time.Millisecond), c)
		})
	}
	t.Run("reload, signal and kill", func(t *testing.T) {
		dir := misbehaving(t, []string{"extension_cold.sh"})
		r := function(t, okFunction, "GANTRY_EXTENSION_DIRS="+dir, "GANTRY_EXTENSION_WAIT=60", "GANTRY_EXTENSION_RESTART=true", "GANTRY_FREEZE=true")
		frozen := func() []int {
			t.Helper()
			require.Equal(t, 200, r.invoke("{}").status)
			var pids []int
			require.Eventually(t, func() bool {
				pids = r.children()
				return len(pids) == 2 && state(pids[0]) == "T" && state(pids[1]) == "T"
			}, patience, time.Millisecond)
			return pids
		}
		before := frozen()
		r.signal(syscall.SIGHUP)
		r.stderr.WaitFor(t, "reload")
		after := frozen()
		require.NotElementsMatch(t, before, after)
		for _, pid := range after { // worker and extension die while they are stopped
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		}
		r.stderr.WaitFor(t, "worker ended")
		require.Equal(t, 200, r.invoke("{}").status)
		r.stderr.WaitFor(t, "it is started anew")
		r.registered(1)
		frozen()
	})
}

// children are the processes that the agent has started.
func (r *running) children() []int {
	r.t.Helper()
	tasks, err := filepath.Glob("/proc/" + itoa(r.cmd.Process.Pid) + "/task/*/children")
	require.NoError(r.t, err)
	var all []int
	for _, task := range tasks {
		b, _ := os.ReadFile(task) // a thread may have ended
		for _, field := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(field)
			require.NoError(r.t, err)
			if state(pid) != "Z" {
				all = append(all, pid)
			}
		}
	}
	return all
}

// TestTelemetryLeftByTheFreezeComesAfterTheThaw: a subscriber that is too slow to get everything before the freeze
// gets the rest after the thaw.
func TestTelemetryLeftByTheFreezeComesAfterTheThaw(t *testing.T) {
	harness.FixedPorts(t)
	file := filepath.Join(t.TempDir(), "notes")
	dir := misbehaving(t, []string{"extension_cold.sh", "CHAOS_TELEMETRY=slow", "CHAOS_TELEMETRY_SECONDS=1.5", "CHAOS_RECORD=" + file})
	r := function(t, okFunction, "GANTRY_EXTENSION_DIRS="+dir, "GANTRY_EXTENSION_WAIT=60", "GANTRY_FREEZE=true")
	r.stderr.WaitFor(t, "telemetry subscribed")
	began := time.Now()
	id := r.invoke("{}").header.Get("X-Cff-Request-Id")
	pid := notes(t, file)[0].PID
	require.Eventually(t, func() bool { return state(pid) == "T" }, patience, time.Millisecond)
	before := where(notes(t, file), reported(id)) >= 0
	t.Logf("frozen after %s; its report was delivered by then: %t", time.Since(began).Round(time.Millisecond), before)
	time.Sleep(2200 * time.Millisecond) // longer than an attempt: a frozen subscriber cannot answer it
	require.Equal(t, "T", state(pid))
	require.Equal(t, 200, r.invoke("{}").status)
	require.Eventually(t, func() bool { return where(notes(t, file), reported(id)) >= 0 }, patience, 10*time.Millisecond)
	require.Empty(t, r.totals().dropped)
}

// TestAsyncRequestThawsTheInstanceAndItFreezesAgain: asynchronous requests thaw the instance too, and it freezes
// again after them.
func TestAsyncRequestThawsTheInstanceAndItFreezesAgain(t *testing.T) {
	harness.FixedPorts(t)
	env, _ := queueSettings(t)
	file := filepath.Join(t.TempDir(), "notes")
	dir := misbehaving(t, []string{"extension_cold.sh", "CHAOS_TELEMETRY=good", "CHAOS_RECORD=" + file})
	r := ungated(t, okFunction, append(env, "GANTRY_EXTENSION_DIRS="+dir, "GANTRY_EXTENSION_WAIT=60", "GANTRY_FREEZE=true")...)
	r.stderr.WaitFor(t, "telemetry subscribed")
	require.Equal(t, 200, r.invoke("{}").status)
	pid := notes(t, file)[0].PID
	frozen := func() {
		t.Helper()
		require.Eventually(t, func() bool { return state(pid) == "T" }, patience, time.Millisecond)
	}
	for range 5 {
		frozen()
		id := r.enqueue("{}")
		r.waitStatus(id, "SUCCESS")
		require.Eventually(t, func() bool { return where(notes(t, file), reported(id)) >= 0 }, patience, 5*time.Millisecond)
		frozen()
	}
	t.Logf("the stop took %s", r.stop().Round(time.Millisecond))
	require.Equal(t, 1, are(notes(t, file), "TERM"))
}

// TestCallsDoNotWaitForALateExtension: calls do not wait for an extension that is late; it is notified of later ones,
// and gets what was kept of its telemetry.
func TestCallsDoNotWaitForALateExtension(t *testing.T) {
	harness.FixedPorts(t)
	file := filepath.Join(t.TempDir(), "notes")
	signal := filepath.Join(t.TempDir(), "signal")
	dir := misbehaving(t, []string{"extension_late.sh", "CHAOS_AFTER=" + signal, "CHAOS_TELEMETRY=good", "CHAOS_RECORD=" + file})
	r := function(t, okFunction, "GANTRY_EXTENSION_DIRS="+dir, "GANTRY_EXTENSION_WAIT=0.1")
	early := r.invoke("{}").header.Get("X-Cff-Request-Id")
	r.stderr.WaitFor(t, "the function starts without it")
	require.NoError(t, os.WriteFile(signal, nil, 0o644))
	r.stderr.WaitFor(t, "telemetry subscribed")
	late := r.invoke("{}").header.Get("X-Cff-Request-Id")
	require.Eventually(t, func() bool { return where(notes(t, file), reported(late)) >= 0 }, patience, 5*time.Millisecond)
	all := notes(t, file)
	require.GreaterOrEqual(t, where(all, reported(early)), 0, "what was before the subscription is kept for it")
	require.GreaterOrEqual(t, where(all, func(n *note) bool {
		return slices.ContainsFunc(n.Events, func(e event) bool { return e.Name == "platform.initStart" })
	}), 0)
	require.Negative(t, where(all, func(n *note) bool { return n.ID == early }), "there is no later notification of a call")
	require.Eventually(t, func() bool { return where(notes(t, file), func(n *note) bool { return n.ID == late }) >= 0 }, patience, 5*time.Millisecond)
}

// TestCallWaitsTwoSecondsAtMostForSyncExtension: a call waits for an extension that asked for it, two seconds at
// most, and before its own time.
func TestCallWaitsTwoSecondsAtMostForSyncExtension(t *testing.T) {
	harness.FixedPorts(t)
	waits := func(t *testing.T, how, seconds string) (*running, time.Duration, float64) {
		dir := misbehaving(t, []string{"extension_sync.sh", "CHAOS=" + how, "CHAOS_MODE=sync", "CHAOS_SECONDS=" + seconds})
		r := function(t, okFunction, "GANTRY_EXTENSION_DIRS="+dir, "GANTRY_EXTENSION_WAIT=60", "RUNTIME_TIMEOUT=1.5", "GANTRY_SHUTDOWN_TIMEOUT=2")
		r.registered(1)
		began := time.Now()
		a := r.invoke("{}")
		took := time.Since(began)
		require.Equal(t, 200, a.status, a.body)
		var summary struct{ Duration float64 }
		require.NoError(t, json.Unmarshal([]byte(a.header.Get("X-Cff-Invoke-Summary")), &summary))
		t.Logf("%s: the call took %s, of which the function %.1f ms", how, took.Round(time.Millisecond), summary.Duration)
		return r, took, summary.Duration
	}
	t.Run("slow", func(t *testing.T) {
		_, took, _ := waits(t, "slow", "1.7")
		require.GreaterOrEqual(t, took, 1700*time.Millisecond, "longer than the function's deadline, which comes after it")
		require.Less(t, took, 10*time.Second)
	})
	t.Run("never", func(t *testing.T) {
		r, took, _ := waits(t, "never", "0")
		require.GreaterOrEqual(t, took, 1900*time.Millisecond)
		require.Less(t, took, 12*time.Second)
		r.stderr.WaitFor(t, "a call goes on without the answer")
		require.Less(t, r.stop(), 2*time.Second+5*time.Second)
	})
}

// TestInvokeTimelineShowsWhatEachExtensionCost: invoke says which extension cost what, and ends though one of them
// hangs.
func TestInvokeTimelineShowsWhatEachExtensionCost(t *testing.T) {
	harness.FixedPorts(t)
	dir := misbehaving(t,
		[]string{"extension_never.sh", "CHAOS=never", "CHAOS_ADDR=127.0.0.1:8081"},
		[]string{"extension_sync.sh", "CHAOS=slow", "CHAOS_MODE=sync", "CHAOS_SECONDS=0.3", "CHAOS_ADDR=127.0.0.1:8082"},
		[]string{"extension_error.sh", "CHAOS=error,stubborn", "CHAOS_TELEMETRY=hang", "CHAOS_ADDR=127.0.0.1:8083"})
	r := prepare(t, writeFiles(t, map[string]string{"index.js": okFunction}), "GANTRY_EXTENSION_DIRS="+dir, "GANTRY_EXTENSION_WAIT=60", "GANTRY_SHUTDOWN_TIMEOUT=4")
	r.cmd.Args = []string{r.cmd.Args[0], "invoke", "--timeline"}
	began := time.Now()
	r.launch()
	require.Equal(t, 0, r.wait())
	took := time.Since(began)
	var timeline []string
	for line := range strings.Lines(r.stderr.String()) {
		if strings.Contains(line, " ms  ") {
			timeline = append(timeline, strings.TrimSpace(line))
		}
	}
	text := strings.Join(timeline, "\n")
	t.Logf("%s in all\n%s", took.Round(time.Millisecond), text)
	require.Regexp(t, `(?m)^[0-9.]+ ms  extension_never.sh, beside the handler: .*timeout$`, text)
	require.Regexp(t, `(?m)^([3-9]\d\d|\d{4,})\.\d+ ms  extension_sync.sh, before the handler \(sync\)`, text)
	require.Regexp(t, `(?m)^[0-9.]+ ms  extension_error.sh, beside the handler: (status 500|.*timeout)$`, text)
	require.Less(t, took, 30*time.Second)
}
