package logger

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTimesHaveAsManyDigitsAlways: fractions are cut, not rounded, and the zone is UTC.
func TestTimesHaveAsManyDigitsAlways(t *testing.T) {
	for _, at := range []time.Time{
		time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		time.Date(2026, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		time.Date(2026, 1, 1, 4, 4, 5, 7_000_000, time.FixedZone("", 5*3600)),
		time.Date(2026, 6, 1, 4, 4, 5, 70_999_999, time.FixedZone("", -5*3600)),
	} {
		require.Equal(t, at.UTC().Format("2006-01-02T15:04:05.000Z"), string(appendMillis(nil, at)))
		require.Equal(t, at.UTC().Format("2006-01-02T15:04:05Z"), string(appendSeconds(nil, at)))
	}
}

func BenchmarkLineAsJSON(b *testing.B) {
	l := &Line{
		Time: time.Now(), RequestID: "32dbc956-2704-47d8-b87e-7b56447ad9f2", Source: SourcePlatform,
		Text: []byte("Start invoke request '32dbc956-2704-47d8-b87e-7b56447ad9f2', version: latest"),
	}
	var dst []byte
	for b.Loop() {
		dst = l.appendJSON(dst[:0])
	}
}
