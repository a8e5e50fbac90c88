package cluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace without a name: it ends with the last process and descriptor in it, so that it
// cannot leak. nil is the test's own network.
type namespace struct {
	t       *testing.T
	fd      *os.File
	address string
	// port is the other end of its cable, in the switch's namespace.
	port   string
	wiring *namespace
}

// network is a switch with namespaces around it, cut off from everything else.
type network struct {
	t      *testing.T
	wiring *namespace
	ports  int
}

// newNetwork skips the test where namespaces cannot be made.
func newNetwork(t *testing.T) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("network namespaces need the program ip (package iproute2)")
	}
	wiring, err := newNamespace(t)
	if err != nil {
		t.Skipf("this machine refuses network namespaces: %v", err)
	}
	n := &network{t: t, wiring: wiring}
	if err := wiring.ip("link add switch type bridge", "link set switch up"); err != nil {
		t.Skipf("this machine refuses a network switch: %v", err)
	}
	return n
}

// newNamespace makes a namespace on a thread of its own, and leaves that thread where it was.
func newNamespace(t *testing.T) (*namespace, error) {
	ns := &namespace{t: t}
	made := make(chan error)
	go func() {
		made <- detour(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
			ns.fd, err = os.Open("/proc/thread-self/ns/net")
			return err
		})
	}()
	if err := <-made; err != nil {
		return nil, err
	}
	t.Cleanup(func() { ns.fd.Close() })
	return ns, ns.ip("link set lo up")
}

// detour moves the thread with leave, calls do there, and moves the thread back. A thread that cannot return is never
// used again.
func detour(leave, do func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := leave(); err != nil { // it is home still
		runtime.UnlockOSThread()
		return err
	}
	err = do()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return fmt.Errorf("no way back from a network namespace: %w", back)
	}
	runtime.UnlockOSThread()
	return err
}

// do runs f in the namespace: sockets that it opens and processes that it starts belong there.
func (ns *namespace) do(f func() error) error {
	if ns == nil {
		return f()
	}
	return detour(func() error { return unix.Setns(int(ns.fd.Fd()), unix.CLONE_NEWNET) }, f)
}

// ip runs commands of the program ip in the namespace.
func (ns *namespace) ip(commands ...string) error {
	for _, command := range commands {
		cmd := exec.Command("ip", strings.Fields(command)...)
		var out []byte
		if err := ns.do(func() (err error) { out, err = cmd.CombinedOutput(); return err }); err != nil {
			return fmt.Errorf("ip %s: %w: %s", command, err, out)
		}
	}
	return nil
}

// join makes a namespace with a cable to the switch.
func (n *network) join() *namespace {
	n.t.Helper()
	ns, err := newNamespace(n.t)
	require.NoError(n.t, err)
	n.ports++
	ns.port, ns.address, ns.wiring = "port"+strconv.Itoa(n.ports), "10.0.0."+strconv.Itoa(n.ports), n.wiring
	there := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.fd.Fd())
	require.NoError(n.t, n.wiring.ip("link add "+ns.port+" type veth peer name cable netns "+there, "link set "+ns.port+" master switch up"))
	require.NoError(n.t, ns.ip("address add "+ns.address+"/24 dev cable", "link set cable up"))
	return ns
}

// cut pulls the cable, heal puts it back. Neither side is notified: connections stay open, and no packet passes.
func (ns *namespace) cut() {
	ns.t.Helper()
	require.NoError(ns.t, ns.wiring.ip("link set "+ns.port+" down"))
}

func (ns *namespace) heal() {
	ns.t.Helper()
	require.NoError(ns.t, ns.wiring.ip("link set "+ns.port+" up"))
}

// DialContext opens connections in the namespace. Addresses are numbers: a name would be looked up on another thread.
func (ns *namespace) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = ns.do(func() error {
		conn, err = (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Dial implements the dialer of nats.go.
func (ns *namespace) Dial(network, address string) (net.Conn, error) {
	return ns.DialContext(context.Background(), network, address)
}

// client is an HTTP client in the namespace. A request that takes longer than patience counts as a hang.
func (ns *namespace) client() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: ns.DialContext, MaxIdleConnsPerHost: 64}}
}
