package extension

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ports takes the ports of extensions, 8081 to 8090, for this test. They are fixed, and "go test" runs packages side by
// side: the lock is a file that all of them know.
func ports(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "gantry-test-ports.lock"), os.O_CREATE|os.O_RDWR, 0o666)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() }) // which lets go of it
	require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
}
