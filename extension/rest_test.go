package extension

import (
	"context"
	"gantry/telemetry"
	"gantry/test/harness"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// idleHost is a host with these names pending, none of which has a process.
func idleHost(t *testing.T, names ...string) *Host {
	var scripts []Script
	for _, name := range names {
		scripts = append(scripts, Script{Name: name, Path: "/none/" + name})
	}
	return streaming(t, scripts, nil)
}

// take subscribes without a network, whose connections would outlive a bubble.
func take(t *testing.T, h *Host) {
	sub := &telemetry.Subscriber{MaxItems: 1, Send: func(context.Context, []byte) error { return nil }}
	require.True(t, h.cfg.Stream.Subscribe(sub))
}

// awaited is how long AwaitSubscription takes.
func awaited(ctx context.Context, h *Host) time.Duration {
	began := time.Now()
	h.AwaitSubscription(ctx)
	return time.Since(began)
}

// TestSubscriptionIsAwaitedFromRegistrationOn: the wait ends with the subscription, a second after the last registration
// without one, with the time for registrations, or with its context; without extensions there is none.
func TestSubscriptionIsAwaitedFromRegistrationOn(t *testing.T) {
	harness.FixedPorts(t)
	later := func(d time.Duration, do func()) { time.AfterFunc(d, do) }
	for name, c := range map[string]struct {
		names []string
		do    func(t *testing.T, h *Host)
		want  time.Duration
	}{
		"no extension":        {nil, func(*testing.T, *Host) {}, 0},
		"none that registers": {[]string{"a"}, func(*testing.T, *Host) {}, 5 * time.Second},
		"one that ends before": {[]string{"a"}, func(_ *testing.T, h *Host) {
			later(300*time.Millisecond, func() { h.settle("a") })
		}, 300 * time.Millisecond},
		"registered before": {[]string{"a"}, func(t *testing.T, h *Host) { register(t, h, "a", 8081) }, subscribeTime},
		"registered meanwhile, the second one later": {[]string{"a", "b"}, func(t *testing.T, h *Host) {
			later(time.Second, func() { register(t, h, "a", 8081) })
			later(2*time.Second, func() { register(t, h, "b", 8082) })
		}, 2*time.Second + subscribeTime},
		"subscribed a moment before that is over": {[]string{"a"}, func(t *testing.T, h *Host) {
			register(t, h, "a", 8081)
			later(subscribeTime-time.Millisecond, func() { take(t, h) })
		}, subscribeTime},
		"subscribed while another one has not registered": {[]string{"a", "b"}, func(t *testing.T, h *Host) {
			register(t, h, "a", 8081)
			take(t, h)
		}, 0},
		"the end of the context": {[]string{"a"}, func(*testing.T, *Host) {}, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				h := idleHost(t, c.names...)
				if name == "the end of the context" {
					h.waitEnd = time.Now().Add(time.Hour)
				}
				c.do(t, h)
				require.InDelta(t, c.want, awaited(ctx, h), float64(2*restPoll))
			})
		})
	}
}

// TestAwaitedExtensionsDoNotYield: a command that waits for extensions gives them as much of the processor as it has.
func TestAwaitedExtensionsDoNotYield(t *testing.T) {
	require.Zero(t, newHost(t, nil, func(c *Config) { c.Awaited = true }).nice())
	require.Equal(t, yielding, newHost(t, nil, nil).nice())
}
