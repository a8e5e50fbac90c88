package agent

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAddressOfAllInterfacesIsShownAsOneThatCanBeCalled(t *testing.T) {
	for addr, want := range map[string]string{
		"[::]:8000": "127.0.0.1:8000", "0.0.0.0:1": "127.0.0.1:1", "127.0.0.1:2": "127.0.0.1:2", "[::1]:3": "[::1]:3",
		":8092": "127.0.0.1:8092", "host:80/below": "host:80/below", "no port": "no port",
		"10.0.0.0:80": "10.0.0.0:80", // ends like the one for all addresses
	} {
		require.Equal(t, want, Reachable(addr))
	}
}
