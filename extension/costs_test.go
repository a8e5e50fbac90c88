package extension

import (
	"context"
	"fmt"
	"gantry/test/harness"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAwaitCostsWaitsForTheAnswers: and ends with its context while there is none.
func TestAwaitCostsWaitsForTheAnswers(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, nil, func(c *Config) { c.Costs = 10 })
	gate := make(chan struct{})
	arrived := make(chan time.Time, 1)
	receiver(t, 8085, func(http.ResponseWriter, *http.Request) {
		arrived <- time.Now()
		<-gate
	})
	register(t, h, "a", 8085)
	notify(h, "one")
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	known, all := h.AwaitCosts(short, "one")
	require.Empty(t, known)
	require.False(t, all)
	held := time.Since(<-arrived)
	close(gate)
	known, all = h.AwaitCosts(t.Context(), "one")
	require.Len(t, known, 1)
	require.True(t, all)
	require.GreaterOrEqual(t, known[0].Took, held)
	_, all = h.AwaitCosts(t.Context(), "another") // it has none
	require.True(t, all)
}

// TestCostsAreKeptOfTheLastCalls: a call may come again under its id, as a retry does.
func TestCostsAreKeptOfTheLastCalls(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, nil, func(c *Config) { c.Costs = 3 })
	receiver(t, 8085, func(http.ResponseWriter, *http.Request) {})
	register(t, h, "a", 8085)
	for i := range 10 {
		notify(h, fmt.Sprint(i))
		_, all := h.AwaitCosts(t.Context(), fmt.Sprint(i))
		require.True(t, all)
	}
	require.Empty(t, h.Costs("6"))
	for range 3 {
		notify(h, "8")
		known, all := h.AwaitCosts(t.Context(), "8")
		require.True(t, all)
		require.Len(t, known, 1)
	}
	require.Len(t, h.Costs("7"), 1)
	require.Len(t, h.costs.calls, 3)
	require.Len(t, h.costs.order, 3)
}
