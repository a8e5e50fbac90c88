package runtime

import (
	"encoding/json"
	"gantry/fault"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNodeLoadErrorsHaveHintsForLocalCallers: what local callers and the log get besides the platform's texts.
func TestNodeLoadErrorsHaveHintsForLocalCallers(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		files map[string]string
		hint  string
	}{
		"a wrapper":           {map[string]string{"index.js": "exports.handler = (event) => 1;"}, "length is 1: parameters with a default"},
		"rest":                {map[string]string{"index.js": "exports.handler = (...all) => 1;"}, "length is 0: "},
		"only TypeScript":     {map[string]string{"index.ts": "", "other.js": ""}, "there is index.ts, which has to be compiled"},
		"default export":      {map[string]string{"index.js": "exports.default = { handler: (e, c) => 1 };"}, "exports: default; it has to be an export of its own"},
		"other names":         {map[string]string{"index.js": "exports.a = 1; exports.b = 2;"}, "exports: a, b"},
		"nothing":             {map[string]string{"index.js": "const handler = (e, c) => 1;"}, "exports nothing"},
		"a function":          {map[string]string{"index.js": "module.exports = async (e, c) => 1;"}, "exports a function itself: write exports.handler = "},
		"a module of another": {map[string]string{"index.mjs": "export const other = 1;"}, "exports: other"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := startWorker(t, c.files).loadError()
			require.Contains(t, e.Hint, c.hint)
			require.NotContains(t, string(e.Text(false)), "hint")
			var body struct{ ErrorMessage, ErrorType, Hint string }
			require.NoError(t, json.Unmarshal(e.Text(true), &body))
			require.Equal(t, e.Hint, body.Hint)
			require.Contains(t, body.ErrorMessage, "function entry exception, error: ")
		})
	}
	t.Run("a preload that is not found", func(t *testing.T) {
		t.Parallel()
		f := startWorker(t, map[string]string{"code/index.js": "exports.handler = async (e, c) => 1;"}, withCodeRoot(func(root string) string { return root + "/code" }), withEnv("NODE_OPTIONS=--require no-such-tracer/init"))
		e := f.loadError()
		require.Contains(t, e.Hint, "--require ./code/node_modules/")
		require.Contains(t, strings.Join(e.Stderr, "\n"), "no-such-tracer/init")
	})
}

// TestNodeLastLinesSayThatTheHeapWasFull: the last lines say that the heap was full, not only where.
func TestNodeLastLinesSayThatTheHeapWasFull(t *testing.T) {
	t.Parallel()
	source := "exports.handler = async (e, c) => { const all = []; for (;;) all.push(new Array(1000).fill({})); };"
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f := startWorker(t, map[string]string{"index.js": source}, withNode(node), withEnv("NODE_OPTIONS=--max-old-space-size=40")).ready()
			_, err := f.invoke("{}")
			var e *fault.Error
			require.ErrorAs(t, err, &e)
			require.Contains(t, strings.Join(e.Stderr, "\n"), "heap out of memory")
		})
	}
}
