package async

import (
	"bytes"
	"context"
	"fmt"
	"gantry/fault"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	fncontext "gantry/context"
)

// startCluster runs three servers in this process.
func startCluster(t *testing.T) (all []*server.Server) {
	t.Helper()
	// on a loopback address of its own, where outgoing connections of this machine take no port
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	var routes []*url.URL
	var ports []int
	for range 3 {
		l, err := net.Listen("tcp", host+":0")
		require.NoError(t, err)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
		require.NoError(t, l.Close())
	}
	for i, port := range ports {
		all = append(all, startServer(t, t.TempDir(), func(o *server.Options) {
			o.ServerName, o.Routes = "s"+strconv.Itoa(i), routes
			o.Cluster = server.ClusterOpts{Name: "test", Host: host, Port: port}
			o.DontListen, o.Host, o.Port = false, host, -1
			o.JetStreamMaxStore = 10 << 30
		}))
	}
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(all, func(s *server.Server) bool { return s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == 3 })
	}, patience, 10*time.Millisecond)
	return all
}

// lines are the connections of many agents, which the test cuts all at once. They count what the agents ask JetStream.
type lines struct {
	servers []*server.Server
	next    atomic.Int64
	down    atomic.Bool

	mu    sync.Mutex
	conns map[net.Conn]bool
	asked []time.Time
}

// Dial implements nats.CustomDialer: agents are spread over the servers that run.
func (l *lines) Dial(string, string) (net.Conn, error) {
	if l.down.Load() {
		return nil, net.ErrClosed
	}
	for {
		s := l.servers[int(l.next.Add(1))%len(l.servers)]
		if !s.Running() {
			continue
		}
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.conns[conn] = true
		return &line{conn, l}, nil
	}
}

func (l *lines) cut() {
	l.down.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		conn.Close()
	}
	clear(l.conns)
}

type line struct {
	net.Conn
	all *lines
}

func (c *line) Write(b []byte) (int, error) {
	if n := bytes.Count(b, []byte("PUB $JS.API.")); n > 0 {
		c.all.mu.Lock()
		c.all.asked = append(c.all.asked, slices.Repeat([]time.Time{time.Now()}, n)...)
		c.all.mu.Unlock()
	}
	return c.Conn.Write(b)
}

// perSecond is how much was asked in each second after a moment, and the most within a tenth of one.
func (l *lines) perSecond(after time.Time, seconds int) (per []int, most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	tenths := make([]int, 10*seconds)
	for _, at := range l.asked {
		if i := int(at.Sub(after) / (time.Second / 10)); at.After(after) && i < len(tenths) {
			tenths[i]++
		}
	}
	for second := range slices.Chunk(tenths, 10) {
		sum := 0
		for _, n := range second {
			sum += n
		}
		per = append(per, sum)
	}
	return per, slices.Max(tenths)
}

// herd is many functions on one cluster, with an agent each.
type herd struct {
	t      *testing.T
	lines  *lines
	queues []*Queue
	logs   []*observer.ObservedLogs
	ran    sync.Map // ids, with how often
}

// herdSize is how many; HERD is another number, for measurements by hand.
func herdSize(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("HERD"))
	if err != nil {
		return 60
	}
	return n
}

func newHerd(t *testing.T) *herd {
	t.Helper()
	h := &herd{t: t, lines: &lines{servers: startCluster(t), conns: map[net.Conn]bool{}}}
	began := time.Now()
	for i := range herdSize(t) {
		core, logs := observer.New(zap.DebugLevel)
		h.logs = append(h.logs, logs)
		h.queues = append(h.queues, open(t, nil, nil, func(c *Config) {
			c.Function = &fncontext.Function{Region: "r", Project: "p", Package: "default", Name: fmt.Sprint("f", i), Version: "latest"}
			c.Connect = func(ctx context.Context, options ...nats.Option) (*nats.Conn, error) {
				return (&Cluster{URL: "nats://127.0.0.1:1,nats://127.0.0.1:2"}).Connect(ctx, append(options, nats.SetCustomDialer(h.lines))...)
			}
			c.Replicas, c.Log = 3, zap.New(core)
			c.Invoke = h.invoke
			c.Cancel = func(string) bool { return false }
		}))
	}
	h.each(func(q *Queue) { require.NoError(t, q.Start(t.Context())) })
	t.Logf("%d queues opened in %s", len(h.queues), time.Since(began))
	h.runOne()
	return h
}

