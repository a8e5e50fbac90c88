package agent

import (
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/process"
	"gantry/settings"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// checkPorts reports all addresses of an agent that other programs listen on, before anything is started: found one by
// one, each would cost the user an attempt. An error is marked fault.Unavailable. Whatever else can be wrong with an
// address, the listener reports.
func checkPorts(listeners []settings.Listener) error {
	var taken []settings.Listener
	for _, l := range listeners {
		if isTaken(l.Addr) {
			taken = append(taken, l)
		}
	}
	if len(taken) == 0 {
		return nil
	}
	var text strings.Builder
	text.WriteString("other programs listen on addresses that this agent needs:")
	for _, l := range taken {
		fmt.Fprintf(&text, "\n  %-16s %s listener, %s=%s (%s)%s", l.Addr, l.Name, l.Setting, l.Addr, l.Source, holder(l.Addr))
	}
	flags := make([]string, 0, len(taken))
	for _, l := range taken {
		flags = append(flags, "--"+l.Flag)
	}
	fmt.Fprintf(&text, "\nstop them, choose other addresses with %s, or let the kernel choose: --ports 0",
		strings.Join(flags, ", "))
	return fault.Mark(fault.Unavailable, errors.New(text.String()))
}

// isTaken binds addr without listening: the kernel refuses that where another socket listens, and no client can get
// in.
func isTaken(addr string) bool {
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil || at.Port == 0 {
		return false
	}
	any6 := &unix.SockaddrInet6{Port: at.Port} // all addresses, of both families where there are two
	family, to := unix.AF_INET6, unix.Sockaddr(any6)
	if v4 := at.IP.To4(); v4 != nil {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: at.Port, Addr: [4]byte(v4)}
	} else if at.IP != nil {
		copy(any6.Addr[:], at.IP.To16())
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) && at.IP == nil {
		to = &unix.SockaddrInet4{Port: at.Port}
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return false
	}
	return errors.Is(unix.Bind(fd, to), unix.EADDRINUSE)
}

// holder names the process behind a taken address.
func holder(addr string) string {
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return ""
	}
	ip, ok := netip.AddrFromSlice(at.IP)
	if !ok {
		ip = netip.IPv6Unspecified()
	}
	owner, ok := process.FindPortOwner(netip.AddrPortFrom(ip.Unmap(), uint16(at.Port)))
	switch {
	case !ok:
		return ""
	case owner.PID == 0:
		return fmt.Sprintf(": taken by a process of user %d that cannot be seen from here", owner.UID)
	}
	return fmt.Sprintf(": taken by process %d, %s", owner.PID, owner.Command)
}
