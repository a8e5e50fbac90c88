package process

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestListeningIsSeenWithoutAConnection: at the address itself and where all addresses are listened at, by both versions
// of IP; not for a connection, another address or a closed listener.
func TestListeningIsSeenWithoutAConnection(t *testing.T) {
	if !looksUp() {
		t.Skip("the kernel has no sock_diag for TCP, or a sandbox forbids it")
	}
	for _, where := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		t.Run(where, func(t *testing.T) {
			ln, err := net.Listen("tcp", where)
			if err != nil {
				t.Skip("no IPv6 here: ", err)
			}
			addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), ln.Addr().(*net.TCPAddr).AddrPort().Port())
			l, found, err := lookUpListener(addr)
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, os.Getuid(), l.uid)
			has, err := holdsAny(os.Getpid(), []listener{l})
			require.NoError(t, err)
			require.True(t, has)

			conn, err := net.Dial("tcp", addr.String())
			require.NoError(t, err)
			defer conn.Close()
			found, err = Listening(conn.LocalAddr().(*net.TCPAddr).AddrPort())
			require.NoError(t, err)
			require.False(t, found, "the address of a connection")

			require.NoError(t, ln.Close())
			found, err = Listening(addr)
			require.NoError(t, err)
			require.False(t, found, "closed")
		})
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	found, err := Listening(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), ln.Addr().(*net.TCPAddr).AddrPort().Port()))
	require.NoError(t, err)
	require.False(t, found, "another address")
	_, err = Listening(netip.MustParseAddrPort("[::1]:1"))
	require.ErrorIs(t, err, errNoLookUp)
}
