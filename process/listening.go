package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// listener is a socket that listens at an address.
type listener struct {
	inode string
	uid   int
}

// errNoLookUp means that this kernel, or this sandbox, does not say which socket listens at an address.
var errNoLookUp = errors.New("the kernel does not say which socket listens at an address")

// Listening reports whether a socket takes the connections to a TCP address of this machine, without a connection to
// it, which the server would see. The error says that it cannot be seen, as for every address of IPv6: connect then.
func Listening(addr netip.AddrPort) (bool, error) {
	_, found, err := lookUpListener(addr)
	return found, err
}

// lookUpListener finds the socket that takes the connections to an address. A table of /proc/net costs milliseconds, as
// the kernel walks through room for all connections that the machine's memory allows; this costs microseconds.
func lookUpListener(addr netip.AddrPort) (l listener, found bool, err error) {
	if !addr.Addr().Is4() || !looksUp() {
		return listener{}, false, errNoLookUp
	}
	return askForListener(addr)
}

// looksUp tries askForListener once, on a socket of its own: where the kernel's part for it is missing, the answer is
// the same as for an address at which there is no socket.
var looksUp = sync.OnceValue(func() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	loopback := [4]byte{127, 0, 0, 1}
	if unix.Bind(fd, &unix.SockaddrInet4{Addr: loopback}) != nil || unix.Listen(fd, 1) != nil {
		return false
	}
	name, err := unix.Getsockname(fd)
	at, ok := name.(*unix.SockaddrInet4)
	var stat unix.Stat_t
	if err != nil || !ok || unix.Fstat(fd, &stat) != nil {
		return false
	}
	l, found, err := askForListener(netip.AddrPortFrom(netip.AddrFrom4(loopback), uint16(at.Port)))
	return found && err == nil && l.inode == strconv.FormatUint(stat.Ino, 10)
})

// The sizes and places of the kernel's sock_diag messages, linux/inet_diag.h: a request is a header, 8 bytes, and the
// ends of a socket; an answer is a header, 4 bytes, the ends, and 5 numbers of which the user and the inode come last.
const (
	diagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	diagEnds     = 48
	diagRequest  = unix.SizeofNlMsghdr + 8 + diagEnds
	diagAnswer   = 4 + diagEnds + 20
	// diagWait bounds the wait for an answer, in seconds; the kernel gives it at once.
	diagWait = 1
)

// askForListener asks by the ends of a connection from nowhere, which no established one has.
func askForListener(addr netip.AddrPort) (l listener, found bool, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return l, false, err
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: diagWait}); err != nil {
		return l, false, err
	}
	if err := unix.Sendto(fd, listenerRequest(addr), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return l, false, err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return l, false, err
	}
	return listenerAnswer(answer[:n])
}

func listenerRequest(addr netip.AddrPort) []byte {
	m := make([]byte, diagRequest)
	binary.NativeEndian.PutUint32(m, diagRequest)
	binary.NativeEndian.PutUint16(m[4:], diagByFamily)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST)
	body := m[unix.SizeofNlMsghdr:]
	body[0], body[1] = unix.AF_INET, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(body[4:], ^uint32(0)) // of every state
	ends := body[8:]
	binary.BigEndian.PutUint16(ends, addr.Port())
	ip := addr.Addr().As4()
	copy(ends[4:], ip[:])
	copy(ends[40:], "\xff\xff\xff\xff\xff\xff\xff\xff") // INET_DIAG_NOCOOKIE: no socket that was seen before
	return m
}

func listenerAnswer(answer []byte) (l listener, found bool, err error) {
	messages, err := syscall.ParseNetlinkMessage(answer)
	if err != nil {
		return l, false, err
	}
	if len(messages) == 0 {
		return l, false, errNoLookUp
	}
	switch data := messages[0].Data; {
	case messages[0].Header.Type == unix.NLMSG_ERROR && len(data) >= 4:
		number := syscall.Errno(-int32(binary.NativeEndian.Uint32(data)))
		if number == unix.ENOENT {
			return l, false, nil
		}
		return l, false, number
	case messages[0].Header.Type == diagByFamily && len(data) >= diagAnswer:
		if tcpStates[min(int(data[1]), len(tcpStates)-1)] != "LISTEN" {
			return l, false, nil
		}
		numbers := data[4+diagEnds:]
		l.uid = int(binary.NativeEndian.Uint32(numbers[12:]))
		l.inode = strconv.FormatUint(uint64(binary.NativeEndian.Uint32(numbers[16:])), 10)
		return l, true, nil
	default:
		return l, false, fmt.Errorf("%w: message of type %d, %d bytes", errNoLookUp, messages[0].Header.Type, len(data))
	}
}
