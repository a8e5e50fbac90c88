package logger

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestRepeatedCausesAreLoggedOnceAndCounted(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	c := NewCauses(zap.New(core))
	now := time.Unix(1000, 0)
	c.now = func() time.Time { return now }
	full := errors.New("no room")
	for range 5 {
		c.Warn("not stored", full, zap.String("request_id", "a"))
	}
	c.Warn("not stored", errors.New("another"))
	c.Warn("not read", full)
	require.Equal(t, 3, logs.Len(), "each text at once, and once")
	require.Equal(t, map[string]any{"request_id": "a", "error": "no room"}, logs.All()[0].ContextMap())

	for range 2 {
		c.Error("not opened", full)
	}
	require.Equal(t, 1, logs.FilterLevelExact(zap.ErrorLevel).Len(), "errors too")

	now = now.Add(causeInterval)
	c.Warn("not stored", full)
	require.EqualValues(t, 4, logs.All()[4].ContextMap()["repeated"])

	for i := range 10 * maxCauses {
		c.Warn("many", errors.New(strconv.Itoa(i)))
	}
	lines := logs.FilterMessage("many").Len()
	require.LessOrEqual(t, lines, maxCauses)
	require.LessOrEqual(t, len(c.seen), maxCauses)
	now = now.Add(causeInterval)
	c.Warn("many", errors.New("later"))
	last := logs.All()[logs.Len()-1].ContextMap()
	require.EqualValues(t, 10*maxCauses-lines, last["omitted"], "what had no room is counted")
}
