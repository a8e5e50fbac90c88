package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const shards = 2

// shardOf is the shard of a function, by docs/SCALE.md.
func shardOf(name string) int {
	sum := sha256.Sum256([]byte(strings.Join([]string{"local-1", project, "default", name, "latest"}, "\n")))
	return int(binary.BigEndian.Uint64(sum[:8]) % shards)
}

// inShard makes a function that lies in a shard.
func inShard(t *testing.T, c *cluster, shard int) *function {
	t.Helper()
	for i := 0; ; i++ {
		if name := fmt.Sprintf("%s%d", t.Name()[4:], i); shardOf(name) == shard && !c.known[name] {
			c.known[name] = true
			return newFunction(t, c, name)
		}
	}
}

// smallShards has each stream of events and of outcome messages take a megabyte.
var smallShards = []string{"GANTRY_ASYNC_SHARDS=2", "GANTRY_ASYNC_SHARD_BYTES=1048576"}

func (c *cluster) events(shard int) uint64 {
	if info := c.stream(fmt.Sprintf("gantry_events_%d", shard)); info != nil {
		return info.State.Msgs
	}
	return 0
}

// largeEvent is one that runs until the agents of that name are released.
func largeEvent(hold string) string {
	return fmt.Sprintf(`{"hold":%q,"fill":%q}`, hold, strings.Repeat("x", 100<<10))
}

// fill sends large events until the answer is 429, and returns the ids of those accepted.
func (a *agent) fill(names string) (ids []string) {
	a.t.Helper()
	for {
		got := a.request("POST", "invocations-async", largeEvent("all"))
		if got.status == 429 {
			require.Contains(a.t, got.body, names)
			return ids
		}
		require.Equal(a.t, 202, got.status, got.body)
		ids = append(ids, requestID(got))
		require.Less(a.t, len(ids), 100, "never full")
	}
}

// TestFullShard: one of two shards is full. Its functions are refused, those of the other go on; what is in the full one
// runs, ends and is removed.
func TestFullShard(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	full, neighbour, other := inShard(t, c, 0), inShard(t, c, 0), inShard(t, c, 1)
	a := full.newAgent("a", nil, append(smallShards, "GANTRY_CONCURRENCY=2")...)
	n, o := neighbour.newAgent("n", nil, smallShards...), other.newAgent("o", nil, smallShards...)
	for _, x := range []*agent{a, n, o} {
		x.waitStatus(x.accept("{}"), "SUCCESS")
	}
	ids := a.fill("GANTRY_ASYNC_SHARD_BYTES")
	got := n.request("POST", "invocations-async", largeEvent(""))
	require.Equal(t, 429, got.status, got.body)
	require.Contains(t, got.body, "GANTRY_ASYNC_SHARD_BYTES")
	for range 20 {
		o.waitStatus(o.accept(largeEvent("")), "SUCCESS")
	}
	require.Equal(t, 429, a.request("POST", "invocations-async", largeEvent("all")).status)
	full.release("a")
	for _, id := range ids {
		a.waitStatus(id, "SUCCESS")
		require.Len(t, full.runs()[id], 1)
	}
	eventually(t, func() bool { return c.events(0) == 0 }, "the full shard to become empty")
	for _, x := range []*agent{a, n} {
		x.waitStatus(x.accept(largeEvent("")), "SUCCESS")
	}
	t.Logf("%d events filled the shard", len(ids))
}

