package runtime

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// withIDs makes plain output name its call in the text of the log.
func withIDs(c *Config) { c.Several = true }

// TestPythonRawOutput: what bypasses the worker belongs to the call that runs, if calls run one by one; with several it could be a
// late line of another one, and has no id.
func TestPythonRawOutput(t *testing.T) {
	t.Parallel()
	source := "import os\ndef handler(e, c):\n  os.write(1, b'raw line\\n')\n  return 'ok'\n"
	for _, concurrency := range []int{1, 2} {
		f := startPython(t, map[string]string{"index.py": source}, withConcurrency(concurrency), withIDs).ready()
		inv := f.invocation()
		_, err := f.call(inv, "{}")
		require.NoError(t, err)
		f.logHas("raw line\n")
		require.Equal(t, concurrency == 1, strings.Contains(f.out.String(), inv.RequestID+" raw line\n"), f.out)
	}
}
