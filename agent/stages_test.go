package agent

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestStagesAreDocumented: docs/ARCHITECTURE.md has the same stages with the same times, in the same order.
func TestStagesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/ARCHITECTURE.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(text), "| Stage | Of | Until | Next | At 8 s | What |\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	number := func(s string) float64 {
		n, err := strconv.ParseFloat(s, 64)
		require.NoError(t, err)
		return n
	}
	atLeast := regexp.MustCompile(`^(\S+), (\S+) at least$`)
	atMost := regexp.MustCompile(`^(\S+), (\S+) at most$`)
	var documented []stage
	for _, row := range strings.Split(table, "\n")[2:] {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		require.Len(t, cells, 6, row)
		s := stage{name: cells[0], rest: cells[1] == "rest"}
		if m := atLeast.FindStringSubmatch(cells[3]); m != nil {
			cells[3] = m[1]
			s.least, err = time.ParseDuration(m[2])
			require.NoError(t, err)
		}
		s.next = number(cells[3])
		if m := atMost.FindStringSubmatch(cells[2]); m != nil {
			cells[2], s.most = m[1], number(m[2])
		}
		s.until = number(cells[2])
		documented = append(documented, s)
	}
	require.Equal(t, stages, documented)
}

// TestStagesFollowEachOther: each cuts off its work before the next one begins, and none has its time before another.
func TestStagesFollowEachOther(t *testing.T) {
	for i, s := range stages {
		require.LessOrEqual(t, s.until, s.next, s.name)
		require.LessOrEqual(t, s.next, 16.0, s.name)
		if i > 0 && s.rest == stages[i-1].rest {
			require.Greater(t, s.until, stages[i-1].next-0.5, s.name)
			require.Greater(t, s.next, stages[i-1].next, s.name)
		}
	}
}

// TestHangingStageIsNamedAndTheNextOneBegins: the stop goes on at the next stage's time and names the stage; its own
// deadline came before.
func TestHangingStageIsNamedAndTheNextOneBegins(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	plan := schedule{time.Now(), 160 * time.Millisecond, zap.New(core)}
	release := make(chan struct{})
	defer close(release)
	deadline := make(chan time.Time, 1)
	plan.run("workers", func(until time.Time) {
		deadline <- until
		<-release
	})
	require.GreaterOrEqual(t, time.Since(plan.began), 125*time.Millisecond)
	require.Equal(t, plan.began.Add(120*time.Millisecond), <-deadline)
	require.Equal(t, "workers", logs.All()[0].ContextMap()["stage"])
	plan.run("queue", func(time.Time) {})
	require.Len(t, logs.All(), 1, "one that ends in time is not named")
	require.Panics(t, func() { plan.run("no such stage", func(time.Time) {}) })
}
