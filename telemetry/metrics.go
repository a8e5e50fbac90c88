// Package telemetry tells what happens: it counts it for Prometheus, and carries events to one subscriber. Labels of metrics
// come from closed sets only; a caller can choose none.
package telemetry

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// Slots is how many extensions there can be; the label is the extension's port.
const (
	Slots     = 10
	firstPort = 8081
)

// Metrics is the agent's set of metrics. Use NewMetrics.
type Metrics struct {
	set *metrics.Set

	outcomes map[string]*metrics.Counter
	api      map[string]*metrics.Counter

	Duration     *Histogram
	InitDuration *Histogram
	QueueWait    *Histogram
	Rejects      *metrics.Counter
	Restarts     *metrics.Counter
	Stray        *metrics.Counter
	Orphans      *metrics.Counter

	Notifications        [Slots]*metrics.Counter
	NotificationFailures [Slots]*metrics.Counter
	NotificationDrops    [Slots]*metrics.Counter
	NotificationSeconds  [Slots]*metrics.FloatCounter
	ExtensionOutput      [Slots]*metrics.Counter // in bytes, of the extension that has the slot
}

// NewMetrics makes the set. outcomes is the closed list of how a call can end.
func NewMetrics(outcomes []string) *Metrics {
	s := metrics.NewSet()
	m := &Metrics{
		set: s, outcomes: map[string]*metrics.Counter{}, api: map[string]*metrics.Counter{},
		Duration:     newHistogram("gantry_invocation_duration_seconds"),
		InitDuration: newHistogram("gantry_init_duration_seconds"),
		QueueWait:    newHistogram("gantry_queue_wait_seconds"),
		Rejects:      s.NewCounter("gantry_queue_rejects_total"),
		Restarts:     s.NewCounter("gantry_worker_restarts_total"),
		Stray:        s.NewCounter("gantry_stray_frames_total"),
		Orphans:      s.NewCounter("gantry_orphans_reaped_total"),
	}
	for _, o := range outcomes {
		m.outcomes[o] = s.NewCounter(fmt.Sprintf("gantry_invocations_total{outcome=%q}", o))
		m.api[o] = s.NewCounter(fmt.Sprintf("gantry_api_requests_total{outcome=%q}", o))
	}
	for i := range Slots {
		slot := strconv.Itoa(firstPort + i)
		m.Notifications[i] = s.NewCounter(`gantry_notifications_total{slot="` + slot + `"}`)
		m.NotificationFailures[i] = s.NewCounter(`gantry_notification_failures_total{slot="` + slot + `"}`)
		m.NotificationDrops[i] = s.NewCounter(`gantry_notification_drops_total{slot="` + slot + `"}`)
		m.NotificationSeconds[i] = s.NewFloatCounter(`gantry_notification_seconds_total{slot="` + slot + `"}`)
		m.ExtensionOutput[i] = s.NewCounter(`gantry_extension_output_bytes_total{slot="` + slot + `"}`)
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

// Gauge registers a value that is read when metrics are scraped. name may carry constant labels.
func (m *Metrics) Gauge(name string, read func() float64) { m.set.NewGauge(name, read) }

// Counter registers a number that somebody else counts and that only grows.
func (m *Metrics) Counter(name string, read func() float64) { m.set.NewGauge(name, read) }

// WritePrometheus writes everything in the text exposition format.
func (m *Metrics) WritePrometheus(w io.Writer) {
	m.set.WritePrometheus(w)
	for _, h := range []*Histogram{m.Duration, m.InitDuration, m.QueueWait} {
		h.write(w)
	}
	metrics.WriteProcessMetrics(w)
}

// bounds are the upper limits of the buckets, in seconds.
var bounds = [...]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900}

// Histogram counts durations in buckets with upper limits ("le"), which is what dashboards expect.
type Histogram struct {
	name    string
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Uint64 // bits of a float64, seconds
}

func newHistogram(name string) *Histogram { return &Histogram{name: name} }

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
