package runtime

import (
	"fmt"
	"gantry/fault"
	"gantry/process"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// withMemory has the worker limited to so many MB; the test is skipped where no control group can be made.
func withMemory(t *testing.T, mb int) option {
	groups := process.OpenGroups("/", int64(mb)<<20)
	t.Cleanup(groups.Close)
	if err := groups.MemoryErr(); err != nil {
		t.Skipf("LOUD SKIP: RUNTIME_MEMORY cannot be enforced here: %v", err)
	}
	return func(c *Config) { c.Groups, c.Function.MemoryMB = groups, mb }
}

// TestNodeSizesItsHeapByTheGroupsLimit: Node.js sizes its heap by the limit it finds when it begins. Twenty times,
// because it was found by chance.
func TestNodeSizesItsHeapByTheGroupsLimit(t *testing.T) {
	limited := withMemory(t, 128)
	seen := map[string]int{}
	for range 20 {
		f := startWorker(t, map[string]string{"index.js": `exports.handler = async (e, c) => [process.versions.node.split('.')[0] - 0, Math.floor(require('v8').getHeapStatistics().heap_size_limit / 1048576)];`}, limited).ready()
		require.NoError(t, f.MemoryErr())
		r, err := f.invoke(`{}`)
		require.NoError(t, err)
		seen[string(r.Body)]++
		f.Stop(time.Now().Add(5 * time.Second))
	}
	require.Len(t, seen, 1, "[version, MB of heap], and starts: %v", seen)
	for text := range seen {
		var major, mb int
		_, err := fmt.Sscanf(text, "[%d,%d]", &major, &mb)
		require.NoError(t, err)
		if major >= 20 { // older ones do not read the limits of version 1
			require.Less(t, mb, 1024, "the limit of a group of 128 MB, not of the machine")
		}
	}
}

// TestKilledWorkerIsReportedWithItsPeakMemory is what it had taken when it was killed, not what was read before that.
func TestKilledWorkerIsReportedWithItsPeakMemory(t *testing.T) {
	const mb = 128
	f := startWorker(t, map[string]string{"index.js": `exports.handler = async (e, c) => { const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1)); };`}, withMemory(t, mb)).ready()
	before := f.Meter().Read(time.Now()).Peak
	_, err := f.invoke(`{}`)
	var death *fault.Error
	require.ErrorAs(t, err, &death)
	require.Equal(t, fault.OutOfMemory, death.Kind)
	require.Less(t, before, int64(mb<<20)/10*9)
	require.InDelta(t, mb<<20, f.Meter().Read(time.Now()).Peak, mb<<20/10)
}
