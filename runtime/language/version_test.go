package language

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersionsAreParsedAndComparedByNumber(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"3.8.18": "3.8", "20.1.0": "20.1", "3": "3", "3.14.0rc1": "3.14", "10.0.0": "10"} {
		v, ok := ParseVersion(text)
		require.True(t, ok, text)
		require.Equal(t, want, v.String(), text)
	}
	for _, text := range []string{"", "pyenv: python3: command not found", "v8"} {
		_, ok := ParseVersion(text)
		require.False(t, ok, text)
	}
	require.True(t, Version{3, 7}.Before(Version{3, 8}))
	require.True(t, Version{2, 7}.Before(Version{3, 0}))
	require.False(t, Version{3, 10}.Before(Version{3, 8}))
	require.False(t, Version{4, 0}.Before(Version{3, 8}))
}
