package instance

import (
	"context"
	"encoding/json"
	"gantry/fault"
	"gantry/telemetry"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func TestStatusOfFaultsIsThatOfTheirKind(t *testing.T) {
	body := []byte(`{"errorMessage":"m","errorType":"RangeError"}`)
	for _, c := range []struct {
		fault        *fault.Error
		status, kind string
	}{
		{nil, "success", ""},
		{&fault.Error{Kind: fault.Function, Type: "Own", Body: body}, "error", "RangeError"},
		{&fault.Error{Kind: fault.Function, Type: "Own", Body: []byte("no JSON")}, "error", "Own"},
		{&fault.Error{Kind: fault.Function, Type: "Own", Body: []byte(`{}`)}, "error", "Own"},
		{&fault.Error{Kind: fault.Event, Type: "Own", Body: body}, "error", "RangeError"},
		{&fault.Error{Kind: fault.Timeout, Type: fault.TypeTimeout}, "timeout", "Runtime.Timeout"},
		{&fault.Error{Kind: fault.Init, Type: "Own", Body: body}, "error", "RangeError"},
		{&fault.Error{Kind: fault.Init, Type: fault.TypeInitTimeout, Body: body}, "error", "RangeError"},
		{&fault.Error{Kind: fault.Init, Type: fault.TypeInitTimeout}, "timeout", "Runtime.InitTimeout"},
		{&fault.Error{Kind: fault.Init, Type: fault.TypeStart}, "failure", "Runtime.StartFailed"},
	} {
		status, kind := statusOf(c.fault)
		require.Equal(t, c.status, status, c.fault)
		require.Equal(t, c.kind, kind, c.fault)
	}
	statuses := map[fault.Kind]string{fault.Function: "error", fault.Event: "error", fault.Timeout: "timeout"}
	for _, kind := range fault.Kinds() {
		status, errorType := statusOf(&fault.Error{Kind: kind, Type: "Own.Type"})
		want := statuses[kind]
		if want == "" {
			want = "failure"
		}
		require.Equal(t, want, status, kind)
		require.Equal(t, "Own.Type", errorType, kind)
	}
}

// published is an event as a subscriber reads it.
type published struct {
	Name, TraceID, Status, ErrorType, Record string
	StartTime, EndTime                       time.Time
	Metrics                                  map[string]float64
}

// follow subscribes to all telemetry of the agent; the result flushes and returns it.
func follow(t *testing.T, c *Config) func() []published {
	var mu sync.Mutex
	var all []published
	c.Stream = telemetry.NewStream("f", "latest", zap.NewNop())
	require.True(t, c.Stream.Subscribe(&telemetry.Subscriber{
		Types: telemetry.TypePlatform, MaxItems: 1000, MaxBytes: telemetry.DefaultMaxBytes, Timeout: telemetry.DefaultTimeout,
		Send: func(_ context.Context, batch []byte) error {
			var events []published
			if err := json.Unmarshal(batch, &events); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, events...)
			return nil
		},
	}))
	t.Cleanup(func() { c.Stream.Close(t.Context()) })
	return func() []published {
		c.Stream.Flush(t.Context())
		mu.Lock()
		defer mu.Unlock()
		return append([]published(nil), all...)
	}
}

// named returns the events with these names.
func named(all []published, names ...string) []published {
	return slices.DeleteFunc(slices.Clone(all), func(e published) bool { return !slices.Contains(names, e.Name) })
}

