package main

import (
	"errors"
	"gantry/async"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestJudgeFindsWhatIsLostAndWhatRunsAgain: each fault of the kill rounds is found, and nothing else is one.
func TestJudgeFindsWhatIsLostAndWhatRunsAgain(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	record := func(status async.Status) async.Record { return async.Record{Status: status, End: end} }
	before, after := end.Add(-time.Second), end.Add(time.Millisecond)
	accepted := map[string]bool{"good": true, "twice": true, "gone": true, "waits": true, "again": true, "failed": true}
	found := map[string]async.Record{
		"good": record(async.Success), "twice": record(async.Success), "waits": record(async.Wait),
		"again": record(async.Success), "failed": record(async.Fail), "unanswered": record(async.Success),
		"uncalled": record(async.Success),
	}
	v := judge(accepted, found, map[string][]time.Time{
		"good": {before}, "twice": {before, end}, "waits": {before, after}, "again": {before, after}, "unanswered": {before},
	})
	require.ElementsMatch(t, []string{
		"gone: accepted, 0 calls, no record", "waits: accepted, 2 calls, status WAIT",
	}, v.lost)
	require.Equal(t, []string{"again: a call 1ms after its outcome SUCCESS of 2026-01-01T00:00:00Z"}, v.again)
	require.Equal(t, []string{"uncalled: SUCCESS without a call"}, v.uncalled)
	require.Equal(t, map[async.Status]int{async.Success: 3, async.Fail: 1}, v.outcomes)
	require.Equal(t, 8, v.calls)
	require.Equal(t, 2, v.repeated)
	require.Equal(t, 2, v.unanswered)
	err := v.err()
	require.ErrorContains(t, err, "2 accepted requests were lost")
	require.ErrorContains(t, err, "1 calls began after the outcome of their request")
	require.ErrorContains(t, err, "1 requests succeeded without a call")
	require.NoError(t, judge(map[string]bool{"good": true}, found, map[string][]time.Time{
		"good": {before}, "twice": {before}, "again": {before}, "unanswered": {before}, "uncalled": {before},
	}).err())
}

// TestStartsOfAgentsAreRead: the lines of all lives of an agent, and no damaged one.
func TestStartsOfAgentsAreRead(t *testing.T) {
	t.Parallel()
	a := &killAgent{starts: filepath.Join(t.TempDir(), "starts")}
	starts := map[string][]time.Time{}
	require.NoError(t, a.readStarts(starts), "it was killed before its first call")
	require.NoError(t, os.WriteFile(a.starts, []byte("a 1000000000\nb 2\na 3000000000\n"), 0o600))
	require.NoError(t, a.readStarts(starts))
	require.Equal(t, map[string][]time.Time{"a": {time.Unix(1, 0), time.Unix(3, 0)}, "b": {time.Unix(0, 2)}}, starts)
	require.NoError(t, os.WriteFile(a.starts, []byte("a 1\nb\n"), 0o600))
	require.ErrorContains(t, a.readStarts(starts), `has the line "b"`)
}

// TestCostWithinTheNoiseIsABound: a difference below the noise is shown as a bound, and never below zero.
func TestCostWithinTheNoiseIsABound(t *testing.T) {
	t.Parallel()
	above := slope(estimate{10, 3}, estimate{30, 4}, 10)
	require.Equal(t, estimate{2, 0.5}, above)
	require.Equal(t, []float64{1.5, 2, 2.5}, above.row("figure", "%.1f", target{}).values)
	below := slope(estimate{10, 3}, estimate{8, 4}, 10)
	row := below.row("figure", "%.1f", target{})
	require.Equal(t, []float64{0.5}, row.values)
	require.Equal(t, "figure: within the noise, at most", row.figure)
	e := estimated([]float64{0, 6, 3, 3}) // deviations of 3, 3, 0, 0
	require.InDelta(t, 3, e.mean, 1e-9)
	require.InDelta(t, 2*math.Sqrt(18.0/3/4), e.noise, 1e-9)
}

// TestCostIsMeasuredOrAccounted: at the size of the target it is what was measured, below it the sum of its parts.
func TestCostIsMeasuredOrAccounted(t *testing.T) {
	t.Parallel()
	c := &cost{estimate{20, 0}, estimate{120, 0}, estimate{140, 0}, 8, 108, 20}
	e, exact := c.all()
	require.True(t, exact)
	require.Equal(t, estimate{20 + 9992 + 200, 0}, e)
	require.Contains(t, c.row("memory", "%.0f", atMost(400)).figure, "accounted: base + N")
	c.with = estimate{110, 0} // less than without agents
	e, exact = c.all()
	require.False(t, exact)
	require.Equal(t, estimate{20 + 9992, 0}, e)
	require.Contains(t, c.row("memory", "%.0f", atMost(400)).figure, "within the noise: at most")
	c.functions, c.agents = knownFunctions, withAgents
	e, exact = c.all()
	require.True(t, exact)
	require.Equal(t, c.with, e)
	require.Contains(t, c.row("memory", "%.0f", atMost(400)).figure, "measured")
}

// TestEachEndsWithTheFirstError: all numbers are called once, and none begins after an error.
func TestEachEndsWithTheFirstError(t *testing.T) {
	t.Parallel()
	var calls [100]atomic.Int64
	require.NoError(t, each(len(calls), func(i int) error {
		calls[i].Add(1)
		return nil
	}))
	for i := range calls {
		require.EqualValues(t, 1, calls[i].Load(), i)
	}
	var begun atomic.Int64
	failure := errors.New("failure")
	require.Equal(t, failure, each(1000, func(int) error {
		begun.Add(1)
		return failure
	}))
	require.LessOrEqual(t, begun.Load(), int64(scaleTogether))
	require.NoError(t, each(0, nil))
}

// TestScaleStepsAreChecked: an unknown step is refused with those that there are.
func TestScaleStepsAreChecked(t *testing.T) {
	t.Parallel()
	all, err := (&scaleSizes{}).chosen()
	require.NoError(t, err)
	require.Len(t, all, len(scaleStepNames()))
	some, err := (&scaleSizes{steps: "kill, list"}).chosen()
	require.NoError(t, err)
	require.Equal(t, map[string]bool{stepKill: true, stepList: true}, some)
	_, err = (&scaleSizes{steps: "kill,none"}).chosen()
	require.ErrorContains(t, err, `-scale-steps: no step "none"; there are functions, agents`)
}

// TestGateHoldsCallsUntilItsRelease: and lets later ones pass.
func TestGateHoldsCallsUntilItsRelease(t *testing.T) {
	t.Parallel()
	g := &gate{}
	g.wait()
	g.hold()
	passed := make(chan struct{})
	go func() {
		g.wait()
		close(passed)
	}()
	select {
	case <-passed:
		require.Fail(t, "a call passed while calls were held")
	case <-time.After(20 * time.Millisecond):
	}
	g.release()
	<-passed
	g.wait()
}
