package api

import (
	"context"
	"errors"
	"gantry/async"
	"gantry/auth"
	"gantry/instance"
	"gantry/metrics"
	"gantry/runtime"
	"gantry/runtime/language"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	fncontext "gantry/context"
)

// TestQueueRefusalHidesItsCauseAndLogsItOnce: callers of the queue get a 503 without its cause; the log has it, once
// however many ask.
func TestQueueRefusalHidesItsCauseAndLogsItOnce(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	log := zap.New(core)
	fn := &fncontext.Function{Region: "r", Project: "p", Package: "default", Name: "hello", Version: "latest"}
	gate, err := auth.Open(&auth.Config{ProjectID: fn.Project, Project: fn.Region, Log: log})
	require.NoError(t, err)
	nodejs, err := language.ByName("nodejs")
	require.NoError(t, err)
	queue := async.New(&async.Config{Function: fn, Log: zap.NewNop(), Connect: func(context.Context, ...nats.Option) (*nats.Conn, error) {
		return nil, errors.New("no servers here")
	}})
	defer queue.Close(t.Context())
	for name, c := range map[string]struct {
		queue *async.Queue
		cause string
	}{
		"a queue that cannot be opened": {queue, "the queue cannot be opened: no servers here"},
		"no queue":                      {nil, "the program is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			logs.TakeAll()
			p := newPlatformAPI(&PlatformConfig{
				Function: fn, Gate: gate, Metrics: metrics.NewMetrics(instance.Outcomes()), Log: log, Queue: c.queue, NoQueue: "the program is missing",
				Instance: instance.New(&instance.Config{Runtime: &runtime.Config{Language: nodejs}}), // never started
			}, true)
			id := ""
			for _, path := range []string{"/invocations-async", "/cancel"} {
				for range 3 {
					ctx := openAPIRequest(p, "POST", "/v2/p/fgs/functions/hello"+path, `{"request_id":"x"}`)
					require.Equal(t, 503, ctx.Response.StatusCode())
					require.NotContains(t, string(ctx.Response.Body()), "no servers here")
					if id == "" {
						id = string(ctx.Response.Header.Peek(headerGatewayID))
					}
				}
			}
			lines := logs.FilterMessage("an asynchronous request is refused").All()
			require.Len(t, lines, 1)
			require.Contains(t, lines[0].ContextMap()["error"], c.cause)
			require.Equal(t, id, lines[0].ContextMap()["request_id"])
		})
	}
}
