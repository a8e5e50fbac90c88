package async

import (
	"context"
	"errors"
	fncontext "gantry/context"
	"gantry/fault"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// startConfigured runs a server with a configuration file, which has accounts, limits and permissions. reload gives it
// another one.
func startConfigured(t *testing.T, text string) (s *server.Server, reload func(text string)) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "server.conf")
	options := func(text string) *server.Options {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		o, err := server.ProcessConfigFile(file)
		require.NoError(t, err)
		o.JetStream, o.StoreDir, o.SyncAlways, o.NoSigs, o.NoLog, o.Host, o.Port = true, dir, true, true, true, "127.0.0.1", -1
		return o
	}
	s = startServer(t, dir, func(o *server.Options) { *o = *options(text) })
	return s, func(text string) { require.NoError(t, s.ReloadOptions(options(text))) }
}

// as connects with the user that the configurations of these tests have.
func as(s *server.Server, more ...nats.Option) func(*Config) {
	return func(c *Config) {
		c.Connect = func(_ context.Context, options ...nats.Option) (*nats.Conn, error) {
			return nats.Connect(s.ClientURL(), append(append(options, nats.UserInfo("u", "p")), more...)...)
		}
	}
}

// counted is a dialer that counts.
type counted struct {
	net.Dialer
	dials atomic.Int64
}

// Dial implements nats.CustomDialer.
func (c *counted) Dial(network, address string) (net.Conn, error) {
	c.dials.Add(1)
	return c.Dialer.Dial(network, address)
}

// observed collects the log of a queue.
func observed() (*observer.ObservedLogs, func(*Config)) {
	core, logs := observer.New(zap.DebugLevel)
	return logs, func(c *Config) { c.Log = zap.New(core) }
}

