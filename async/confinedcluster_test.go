package async

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
)

// threeServers runs a cluster in this process, with a configuration of accounts.
func threeServers(t *testing.T, accounts string) (servers map[string]*server.Server, urls string) {
	t.Helper()
	routes, all := make([]string, 3), make([]string, 3)
	for i := range routes {
		// An address of its own: outgoing connections could take the port otherwise.
		l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)))
		require.NoError(t, err)
		routes[i] = l.Addr().String()
		require.NoError(t, l.Close())
	}
	servers = map[string]*server.Server{}
	for i, route := range routes {
		dir := t.TempDir()
		file := filepath.Join(dir, "server.conf")
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `server_name: s%d
			listen: "127.0.0.1:-1"
			jetstream {store_dir: %q}
			cluster {name: test, listen: %q, routes: [%q, %q, %q]}
			%s`, i, dir, route, "nats://"+routes[0], "nats://"+routes[1], "nats://"+routes[2], accounts), 0o600))
		o, err := server.ProcessConfigFile(file)
		require.NoError(t, err)
		o.NoSigs, o.NoLog = true, true
		s, err := server.NewServer(o)
		require.NoError(t, err)
		go s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		servers[s.Name()] = s
	}
	for _, s := range servers {
		require.True(t, s.ReadyForConnections(patience))
		require.Eventually(t, func() bool { return s.JetStreamIsCurrent() }, patience, 10*time.Millisecond)
		all = append(all, s.ClientURL())
	}
	require.Eventually(t, func() bool {
		for _, s := range servers {
			if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(servers) {
				return true
			}
		}
		return false
	}, patience, 10*time.Millisecond, "the servers have not found each other")
	return servers, strings.Trim(strings.Join(all, ","), ",")
}

// at connects to any of several servers.
func at(tt *testing.T, urls, user string) func(*Config) {
	return func(c *Config) {
		c.Function, c.Replicas, c.Shards = named(user), 3, tenantShards
		c.Connect = func(_ context.Context, options ...nats.Option) (*nats.Conn, error) {
			return nats.Connect(urls, append(options, nats.UserInfo(user, "p"))...)
		}
		c.Log = zaptest.NewLogger(tt)
	}
}

// startSoon opens a queue; servers that have just started may not make streams yet.
func startSoon(t *testing.T, q *Queue) {
	t.Helper()
	assert.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, q.Start(t.Context())) }, 2*patience,
		10*time.Millisecond)
	require.NotNil(t, q.open)
}

// TestConfinedAgentSurvivesTheLossOfOneOfThreeServers: that which has its consumer in memory.
func TestConfinedAgentSurvivesTheLossOfOneOfThreeServers(t *testing.T) {
	for name, tenants := range bothTenants {
		t.Run(name, func(t *testing.T) {
			servers, urls := threeServers(t, tenants("F"))
			admin := open(t, nil, &testFunction{}, at(t, urls, "admin"))
			startSoon(t, admin)
			f := &testFunction{}
			q := open(t, nil, f, at(t, urls, "F"))
			startSoon(t, q)
			require.True(t, q.open.confined.Load())
			ids := []string{accept(t, q, "{}")}
			waitStatus(t, q, ids[0], Success)
			c, err := admin.open.js.Consumer(t.Context(), q.open.lay.events, q.open.key)
			require.NoError(t, err)
			lost := servers[c.CachedInfo().Cluster.Leader]
			lost.Shutdown()
			lost.WaitForShutdown()
			for len(ids) < 4 {
				id, err := q.Accept(t.Context(), &Event{Body: []byte("{}"), Version: "latest"})
				if err == nil {
					ids = append(ids, id)
				}
			}
			for _, id := range ids {
				waitStatus(t, q, id, Success)
			}
			assert.EventuallyWithT(t, func(t *assert.CollectT) {
				page, err := q.Records(context.Background(), &Filter{Limit: 10})
				if assert.NoError(t, err) {
					assert.GreaterOrEqual(t, len(page.Records), len(ids)) // an answer may have been lost
				}
			}, patience, 50*time.Millisecond)
			require.Equal(t, Success, one(t, q, ids[0]).Status)
		})
	}
}
