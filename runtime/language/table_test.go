package language

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRowsAnswerWhatEveryLanguageIsAsked: a row without a field that others rely on is found here, and not by a user.
func TestRowsAnswerWhatEveryLanguageIsAsked(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, l := range All {
		require.False(t, seen[l.Name], l.Name)
		seen[l.Name] = true
		for _, text := range []string{l.Name, l.Title, l.Handler, l.Ends, l.Silent} {
			require.NotEmpty(t, text, l.Name)
		}
		_, err := l.ParseHandler(l.Handler)
		require.NoError(t, err, l.Name)
		ours := !l.OwnProgram()
		require.Equal(t, ours, l.Source != "" || l.Archive != "", l.Name)
		require.Equal(t, ours, l.Platform != "", l.Name)
		require.Equal(t, ours, l.Arguments != nil || l.Archive != "", l.Name)
		require.Equal(t, ours, l.Extensions != nil, l.Name)
		require.Equal(t, ours, l.MinVersion != Version{}, l.Name)
		require.Equal(t, ours, l.NoPreStop == "", "%s: our workers run the hook, programs do not", l.Name)
		require.Equal(t, l.Polls() || l.Proxies(), l.NoInitializer != "", l.Name)
	}
}
