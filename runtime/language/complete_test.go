package language

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHandlersAreFoundWithoutRunningAnything: in the usual spellings, and near the top of the folder.
func TestHandlersAreFoundWithoutRunningAnything(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"node": {map[string]string{
			"index.js":                      "exports.handler = async (event) => 1;\n  module.exports.initializer = () => {};\nexports.handler = 2;",
			"src/app.mjs":                   "export const main = 1;\nexport async function later() {}\nexport default 3;",
			"whole.cjs":                     "module.exports = { one, two: second, 'three': 3, ...rest };\n",
			"plain.js":                      "const x = 1;",
			"node_modules/left/index.js":    "exports.pad = 1;",
			".cache/index.js":               "exports.hidden = 1;",
			"src/deep/index.js":             "exports.deep = 1;",
			"extension/extensionA/index.js": "exports.no = 1;",
		}, []string{"index.handler", "index.initializer", "plain.", "src/app.main", "src/app.later", "whole.one", "whole.two"}},
		"python": {map[string]string{
			"index.py": "import os\n\ndef handler(event, context):\n    def inner():\n        pass\n\nasync def later (event, context): pass\nclass X:\n    def method(self): pass\n",
		}, []string{"index.handler", "index.later"}},
		"php": {map[string]string{
			"index.php":         "<?php\nuse function a\\b;\nfunction handler($event, $context)\n{\n    function inner() {}\n}\nFunction &later () {}\nclass X { function method() {} }\n",
			"vendor/a/main.php": "<?php\nfunction no() {}\n",
		}, []string{"index.handler", "index.later"}},
		"program": {map[string]string{"handler": "#!", "notes": "text"}, []string{"handler"}},
		"empty":   {nil, nil},
	} {
		dir := t.TempDir()
		for file, text := range c.files {
			mode := os.FileMode(0o600)
			if strings.HasPrefix(text, "#!") {
				mode = 0o700
			}
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), mode))
		}
		require.ElementsMatch(t, c.want, Handlers(dir), name)
	}
	require.Empty(t, Handlers("/nonexistent"))
}

// TestSearchForHandlersIsBounded: a large folder and a large file do not make a person wait.
func TestSearchForHandlersIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range mostSources + 10 {
		file := filepath.Join(dir, "m"+strings.Repeat("x", i)+".js")
		require.NoError(t, os.WriteFile(file, []byte("exports.handler = 1;\n"), 0o600))
	}
	require.Len(t, Handlers(dir), mostSources)
	dir = t.TempDir()
	text := strings.Repeat("//\n", mostSourceSize/3+1) + "exports.late = 1;\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.js"), []byte(text), 0o600))
	require.Equal(t, []string{"index."}, Handlers(dir))
}
