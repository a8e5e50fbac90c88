package async

import (
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAgentWaitsForAChangeThatItCannotReadYet: a copy of the stream, which confined agents read from, may be behind when
// another agent announces a change. The look of every minute would be too late.
func TestAgentWaitsForAChangeThatItCannotReadYet(t *testing.T) {
	s := startServer(t, t.TempDir())
	q, other := open(t, s, &testFunction{}), open(t, s, &testFunction{})
	require.NoError(t, other.Start(t.Context()))
	c, err := ParseConfiguration([]byte(`{}`))
	require.NoError(t, err)
	_, err = q.SetConfiguration(t.Context(), "latest", "", "urn", c)
	require.NoError(t, err)
	f, err := q.open.readFunction(t.Context(), q.open.key)
	require.NoError(t, err)
	next := f.revision + 1
	reads, err := q.open.conn.SubscribeSync("$JS.API.STREAM.MSG.GET." + functionStream)
	require.NoError(t, err)
	q.open.announce(next)
	for range 2 {
		_, err = reads.NextMsg(patience)
		require.NoError(t, err, "it reads until the change is there")
	}
	f.Configurations[configurationKey("latest", "")].AgeSeconds = 77
	require.NoError(t, q.open.writeFunction(t.Context(), f))
	require.Equal(t, next, f.revision, "the number that was announced")
	require.Eventually(t, func() bool {
		got, err := other.Configuration(t.Context(), "latest", "")
		return err == nil && got.AgeSeconds == 77
	}, functionAge/4, time.Millisecond)
}

// TestFunctionPurgedWhileItsAgentsRunIsKnownAgain: agents that run keep what is configured, store it again, and a
// change loses nothing else.
func TestFunctionPurgedWhileItsAgentsRunIsKnownAgain(t *testing.T) {
	s := startServer(t, t.TempDir())
	logs, log := observed()
	q, other := open(t, s, &testFunction{}, log), open(t, s, &testFunction{})
	require.NoError(t, other.Start(t.Context()))
	c, err := ParseConfiguration([]byte(`{"max_async_retry_attempts":3}`))
	require.NoError(t, err)
	set := func(alias string) {
		_, err := q.SetConfiguration(t.Context(), "latest", alias, "urn:"+alias, c)
		require.NoError(t, err)
	}
	set("a")
	set("b")
	stream, err := q.open.js.Stream(t.Context(), functionStream)
	require.NoError(t, err)
	purge := func() {
		require.NoError(t, stream.Purge(t.Context(), jetstream.WithPurgeSubject(functionSubject+q.open.key)))
		f, err := q.open.readFunction(t.Context(), q.open.key)
		require.NoError(t, err)
		require.Zero(t, f.revision)
	}
	requireKnown := func(aliases ...string) {
		f, err := q.open.readFunction(t.Context(), q.open.key)
		require.NoError(t, err)
		require.Len(t, f.Configurations, len(aliases))
		for _, alias := range aliases {
			require.Equal(t, 3, f.Configurations[configurationKey("latest", alias)].Retries)
		}
		require.Eventually(t, func() bool {
			all, err := other.Configurations(t.Context())
			return err == nil && len(all) == len(aliases)
		}, patience, time.Millisecond, "the other agent follows")
	}
	purge()
	require.NoError(t, q.open.lookAtFunction(0), "as every agent does once a minute")
	requireKnown("a", "b")
	require.Len(t, logs.FilterMessageSnippet("the function was purged from its stream").All(), 1)
	purge()
	set("c")
	requireKnown("a", "b", "c")
	purge()
	require.NoError(t, q.DeleteConfiguration(t.Context(), "latest", "a"))
	requireKnown("b", "c")
}

// TestTwoAgentsAcceptOneIDAtOnce: a cluster refuses an id that it is just storing. That is a duplicate, and no error: a
// tick of a timer would count as lost.
func TestTwoAgentsAcceptOneIDAtOnce(t *testing.T) {
	servers := startCluster(t)
	var all []*Queue
	for i := range 3 {
		all = append(all, open(t, servers[i], &testFunction{}, func(c *Config) { c.Replicas = 3 }))
		require.NoError(t, all[i].Start(t.Context()))
	}
	for range 100 {
		id, first := newID(), make([]bool, len(all))
		var together sync.WaitGroup
		for i, q := range all {
			together.Go(func() {
				var err error
				first[i], err = q.AcceptOnce(t.Context(), id, &Event{Body: []byte("{}"), Version: "latest"})
				assert.NoError(t, err)
			})
		}
		together.Wait()
		n := 0
		for _, is := range first {
			if is {
				n++
			}
		}
		require.Equal(t, 1, n, "one of them stores it")
	}
}
