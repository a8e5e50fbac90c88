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

// finished notes when the last line of a call was written.
type finished struct{ at atomic.Int64 }

func (f *finished) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("Finish invoke")) {
		f.at.CompareAndSwap(0, time.Now().UnixNano())
	}
	return len(p), nil
}

// TestHangIsFoundBehindTheAnswer: a call that passes its deadline has the evidence if that was asked for; duration and
// log are those of the deadline, not of the end of the examination, which takes all of its time here.
func TestHangIsFoundBehindTheAnswer(t *testing.T) {
	source := `exports.handler = (event, context, callback) => { if (event.hang) require('child_process').execSync('exec sleep 1000'); callback(null, 1); }`
	attempt := func(examine bool) (late, finish time.Duration, r Result) {
		out := &finished{}
		sink := logger.NewSink(out, false, nil)
		h := newInstance(t, source, func(c *Config) {
			c.Runtime.Examine, c.Once, c.Sink = examine, true, sink
			c.Runtime.Function.Timeout = time.Second
		})
		invocation := &fncontext.Invocation{RequestID: uuid.NewString(), Function: h.fn}
		require.NoError(t, h.WaitReady(t.Context()))
		began := time.Now()
		r = h.Invoke(h.Base(), invocation, []byte(`{"hang":true}`))
		require.Equal(t, fault.Timeout, r.Fault.Kind)
		sink.Close(time.Now().Add(10 * time.Second))
		return r.Duration - time.Second, time.Unix(0, out.at.Load()).Sub(began.Add(time.Second)), r
	}
	_, _, r := attempt(false)
	require.Nil(t, r.Hang)
	for until := time.Now().Add(2 * time.Minute); ; { // on a busy machine everything may be late
		late, finish, r := attempt(true)
		require.NotNil(t, r.Hang)
		if r.Hang.Took >= hang.Limit && len(r.Hang.Children) > 0 && late < hang.Limit/2 && finish < hang.Limit/2 {
			return
		}
		require.True(t, time.Now().Before(until), "%s and %s late: %v", late, finish, r.Hang)
	}
}

// TestCallThatIsAnsweredHasNoHang: it was not looked at.
func TestCallThatIsAnsweredHasNoHang(t *testing.T) {
	h := newInstance(t, "exports.handler = async (event, context) => 1;", func(c *Config) { c.Runtime.Examine, c.Once = true, true })
	r := h.Invoke(h.Base(), &fncontext.Invocation{RequestID: uuid.NewString(), Function: h.fn}, []byte("{}"))
	require.Nil(t, r.Fault)
	require.Nil(t, r.Hang)
	require.Nil(t, h.Hang())
}

// TestHangOfTheStartIsFound: where load and initializer were.
func TestHangOfTheStartIsFound(t *testing.T) {
	const handler = "exports.handler = async (event, context) => 1;\n"
	for want, source := range map[string]string{
		"spin":        handler + "function spin() { for (;;); }\nspin();",
		"initializer": handler + "exports.initializer = function initializer(context, callback) { for (;;); };",
	} {
		h := newInstance(t, source, func(c *Config) {
			c.Runtime.Examine, c.Once, c.LoadTimeout = true, true, 20*time.Second
			if want == "spin" {
				c.LoadTimeout = 500 * time.Millisecond
			} else {
				c.Runtime.Function.Initializer, c.Runtime.Function.InitTimeout = "initializer", 300*time.Millisecond
				c.Runtime.Env = append(c.Runtime.Env, "RUNTIME_INITIALIZER_HANDLER=index.initializer")
			}
		})
		r := h.Invoke(h.Base(), &fncontext.Invocation{RequestID: uuid.NewString(), Function: h.fn}, []byte("{}"))
		require.Equal(t, fault.Init, r.Fault.Kind)
		found := h.Hang()
		require.NotNil(t, found)
		names := ""
		for _, f := range found.Frames {
			names += f.Function + " "
		}
		if len(found.Missing) == 0 { // a busy machine may have no time for the stack
			require.Contains(t, names, want)
		}
	}
}
