package language

import (
	"gantry/fault"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInterpretersAreTooOldByWhatTheyPrint: an old one is refused with its version; what prints none is not.
func TestInterpretersAreTooOldByWhatTheyPrint(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lang          *Language
		printed, says string
	}{
		{nodejs, "v8.17.0\n", "/x is Node.js 8.17.0; Node.js 10 or later is needed: install it, or put it first in PATH"},
		{nodejs, "v10.0.0\n", ""},
		{python, "Python 3.6.15\n", "/x is Python 3.6.15; Python 3.8 or later is needed: install it, or put it first in PATH"},
		{python, "Python 3.8.18\n", ""},
		{python, "pyenv: python3: command not found\n", ""},
		{golang, "1.26", ""},
	} {
		old := c.lang.TooOld("/x", c.lang.VersionIn(c.printed))
		if c.says == "" {
			require.Nil(t, old, c.printed)
			continue
		}
		require.NotNil(t, old, c.printed)
		require.Equal(t, c.says, old.Message)
		require.Equal(t, fault.Init, old.Kind)
	}
}

// TestHintsForEndsNameWhatEndsTheProcess: by the language, and before Hello by what stderr shows.
func TestHintsForEndsNameWhatEndsTheProcess(t *testing.T) {
	t.Parallel()
	ended := "the process ended by itself: " + python.Ends
	require.Equal(t, ended, python.EndHint("/x", 1, nil))
	require.Equal(t, ended+"; its last lines say more", python.EndHint("/x", 1, []string{"x"}))
	require.Contains(t, python.AbortHint([]string{"Fatal Python error: Aborted"}), "aborted itself: abort() in the code")
	require.NotContains(t, python.AbortHint(nil), "last lines")
	full := []string{"FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory"}
	require.Contains(t, nodejs.AbortHint(full), "raise RUNTIME_MEMORY")
	lines := []string{"    at internal/preload", "x"}
	require.Contains(t, nodejs.EarlyHint(lines, "/srv/app", "else"), "--require ./app/node_modules/")
	require.Equal(t, "else", nodejs.EarlyHint(nil, "/srv/app", "else"))
	require.Equal(t, "else", python.EarlyHint(lines, "/srv/app", "else"))
}
