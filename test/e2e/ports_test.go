package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPortsZeroGivesEveryListenerAFreePort: a second agent beside one that has the usual ports, and nothing else set.
func TestPortsZeroGivesEveryListenerAFreePort(t *testing.T) {
	t.Parallel()
	source := map[string]string{"index.js": "exports.handler = async (event, context) => process.pid"}
	agents := [2]*running{}
	for i := range agents {
		r := prepare(t, writeFiles(t, source), "GANTRY_ADDR=", "GANTRY_OPS_ADDR=", "EXTENSION_API_ADDR=", "GANTRY_API_AUTH=none")
		r.cmd.Args = append(r.cmd.Args, "--ports", "0")
		r.launch()
		r.findAddresses()
		agents[i] = r
	}
	seen := map[string]bool{}
	for _, r := range agents {
		for _, url := range []string{r.url, r.ops, r.ext, r.api} {
			require.Regexp(t, `^http://127\.0\.0\.1:[1-9][0-9]*$`, url)
			require.False(t, seen[url], url)
			seen[url] = true
		}
		require.Equal(t, 200, r.invoke(`{}`).status)
	}
}

func TestPortsOtherThanZeroAreRefused(t *testing.T) {
	t.Parallel()
	r := prepare(t, writeFiles(t, map[string]string{"index.js": ""}))
	r.cmd.Args = append(r.cmd.Args, "--ports", "9000")
	r.launch()
	require.Equal(t, exitUsage, r.wait())
	require.Contains(t, r.stderr.String(), `--ports is "9000", want 0: the kernel chooses; a port of your own is --addr HOST:PORT`)
}
