// Package metrics has the agent's counters, gauges and histograms, and writes them as Prometheus reads them. Labels
// come from closed sets only: a caller can choose none.
package metrics

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Seats is how many extensions there can be; the label is the extension's port.
const (
	Seats     = 10
	firstPort = 8081
)

// Metrics is the agent's set of metrics. Use NewMetrics.
type Metrics struct {
	set *metrics.Set

	mu       sync.Mutex
	families map[string]family // beside those of the library

	outcomes map[string]*metrics.Counter
	api      map[string]*metrics.Counter

	Duration     *Histogram
	InitDuration *Histogram
	RoomWait     *Histogram
	Rejects      *metrics.Counter
	Restarts     *metrics.Counter
	Stray        *metrics.Counter
	Orphans      *metrics.Counter

	CodeCacheHits, CodeCacheMisses *metrics.Counter

	Notifications        [Seats]*metrics.Counter
	NotificationFailures [Seats]*metrics.Counter
	NotificationDrops    [Seats]*metrics.Counter
	NotificationSeconds  [Seats]*metrics.FloatCounter
	ExtensionOutput      [Seats]*metrics.Counter // in bytes, of the extension that has the seat
}

// NewMetrics makes the set. outcomes is the closed list of how a call can end.
func NewMetrics(outcomes []string) *Metrics {
	s := metrics.NewSet()
	m := &Metrics{
		set: s, families: map[string]family{}, outcomes: map[string]*metrics.Counter{}, api: map[string]*metrics.Counter{},
	}
	m.Duration = m.histogram("gantry_invocation_duration_seconds", "Time of the handler, for each call.")
	m.InitDuration = m.histogram(
		"gantry_init_duration_seconds",
		"Time of a worker's start, from its load to its readiness.",
	)
	m.RoomWait = m.histogram("gantry_queue_wait_seconds", "Time in the waiting room, for each synchronous call.")
	m.Rejects = s.NewCounter(
		m.named("gantry_queue_rejects_total", counter, "Calls that found the waiting room full or waited too long."),
	)
	m.Restarts = s.NewCounter(m.named("gantry_worker_restarts_total", counter, "Workers started after the first ones."))
	m.Stray = s.NewCounter(m.named("gantry_stray_frames_total", counter, "Answers of workers that came too late."))
	m.Orphans = s.NewCounter(m.named("gantry_orphans_reaped_total", counter, "Orphans reaped as PID 1."))
	const cached = "Files that loads have compiled, by whether they came out of the code cache."
	m.CodeCacheHits = s.NewCounter(m.named(`gantry_code_cache_files_total{result="hit"}`, counter, cached))
	m.CodeCacheMisses = s.NewCounter(m.named(`gantry_code_cache_files_total{result="miss"}`, counter, cached))
	for _, o := range outcomes {
		m.outcomes[o] = s.NewCounter(
			m.named(fmt.Sprintf("gantry_invocations_total{outcome=%q}", o), counter, "Calls that ended, by outcome."),
		)
		m.api[o] = s.NewCounter(
			m.named(
				fmt.Sprintf("gantry_api_requests_total{outcome=%q}", o),
				counter,
				"Requests of the platform API, by outcome.",
			),
		)
	}
	for i := range Seats {
		label := `{slot="` + strconv.Itoa(firstPort+i) + `"}`
		m.Notifications[i] = s.NewCounter(
			m.named("gantry_notifications_total"+label, counter, "Notifications sent to extensions, by the extension's port."),
		)
		m.NotificationFailures[i] = s.NewCounter(
			m.named("gantry_notification_failures_total"+label, counter, "Notifications to extensions that failed."),
		)
		m.NotificationDrops[i] = s.NewCounter(
			m.named("gantry_notification_drops_total"+label, counter, "Notifications to extensions that were dropped."),
		)
		m.NotificationSeconds[i] = s.NewFloatCounter(
			m.named(
				"gantry_notification_seconds_total"+label,
				counter,
				"Time that notifications to extensions took, until their answer.",
			),
		)
		m.ExtensionOutput[i] = s.NewCounter(
			m.named("gantry_extension_output_bytes_total"+label, counter, "Output of the extension, by its port."),
		)
	}
	return m
}

