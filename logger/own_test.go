package logger

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

var dropReport = regexp.MustCompile(`(\d+) lines of the agent's log dropped: stderr is not read fast enough`)

// TestOwnNeverBlocksAndCounts: a stderr without a reader costs lines, which are counted, and never time.
func TestOwnNeverBlocksAndCounts(t *testing.T) {
	for _, json := range []bool{false, true} {
		w := &stuck{gate: make(chan struct{})}
		o, err := NewOwn(w, "info", json, false)
		require.NoError(t, err)
		const lines = 5000
		for i := range lines {
			o.Warn("refused", zap.Int("n", i), zap.String("why", strings.Repeat("x", 200)))
		}
		o.Debug("below the level")
		drops := o.Drops()
		require.Greater(t, drops, int64(lines/2))
		require.Less(t, drops, int64(lines))
		o.Close(time.Now().Add(10 * time.Millisecond))
		o.Info("after the end")
		require.Equal(t, drops+1, o.Drops(), "lines after the end are counted too")
		close(w.gate)
		<-o.out.done
		out := w.buf.String()
		require.EqualValues(t, lines-drops, strings.Count(out, "refused"), "what was not dropped was written")
		var reported int64 // in more than one line, if the buffer was full before the first write began
		for _, m := range dropReport.FindAllStringSubmatch(out, -1) {
			n, err := strconv.ParseInt(m[1], 10, 64)
			require.NoError(t, err)
			reported += n
		}
		require.Equal(t, drops+1, reported)
		require.True(t, strings.HasSuffix(out, "\n"))
	}
}

// TestOwnWritesAtOnce: a line needs no Close, and no company.
func TestOwnWritesAtOnce(t *testing.T) {
	w := &stuck{gate: make(chan struct{})}
	close(w.gate)
	o, err := NewOwn(w, "info", false, false)
	require.NoError(t, err)
	o.Info("one line", zap.String("a", "b"))
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return strings.HasSuffix(w.buf.String(), "INFO one line {\"a\": \"b\"}\n")
	}, 20*time.Second, time.Millisecond)
	require.Zero(t, o.Drops())
	o.Close(time.Now().Add(time.Minute))
}

// broken is a stderr whose reader has left.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, bytes.ErrTooLarge }

func TestOwnCountsWhatAReaderThatLeftMisses(t *testing.T) {
	o, err := NewOwn(broken{}, "info", false, false)
	require.NoError(t, err)
	for range 3 {
		o.Info("one")
	}
	o.Close(time.Now().Add(time.Minute))
	require.EqualValues(t, 3, o.Drops())
}

func TestNewOwnRefusesUnknownLevels(t *testing.T) {
	_, err := NewOwn(broken{}, "loud", false, false)
	require.ErrorContains(t, err, "want debug, info, warn or error")
}
