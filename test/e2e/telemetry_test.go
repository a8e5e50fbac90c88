package e2e

import (
	"encoding/json"
	"fmt"
	"gantry/test/harness"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// loud is a function that prints as many lines as the event says.
const loud = `exports.handler = async (e, c) => {
  for (let i = 0; i < e.lines; i++) console.log('line ' + i + ' of a function that prints very much');
  return e.lines;
}`

// raced reports whether the agents under test have the race detector in them: they are slow then, and large.
var raced = sync.OnceValue(func() bool {
	build, _ := debug.ReadBuildInfo()
	return build != nil && slices.Contains(build.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
})

// event is a telemetry event, as a subscriber gets it.
type event struct {
	Name, TraceID, Status, ErrorType, Extension, State, Detail, Record, Reason string
	DroppedRecords                                                             int
}

// totals are what the metrics say of telemetry.
type totals struct {
	accepted, delivered int
	dropped             map[string]int
}

func (c totals) gone() int {
	sum := c.delivered
	for _, n := range c.dropped {
		sum += n
	}
	return sum
}

func (c totals) String() string {
	return fmt.Sprintf("accepted %d, delivered %d, dropped %v", c.accepted, c.delivered, c.dropped)
}

func (r *running) totals() totals {
	r.t.Helper()
	c := totals{dropped: map[string]int{}}
	for line := range strings.Lines(r.request("GET", r.ops+"/metrics", "").body) {
		line = strings.TrimSpace(line)
		name, value := line[:max(0, strings.LastIndexByte(line, ' '))], line[strings.LastIndexByte(line, ' ')+1:]
		n, _ := strconv.ParseFloat(value, 64)
		switch name {
		case "gantry_telemetry_events_total":
			c.accepted = int(n)
		case "gantry_telemetry_delivered_total":
			c.delivered = int(n)
		}
		if reason, ok := strings.CutPrefix(name, `gantry_telemetry_drops_total{reason="`); ok && n > 0 {
			c.dropped[strings.TrimSuffix(reason, `"}`)] = int(n)
		}
	}
	return c
}

// peak is the most memory the agent has had, in MB.
func (r *running) peak() int {
	r.t.Helper()
	b, err := os.ReadFile("/proc/" + itoa(r.cmd.Process.Pid) + "/status")
	require.NoError(r.t, err)
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(r.t, err)
	return kb >> 10
}

// memoryLimit is a generous one for agents in these tests, in MB. The figure that counts is logged: below 40.
func memoryLimit() int {
	if raced() {
		return 400
	}
	return 80
}

// cpu is the processor time the agent has used.
func (r *running) cpu() time.Duration {
	r.t.Helper()
	b, err := os.ReadFile("/proc/" + itoa(r.cmd.Process.Pid) + "/stat")
	require.NoError(r.t, err)
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	require.NoError(r.t, err)
	system, err := strconv.Atoi(fields[12])
	require.NoError(r.t, err)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// stop ends the agent and returns how long that took.
func (r *running) stop() time.Duration {
	r.t.Helper()
	began := time.Now()
	r.signal(syscall.SIGTERM)
	require.Equal(r.t, 0, r.wait())
	return time.Since(began)
}

// accounts reads what the stop said of telemetry.
func (r *running) accounts() totals {
	r.t.Helper()
	var said struct {
		Events, Delivered int
		Dropped           map[string]int
	}
	for line := range strings.Lines(r.stderr.String()) {
		if strings.Contains(line, "telemetry was lost") || strings.Contains(line, "telemetry ended") {
			require.NoError(r.t, json.Unmarshal([]byte(line[strings.IndexByte(line, '{'):]), &said), line)
		}
	}
	return totals{said.Events, said.Delivered, said.Dropped}
}

// sidecar is an extension in this process: it is healthy, and remembers everything.
type sidecar struct {
	t          *testing.T
	name, addr string

	mu     sync.Mutex
	calls  []string
	events []event
}

// beside starts one, which registers.
func (r *running) beside(name string, port int) *sidecar {
	r.t.Helper()
	s := &sidecar{t: r.t, name: name, addr: "127.0.0.1:" + itoa(port)}
	ln, err := net.Listen("tcp", s.addr)
	require.NoError(r.t, err)
	server := &http.Server{Handler: s}
	go func() { _ = server.Serve(ln) }()
	r.t.Cleanup(func() { _ = server.Close() })
	require.Equal(r.t, 200, r.register(name, s.addr).status)
	return s
}

func (s *sidecar) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	var call struct{ TraceID string }
	var events []event
	if req.URL.Path == "/extension/invoke" {
		err = json.Unmarshal(body, &call)
	} else {
		err = json.Unmarshal(body, &events)
	}
	if err != nil {
		s.t.Errorf("%s: %v in %.200s", req.URL.Path, err, body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if call.TraceID != "" {
		s.calls = append(s.calls, call.TraceID)
	}
	s.events = append(s.events, events...)
}

// subscribe asks for telemetry, for the extension of that name unless it is empty.
func (r *running) subscribe(name, uri string) answer {
	r.t.Helper()
	var header []string
	if name != "" {
		header = append(header, "FunctionGraph-Extension-Name: "+name)
	}
	return r.request("POST", r.ext+"/telemetry", `{"subscriber":{"protocol":"POST","uri":"`+uri+`"},"types":["platform","function","extension"]}`, header...)
}

// got counts the events that one wants.
func (s *sidecar) got(wanted func(*event) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for i := range s.events {
		if wanted(&s.events[i]) {
			n++
		}
	}
	return n
}

func (s *sidecar) waitFor(n int, wanted func(*event) bool) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.got(wanted) >= n }, patience, 5*time.Millisecond, "%d of %d events", s.got(wanted), n)
}

// took runs the calls one after another and returns the median of their durations.
func (r *running) took(calls int, event string) time.Duration {
	r.t.Helper()
	var all []time.Duration
	for range calls {
		began := time.Now()
		require.Equal(r.t, 200, r.invoke(event).status)
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// TestSubscriberFaultsDisturbNeitherFunctionNorStop: whatever a subscriber does, the function answers as without one,
// the agent stays small, every event is accounted for, and the stop keeps its limit.
func TestSubscriberFaultsDisturbNeitherFunctionNorStop(t *testing.T) {
	harness.FixedPorts(t)
	lines, calls := 100_000, 2
	if raced() {
		lines = 15_000
	}
	lots := `{"lines":` + itoa(lines) + `}`
	const limit = 2 * time.Second
	code := writeFiles(t, map[string]string{"index.js": loud})
	quiet := func(t *testing.T, env ...string) *running { // its output is discarded
		r := prepare(t, code, append([]string{"RUNTIME_TIMEOUT=60", "GANTRY_EXTENSION_WAIT=60", "GANTRY_SHUTDOWN_TIMEOUT=2"}, env...)...)
		r.cmd.Stdout = nil
		r.launch()
		r.findAddresses()
		return r
	}
	alone := quiet(t)
	aloneTook := alone.took(calls, lots)
	t.Logf("without a subscriber: %s for %d lines, %d MB", aloneTook.Round(time.Millisecond), lines, alone.peak())
	dir, err := filepath.Abs("../../examples/chaos/extension")
	require.NoError(t, err)
	for _, how := range []string{"good", "refuse", "full", "hang", "error", "slow", "close", "big"} {
		t.Run(how, func(t *testing.T) {
			env := []string{"GANTRY_EXTENSION_DIRS=" + dir, "GANTRY_EXTENSION_ENV=CHAOS*", "CHAOS_TELEMETRY=" + how}
			if how == "refuse" || how == "full" {
				env = append(env, "CHAOS_TELEMETRY_URI=http://127.0.0.1:8084/telemetry")
			}
			r := quiet(t, env...)
			r.stderr.WaitFor(t, "telemetry subscribed")
			took := r.took(calls, lots)
			require.Less(t, took, 10*aloneTook+time.Second)
			before, peak := r.totals(), r.peak()
			require.GreaterOrEqual(t, before.accepted, calls*lines)
			require.LessOrEqual(t, before.gone(), before.accepted)
			require.Less(t, peak, memoryLimit())
			stopped := r.stop()
			require.Less(t, stopped, limit+5*time.Second)
			after := r.accounts()
			require.GreaterOrEqual(t, after.accepted, calls*lines)
			require.Equal(t, after.accepted, after.gone(), "every event was delivered or dropped")
			t.Logf("%.2f times as long as alone, %d MB, before the stop: %s; stop took %s of %s: %s",
				float64(took)/float64(aloneTook), peak, before, stopped.Round(time.Millisecond), limit, after)
		})
	}
	t.Run("late", func(t *testing.T) { // nothing is kept for a subscriber that comes too late
		alone.t = t
		var c totals
		require.Eventually(t, func() bool { c = alone.totals(); return c.gone() == c.accepted }, patience, 10*time.Millisecond)
		require.Equal(t, map[string]int{"unasked": c.accepted}, c.dropped, "there was nobody who lost anything")
		s := alone.beside("extensionLate", 8081)
		require.Equal(t, answer{200, nil, `"OK"`}, alone.subscribe("", "http://"+s.addr).plain())
		id := alone.invoke(`{"lines":2}`).header.Get("X-Cff-Request-Id")
		s.waitFor(1, func(e *event) bool { return e.Name == "platform.report" && e.TraceID == id })
		s.mu.Lock()
		defer s.mu.Unlock()
		require.Len(t, s.events, 5, "start, two lines, the end and the report of the one call: %+v", s.events)
	})
}

// plain is an answer without its headers.
func (a answer) plain() answer { return answer{a.status, nil, a.body} }

// TestSubscriberThatPrintsItsEventsCostsLittle: a subscriber that prints for all it gets, gets what it prints. The
// loop goes on, but costs little.
func TestSubscriberThatPrintsItsEventsCostsLittle(t *testing.T) {
	harness.FixedPorts(t)
	for _, c := range []struct {
		name string
		echo int
		env  []string
	}{
		{"a line for each event", 1, nil},
		{"ten lines", 10, nil},
		{"ten lines of nobody knows whom", 10, []string{"CHAOS=nameless", "CHAOS_TELEMETRY_URI=http://127.0.0.1:8084"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			signal := filepath.Join(t.TempDir(), "go")
			r := withChaos(t, "good", append(c.env, "CHAOS_AFTER="+signal, "CHAOS_TELEMETRY=good", "CHAOS_ECHO="+itoa(c.echo), "GANTRY_EXTENSION_WAIT=60")...)
			r.beside("extensionOther", 8085) // so that there are two whose telemetry it could be
			require.NoError(t, os.WriteFile(signal, nil, 0o644))
			r.stderr.WaitFor(t, "telemetry subscribed")
			for range 20 {
				require.Equal(t, 200, r.invoke("{}").status)
			}
			r.stdout.WaitFor(t, "[extensionChaos.sh] echo 0 platform.report")
			const watched = 2 * time.Second
			lines := func() int { return strings.Count(r.stdout.String(), "] echo ") }
			cpu, printed := r.cpu(), lines()
			time.Sleep(watched) // the figure is what happens while nothing happens
			cpu, printed = r.cpu()-cpu, lines()-printed
			t.Logf("idle: %.1f %% of a processor, %d lines/s; %s", 100*cpu.Seconds()/watched.Seconds(), printed/2, r.totals())
			require.Less(t, cpu, watched/2)
			began := time.Now()
			require.Equal(t, 200, r.invoke("{}").status)
			t.Logf("a call takes %s", time.Since(began))
		})
	}
}

// TestEachPrintedLineArrivesOrIsCountedAsDropped: what one call prints arrives, line by line, or is counted.
func TestEachPrintedLineArrivesOrIsCountedAsDropped(t *testing.T) {
	harness.FixedPorts(t)
	const lines = 20_000
	r := function(t, loud, "RUNTIME_TIMEOUT=60")
	s := r.beside("extensionHealthy", 8081)
	require.Equal(t, 200, r.subscribe("", "http://"+s.addr+"/telemetry").status)
	for range 2 {
		began := time.Now()
		id := r.invoke(`{"lines":` + itoa(lines) + `}`).header.Get("X-Cff-Request-Id")
		took := time.Since(began)
		s.waitFor(1, func(e *event) bool { return e.Name == "platform.report" && e.TraceID == id })
		require.Eventually(t, func() bool { c := r.totals(); return c.gone() == c.accepted }, patience, 10*time.Millisecond)
		all := time.Since(began)
		seen := map[string]bool{}
		arrived := s.got(func(e *event) bool {
			if e.Name != "function" || e.TraceID != id || seen[e.Record] {
				return false
			}
			seen[e.Record] = true
			return true
		})
		s.mu.Lock()
		reported := 0
		for _, e := range s.events {
			reported += e.DroppedRecords
		}
		s.events = nil
		s.mu.Unlock()
		t.Logf("%d lines in %s: %d arrived, %d were reported to be dropped, within %s; %s", lines, took, arrived, reported, all, r.totals())
		require.Equal(t, lines, arrived+reported)
		require.Equal(t, 200, r.invoke(`{"lines":1}`).status, "the next call works")
	}
}

// TestPortOfAnotherExtensionIsRefused: no extension gets the notifications or telemetry of another one by asking for
// its port.
func TestPortOfAnotherExtensionIsRefused(t *testing.T) {
	harness.FixedPorts(t)
	r := function(t, loud)
	owner := r.beside("extensionOwner", 8081)
	thief := r.beside("extensionThief", 8082)
	r.refused("extensionLate", "127.0.0.1:8081", "Extension.AddressInUse")
	r.refused("extensionThief", "127.0.0.1:8081", "Extension.AlreadyRegistered")
	subscribes := func(name, uri string, status int, errorType string) {
		t.Helper()
		a := r.subscribe(name, uri)
		require.Equal(t, status, a.status, a.body)
		require.Contains(t, a.body, errorType)
	}
	subscribes("extensionThief", "http://127.0.0.1:8081/x", 400, "Telemetry.AddressInUse")
	subscribes("extensionNobody", "http://127.0.0.1:8084", 400, "Telemetry.NotRegistered")
	subscribes("extensionThief", "http://127.0.0.1:8083", 200, "OK")
	r.refused("extensionLate", "127.0.0.1:8083", "Extension.AddressInUse") // telemetry goes there
	subscribes("extensionOwner", "http://127.0.0.1:8081", 200, "OK")       // port 8083 is closed
	subscribes("extensionThief", "http://127.0.0.1:8082", 400, "Telemetry.AlreadySubscribed")
	var ids []string
	for range 10 {
		ids = append(ids, r.invoke(`{"lines":1}`).header.Get("X-Cff-Request-Id"))
	}
	owner.waitFor(10, func(e *event) bool { return e.Name == "platform.report" })
	for _, s := range []*sidecar{owner, thief} {
		require.Eventually(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.calls) == len(ids)
		}, patience, 5*time.Millisecond)
		require.ElementsMatch(t, ids, s.calls)
	}
	require.Zero(t, thief.got(func(*event) bool { return true }))
}

// refused registers, which has to fail.
func (r *running) refused(name, address, errorType string) {
	r.t.Helper()
	a := r.register(name, address)
	require.Equal(r.t, 409, a.status, a.body)
	require.Contains(r.t, a.body, errorType)
}
