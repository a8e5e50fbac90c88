package api

import (
	"context"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Drain makes every answer from now on the last one of its connection, with "Connection: close". A caller that keeps a
// connection learns of the stop from an answer, and its connection is not closed under its next request. Called once,
// at the begin of the stop; Shutdown follows.
func (s *Server) Drain() { s.draining.Store(true) }

const (
	// lingerStep is how often Shutdown looks whether callers still arrive, lingerLooks how many times at most: about
	// 50 ms, which is enough for requests in flight. A caller that has been silent for so long may find its connection
	// closed. Looks are counted, as an agent that the machine keeps from its CPU must still read what has arrived.
	lingerStep  = 5 * time.Millisecond
	lingerLooks = 10
)

// Shutdown refuses new connections, answers what has been sent on the others, and waits for them until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	s.refuseNew()
	for looks := 0; looks < lingerLooks && ctx.Err() == nil; looks++ {
		time.Sleep(lingerStep) // also at first: a handshake may be half done
		if !s.arriving() && s.http.GetOpenConnectionsCount() <= 0 {
			break
		}
	}
	return s.http.ShutdownWithContext(ctx)
}

// onlyEstablished drops packets that would begin a connection: those with SYN and without ACK. The program runs on the
// TCP header, whose byte 13 has the flags.
var onlyEstablished = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 13},
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0x12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x02, Jt: 0, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 18},
}

// refuseNew keeps connections from being made, while those that the kernel has made already are still accepted. Closing
// the listener alone would reset them, with the requests that their callers have sent. A new caller retries by itself,
// and is refused once the listener is closed.
func (s *Server) refuseNew() {
	s.control(func(fd int) {
		program := unix.SockFprog{Len: uint16(len(onlyEstablished)), Filter: &onlyEstablished[0]}
		// a sandbox may forbid it: then some connections are reset
		_ = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	})
}

// arriving reports whether there are connections that have not been accepted yet.
func (s *Server) arriving() bool {
	waiting := false
	s.control(func(fd int) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		waiting = err == nil && info.Unacked > 0 // of a listener: the length of its backlog
	})
	return waiting
}

// control runs f with the listener's descriptor, if it has one.
func (s *Server) control(f func(fd int)) {
	conn, ok := any(s.ln).(syscall.Conn)
	if !ok {
		return
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return // closed already
	}
	_ = raw.Control(func(fd uintptr) { f(int(fd)) }) // an error says that it is closed
}
