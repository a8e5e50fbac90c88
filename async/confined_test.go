package async

import (
	"gantry/async/destination"
	"gantry/fault"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zapcore"

	fncontext "gantry/context"
)

// fill stores messages of another function until a stream takes none of the smallest any more.
func fill(t *testing.T, admin *engine, prefix string) {
	t.Helper()
	for size := 8 << 10; ; size /= 2 {
		for {
			_, err := admin.js.Publish(t.Context(), prefix+newID(), make([]byte, size))
			if err != nil {
				require.ErrorContains(t, err, "maximum bytes exceeded")
				break
			}
		}
		if size == 0 {
			return
		}
	}
}

// edit changes a stream, as an operator does.
func edit(t *testing.T, admin *engine, stream string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	s, err := admin.js.Stream(t.Context(), stream)
	require.NoError(t, err)
	cfg := s.CachedInfo().Config
	change(&cfg)
	_, err = admin.js.UpdateStream(t.Context(), cfg)
	require.NoError(t, err)
}

func enlarge(cfg *jetstream.StreamConfig) { cfg.MaxBytes += 1 << 20 }

// TestConfinedAgentKeepsEndedEventsWhileTheirStreamIsFull: a tombstone may be larger than the event, and has no room
// then. The log says so, the request does not run again, and the event goes once there is room.
func TestConfinedAgentKeepsEndedEventsWhileTheirStreamIsFull(t *testing.T) {
	s, _ := startConfigured(t, byUsers("F"))
	admin := unconfined(t, s, func(c *Config) { c.ShardBytes = 64 << 10 })
	logs, log := observed()
	release := make(chan struct{})
	f := &testFunction{answer: func(int, *fncontext.Invocation, string) *fault.Error { <-release; return nil }}
	q := open(t, s, f, of(s, "F"), log)
	id := accept(t, q, "{}")
	waitStatus(t, q, id, Running)
	l := q.open.lay
	fill(t, admin, strings.Replace(l.event, key(named("F")), "0123456789abcdef", 1))
	_, err := q.Accept(t.Context(), &Event{Body: []byte("{}"), Version: "latest"})
	requireFault(t, err, fault.Throttled, "GANTRY_ASYNC_SHARD_BYTES")
	close(release)
	waitStatus(t, q, id, Success)
	require.Eventually(t, func() bool { return logs.FilterMessageSnippet("stays in its stream").Len() > 0 }, patience,
		5*time.Millisecond)
	line := logs.FilterMessageSnippet("stays in its stream").All()[0]
	require.Equal(t, zapcore.WarnLevel, line.Level)
	require.Contains(t, line.Message, "nats stream edit")
	require.Equal(t, l.events, line.ContextMap()["stream"])
	msg, err := admin.last(t.Context(), l.events, l.event+id)
	require.NoError(t, err)
	require.Equal(t, "{}", string(msg.Data), "it stays")
	edit(t, admin, l.events, enlarge)
	requireNothingLeft(t, admin, "F")
	require.Equal(t, 1, f.calls())
	waitStatus(t, q, accept(t, q, "{}"), Success)
}

// TestConfinedAgentRunsNothingThatItCannotRecord: it does not see how full the records are. A start that has no room
// there does not happen, and new requests are refused meanwhile.
func TestConfinedAgentRunsNothingThatItCannotRecord(t *testing.T) {
	s, _ := startConfigured(t, byUsers("F"))
	admin := unconfined(t, s, func(c *Config) { c.MaxRecordBytes = 64 << 10 })
	logs, log := observed()
	f := &testFunction{}
	q := open(t, s, f, of(s, "F"), log)
	require.NoError(t, q.Start(t.Context()))
	fill(t, admin, recordSubject+"0123456789abcdef.")
	id := accept(t, q, "{}")
	require.Eventually(t, func() bool { return logs.FilterMessageSnippet("is let go").Len() > 0 }, patience, 5*time.Millisecond)
	_, err := q.Accept(t.Context(), &Event{Body: []byte("{}"), Version: "latest"})
	requireFault(t, err, fault.Throttled, "the records have no room")
	require.Zero(t, f.calls())
	edit(t, admin, recordStream, enlarge)
	waitStatus(t, q, id, Success)
	require.Equal(t, 1, f.calls())
	waitStatus(t, q, accept(t, q, "{}"), Success)
}

// TestOutcomeMessageThatCannotBeRemovedIsNotSentAgain: here the stream takes no messages for a while.
func TestOutcomeMessageThatCannotBeRemovedIsNotSentAgain(t *testing.T) {
	l := sharedLayout(key(named("F")), tenantShards)
	s, _ := startConfigured(t, byUsers("F"))
	admin := unconfined(t, s)
	var served atomic.Int32
	reached, goOn := make(chan struct{}), make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if served.Add(1) == 1 {
			close(reached)
			<-goOn
		}
		w.WriteHeader(http.StatusOK)
	}))
	defer service.Close()
	logs, log := observed()
	q := open(t, s, &testFunction{}, of(s, "F"), log, func(c *Config) {
		c.Endpoints = &destination.Endpoints{SMN: destination.Endpoint{URL: service.URL, Access: "AK", Secret: "SK"}}
		c.Sign = func(string, string, []byte, string, string) (string, string, error) { return "d", "a", nil }
	})
	configure(t, q, &Destination{Kind: "SMN", Param: `{"topic_urn":"t"}`}, nil)
	waitStatus(t, q, accept(t, q, "{}"), Success)
	<-reached
	edit(t, admin, l.outbox, func(cfg *jetstream.StreamConfig) { cfg.MaxMsgSize = 10 })
	close(goOn)
	refused := func() bool {
		return logs.FilterMessageSnippet("an outcome message that was sent or dropped stays in its stream").Len() > 0
	}
	require.Eventually(t, refused, patience, 5*time.Millisecond)
	edit(t, admin, l.outbox, func(cfg *jetstream.StreamConfig) { cfg.MaxMsgSize = -1 })
	require.Eventually(t, func() bool {
		c, err := admin.js.Consumer(t.Context(), l.outbox, key(named("F")))
		return err == nil && c.CachedInfo().NumAckPending == 0 && c.CachedInfo().NumPending == 0
	}, patience, 10*time.Millisecond)
	requireNothingLeft(t, admin, "F")
	require.EqualValues(t, 1, served.Load())
}
