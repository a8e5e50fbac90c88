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

// TestAsyncCommandsAskTheAgentWhichFunctionItServes: in a folder without code, no setting names a function.
func TestAsyncCommandsAskTheAgentWhichFunctionItServes(t *testing.T) {
	t.Parallel()
	env, _ := queueSettings(t)
	r := start(t, writeFiles(t, map[string]string{"index.js": okFunction}), append(env, "GANTRY_API_AUTH=none",
		"GANTRY_API_ADDR=127.0.0.1:0", "RUNTIME_FUNC_NAME=mine", "RUNTIME_PROJECT_ID=0123456789abcdef0123456789abcdef")...)
	empty, to := t.TempDir(), strings.TrimPrefix(r.api, "http://")
	sent := runCommand(t, empty, []string{"invoke", "--async", "--to", to, "--event", "{}"}, "RUNTIME_CODE_ROOT=")
	require.Zero(t, sent.code, sent.stderr)
	id := strings.TrimSpace(sent.stdout)
	for _, args := range [][]string{{"ls"}, {"show", id}} {
		got := runCommand(t, empty, append([]string{"async", "--to", to}, args...), "RUNTIME_CODE_ROOT=")
		require.Zero(t, got.code, got.stderr)
		require.Contains(t, got.stdout, id)
		require.Empty(t, got.stderr)
	}
}
