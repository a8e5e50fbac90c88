package spelling

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDistanceCountsTheEditsBetweenNames(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"serve", "srve", 1}, {"srve", "serve", 1}, {"hlep", "help", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1}} {
		require.Equal(t, c.want, distance(c.a, c.b), "%s %s", c.a, c.b)
	}
	require.Equal(t, "", Nearest("ab", []string{"xyz", "ax"}), "a short name has little in it that could be misspelled")
}
