package async

import (
	"gantry/fault"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRecordLimitThatAnOperatorRaisesIsFollowed: the agent that refuses requests accepts them again, without a restart.
func TestRecordLimitThatAnOperatorRaisesIsFollowed(t *testing.T) {
	const limit = 16 << 10
	var ahead atomic.Int64
	q := open(t, startServer(t, t.TempDir()), &testFunction{}, func(c *Config) {
		c.MaxRecordBytes = limit
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	for n, refused := 0, 0; refused < 2; n++ { // twice, with nothing in the queue
		require.Less(t, n, limit/100, "there is no end")
		id, err := q.Accept(t.Context(), &Event{Body: []byte("{}"), Version: "latest"})
		if err == nil {
			refused = 0
			waitStatus(t, q, id, Success)
		} else {
			refused++
			requireFault(t, err, fault.Throttled, "GANTRY_ASYNC_MAX_RECORD_BYTES")
		}
		require.Eventually(t, func() bool {
			waiting, err := q.open.waitingEvents(t.Context())
			return err == nil && waiting == 0
		}, patience, time.Millisecond)
		ahead.Add(int64(depthAge))
	}
	edit(t, q.open, recordStream, enlarge)
	ahead.Add(int64(depthAge))
	waitStatus(t, q, accept(t, q, "{}"), Success)
}

// TestLimitsWithoutEffectAreLogged: the first agent of a cluster makes the streams. Another one's settings change
// nothing, and its log says what does.
func TestLimitsWithoutEffectAreLogged(t *testing.T) {
	const says = "nats stream edit --max-bytes changes the limit"
	s := startServer(t, t.TempDir())
	limits := func(n int64) func(*Config) { return func(c *Config) { c.ShardBytes, c.MaxRecordBytes = n, n } }
	for _, test := range []struct {
		limit  func(*Config)
		warned []string
	}{
		{limits(1 << 20), nil},
		{limits(1 << 20), nil},
		{limits(0), nil},
		{limits(2 << 20), []string{eventStream(0), recordStream}},
	} {
		logs, log := observed()
		q := open(t, s, &testFunction{}, log, test.limit)
		require.NoError(t, q.Start(t.Context()))
		var warned []string
		for _, line := range logs.FilterMessageSnippet(says).All() {
			warned = append(warned, line.ContextMap()["stream"].(string))
			require.EqualValues(t, 1<<20, line.ContextMap()["max_bytes"])
			require.EqualValues(t, 2<<20, line.ContextMap()["setting"])
		}
		require.ElementsMatch(t, test.warned, warned)
	}
}
