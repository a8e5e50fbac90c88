package runtime

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLoadErrorsOfTheCodeItselfAreFinal: errors of the code itself are distinguished from errors that a retry may not
// meet.
func TestLoadErrorsOfTheCodeItselfAreFinal(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		node, python string
		final        bool
	}{
		"syntax":            {"exports.handler = (;", "def handler(:", true},
		"missing module":    {"require('./nowhere')", "import nowhere", true},
		"missing export":    {"exports.other = 1", "other = 1", true},
		"raised":            {"throw new Error('no network')", "raise OSError('no network')", false},
		"broken JSON":       {"JSON.parse('{')", "import json; json.loads('{')", false},
		"name of an export": {"const { x } = require('fs'); x.y", "from os import nothing_like_it", false},
	}
	for name, c := range cases {
		t.Run("nodejs, "+name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.final, startWorker(t, map[string]string{"index.js": c.node}).loadError().Final)
		})
		t.Run("python, "+name, func(t *testing.T) {
			t.Parallel()
			final := c.final || name == "name of an export" // an import names it, so the language knows
			require.Equal(t, final, startPython(t, map[string]string{"index.py": c.python}).loadError().Final)
		})
	}
	t.Run("nodejs, ES module", func(t *testing.T) {
		t.Parallel()
		for source, final := range map[string]bool{"import './nowhere.mjs'": true, "export const handler = (;": true, "import { nothing } from 'fs'": true, "throw new Error('x')": false} {
			f := startWorker(t, map[string]string{"index.mjs": source})
			require.Equal(t, final, f.loadError().Final, source)
		}
	})
	t.Run("nodejs, no file", func(t *testing.T) {
		t.Parallel()
		require.True(t, startWorker(t, nil).loadError().Final)
	})
}
