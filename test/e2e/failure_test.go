package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// explained is the end of stderr that explains a failed call.
func explained(t *testing.T, stderr string) string {
	t.Helper()
	_, text, found := strings.Cut(stderr, "\n✗ ")
	require.True(t, found, stderr)
	return text
}

// TestFailedInvokeIsExplained: what, where with its lines of code, figures, and what to do, by the evidence there is.
func TestFailedInvokeIsExplained(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		wants []string
	}{
		"an error of Node.js": {
			map[string]string{"index.js": "exports.handler = async (e, c) => {\n  return e.user.name;\n};\n"},
			[]string{"4002 TypeError: Cannot read properties of undefined (reading 'name')\n", " of 5s, memory ", "./index.js:2, in exports.handler\n", ">    2 │   return e.user.name;\n", "More: bootstrap explain 4002\n"},
		},
		"an error of Python": {
			map[string]string{"lib.py": "def row(i):\n  return {}[i]\n", "index.py": "import lib\ndef handler(event, context):\n  return lib.row(4)\n"},
			[]string{"4002 KeyError: 4\n", "./lib.py:2, in row\n", ">    2 │   return {}[i]\n"},
		},
		"a syntax error":             {map[string]string{"index.js": "\nexports.handler = (;\n"}, []string{"4001 SyntaxError: Unexpected token ';' (./index.js:2)\n", ">    2 │ exports.handler = (;\n"}},
		"a wrong handler":            {map[string]string{"index.js": "exports.hello = async (e, c) => 1"}, []string{"Hint: the module exports: hello; set RUNTIME_HANDLER (--handler) to index.hello\n"}},
		"the end of a process":       {map[string]string{"index.js": "exports.handler = async (e, c) => { console.error('giving up'); process.exit(3) }"}, []string{"4204 Runtime.Exited: ", "exit code 3", "Why: ", "Last lines of the process:\n    giving up\n"}},
		"an error without a message": {map[string]string{"index.py": "def handler(e, c):\n  raise KeyboardInterrupt\n"}, []string{"4002 KeyboardInterrupt: (no message)\n", ">    2 │   raise"}},
		"a text as an error":         {map[string]string{"index.js": "exports.handler = (e, c, callback) => callback('out of paper')"}, []string{"4001 UserFunctionError: out of paper\n"}},
		"a result that is too large": {map[string]string{"index.js": "exports.handler = async (e, c) => 'x'.repeat(7 << 20)"}, []string{"4004 ResponseTooLarge: response body size 7340032 exceeds the limit of 6291456\n"}},
		"an event without JSON":      {map[string]string{"index.js": okFunction}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := writeFiles(t, c.files)
			event := `{"id": 4}`
			if c.wants == nil {
				event = filepath.Join(t.TempDir(), "event")
				require.NoError(t, os.WriteFile(event, []byte("p4ssword"), 0o600))
			}
			got := runInvoke(t, dir, []string{"--timeout", "5", "--event", event})
			require.Equal(t, 1, got.code)
			text := explained(t, got.stderr)
			for _, want := range c.wants {
				require.Contains(t, text, want)
			}
			require.NotContains(t, text, "p4ssword")
		})
	}
}