// Outcome counts one ended call; an outcome outside the closed list is counted nowhere.
func (m *Metrics) Outcome(name string) {
	if c := m.outcomes[name]; c != nil {
		c.Inc()
	}
}

// API counts one request of the platform API by the same list: success is any answer that is no refusal.
func (m *Metrics) API(outcome string) {
	if c := m.api[outcome]; c != nil {
		c.Inc()
	}
}

// Gauge registers a value that is read when metrics are scraped. name may carry constant labels; help is one sentence.
func (m *Metrics) Gauge(name, help string, read func() float64) {
	m.set.NewGauge(m.named(name, gauge, help), read)
}

// Counter registers a number that is counted elsewhere and only grows; its name ends with _total.
func (m *Metrics) Counter(name, help string, read func() float64) {
	m.set.NewGauge(m.named(name, counter, help), read)
}

// named notes what the family of a metric is, and returns the name.
func (m *Metrics) named(name string, t metricType, help string) string {
	base, _, _ := strings.Cut(name, "{")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.families[base] = family{t, help}
	return name
}

// WritePrometheus writes everything in the text exposition format.
func (m *Metrics) WritePrometheus(w io.Writer) {
	var b bytes.Buffer
	m.set.WritePrometheus(&b)
	metrics.WriteProcessMetrics(&b)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.annotate(w, b.Bytes())
	for _, h := range []*Histogram{m.Duration, m.InitDuration, m.RoomWait} {
		m.families[h.name].write(w, h.name)
		h.write(w)
	}
}

// bounds are the upper limits of the buckets, in seconds.
var bounds = [...]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900}

// Histogram counts durations in buckets with upper limits ("le"), which is what dashboards expect.
type Histogram struct {
	name    string
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Uint64 // bits of a float64, seconds
}

func (m *Metrics) histogram(name, help string) *Histogram {
	return &Histogram{name: m.named(name, histogram, help)}
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	v := d.Seconds()
	i := 0
	for i < len(bounds) && v > bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+v)) {
			return
		}
	}
}

func (h *Histogram) write(w io.Writer) {
	var total uint64
	for i := range h.buckets {
		total += h.buckets[i].Load()
		le := "+Inf"
		if i < len(bounds) {
			le = strconv.FormatFloat(bounds[i], 'g', -1, 64)
		}
		fmt.Fprintf(w, "%s_bucket{le=%q} %d\n", h.name, le, total)
	}
	fmt.Fprintf(w, "%s_sum %g\n%s_count %d\n", h.name, math.Float64frombits(h.sum.Load()), h.name, total)
}

// annotate copies samples, whose families each lie together, with the lines that say what they are. Called with mu
// held.
func (m *Metrics) annotate(w io.Writer, samples []byte) {
	last := ""
	for line := range bytes.Lines(samples) {
		name := string(line[:max(bytes.IndexAny(line, "{ "), 0)])
		base, f := m.familyOf(name)
		if base != last {
			f.write(w, base)
			last = base
		}
		_, _ = w.Write(line) // the writer is the answer's buffer
	}
}

// familyOf finds the family of a sample. One that is not known, of a later version of the library, has no type.
func (m *Metrics) familyOf(name string) (base string, f family) {
	for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
		base, found := strings.CutSuffix(name, suffix)
		if !found {
			continue
		}
		f, ok := m.families[base]
		if !ok {
			f, ok = libraryFamilies[base]
		}
		if ok && (suffix == "" || f.t == histogram || f.t == summary) {
			return base, f
		}
	}
	return name, family{untyped, "A metric of github.com/VictoriaMetrics/metrics."}
}