// TestFullOutcomeShard: the stream of outcome messages is full because a destination does not take them. Requests end
// and are recorded with theirs, and keep their events until there is room; functions of the other shard go on.
func TestFullOutcomeShard(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	d := newDestination(t)
	full, other := inShard(t, c, 0), inShard(t, c, 1)
	a, o := full.newAgent("a", nil, append(smallShards, d.setting)...), other.newAgent("o", nil, append(smallShards, d.setting)...)
	for _, x := range []*agent{a, o} {
		got := x.request("PUT", "async-invoke-config", `{"destination_config":{"on_success":{"destination":"OBS","param":"{\"bucket\":\"`+x.name+`\"}"}}}`)
		require.Equal(t, 200, got.status, got.body)
	}
	d.refuses.Store(true)
	var ids []string
	for range 15 { // more than the stream of outcome messages takes
		ids = append(ids, a.accept(largeEvent("")))
		a.waitStatus(ids[len(ids)-1], "SUCCESS")
	}
	a.waitOutput("its outcome message cannot be stored")
	o.waitStatus(o.accept("{}"), "SUCCESS")
	require.NotZero(t, c.events(0))
	require.Zero(t, d.taken("a"))
	d.refuses.Store(false)
	opened := time.Now()
	eventually(t, func() bool { return d.taken("a") == len(ids) && d.taken("o") == 1 }, "all outcome messages to arrive")
	eventually(t, func() bool { return c.events(0) == 0 }, "the events of ended requests to be removed")
	for _, id := range ids {
		require.Len(t, full.runs()[id], 1)
	}
	require.Equal(t, "0", a.metric("gantry_async_notification_failures_total"))
	t.Logf("all %d outcome messages arrived %s after their destination took them", len(ids), round(time.Since(opened)))
}

// destination is an OBS that can refuse.
type destination struct {
	setting string // of the agents
	refuses atomic.Bool
	objects sync.Map // by path
}

func newDestination(t *testing.T) *destination {
	t.Helper()
	d := &destination{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.refuses.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		d.objects.Store(r.URL.Path, true)
	}))
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "endpoints.json")
	require.NoError(t, os.WriteFile(file, []byte(fmt.Sprintf(`{"obs":{"url":%q,"access":"AK","secret":"SK"}}`, s.URL)), 0o600))
	d.setting = "GANTRY_ASYNC_ENDPOINTS_FILE=" + file
	return d
}

// taken counts what arrived in a bucket.
func (d *destination) taken(bucket string) (n int) {
	d.objects.Range(func(path, _ any) bool {
		if strings.HasPrefix(path.(string), "/"+bucket+"/") {
			n++
		}
		return true
	})
	return n
}

// TestFullFunction: one function of a shard has as much as it may have by its own limit, in number or in bytes, counted
// for its two agents together. Its neighbour goes on.
func TestFullFunction(t *testing.T) {
	t.Parallel()
	for _, limit := range []struct {
		name, setting string
		most          int // of events of 100 KiB
	}{
		{"number", "GANTRY_ASYNC_MAX_EVENTS=20", 20},
		{"bytes", "GANTRY_ASYNC_MAX_BYTES=2097152", 20},
	} {
		t.Run(limit.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, nil)
			f, neighbour := newFunction(t, c, "full"), newFunction(t, c, "neighbour")
			settings := []string{"GANTRY_ASYNC_SHARD_BYTES=104857600", limit.setting}
			a, b, n := f.newAgent("a", nil, settings...), f.newAgent("b", nil, settings...), neighbour.newAgent("n", nil, settings[0])
			for _, x := range []*agent{a, b, n} {
				x.waitStatus(x.accept(largeEvent("")), "SUCCESS")
			}
			began := time.Now()
			ids := a.fill("GANTRY_ASYNC_MAX_EVENTS, GANTRY_ASYNC_MAX_BYTES")
			more := b.fill("GANTRY_ASYNC_MAX_EVENTS, GANTRY_ASYNC_MAX_BYTES")
			t.Logf("agent a accepted %d, then agent b %d, in %s", len(ids), len(more), round(time.Since(began)))
			require.InDelta(t, limit.most, len(ids), 1)
			for range 20 {
				n.waitStatus(n.accept(largeEvent("")), "SUCCESS")
			}
			require.Equal(t, 429, a.request("POST", "invocations-async", largeEvent("all")).status)
			require.Equal(t, 429, b.request("POST", "invocations-async", largeEvent("all")).status)
			f.release("a")
			f.release("b")
			for _, id := range append(ids, more...) {
				a.waitStatus(id, "SUCCESS")
				require.Len(t, f.runs()[id], 1)
			}
			for _, x := range []*agent{a, b} {
				eventually(t, func() bool { return x.request("POST", "invocations-async", largeEvent("")).status == 202 }, "room again")
			}
		})
	}
}
