// Package cluster tests agents that share a queue on a real cluster: three processes of nats-server, killed and cut off
// under load. It is a module of its own because only these tests need that program.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// folder holds the files that all tests share; TestMain makes it.
var folder string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if folder, err = os.MkdirTemp("", "cluster"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(folder)
		return m.Run()
	}())
}

// natsServer builds the servers' program, of the version in go.mod.
var natsServer = sync.OnceValues(func() (string, error) {
	path := filepath.Join(folder, "nats-server")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "github.com/nats-io/nats-server/v2")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as make build, whose cache it then shares
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// server is one NATS server. Its folder and its addresses outlive its process.
type server struct {
	*program
	t             *testing.T
	name, config  string
	client, route string // addresses
	ns            *namespace
}

// cluster is three servers, and a connection of the test's own to them.
type cluster struct {
	t       *testing.T
	servers []*server
	js      jetstream.JetStream
	known   map[string]bool // names of functions
}

const size = 3

// newCluster starts the servers, each in a namespace of its own if there is a network.
func newCluster(t *testing.T, n *network) *cluster {
	t.Helper()
	c := prepareCluster(t, n)
	c.start()
	c.connect(n)
	return c
}

func (c *cluster) start() {
	c.t.Helper()
	for _, s := range c.servers {
		s.start()
	}
}

func (c *cluster) kill() {
	c.t.Helper()
	for _, s := range c.servers {
		s.Kill()
	}
}

// prepareCluster chooses names, folders and addresses, and starts nothing.
func prepareCluster(t *testing.T, n *network) *cluster {
	t.Helper()
	c := &cluster{t: t, known: map[string]bool{}}
	var routes []string
	for i := range size {
		s := &server{t: t, name: "server" + strconv.Itoa(i+1)}
		if n == nil {
			s.client, s.route = freeAddress(t), freeAddress(t)
		} else {
			s.ns = n.join()
			s.client, s.route = s.ns.address+":4222", s.ns.address+":6222"
		}
		routes = append(routes, "nats://"+s.route)
		c.servers = append(c.servers, s)
	}
	for _, s := range c.servers {
		s.configure(routes)
	}
	return c
}

// freeAddress is on a loopback address of its own: outgoing connections use the ports of 127.0.0.1 as well, and one of
// them could take the port of a server that is down.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)))
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func (s *server) configure(routes []string) {
	s.t.Helper()
	dir := s.t.TempDir()
	s.config = filepath.Join(dir, "server.conf")
	text := fmt.Sprintf(`server_name: %s
listen: "%s"
jetstream { store_dir: %q, sync_interval: always, max_file_store: 10GB }
cluster { name: test, listen: "%s", routes: [%s] }
`, s.name, s.client, filepath.Join(dir, "store"), s.route, strings.Join(routes, ", "))
	require.NoError(s.t, os.WriteFile(s.config, []byte(text), 0o600))
	s.t.Cleanup(func() {
		if s.program != nil {
			s.Stop()
			if s.t.Failed() {
				s.t.Logf("%s:\n%s", s.name, s.tail())
			}
		}
	})
}

// start runs the server's process; again after kill, then with the same folder.
func (s *server) start() {
	s.t.Helper()
	path, err := natsServer()
	require.NoError(s.t, err)
	s.program = start(s.t, s.ns, s.name, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + folder}, path, "-c", s.config)
}

// url lists all servers in the form of GANTRY_NATS_URL.
func (c *cluster) url() string {
	var all []string
	for _, s := range c.servers {
		all = append(all, "nats://"+s.client)
	}
	return strings.Join(all, ",")
}

// connect makes the test's own connection, from a place that is never cut off, and waits until the servers have found
// each other: until they take a stream with a copy on each.
func (c *cluster) connect(n *network) {
	c.t.Helper()
	options := []nats.Option{
		nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.ReconnectWait(50 * time.Millisecond), nats.PingInterval(time.Second),
	}
	if n != nil {
		options = append(options, nats.SetCustomDialer(n.join()))
	}
	conn, err := nats.Connect(c.url(), options...)
	require.NoError(c.t, err)
	c.t.Cleanup(conn.Close)
	c.js, err = jetstream.New(conn)
	require.NoError(c.t, err)
	eventually(c.t, func() bool {
		for _, s := range c.servers {
			require.False(c.t, s.Over(), "%s ended: %s", s.name, s.Stderr)
		}
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		defer cancel()
		if _, err = c.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "try", Replicas: size, Storage: jetstream.MemoryStorage}); err != nil {
			return false
		}
		err = c.js.DeleteStream(ctx, "try")
		return err == nil || errors.Is(err, jetstream.ErrStreamNotFound)
	}, "the servers to be a cluster: %v", &err)
}

// stream finds one of the agents' streams by the end of its name, or nil while it cannot be asked.
func (c *cluster) stream(suffix string) *jetstream.StreamInfo {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
	defer cancel()
	names := c.js.StreamNames(ctx)
	found := ""
	for name := range names.Name() {
		if strings.HasSuffix(name, suffix) {
			found = name
		}
	}
	if found == "" {
		return nil
	}
	s, err := c.js.Stream(ctx, found)
	if err != nil {
		return nil
	}
	return s.CachedInfo()
}

// leader is the server that leads a stream now.
func (c *cluster) leader(suffix string) *server {
	c.t.Helper()
	name := ""
	eventually(c.t, func() bool {
		if info := c.stream(suffix); info != nil && info.Cluster != nil {
			name = info.Cluster.Leader
		}
		return name != ""
	}, "a leader of %s", suffix)
	return c.server(name)
}

// waitWhole waits until all servers have all of the agents' streams.
func (c *cluster) waitWhole() {
	c.t.Helper()
	eventually(c.t, func() bool {
		for _, suffix := range []string{"_events_0", "_records"} {
			info := c.stream(suffix)
			if info == nil || info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) != size-1 {
				return false
			}
			for _, r := range info.Cluster.Replicas {
				if !r.Current || r.Offline {
					return false
				}
			}
		}
		return true
	}, "all servers to be up to date")
}
