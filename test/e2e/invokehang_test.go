package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInvokeLooksWhereItsCallHangs: before the end of a worker whose call has passed its deadline; the answer and the
// function's log are those of a function that serves, which does not look.
func TestInvokeLooksWhereItsCallHangs(t *testing.T) {
	t.Parallel()
	const loop = "exports.handler = async (e, c) => { for (;;); };"
	dir := writeFiles(t, map[string]string{"index.js": loop})
	got := runInvoke(t, dir, []string{"--timeout", "0.3", "--log-level", "debug"})
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stdout, `"errorType": "Runtime.Timeout"`)
	require.Contains(t, got.stderr, `"kind": "busy"`)
	require.Contains(t, got.stderr, `"missing": []`, "with its stack")
	require.NotContains(t, got.stderr, "ebugger")
	require.NotContains(t, got.stderr, "worker ended")
	require.Less(t, strings.Index(got.stderr, "Finish invoke"), strings.Index(got.stderr, "worker examined"))

	r := start(t, dir, "RUNTIME_TIMEOUT=0.3", "GANTRY_LOG_LEVEL=debug")
	answer := r.invoke("{}")
	require.Equal(t, 504, answer.status)
	require.Equal(t, got.stdout, answer.body)
	r.stderr.WaitFor(t, "worker gone")
	require.NotContains(t, r.stderr.String(), "worker examined")
}

// TestInvokeLooksAtCustomRuntimes: a script and the program that it waits for, without the connection to the agent.
func TestInvokeLooksAtCustomRuntimes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bootstrap"), []byte("#!/bin/sh\n"+
		"curl -s http://$RUNTIME_API_ADDR/v1/runtime/invocation/request >/dev/null\nsleep 1000\n"), 0o755))
	got := runInvoke(t, dir, []string{"--timeout", "1", "--log-level", "debug"}, "GANTRY_RUNTIME=custom")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, `"kind": "waiting"`)
	require.Contains(t, got.stderr, "the program is not written in Go")
}
