package process

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTooLargeEnvironmentNamesItsVariable: the kernel's "argument list too long" says which variable it is.
func TestTooLargeEnvironmentNamesItsVariable(t *testing.T) {
	s := NewSupervisor(false)
	defer s.Close()
	_, err := s.Start(&Command{
		Name: "x", Path: "/bin/true", Args: []string{"/bin/true"}, UID: -1, GID: -1, Env: []string{"A=b", "RUNTIME_USERDATA=" + strings.Repeat("x", 128<<10)},
		Output: func(_ string, r *os.File) {},
	})
	require.ErrorContains(t, err, "argument list too long; its environment has 131094 bytes, 131089 of them in RUNTIME_USERDATA: the kernel takes 128 KiB for one variable")
	require.NotContains(t, err.Error(), "xxx")
}
