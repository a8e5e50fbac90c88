package async

import (
	"fmt"
	"gantry/async/destination"
	"gantry/fault"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	fncontext "gantry/context"
)

// TestRequestsAreRefusedBeforeTheirRecordsLackRoom: requests are refused before their records have no room, so each
// that was accepted runs once.
func TestRequestsAreRefusedBeforeTheirRecordsLackRoom(t *testing.T) {
	const limit = 32 << 10
	f := &testFunction{}
	var ahead atomic.Int64
	q := open(t, startServer(t, t.TempDir()), f, func(c *Config) {
		c.MaxRecordBytes = limit
		c.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	var ids []string
	for full := false; !full; {
		first := len(ids)
		ahead.Add(int64(depthAge)) // the next look counts what has been recorded meanwhile
		for {
			require.Less(t, len(ids), limit/100, "there is no end")
			id, err := q.Accept(t.Context(), &Event{Body: []byte("{}"), Version: "latest"})
			if err != nil {
				requireFault(t, err, fault.Throttled, "GANTRY_ASYNC_MAX_RECORD_BYTES")
				break
			}
			ids = append(ids, id)
		}
		for _, id := range ids[first:] {
			waitStatus(t, q, id, Success)
		}
		full = first == len(ids)
	}
	require.Greater(t, len(ids), limit/recordRoom, "small records leave room for more of them")
	require.Equal(t, len(ids), f.calls())
	require.Less(t, recordBytes(t, q), int64(limit))
	require.Positive(t, q.Counts()["refused"])
}

// recordBytes is what the stream of records has.
func recordBytes(t *testing.T, q *Queue) int64 {
	t.Helper()
	info, err := q.open.leader.StreamInfo(recordStream)
	require.NoError(t, err)
	return int64(info.State.Bytes)
}

// TestOutcomeIsRecordedWithoutPayloadsWhenRecordsAreFull: an outcome that has no room with its outcome message is
// recorded without the payloads, and the function does not run again. A limit that is lowered below the current size
// leaves room for requests in flight.
func TestOutcomeIsRecordedWithoutPayloadsWhenRecordsAreFull(t *testing.T) {
	for name, lowered := range map[string]bool{"filled": false, "limit lowered": true} {
		t.Run(name, func(t *testing.T) {
			runs, end := make(chan bool, 1), make(chan bool)
			f := &testFunction{answer: func(int, *fncontext.Invocation, string) *fault.Error {
				runs <- true
				<-end
				return nil
			}}
			logs, log := observed()
			folder, limit := t.TempDir(), int64(256<<10)
			s := startServer(t, t.TempDir())
			q := open(t, s, f, log, func(c *Config) { c.MaxRecordBytes, c.Folder, c.Alone = limit, folder, true })
			configure(t, q, &Destination{destination.DIS, `{"stream_name":"s"}`}, nil)
			id := accept(t, q, `"`+strings.Repeat("x", 30<<10)+`"`)
			<-runs
			waitStatus(t, q, id, Running)
			for i := 0; recordBytes(t, q) < limit-10<<10; i++ {
				_, err := q.open.replace(t.Context(), fmt.Sprint(recordSubject, "junk.", i), make([]byte, 8<<10), 0)
				require.NoError(t, err)
			}
			if lowered {
				warned, log := observed()
				other := open(t, s, &testFunction{}, log, func(c *Config) { c.MaxRecordBytes, c.Alone = limit/2, true })
				other.Pause()
				require.Greater(t, limits(t, other)["records"], limit, "there has to be room for what is under way")
				require.Equal(t, 1, warned.FilterMessageSnippet("GANTRY_ASYNC_MAX_RECORD_BYTES").Len())
				require.Equal(t, Running, one(t, q, id).Status, "nothing is removed")
				_, err := other.Accept(t.Context(), &Event{Body: []byte("{}")})
				require.NoError(t, err)
			}
			end <- true
			waitStatus(t, q, id, Success)
			require.Eventually(t, func() bool {
				text, err := os.ReadFile(filepath.Join(folder, "notifications/DIS/s", id+".json"))
				return err == nil && (len(text) > 30<<10) == lowered
			}, patience, time.Millisecond)
			require.Equal(t, lowered, logs.FilterMessageSnippet("loses its payloads").Len() == 0)
			close(end)
		})
	}
}
