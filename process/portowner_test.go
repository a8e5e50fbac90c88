package process

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOwnerOfAnAddressIsFound: also for an address that stands for all, and for the socket of a child.
func TestOwnerOfAnAddressIsFound(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().(*net.TCPAddr).AddrPort()
	for _, at := range []netip.AddrPort{addr, netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port()), netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())} {
		owner, ok := FindPortOwner(at)
		require.True(t, ok, at)
		require.Equal(t, os.Getpid(), owner.PID)
		require.Equal(t, os.Getuid(), owner.UID)
		require.NotEmpty(t, owner.Command)
	}
	_, ok := FindPortOwner(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), addr.Port()))
	require.False(t, ok, "another address")

	s := newSupervisor(t)
	p, err := s.Start(shell(&output{}, "exec sleep 1000"))
	require.NoError(t, err)
	defer p.Kill()
	own, err := p.ListensAt(addr)
	require.NoError(t, err)
	require.False(t, own, "it is this process's")

	file, err := ln.(*net.TCPListener).File()
	require.NoError(t, err)
	defer file.Close()
	cmd := shell(&output{}, "sleep 1000 & wait")
	cmd.Files = []*os.File{file}
	child, err := s.Start(cmd)
	require.NoError(t, err)
	defer child.Kill()
	until(t, "the child has the socket", func() bool { own, err := child.ListensAt(addr); return err == nil && own })
	require.NoError(t, ln.Close())
	require.NoError(t, file.Close())
	child.Kill()
	<-child.Exited()
	until(t, "nothing listens", func() bool { _, ok := FindPortOwner(addr); return !ok })
	_, err = p.ListensAt(addr)
	require.ErrorContains(t, err, "no socket that listens")
}
