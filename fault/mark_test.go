package fault

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMarkKeepsMessageAndCause: a kind changes nothing that is printed, and the outermost kind counts.
func TestMarkKeepsMessageAndCause(t *testing.T) {
	cause := errors.New("no such file")
	err := fmt.Errorf("--extension: %w", Mark(Unavailable, Mark(Invalid, cause)))
	require.EqualError(t, err, "--extension: no such file")
	require.ErrorIs(t, err, cause)
	kind, ok := MarkOf(err)
	require.True(t, ok)
	require.Equal(t, Unavailable, kind)
	_, ok = MarkOf(cause)
	require.False(t, ok)
	require.NoError(t, Mark(Invalid, nil))
}
