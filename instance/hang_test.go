package instance

import (
	"bytes"
	"gantry/fault"
	"gantry/logger"
	"gantry/runtime/hang"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	fncontext "gantry/context"
)

// finished notes when the second call's last line was written, and that once.
type finished struct {
	calls int
	at    atomic.Int64
}

func (f *finished) Write(p []byte) (int, error) {
	f.calls += bytes.Count(p, []byte("Finish invoke"))
	if f.calls == 2 {
		f.at.CompareAndSwap(0, time.Now().UnixNano())
	}
	return len(p), nil
}

// TestHangIsFoundBehindTheAnswer: a call that passes its deadline has the evidence if that was asked for; duration and
// log are those of the deadline.
func TestHangIsFoundBehindTheAnswer(t *testing.T) {
	for _, examine := range []bool{true, false} {
		out := &finished{}
		sink := logger.NewSink(out, false, nil)
		h := newInstance(t, `exports.handler = (event, context, callback) => { if (event.busy) for (;;); callback(null, 1); }`, func(c *Config) {
			c.Runtime.Examine, c.Once, c.Sink = examine, true, sink
			c.Runtime.Function.Timeout = time.Second
		})
		invoke := func(event string) Result {
			return h.Invoke(h.Base(), &fncontext.Invocation{RequestID: uuid.NewString(), Function: h.fn}, []byte(event))
		}
		require.Nil(t, invoke("{}").Hang, "a call that is answered does not hang")
		began := time.Now()
		r := invoke(`{"busy":true}`)
		took := time.Since(began)
		require.Equal(t, fault.Timeout, r.Fault.Kind)
		require.InDelta(t, time.Second, r.Duration, float64(100*time.Millisecond))
		require.Eventually(t, func() bool { return out.at.Load() > 0 }, 10*time.Second, time.Millisecond)
		require.InDelta(t, time.Second, time.Unix(0, out.at.Load()).Sub(began), float64(150*time.Millisecond))
		if !examine {
			require.Nil(t, r.Hang)
			continue
		}
		require.Equal(t, hang.Busy, r.Hang.Kind)
		require.Contains(t, r.Hang.Frames[0].Function, "handler")
		require.Less(t, took, time.Second+hang.Limit+200*time.Millisecond)
		sink.Close(time.Now().Add(time.Second))
	}
}