func TestEachCallHasStartDoneAndReportEvents(t *testing.T) {
	const source = `exports.handler = async (e, c) => {
	  if (e.raise) throw new RangeError('raised');
	  if (e.ms) await new Promise((r) => setTimeout(r, e.ms));
	  if (e.exit) process.exit(3);
	  return 'x'.repeat(e.length || 1);
	}`
	var events func() []published
	h := newInstance(t, source, func(c *Config) {
		events = follow(t, c)
		c.Runtime.Function.Timeout, c.Runtime.Function.MaxResponse = 3*time.Second, 6<<20
	})
	require.NoError(t, h.WaitReady(h.Base()))
	for _, c := range []struct{ id, event, status, errorType string }{
		{"good", `{}`, "success", ""},
		{"slow", `{"ms":50}`, "success", ""},
		{"raised", `{"raise":true}`, "error", "RangeError"},
		{"no event", `{`, "error", ""},
		{"late", `{"ms":600000}`, "timeout", "Runtime.Timeout"},
		{"dead", `{"exit":true}`, "failure", "Runtime.Exited"},
		{"large", `{"length":6291457}`, "error", "ResponseTooLarge"},
	} {
		r := h.call(c.id, c.id == "slow", c.event)
		var own []published
		for _, e := range events() {
			if e.TraceID == c.id {
				own = append(own, e)
			}
		}
		require.Len(t, own, 3, c.id)
		start, done, report := own[0], own[1], own[2]
		require.Equal(t, []string{"platform.start", "platform.RuntimeDone", "platform.report"}, []string{start.Name, done.Name, report.Name})
		require.Equal(t, start.StartTime, done.StartTime)
		require.Equal(t, start.StartTime, report.StartTime)
		require.False(t, report.EndTime.Before(report.StartTime))
		require.Empty(t, start.Status+start.ErrorType)
		require.Zero(t, start.EndTime.Unix()+done.EndTime.Unix()-2*time.Time{}.Unix(), "only the report has an end")
		require.Equal(t, []string{c.status, c.status}, []string{done.Status, report.Status}, c.id)
		require.Equal(t, done.ErrorType, report.ErrorType)
		if c.errorType != "" || c.status == "success" {
			require.Equal(t, c.errorType, done.ErrorType, c.id)
		} else {
			require.NotEmpty(t, done.ErrorType, c.id)
		}
		require.Nil(t, done.Metrics)
		require.InDelta(t, millis(r.Duration), report.Metrics["durationMs"], 0.002, c.id)
		require.EqualValues(t, r.Billed.Milliseconds(), report.Metrics["billedDurationMs"], c.id)
		require.EqualValues(t, 1024, report.Metrics["memorySizeMB"])
		require.InDelta(t, r.MemoryUsed, report.Metrics["maxMemoryUsedMB"], 1)
		_, first := report.Metrics["initDurationMs"]
		require.Equal(t, c.id == "good", first, "%s: in the first report only", c.id)
	}
	require.Len(t, named(events(), "platform.initStart"), 3, "each start of a worker is an event")
}

// TestRefusedCallsHaveNoEvents: nothing began.
func TestRefusedCallsHaveNoEvents(t *testing.T) {
	var events func() []published
	h := newInstance(t, echo, func(c *Config) { events = follow(t, c) })
	require.NoError(t, h.WaitReady(h.Base()))
	require.NoError(t, h.Drain(t.Context()))
	require.NotNil(t, h.invoke("{}").Fault)
	require.Empty(t, named(events(), "platform.start", "platform.RuntimeDone", "platform.report"))
}