// TestEventOverMaxPayloadIsRefusedAsTooLarge: an event that the servers, or the account, never take is refused as too
// large, and a start logs that such events exist.
func TestEventOverMaxPayloadIsRefusedAsTooLarge(t *testing.T) {
	for name, config := range map[string]string{
		"servers": `max_payload: 64KB, accounts {A: {users: [{user: u, password: p}], jetstream: enabled}}`,
		"account": `accounts {A: {users: [{user: u, password: p}], jetstream: enabled, limits: {max_payload: 65536}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			logs, log := observed()
			s, _ := startConfigured(t, config)
			q := open(t, s, &testFunction{}, as(s), log)
			waitStatus(t, q, accept(t, q, strings.Repeat("a", 60_000)), Success)
			for range 2 {
				_, err := q.Accept(t.Context(), &Event{Body: make([]byte, 70_000)})
				requireFault(t, err, fault.TooLarge, "beyond maximum:")
				require.ErrorContains(t, err, "body size:70000")
				require.ErrorIs(t, err, nats.ErrMaxPayload)
			}
			waitStatus(t, q, accept(t, q, "{}"), Success)
			warned := logs.FilterMessageSnippet("max_payload")
			require.Equal(t, 1, warned.Len())
			require.EqualValues(t, 65_536, warned.All()[0].ContextMap()["max_payload"])
		})
	}
	logs, log := observed()
	q := open(t, startServer(t, t.TempDir()), &testFunction{}, log)
	require.NoError(t, q.Start(t.Context()))
	require.Zero(t, logs.FilterMessageSnippet("max_payload").Len(), "the default of the servers has room")
}

// TestQueueReconnectsAfterServersCloseTheConnection: a limit that was lowered while the agent is connected makes the
// servers close the connection, and the client then connects no more by itself. The queue does. The events are small:
// while a large one is still being written, the client may notice the end of the connection before its reason, and
// connects again by itself.
func TestQueueReconnectsAfterServersCloseTheConnection(t *testing.T) {
	logs, log := observed()
	const user = `authorization {user: u, password: p}`
	s, reload := startConfigured(t, user)
	q := open(t, s, &testFunction{}, as(s), log)
	waitStatus(t, q, accept(t, q, "{}"), Success)
	reload(user + `, max_payload: 4KB`)
	large := &Event{Body: make([]byte, 6_000)}
	_, err := q.Accept(t.Context(), large)
	require.Error(t, err, "the client does not know the limit yet")
	require.Eventually(t, func() bool {
		_, err = q.Accept(t.Context(), large)
		return errors.Is(err, nats.ErrMaxPayload)
	}, patience, 5*time.Millisecond)
	waitStatus(t, q, accept(t, q, "{}"), Success)
	// The second line comes when a fetch was being written. The client calls its handlers in a goroutine of their own.
	require.Eventually(t, func() bool {
		return logs.FilterMessageSnippet("closed the connection").Len()+logs.FilterMessageSnippet("the queue is disconnected").Len() > 0
	}, patience, time.Millisecond, "%v", logs.All())
	for _, line := range logs.FilterMessageSnippet("closed the connection").All() {
		require.Contains(t, line.ContextMap()["error"], "Maximum Payload Violation")
	}
}

// TestQueueRecoversAfterItsCredentialsWereRefused: an agent whose credentials were refused for a while needs no
// restart.
func TestQueueRecoversAfterItsCredentialsWereRefused(t *testing.T) {
	logs, log := observed()
	s, reload := startConfigured(t, `authorization {user: u, password: p}`)
	c := &counted{}
	q := open(t, s, &testFunction{}, as(s, nats.SetCustomDialer(c)), log)
	waitStatus(t, q, accept(t, q, "{}"), Success)
	require.EqualValues(t, 1, c.dials.Load())
	reload(`authorization {user: u, password: other}`)
	require.Eventually(t, func() bool { return c.dials.Load() >= 5 }, patience, time.Millisecond, "the client goes on asking")
	require.Eventually(t, func() bool {
		return logs.Filter(func(l observer.LoggedEntry) bool {
			text, _ := l.ContextMap()["error"].(string)
			return l.Level == zap.WarnLevel && strings.Contains(strings.ToLower(text), "authorization violation")
		}).Len() > 0
	}, patience, time.Millisecond, "the log says why: %v", logs.All())
	reload(`authorization {user: u, password: p}`)
	require.Eventually(t, func() bool {
		_, err := q.Accept(t.Context(), &Event{Body: []byte("{}"), Version: "latest"})
		return err == nil
	}, patience, 5*time.Millisecond)
}

// TestLongFailureToFetchIsLoggedOnce: when nothing can be taken out of the queue for long, the log says so and why.
func TestLongFailureToFetchIsLoggedOnce(t *testing.T) {
	logs, log := observed()
	q := open(t, startServer(t, t.TempDir()), &testFunction{}, log)
	e, err := q.engine(t.Context())
	require.NoError(t, err)
	logs.TakeAll()
	broken := errors.New("consumer deleted")
	since := e.noteFetch(e.lay.runner, broken, time.Time{})
	require.WithinDuration(t, time.Now(), since, patience)
	require.Zero(t, logs.FilterLevelExact(zap.WarnLevel).Len(), "an election passes")
	long := time.Now().Add(-fetchPatience)
	for range 2 {
		require.Equal(t, long, e.noteFetch(e.lay.runner, broken, long))
	}
	warned := logs.FilterLevelExact(zap.WarnLevel).All()
	require.Len(t, warned, 1)
	require.Equal(t, "consumer deleted", warned[0].ContextMap()["error"])
	require.Contains(t, warned[0].ContextMap()["stream"], "_events_")
	require.Zero(t, e.noteFetch(e.lay.runner, nil, long))
}

// limits returns the max_bytes of the queue's streams, by their names without "gantry_".
func limits(t *testing.T, q *Queue) map[string]int64 {
	t.Helper()
	e, err := q.engine(t.Context())
	require.NoError(t, err)
	found := map[string]int64{}
	all := e.js.ListStreams(t.Context())
	for s := range all.Info() {
		found[strings.TrimPrefix(s.Config.Name, "gantry_")] = s.Config.MaxBytes
	}
	require.NoError(t, all.Err())
	return found
}

const limitedAccount = `accounts {A: {users: [{user: u, password: p}], jetstream {max_file: 1G, max_bytes_required: true}}}`

// TestStreamsOfAClusterHaveLimits: functions share them, and a server without room left would hold all of them up.
// Settings of later agents, and an operator's changes, leave them as they are.
func TestStreamsOfAClusterHaveLimits(t *testing.T) {
	s, _ := startConfigured(t, limitedAccount)
	q := open(t, s, &testFunction{}, as(s))
	waitStatus(t, q, accept(t, q, "{}"), Success)
	want := map[string]int64{"events_0": 64 << 20, "outcomes_0": 64 << 20, "records": 3 * 64 << 20, "functions": functionBytes}
	require.Equal(t, want, limits(t, q))
	other := open(t, s, &testFunction{}, as(s), func(c *Config) {
		c.MaxBytes, c.Function = 1<<20, &fncontext.Function{Region: "r", Project: "p", Package: "default", Name: "other"}
	})
	waitStatus(t, other, accept(t, other, "{}"), Success)
	require.Equal(t, want, limits(t, other))

	fresh, _ := startConfigured(t, limitedAccount)
	q = open(t, fresh, &testFunction{}, as(fresh), func(c *Config) {
		c.MaxRecordBytes, c.ShardBytes, c.Shards = 8<<20, 16<<20, 2
	})
	waitStatus(t, q, accept(t, q, "{}"), Success)
	require.Equal(t, map[string]int64{
		"events_0": 16 << 20, "outcomes_0": 16 << 20, "events_1": 16 << 20, "outcomes_1": 16 << 20, "records": 8 << 20,
		"functions": functionBytes,
	}, limits(t, q), "the settings go first")
}
