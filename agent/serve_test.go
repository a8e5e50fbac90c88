package agent

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddressOfAllInterfacesIsShownAsOneThatCanBeCalled(t *testing.T) {
	for shown, addr := range map[string]*net.TCPAddr{
		"127.0.0.1:8000": {IP: net.IPv6unspecified, Port: 8000}, "127.0.0.1:1": {IP: net.IPv4zero, Port: 1},
		"127.0.0.1:2": {IP: net.IPv4(127, 0, 0, 1), Port: 2}, "[::1]:3": {IP: net.IPv6loopback, Port: 3},
	} {
		require.Equal(t, shown, reachable(addr))
	}
}