func TestEachStartOfAWorkerHasItsInitEvents(t *testing.T) {
	const initializer = "exports.handler = async (e, c) => 1; exports.initializer = (c, done) => { "
	withInitializer := func(c *Config) {
		c.Runtime.Function.Initializer = "index.initializer"
		c.Runtime.Function.InitTimeout = time.Second
		c.Runtime.Env = append(c.Runtime.Env, "RUNTIME_INITIALIZER_HANDLER=index.initializer")
	}
	for name, c := range map[string]struct {
		source            string
		change            func(*Config)
		status, errorType string
	}{
		"load":                     {echo, nil, "success", ""},
		"load and initializer":     {initializer + "setTimeout(() => done(null), 20) }", withInitializer, "success", ""},
		"load raises":              {"throw new RangeError('x')", nil, "error", "RangeError"},
		"load takes too long":      {"for (;;);", func(c *Config) { c.LoadTimeout = time.Second / 2 }, "timeout", "Runtime.InitTimeout"},
		"initializer raises":       {initializer + "throw new RangeError('x') }", withInitializer, "error", "RangeError"},
		"initializer never ends":   {initializer + "}", withInitializer, "timeout", "Runtime.InitTimeout"},
		"process ends in the load": {"process.exit(3)", nil, "failure", "Runtime.Exited"},
		"an extension is missing": {echo, func(c *Config) {
			c.ExtensionsReady = func(context.Context) error {
				return &fault.Error{Kind: fault.Init, Type: "Extension.RequiredMissing", Code: fault.CodeStartTimeout, Message: "m"}
			}
		}, "failure", "Extension.RequiredMissing"},
	} {
		t.Run(name, func(t *testing.T) {
			var events func() []published
			h := newInstance(t, c.source, func(cfg *Config) {
				events = follow(t, cfg)
				if c.change != nil {
					c.change(cfg)
				}
			})
			err := h.WaitReady(h.Base())
			require.Equal(t, c.status == "success", err == nil, err)
			all := events()
			starts, done, reports := named(all, "platform.initStart"), named(all, "platform.initRuntimeDone"), named(all, "platform.initReport")
			want := 1
			if c.status != "success" {
				want = maxAttempts
			}
			require.Len(t, starts, want)
			require.Len(t, done, want)
			require.Len(t, reports, want)
			for i := range starts {
				require.NotEmpty(t, starts[i].TraceID)
				require.Equal(t, starts[i].TraceID, done[i].TraceID)
				require.Equal(t, starts[i].TraceID, reports[i].TraceID)
				require.Equal(t, starts[i].StartTime, done[i].StartTime)
				require.Equal(t, starts[i].StartTime, reports[i].StartTime)
				require.Equal(t, []string{c.status, c.status}, []string{done[i].Status, reports[i].Status})
				require.Equal(t, []string{c.errorType, c.errorType}, []string{done[i].ErrorType, reports[i].ErrorType})
				require.False(t, reports[i].EndTime.Before(reports[i].StartTime))
				require.Positive(t, reports[i].Metrics["durationMs"])
				require.Len(t, reports[i].Metrics, 1)
			}
		})
	}
}

// TestFirstReportAloneHasTheInitDuration: the report has what the start's own report had, which is without the wait
// for extensions.
func TestFirstReportAloneHasTheInitDuration(t *testing.T) {
	const wait = time.Second
	var events func() []published
	h := newInstance(t, echo, func(c *Config) {
		events = follow(t, c)
		c.ExtensionsReady = func(context.Context) error { time.Sleep(wait); return nil }
	})
	for range 3 {
		require.Nil(t, h.invoke(`{"n":1}`).Fault)
	}
	all := events()
	init := named(all, "platform.initReport")
	reports := named(all, "platform.report")
	require.Len(t, init, 1)
	require.Len(t, reports, 3)
	require.InDelta(t, init[0].Metrics["durationMs"], reports[0].Metrics["initDurationMs"], 0.002)
	whole := init[0].EndTime.Sub(init[0].StartTime)
	require.LessOrEqual(t, init[0].Metrics["durationMs"], millis(whole-wait)+2, "times are whole milliseconds")
	require.NotContains(t, reports[1].Metrics, "initDurationMs")
	require.NotContains(t, reports[2].Metrics, "initDurationMs")
}

// TestCallsWithoutASubscriberAreAnswered: without a stream, and with a stream that has no subscriber.
func TestCallsWithoutASubscriberAreAnswered(t *testing.T) {
	h := newInstance(t, echo, nil)
	require.Equal(t, "1", string(h.invoke(`{"n":1}`).Body))
	s := telemetry.NewStream("f", "latest", zap.NewNop())
	s.Close(t.Context())
	h = newInstance(t, echo, func(c *Config) { c.Stream = s })
	require.Equal(t, "1", string(h.invoke(`{"n":1}`).Body))
	require.Zero(t, s.Counts().Accepted)
}
