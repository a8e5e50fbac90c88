package settings

import (
	"gantry/runtime/language"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOfferedValuesAreTaken: and where they are all, nothing else is.
func TestOfferedValuesAreTaken(t *testing.T) {
	closed := 0
	for _, s := range Table() {
		for _, value := range s.Values() {
			require.NoError(t, s.take(&Config{}, value), "%s: %s", s.Env, value)
		}
		if s.values != nil {
			closed++
			require.ErrorContains(t, s.take(&Config{}, "nonsense"), "want one of "+s.values[0]+", ", s.Env)
			require.Contains(t, s.values, s.Default(), s.Env)
		}
		if s.Path() != NoPath {
			require.Empty(t, s.Values(), s.Env)
		}
	}
	require.Equal(t, 4, closed)
	for _, name := range language.PlatformNames() {
		_, err := language.ByName(name)
		require.NoError(t, err, name)
	}
	for _, l := range language.All {
		require.Contains(t, language.PlatformNames(), l.Name)
	}
}

// TestTogglesAreThoseThatTakeTruthOnly: a flag that needs no value means true.
func TestTogglesAreThoseThatTakeTruthOnly(t *testing.T) {
	for _, s := range Table() {
		takesTruth := s.take(&Config{}, "true") == nil && s.take(&Config{}, "maybe") != nil
		require.Equal(t, takesTruth || s.Env == "NO_COLOR", s.toggle, s.Env)
	}
}

// TestPublicHasNoSecret: neither their values nor the names of their files.
func TestPublicHasNoSecret(t *testing.T) {
	environ := []string{"PATH=/bin", "GANTRY_SECRET_KEY=s", "GANTRY_AUTH_TOKEN_FILE=/f", "RUNTIME_TIMEOUT=3"}
	public := Public(environ)
	slices.Sort(public)
	require.Equal(t, []string{"PATH=/bin", "RUNTIME_TIMEOUT=3"}, public)
}

// TestGroupsHaveEverySetting: once, and the function's come first.
func TestGroupsHaveEverySetting(t *testing.T) {
	var names, want []string
	for _, g := range Groups() {
		for _, s := range g.Settings {
			names = append(names, s.Env)
		}
	}
	for _, s := range Table() {
		want = append(want, s.Env)
	}
	require.ElementsMatch(t, want, names)
	require.Equal(t, "Function", Groups()[0].Title)
}
