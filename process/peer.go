package process

import (
	"net"

	"golang.org/x/sys/unix"
)

// PeerPID returns the id of the process that connected to a Unix socket, or that listens there. The kernel recorded it
// then, so that a process cannot claim the id of another one.
func PeerPID(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	var optErr error
	if err := raw.Control(func(fd uintptr) {
		peer, optErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if optErr != nil {
		return 0, optErr
	}
	return int(peer.Pid), nil
}
