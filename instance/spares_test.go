package instance

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const spareSource = `exports.handler = async (event, context) => { if (event === 'exit') process.exit(3); return process.pid; };`

// TestInstanceForOneCallHasNoSpares: they would take the call's CPU, and nothing would use them.
func TestInstanceForOneCallHasNoSpares(t *testing.T) {
	h := newInstance(t, spareSource, func(c *Config) { c.Spares, c.Once = 2, true })
	require.Nil(t, h.invoke(`{}`).Fault)
	h.fillSpares()
	h.mu.Lock()
	defer h.mu.Unlock()
	require.False(t, h.filling)
	require.Empty(t, h.spares)
}

// TestSparesSurviveReloadsAndCrashesAtOnce: whatever comes at the same moment, calls are answered at the end, there are
// as many spares as are wanted, and no other process is left.
func TestSparesSurviveReloadsAndCrashesAtOnce(t *testing.T) {
	const spares = 2
	h := newInstance(t, spareSource, func(c *Config) { c.Spares, c.Workers = spares, 2 })
	var disturbing sync.WaitGroup
	disturbing.Go(func() {
		for range 4 {
			h.Reload()
			h.invoke(`{}`)
		}
	})
	disturbing.Go(func() {
		for range 6 {
			h.invoke(`"exit"`)
		}
	})
	disturbing.Go(func() {
		for range 20 {
			h.Spares()
			h.SpareMemory()
			h.mu.Lock()
			if len(h.spares) > 0 {
				h.spares[0].Cancel()
			}
			h.mu.Unlock()
			h.invoke(`{}`)
		}
	})
	disturbing.Wait()
	require.Eventually(t, func() bool {
		n := h.Spares()
		h.mu.Lock()
		defer h.mu.Unlock()
		return n == spares && !h.filling && len(h.live) == spares+2 && h.workers[0] != nil && h.workers[1] != nil
	}, time.Minute, 20*time.Millisecond)
	require.Nil(t, h.invoke(`{}`).Fault)
}
