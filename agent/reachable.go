package agent

import (
	"net"
	"net/netip"
)

// Reachable turns the address of a listener, host:port, into one to call: a listener on all addresses is on loopback
// too. What has another form is returned as it is.
func Reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
