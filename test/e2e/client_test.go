package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestErrorSaysWhichFunctionWasAskedForAndWhy: the name of the working folder was asked for, and the error says so.
func TestErrorSaysWhichFunctionWasAskedForAndWhy(t *testing.T) {
	t.Parallel()
	r := start(t, writeFiles(t, map[string]string{"index.js": okFunction}), "GANTRY_API_AUTH=none", "GANTRY_API_ADDR=127.0.0.1:0", "RUNTIME_FUNC_NAME=mine")
	dir := writeFiles(t, map[string]string{"index.js": okFunction})
	for _, c := range []struct{ arg, says string }{
		{"--code=" + dir, "default:" + dir[strings.LastIndexByte(dir, '/')+1:] + ":latest, whose name is the name of the code folder " + dir + "; --name or --code sets another"},
		{"--name=other", "default:other:latest, whose name is RUNTIME_FUNC_NAME, from --name; --name or --code sets another"},
	} {
		got := runCommand(t, dir, []string{"async", "ls", "--to", strings.TrimPrefix(r.api, "http://"), c.arg})
		require.Equal(t, 1, got.code)
		require.Contains(t, got.stderr, "asked for urn:fss:local-1:00000000000000000000000000000000:function:"+c.says)
	}
}
