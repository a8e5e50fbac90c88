package process

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ends are addresses that the test and its children exchange.
type ends struct{ Silent, Full, Agent, Server, Called string }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// peer is another program: it accepts, sends three bytes and reads nothing; and it has a socket that takes no more
// connections.
func peer() {
	silent := must(net.Listen("tcp", "127.0.0.1:0"))
	full := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	if err := unix.Bind(full, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		panic(err)
	}
	if err := unix.Listen(full, 0); err != nil {
		panic(err)
	}
	at := must(unix.Getsockname(full))
	for range 4 {
		fd := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0))
		if err := unix.Connect(fd, at); err != nil && err != unix.EINPROGRESS {
			panic(err)
		}
	}
	report(ends{Silent: silent.Addr().String(), Full: fmt.Sprintf("127.0.0.1:%d", at.(*unix.SockaddrInet4).Port)})
	conn := must(silent.Accept())
	must(conn.Write([]byte("abc")))
	time.Sleep(time.Hour)
}

func report(e ends) { fmt.Println(string(must(json.Marshal(e)))) }

// openSockets is the child under test.
func openSockets() {
	var e ends
	if err := json.Unmarshal([]byte(os.Getenv("ENDS")), &e); err != nil {
		panic(err)
	}
	conn := must(net.Dial("tcp", e.Silent))
	if err := conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		panic(err)
	}
	if _, err := conn.Write(make([]byte, 64<<20)); err == nil {
		panic("the peer reads")
	}
	go net.Dial("tcp", e.Full) // it does not end
	must(net.Dial("tcp", e.Agent))
	must(net.Dial("udp", e.Silent))
	must(net.ListenPacket("udp6", "[::1]:0"))
	server, called := must(net.Listen("tcp", "[::1]:0")), must(net.Listen("tcp", "127.0.0.1:0"))
	go func() { must(called.Accept()) }()
	report(ends{Server: server.Addr().String(), Called: called.Addr().String()})
	time.Sleep(time.Hour)
}

// said waits for what a child reports.
func said(t *testing.T, o *output) (e ends) {
	t.Helper()
	until(t, "the child reports", func() bool { return strings.HasSuffix(o.String(), "}\n") })
	require.NoError(t, json.Unmarshal([]byte(o.String()), &e))
	return e
}

// TestSocketsAreThoseOfTheTreeWithoutTheAgents: each socket of a child has its ends, its state as text and what waits in
// it; connections with the agent, and sockets that the agent connects to, are left out.
func TestSocketsAreThoseOfTheTreeWithoutTheAgents(t *testing.T) {
	s := newSupervisor(t)
	var other, out output
	p, err := s.Start(self(t, &other, "peer"))
	require.NoError(t, err)
	defer p.Kill()
	e := said(t, &other)
	agent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer agent.Close()
	e.Agent = agent.Addr().String()
	cmd := self(t, &out, "sockets")
	ends, err := json.Marshal(e)
	require.NoError(t, err)
	cmd.Env = append(cmd.Env, "ENDS="+string(ends))
	exe := cmd.Path
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", exe + " & wait"} // a descendant's count too
	child, err := s.Start(cmd)
	require.NoError(t, err)
	defer child.Kill()
	accepted, err := agent.Accept()
	require.NoError(t, err)
	defer accepted.Close()
	its := said(t, &out)
	ours, err := net.Dial("tcp", its.Called)
	require.NoError(t, err)
	defer ours.Close()

	var all []Socket
	until(t, "the connection that gets no answer is there", func() bool {
		all, err = child.Sockets(time.Now().Add(time.Minute))
		require.NoError(t, err)
		return len(all) == 5
	})
	found := map[string]Socket{}
	for _, socket := range all {
		require.NotEqual(t, child.PID, socket.PID, "it is the descendant's")
		found[socket.Protocol+" "+socket.State] = socket
	}
	require.Len(t, found, 5)
	silent := found["tcp ESTABLISHED"]
	require.Equal(t, netip.MustParseAddrPort(e.Silent), silent.Remote)
	require.Equal(t, "127.0.0.1", silent.Local.Addr().String())
	require.EqualValues(t, 3, silent.Received)
	require.Positive(t, silent.Unsent)
	require.Equal(t, netip.MustParseAddrPort(e.Full), found["tcp SYN-SENT"].Remote)
	require.Equal(t, netip.MustParseAddrPort(e.Silent), found["udp ESTABLISHED"].Remote)
	require.Equal(t, netip.IPv6Loopback(), found["udp UNCONNECTED"].Local.Addr())
	require.Equal(t, netip.MustParseAddrPort(its.Server), found["tcp LISTEN"].Local)

	none, err := child.Sockets(time.Now().Add(-time.Second))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Empty(t, none)
}
