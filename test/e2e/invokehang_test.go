package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// hangs runs invoke on a function that hangs until stderr has what is wanted: on a machine that has no time for it, the
// 200 ms of an examination may be over before its end.
func hangs(t *testing.T, dir string, args []string, wants ...string) (got ran) {
	t.Helper()
	for range 30 {
		got = runInvoke(t, dir, append([]string{"--timeout", "0.3"}, args...))
		if !slices.ContainsFunc(wants, func(want string) bool { return !strings.Contains(got.stderr, want) }) {
			return got
		}
	}
	t.Fatalf("never %q in %s", wants, got.stderr)
	return got
}

// TestTimedOutInvokeIsExplainedByWhereItHung: the line and its callers of a loop, in Node.js, Python and PHP; a child that is
// waited for; and a Promise that nothing can settle any more.
func TestTimedOutInvokeIsExplainedByWhereItHung(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		wants []string
	}{
		"a loop of Node.js": {
			map[string]string{"index.js": "function spin() {\n  for (;;);\n}\nexports.handler = async (e, c) => {\n  spin();\n};\n"},
			[]string{"./index.js:2, in spin: it was here when its time was over\n", ">    2 │   for (;;);\n", "./index.js:5, in exports.handler\n", "Why: It was computing when its time was over."},
		},
		"a loop of Python": {
			map[string]string{"index.py": "def handler(event, context):\n    while True:\n        pass\n"},
			[]string{"in handler: it was here when its time was over\n", "Why: It was computing when its time was over."},
		},
		"a loop of PHP": {
			map[string]string{"index.php": "<?php\nfunction spin() {\n  for (;;) {\n    $x = 1;\n  }\n}\nfunction handler() {\n  spin();\n}\n"},
			[]string{"in spin: it was here when its time was over\n", "  ./index.php:8, in handler\n", "Why: It was computing when its time was over."},
		},
		"a child": {
			map[string]string{"index.js": "exports.handler = async (e, c) => require('child_process').execSync('exec sleep 1000')"},
			[]string{"Why: It was waiting when its time was over.", "Open at that moment:\n    process ", ", sleep\n"},
		},
		"a Promise": {
			map[string]string{"index.js": "exports.handler = (e, c) => new Promise(() => {})"},
			[]string{"Nothing was left that could go on: a Promise is never settled"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.files["index.php"] != "" {
				needPHP(t)
			}
			hangs(t, writeFiles(t, c.files), nil, c.wants...)
		})
	}
}

// TestInvokeLooksWhereItsCallHangs: before the end of a worker whose call has passed its deadline; the answer and the
// function's log are those of a function that serves, which does not look.
func TestInvokeLooksWhereItsCallHangs(t *testing.T) {
	t.Parallel()
	const loop = "exports.handler = async (e, c) => { for (;;); };"
	dir := writeFiles(t, map[string]string{"index.js": loop})
	got := hangs(t, dir, []string{"--log-level", "debug"}, `"kind": "busy"`, "it was here when its time was over")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stdout, `"errorType": "Runtime.Timeout"`)
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
