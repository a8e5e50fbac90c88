package process

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestTransientIsTrueForErrorsThatPass(t *testing.T) {
	for _, err := range []error{
		unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ETXTBSY, unix.EINTR,
		os.NewSyscallError("pipe2", unix.EMFILE),
		fmt.Errorf("start worker: /bin/node: %w; more", unix.EAGAIN),
		&net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("socket", unix.ENFILE)},
		errors.Join(errors.New("one"), fmt.Errorf("two: %w", unix.ENOMEM)),
	} {
		require.True(t, Transient(err), "%v", err)
	}
	for _, err := range []error{
		nil, errors.New("resource temporarily unavailable"), unix.ENOENT, unix.EACCES, unix.EPERM, unix.ENOEXEC, fs.ErrNotExist, unix.EADDRINUSE,
	} {
		require.False(t, Transient(err), "%v", err)
	}
}

// TestStartWithoutDescriptorsFailsTransiently: Start's error when no descriptors are left differs from that of a
// missing program, and the next Start succeeds as soon as there are some again.
func TestStartWithoutDescriptorsFailsTransiently(t *testing.T) {
	s := newSupervisor(t)
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	none := old
	none.Cur = 1
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &none))
	var o output
	_, err := s.Start(shell(&o, "exit 0"))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
	require.Error(t, err)
	require.True(t, Transient(err), "%v", err)

	p, err := s.Start(shell(&o, "exit 0"))
	require.NoError(t, err)
	wait(t, p.Done())
	_, err = s.Start(&Command{Name: "x", Path: "/no/such/program", Args: []string{"x"}, UID: -1, GID: -1, Output: o.read})
	require.Error(t, err)
	require.False(t, Transient(err), "%v", err)
}
