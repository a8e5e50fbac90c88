package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPrometheusTextHasEveryKindOfMetric(t *testing.T) {
	m := NewMetrics([]string{"success", "timeout"})
	m.Outcome("success")
	m.Outcome("success")
	m.Outcome("a name that a caller chose") // counted nowhere: labels are closed
	m.Duration.Observe(3 * time.Millisecond)
	m.Duration.Observe(400 * time.Millisecond)
	m.Duration.Observe(time.Hour)
	m.NotificationDrops[9].Inc()
	m.Gauge("gantry_test", "A value.", func() float64 { return 7 })
	m.Counter("gantry_counted_total{a=\"b\"}", "A number.", func() float64 { return 8 })
	var b strings.Builder
	m.WritePrometheus(&b)
	for _, want := range []string{
		`gantry_invocations_total{outcome="success"} 2`, `gantry_invocations_total{outcome="timeout"} 0`,
		`gantry_invocation_duration_seconds_bucket{le="0.0025"} 0`, `gantry_invocation_duration_seconds_bucket{le="0.005"} 1`,
		`gantry_invocation_duration_seconds_bucket{le="0.5"} 2`, `gantry_invocation_duration_seconds_bucket{le="900"} 2`,
		`gantry_invocation_duration_seconds_bucket{le="+Inf"} 3`, `gantry_invocation_duration_seconds_count 3`, `gantry_invocation_duration_seconds_sum 3600.403`,
		`gantry_notification_drops_total{slot="8090"} 1`, "# HELP gantry_test A value.\n# TYPE gantry_test gauge\ngantry_test 7",
		"# HELP gantry_counted_total A number.\n# TYPE gantry_counted_total counter\ngantry_counted_total{a=\"b\"} 8",
		"# TYPE gantry_invocation_duration_seconds histogram\ngantry_invocation_duration_seconds_bucket{le=\"0.0005\"} 0", "process_resident_memory_bytes",
	} {
		require.Contains(t, b.String(), want+pick(strings.HasPrefix(want, "process"), "", "\n"))
	}
	require.NotContains(t, b.String(), "chose")
}

func pick(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}