// TestResultThatIsNoJSONIsPlacedByAHint: the member that is none, and what to write; nothing of its value.
func TestResultThatIsNoJSONIsPlacedByAHint(t *testing.T) {
	t.Parallel()
	python := func(result string) map[string]string {
		return map[string]string{"index.py": "import datetime, decimal\nclass Own: pass\ndef handler(e, c):\n  return " + result}
	}
	php := func(result string) map[string]string {
		return map[string]string{"index.php": "<?php\nfunction handler($event, $context) { return " + result + "; }"}
	}
	for name, c := range map[string]struct {
		files map[string]string
		hint  string
	}{
		"BigInt": {
			map[string]string{"index.js": "exports.handler = async (e, c) => ({ rows: [{ id: 1 }, { 'the id': 10n }] })"},
			`result["rows"][1]["the id"] is a BigInt: write String(value), or Number(value)`,
		},
		"circle with a BigInt": {
			map[string]string{"index.js": "exports.handler = async (e, c) => { const a = { n: 1n }; a.a = [a, a]; return a; }"},
			`result["n"] is a BigInt`,
		},
		"date":    {python(`{"rows": [1, {"at": datetime.date.today()}]}`), "result['rows'][1]['at'] is of the type date: write value.isoformat()"},
		"Decimal": {python(`[decimal.Decimal("1.5")]`), "result[0] is of the type Decimal: write str(value) or float(value)"},
		"object":  {python(`{"own": (None, Own())}`), "result['own'][1] is of the type Own: write plain data in its place"},
		"key":     {python(`{"a": {(1, 2): 3}}`), "result['a'] has a key of the type tuple: write a text"},
		"circle":  {python(`(lambda a: a.append(a) or {"a": a})([])`), "result['a'][0] is an object that contains itself"},
		"bytes":   {php(`['a' => [1, "\xff"]]`), `result["a"][1] is not UTF-8: write base64_encode() of it`},
		"NAN":     {php(`['a' => NAN]`), `result["a"] is "NAN": JSON has no such number`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.files["index.php"] != "" {
				needPHP(t)
			}
			got := runInvoke(t, writeFiles(t, c.files), []string{"--event", "{}", "--timeout", "20"})
			require.Equal(t, 1, got.code, got.stderr)
			text := explained(t, got.stderr)
			require.True(t, strings.HasPrefix(text, "4007 "), text)
			require.Contains(t, text, "Hint: "+c.hint)
		})
	}
}

// TestExplainLastShowsTheLastFailedInvoke: from a file for its user only, without credentials, and in both languages.
func TestExplainLastShowsTheLastFailedInvoke(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	dir := writeFiles(t, map[string]string{"index.js": "exports.handler = async (e, c) => {\n  throw new Error('refused: ' + c.getSecretKey() + ' ' + e.n);\n}"})
	env := []string{"HOME=" + home, "GANTRY_SECRET_KEY=s3cr3t-key", "XDG_STATE_HOME="}
	none := runCommand(t, dir, []string{"explain", "--last"}, env...)
	require.Equal(t, 1, none.code)
	require.Contains(t, none.stderr, "no failed invoke is on record in "+home)

	failed := runInvoke(t, dir, []string{"--event", `{"n": "of the event"}`}, env...)
	require.Equal(t, 1, failed.code)
	file := filepath.Join(home, ".local", "state", "gantry", "last-failure.json")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	kept, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(kept), "s3cr3t")
	require.Contains(t, string(kept), "refused: (not shown)")
	require.NotContains(t, string(kept), "throw new", "no code")

	last := runCommand(t, dir, []string{"explain", "--last"}, env...)
	require.Zero(t, last.code, last.stderr)
	require.Contains(t, last.stdout, "✗ 4002 Error: refused: (not shown)")
	require.Contains(t, last.stdout, ">    2 │   throw new Error(")
	last = runCommand(t, dir, []string{"explain", "--last", "--lang", "zh"}, env...)
	require.Contains(t, last.stdout, "请求 ")

	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
	broken := runCommand(t, dir, []string{"explain", "--last"}, env...)
	require.Equal(t, 1, broken.code)
	require.Contains(t, broken.stderr, "the next failed invoke writes it anew")
}

// TestFailureIsNotExplainedInJSON: a log for programs stays one.
func TestFailureIsNotExplainedInJSON(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"index.js": "exports.handler = async (e, c) => { throw new Error('x') }"})
	got := runInvoke(t, dir, []string{"--log-format", "json"})
	require.Equal(t, 1, got.code)
	require.NotContains(t, got.stderr, "✗")
	for line := range strings.Lines(got.stderr) {
		require.True(t, strings.HasPrefix(line, "{"), line)
	}
}
