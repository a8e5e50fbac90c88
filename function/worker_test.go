package function

import (
	"context"
	"fmt"
	"gantry/function/frame"
	"gantry/function/internal/require"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair is a pair of connected sockets.
func pair(t testing.TB) (ours, theirs net.Conn) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	conns := [2]net.Conn{}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		conns[i], err = net.FileConn(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		t.Cleanup(func() { conns[i].Close() })
	}
	return conns[0], conns[1]
}

// testFunction is a function with the limits of an environment that sets nothing.
func testFunction[T, R any](handler func(context.Context, T) (R, error), options ...Option) *function {
	f := newFunction(handler, options)
	f.facts = newFacts(func(string) string { return "" })
	return f
}

type benchEvent struct {
	Name string `json:"name"`
}

type benchResult struct {
	StatusCode int    `json:"statusCode"`
	Body       string `json:"body"`
}

// BenchmarkCall is the way of a small call through the worker: bursts of several at once, as the agent batches them.
func BenchmarkCall(b *testing.B) {
	typed := testFunction(func(_ context.Context, e benchEvent) (benchResult, error) {
		return benchResult{200, "hello " + e.Name}, nil
	})
	raw := testFunction(func(_ context.Context, e []byte) ([]byte, error) { return e, nil })
	for name, f := range map[string]*function{"typed": typed, "raw": raw} {
		for _, burst := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s-%d", name, burst), func(b *testing.B) { benchmarkCall(b, f, burst) })
		}
	}
}

func benchmarkCall(b *testing.B, f *function, burst int) {
	events, in := pair(b)
	out, answers := pair(b)
	w := newWorker(f, in, out, func(err error) { panic(err) })
	ended := make(chan error, 1)
	go func() { ended <- w.serve() }()
	var calls []byte
	for i := range burst {
		meta := fmt.Appendf(nil, `{"requestId":"0198d3f4-0000-7000-8000-%012d","deadline":%d.125}`, i, time.Now().Add(time.Hour).UnixMilli())
		calls = frame.Append(calls, frame.Invoke, uint32(i+1), meta, []byte(`{"name":"somebody"}`))
	}
	r := frame.NewReader(answers, 1<<20)
	b.ReportAllocs()
	for n := 0; n < b.N; n += burst {
		_, err := events.Write(calls)
		require.NoError(b, err)
		for range burst {
			a, err := r.Next()
			if err != nil || a.Type != frame.Result {
				b.Fatal(a.Type, err)
			}
		}
	}
	b.StopTimer()
	require.NoError(b, events.Close())
	<-ended
}
