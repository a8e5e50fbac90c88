package api

import (
	"io/fs"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestConnectionsAreCountedAloneWhereDescriptorsCannotBe: without /proc, as in a bare chroot, a listener goes on; where
// no descriptor is left to count with, there is no room.
func TestConnectionsAreCountedAloneWhereDescriptorsCannotBe(t *testing.T) {
	for err, want := range map[error]want{
		&fs.PathError{Op: "open", Path: "/proc/self/fd", Err: fs.ErrNotExist}: wantNothing,
		&os.SyscallError{Syscall: "open", Err: syscall.EMFILE}:                wantDescriptors,
		&os.SyscallError{Syscall: "open", Err: syscall.ENFILE}:                wantDescriptors,
	} {
		d := &descriptors{reserve: 10, limit: func() int { return 100 }, count: func() (int, error) { return 0, err }}
		require.Equal(t, want, d.lack(1, time.Now()), err)
	}
	d := &descriptors{reserve: 10, limit: func() int { return 100 }, count: func() (int, error) { return 0, fs.ErrNotExist }}
	require.Equal(t, wantDescriptors, d.lack(100, time.Now()), "connections still count")
}