func (h *herd) invoke(inv *fncontext.Invocation, started func() error, _ []byte) ([]byte, *fault.Error) {
	if err := started(); err != nil {
		return nil, fault.From(err)
	}
	times, _ := h.ran.LoadOrStore(inv.RequestID, new(atomic.Int64))
	times.(*atomic.Int64).Add(1)
	return nil, nil
}

// each does something with all queues, sixteen at a time.
func (h *herd) each(do func(*Queue)) {
	var all sync.WaitGroup
	room := make(chan struct{}, 16)
	for _, q := range h.queues {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			do(q)
		})
	}
	all.Wait()
}

// runOne has every queue accept an event, and waits until all have run, each once. It returns the time that took.
func (h *herd) runOne() time.Duration {
	h.t.Helper()
	began := time.Now()
	ids := make(chan [2]string, len(h.queues))
	h.each(func(q *Queue) {
		for limit := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			id, err := q.Accept(h.t.Context(), &Event{Body: []byte("{}"), Version: "latest"})
			if err == nil {
				ids <- [2]string{id, q.cfg.Function.Name[1:]}
				return
			}
			if time.Now().After(limit) {
				h.t.Errorf("not accepted: %v", err)
				return
			}
		}
	})
	close(ids)
	for accepted := range ids {
		id, i := accepted[0], accepted[1]
		if !assert.Eventually(h.t, func() bool { _, ok := h.ran.Load(id); return ok }, patience, 10*time.Millisecond) {
			n, _ := strconv.Atoi(i)
			for _, l := range h.logs[n].All() {
				h.t.Logf("%s %s %v", l.Time.Format(time.TimeOnly), l.Message, l.ContextMap())
			}
			h.t.FailNow()
		}
	}
	took := time.Since(began)
	h.ran.Range(func(id, times any) bool {
		require.EqualValues(h.t, 1, times.(*atomic.Int64).Load(), id)
		return true
	})
	return took
}

// requireQuiet: no agent has logged an error, nor a message more than once.
func (h *herd) requireQuiet() {
	h.t.Helper()
	all := map[string]int{}
	for _, logs := range h.logs {
		seen := map[string]int{}
		for _, l := range logs.TakeAll() {
			if l.Level < zapcore.InfoLevel {
				continue
			}
			seen[l.Level.String()+" "+l.Message]++
			require.Less(h.t, l.Level, zapcore.ErrorLevel, l)
		}
		for message, n := range seen {
			require.LessOrEqual(h.t, n, 2, message) // there are two consumers
			all[message] += n
		}
	}
	for _, message := range slices.Sorted(maps.Keys(all)) {
		h.t.Logf("%d × %s", all[message], message)
	}
}

// TestManyAgentsReconnect: the agents of many functions lose their connections at once, and get them back at once.
func TestManyAgentsReconnect(t *testing.T) {
	h := newHerd(t)
	h.lines.cut()
	for _, q := range h.queues {
		require.Eventually(t, q.open.away.Load, patience, time.Millisecond)
	}
	back := time.Now()
	h.lines.down.Store(false)
	for _, q := range h.queues {
		require.Eventually(t, func() bool { return !q.open.away.Load() }, patience, time.Millisecond)
	}
	connected := time.Since(back)
	h.runOne()
	took := time.Since(back)
	per, most := h.lines.perSecond(back, 5)
	t.Logf("all connected after %s, all had run one after %s; asked per second %v, at most %d in 100 ms", connected, took, per, most)
	require.Less(t, per[0]+per[1]+per[2], 8*len(h.queues))
	require.Less(t, took, 15*time.Second)
	h.requireQuiet()
}

// TestManyAgentsLoseAServer: a server ends for good, with the consumers in its memory.
func TestManyAgentsLoseAServer(t *testing.T) {
	h := newHerd(t)
	h.lines.servers[1].Shutdown()
	lost := time.Now()
	h.runOne()
	took := time.Since(lost)
	per, most := h.lines.perSecond(lost, 25)
	t.Logf("all had run one after %s; asked per second %v, at most %d in 100 ms", took, per, most)
	require.Less(t, took, 40*time.Second)
	h.requireQuiet()
}
