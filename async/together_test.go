package async

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	fncontext "gantry/context"
)

// TestAgentsWithOtherLimitsOpenTogether: the first agents of an empty cluster make its streams at the same moment, each
// with its own limits. Servers refuse all but one, and do not show its stream to the others yet.
func TestAgentsWithOtherLimitsOpenTogether(t *testing.T) {
	servers := startCluster(t)
	nc, err := nats.Connect(servers[0].ClientURL(), nats.InProcessServer(servers[0]))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	for range 5 {
		var all []*Queue
		for i := range 12 {
			all = append(all, open(t, servers[i%3], &testFunction{}, func(c *Config) {
				c.Function = &fncontext.Function{Region: "r", Project: "p", Package: "default", Name: fmt.Sprint("f", i), Version: "latest"}
				c.Replicas, c.MaxBytes = 3, int64(i+1)<<20
			}))
		}
		failed := make(chan error, len(all))
		for _, q := range all {
			go func() { failed <- q.Start(t.Context()) }()
		}
		for range all {
			assert.NoError(t, <-failed)
		}
		for _, q := range all {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			q.Close(ctx)
			cancel()
		}
		for name := range js.StreamNames(t.Context()).Name() {
			require.NoError(t, js.DeleteStream(t.Context(), name))
		}
	}
}
