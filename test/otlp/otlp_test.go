// Package otlp tests examples/extensions/otlp, beside a real agent, with the decoders of OpenTelemetry. It is a module
// of its own, so that these stay out of the project's.
package otlp

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

const (
	parentTrace = "0af7651916cd43dd8448eb211c80319c"
	parentSpan  = "b7ad6b7169203331"
	sampled     = "00-" + parentTrace + "-" + parentSpan + "-01"
	notSampled  = "00-" + parentTrace + "-" + parentSpan + "-00"
)

func TestCalls(t *testing.T) {
	for name, env := range map[string][]string{
		"json": nil, "protobuf": {"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"},
		"zipped": {"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/protobuf", "OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION=none"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t, nil)
			testCalls(t, c, env)
			for _, path := range []string{"/v1/logs", "/v1/traces"} {
				for _, r := range c.attempts(path) {
					require.Equal(t, name == "protobuf" || name == "zipped" && path == "/v1/logs", r.header.Get("Content-Type") == "application/x-protobuf")
					require.Equal(t, name == "zipped" && path == "/v1/logs", r.header.Get("Content-Encoding") == "gzip")
				}
			}
		})
	}
}

func testCalls(t *testing.T, c *collector, env []string) {
	t.Helper()
	began := time.Now()
	a := startAgent(t, c.URL, append(env, "RUNTIME_TIMEOUT=2", "OTEL_RESOURCE_ATTRIBUTES=cloud.provider=huawei_cloud,team=a%2Cb", "OTEL_SERVICE_NAME=orders")...)
	_, first := a.invoke(`{"lines":[["info","größe"],["warn","w"],["error","e"],[null,"plain"]]}`, "")
	_, joined := a.invoke(`{"lines":[["info","joined"]]}`, sampled)
	_, silent := a.invoke(`{"lines":[["info","silent"]]}`, notSampled)
	_, invalid := a.invoke(`{}`, "00-"+parentTrace+"-0000000000000000-01")
	failedStatus, failed := a.invoke(`{"fail":true}`, sampled)
	_, late := a.invoke(`{"hang":true}`, "")
	_, crashed := a.invoke(`{"exit":true,"lines":[[null,"last words"]]}`, "")
	a.stop()
	require.Equal(t, 500, failedStatus)

	one := func(id string) ptrace.Span {
		t.Helper()
		spans := c.spansOf(id)
		require.Len(t, spans, 1, "spans of %s", id)
		s := spans[0]
		require.Equal(t, "shop", s.Name())
		require.Equal(t, ptrace.SpanKindServer, s.Kind())
		require.False(t, s.TraceID().IsEmpty() || s.SpanID().IsEmpty())
		require.True(t, s.StartTimestamp().AsTime().After(began.Add(-time.Second)) && !s.EndTimestamp().AsTime().Before(s.StartTimestamp().AsTime()) && s.EndTimestamp().AsTime().Before(time.Now().Add(time.Second)))
		require.Equal(t, "urn:fss:local-1:00000000000000000000000000000000:function:default:shop:v3", s.Attributes().AsRaw()["cloud.resource_id"])
		require.Equal(t, "other", s.Attributes().AsRaw()["faas.trigger"])
		return s
	}
	root := one(first)
	require.True(t, root.ParentSpanID().IsEmpty())
	require.Equal(t, ptrace.StatusCodeUnset, root.Status().Code())
	require.Equal(t, uint32(1), root.Flags())
	attributes := root.Attributes().AsRaw()
	require.Equal(t, true, attributes["faas.coldstart"])
	require.Positive(t, attributes["functiongraph.init_duration_ms"])
	require.Positive(t, attributes["functiongraph.billed_duration_ms"])
	require.Equal(t, false, one(joined).Attributes().AsRaw()["faas.coldstart"])

	child := one(joined)
	require.Equal(t, parentTrace, child.TraceID().String())
	require.Equal(t, parentSpan, child.ParentSpanID().String())
	require.Equal(t, uint32(0x301), child.Flags(), "sampled, and the parent is remote")
	require.Empty(t, c.spansOf(silent), "its caller does not sample it")
	require.True(t, one(invalid).ParentSpanID().IsEmpty(), "no parent, no trace of another")
	require.NotEqual(t, parentTrace, one(invalid).TraceID().String())

	for id, want := range map[string]string{failed: "error: TypeError", late: "timeout: ", crashed: "failure: "} {
		s := one(id)
		require.Equal(t, ptrace.StatusCodeError, s.Status().Code())
		require.True(t, strings.HasPrefix(s.Status().Message(), want), s.Status().Message())
		require.Equal(t, strings.SplitAfter(s.Status().Message(), ": ")[1], s.Attributes().AsRaw()["error.type"])
	}

	requireLines(t, c.logsOf(first), root, "größe/INFO/9", "w/WARN/13", "e/ERROR/17", "plain//0")
	requireLines(t, c.logsOf(joined), child, "joined/INFO/9")
	requireLines(t, c.logsOf(crashed)[:1], one(crashed), "last words//0") // the agent's line about the crash follows
	lines := c.logsOf(silent)
	require.Len(t, lines, 1)
	require.Equal(t, parentTrace, lines[0].TraceID().String(), "its lines belong to the trace all the same")
	require.Equal(t, plog.LogRecordFlags(0), lines[0].Flags())
	loaded := c.logsWith("loaded")
	require.NotEmpty(t, loaded)
	for _, l := range loaded {
		require.True(t, l.TraceID().IsEmpty(), "the start of a worker is no part of a trace")
	}

	require.Len(t, c.resources, 1, "all messages are about the same instance")
	instance, _ := c.resources[0]["faas.instance"].(string)
	require.NotEmpty(t, instance)
	require.Equal(t, map[string]any{
		"service.name": "orders", "service.version": "v3", "service.instance.id": instance, "faas.name": "shop", "faas.version": "v3", "faas.instance": instance,
		"faas.max_memory": int64(512 << 20), "cloud.provider": "huawei_cloud", "team": "a,b",
	}, c.resources[0])
}

// requireLines compares the log records of a call with text/severity/number, in order.
func requireLines(t *testing.T, lines []plog.LogRecord, s ptrace.Span, want ...string) {
	t.Helper()
	var got []string
	for _, l := range lines {
		require.Equal(t, s.TraceID(), l.TraceID())
		require.Equal(t, s.SpanID(), l.SpanID())
		require.NotZero(t, l.Timestamp())
		require.NotZero(t, l.ObservedTimestamp())
		got = append(got, fmt.Sprintf("%s/%s/%d", l.Body().Str(), l.SeverityText(), l.SeverityNumber()))
	}
	require.Equal(t, want, got)
}

// TestConcurrentCalls: every line is assigned to its call, and no record is lost or sent twice.
func TestConcurrentCalls(t *testing.T) {
	c := newCollector(t, nil)
	a := startAgent(t, c.URL, "GANTRY_CONCURRENCY=8")
	var mu sync.Mutex
	calls := map[string]string{} // by the text of the line
	var working sync.WaitGroup
	for caller := range 8 {
		working.Go(func() {
			for i := range 50 {
				text := fmt.Sprintf("call %d of %d", i, caller)
				_, id := a.invoke(`{"lines":[["info","`+text+`"]]}`, sampled)
				mu.Lock()
				calls[text] = id
				mu.Unlock()
			}
		})
	}
	working.Wait()
	a.stop()
	require.Len(t, calls, 400)
	seen := map[string]bool{}
	for text, id := range calls {
		spans := c.spansOf(id)
		require.Len(t, spans, 1)
		require.Equal(t, parentTrace, spans[0].TraceID().String())
		require.Equal(t, parentSpan, spans[0].ParentSpanID().String())
		requireLines(t, c.logsOf(id), spans[0], text+"/INFO/9")
		seen[spans[0].SpanID().String()] = true
	}
	require.Len(t, seen, 400, "span ids are different")
}

// TestFrozen: the records of a call are sent before the instance is frozen, and sending resumes after the thaw.
func TestFrozen(t *testing.T) {
	c := newCollector(t, nil)
	a := startAgent(t, c.URL, "GANTRY_FREEZE=true")
	for i := range 3 {
		_, id := a.invoke(fmt.Sprintf(`{"lines":[[null,"call %d"]]}`, i), sampled)
		a.wait(func() bool { return len(c.spansOf(id)) == 1 && len(c.logsOf(id)) == 1 })
		require.Equal(t, parentSpan, c.spansOf(id)[0].ParentSpanID().String())
	}
}

// TestRetries: records that the server refuses for now are sent again, unchanged, and not before its Retry-After.
func TestRetries(t *testing.T) {
	refusals := []struct {
		status int
		after  string
		least  time.Duration
	}{
		{http.StatusServiceUnavailable, "2", 2 * time.Second},
		{http.StatusTooManyRequests, "1", time.Second},
		{http.StatusBadGateway, "", 100 * time.Millisecond},
		{0, "", 100 * time.Millisecond}, // it breaks the connection
	}
	c := newCollector(t, func(w http.ResponseWriter, path string, n int) bool {
		if path != "/v1/traces" || n > len(refusals) {
			return false
		}
		r := refusals[n-1]
		if r.status == 0 {
			panic(http.ErrAbortHandler)
		}
		if r.after != "" {
			w.Header().Set("Retry-After", r.after)
		}
		w.WriteHeader(r.status)
		return true
	})
	a := startAgent(t, c.URL)
	_, id := a.invoke(`{"lines":[[null,"x"]]}`, "")
	a.wait(func() bool { return len(c.spansOf(id)) == 1 })
	require.NotEmpty(t, c.logsOf(id), "logs go their own way")
	attempts := c.attempts("/v1/traces")
	require.Len(t, attempts, len(refusals)+1)
	for i, r := range refusals {
		require.GreaterOrEqual(t, attempts[i+1].at.Sub(attempts[i].at), r.least-20*time.Millisecond, "attempt %d", i+1)
		require.Equal(t, attempts[0].body, attempts[i+1].body)
	}
	a.stop()
	require.NotContains(t, a.Stdout.String(), "were lost")
}

// TestRefused: what the server rejects is not sent again, and is reported as lost.
func TestRefused(t *testing.T) {
	c := newCollector(t, func(w http.ResponseWriter, path string, n int) bool {
		switch {
		case path == "/v1/traces" && n == 1:
			http.Error(w, `{"message":"what is this"}`, http.StatusBadRequest)
		case path == "/v1/logs" && n == 1:
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too old"}}`))
		default:
			return false
		}
		return true
	})
	a := startAgent(t, c.URL)
	_, first := a.invoke(`{}`, "")
	a.wait(func() bool { return len(c.attempts("/v1/traces")) == 1 && len(c.attempts("/v1/logs")) >= 1 })
	_, second := a.invoke(`{}`, "")
	a.wait(func() bool { return len(c.spansOf(second)) == 1 })
	a.stop()
	require.Empty(t, c.spansOf(first))
	require.Contains(t, a.Stdout.String(), "[extensionOtlp] 1 spans were lost: "+c.URL+`/v1/traces answers 400 Bad Request: {"message":"what is this"}`)
	require.Contains(t, a.Stdout.String(), "[extensionOtlp] 3 log records were lost: "+c.URL+"/v1/logs rejected them: too old\n")
	require.NotEmpty(t, c.logsWith("1 spans were lost"), "what the extension says is telemetry too")
}

// TestStop: at the stop all records are sent, although the batch is not due.
func TestStop(t *testing.T) {
	c := newCollector(t, nil)
	a := startAgent(t, c.URL, "GANTRY_CONCURRENCY=2")
	_, id := a.invoke(`{"flood":3000}`, "")
	a.stop()
	require.Len(t, c.spansOf(id), 1)
	lines := c.logsOf(id)
	require.Len(t, lines, 3000)
	for i, l := range lines {
		require.Equal(t, fmt.Sprint("line ", i), l.Body().Str())
	}
}

// TestStopWithoutServer: a missing server, or a long Retry-After, does not delay the stop.
func TestStopWithoutServer(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter){
		"refuses": func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"later": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t, func(w http.ResponseWriter, _ string, _ int) bool {
				answer(w)
				return true
			})
			a := startAgent(t, c.URL)
			a.invoke(`{"lines":[[null,"x"]]}`, "")
			a.wait(func() bool { return len(c.attempts("/v1/traces")) > 0 })
			a.stop() // which fails if a process had to be killed
			require.Contains(t, a.Stdout.String(), "[extensionOtlp] 1 spans were lost: ")
			require.Contains(t, a.Stdout.String(), "log records were lost: ")
		})
	}
}

// TestFlood: while the server accepts nothing, memory stays bounded, the oldest records are dropped, and the loss is
// reported.
func TestFlood(t *testing.T) {
	var open atomic.Bool
	c := newCollector(t, func(w http.ResponseWriter, _ string, _ int) bool {
		if !open.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return !open.Load()
	})
	a := startAgent(t, c.URL)
	var last string
	for range 5 {
		_, last = a.invoke(`{"flood":20000}`, "")
	}
	a.wait(func() bool { return strings.Contains(a.Stdout.String(), "log records were lost: more than 8192 wait") })
	require.Less(t, a.peakMemory(), memoryLimit, "KiB")
	open.Store(true)
	a.wait(func() bool { return len(c.spansOf(last)) == 1 && len(c.logsWith("line 19999")) > 0 })
	a.stop()
	require.LessOrEqual(t, len(c.logsOf(last)), 20000)
}

// TestSettings: invalid settings are reported, without values that may be secret.
func TestSettings(t *testing.T) {
	for env, says := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318":         "OTEL_EXPORTER_OTLP_ENDPOINT",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://:secret@": "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_TIMEOUT=10s":                     "want milliseconds",
		"OTEL_EXPORTER_OTLP_LOGS_TIMEOUT=0":                  `OTEL_EXPORTER_OTLP_LOGS_TIMEOUT is "0"`,
		"OTEL_EXPORTER_OTLP_HEADERS=api-key:secret":          "OTEL_EXPORTER_OTLP_HEADERS is not of the form",
		"OTEL_EXPORTER_OTLP_TRACES_HEADERS=secret":           "OTEL_EXPORTER_OTLP_TRACES_HEADERS is not of the form",
		"OTEL_RESOURCE_ATTRIBUTES=a=%zz":                     "OTEL_RESOURCE_ATTRIBUTES",
		"OTEL_EXPORTER_OTLP_PROTOCOL=grpc":                   `OTEL_EXPORTER_OTLP_PROTOCOL is "grpc", want http/json or http/protobuf`,
		"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=grpc":              `OTEL_EXPORTER_OTLP_LOGS_PROTOCOL is "grpc"`,
		"OTEL_EXPORTER_OTLP_COMPRESSION=zstd":                "want gzip or none",
		"OTEL_EXPORTER_OTLP_CERTIFICATE=/no/such/file":       "OTEL_EXPORTER_OTLP_CERTIFICATE: open /no/such/file",
		"OTEL_EXPORTER_OTLP_CERTIFICATE=/dev/null":           "has no certificate",
		"OTEL_EXPORTER_OTLP_CLIENT_KEY=/k":                   "set both or none",
		"OTEL_LOGS_EXPORTER=console":                         `OTEL_LOGS_EXPORTER is "console", want otlp or none`,
		"OTEL_EXPORTER_OTLP_TRACES_HEADER=a=secret":          "OTEL_EXPORTER_OTLP_TRACES_HEADER is not known here",
	} {
		out, code := run(t, append(os.Environ(), env)...)
		require.Equal(t, 1, code, env)
		require.Equal(t, 1, strings.Count(out, "\n"), out)
		require.Contains(t, out, says, env)
		require.NotContains(t, out, "secret")
	}
}

// TestRedirect: records do not count as delivered because the new address answers a GET; the log names that address.
func TestRedirect(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			var asked sync.Map
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Store(r.Method+" "+r.URL.Path, true)
				if !strings.HasPrefix(r.URL.Path, "/new") {
					http.Redirect(w, r, "/new"+r.URL.Path, status)
				}
			}))
			defer server.Close()
			a := startAgent(t, server.URL)
			a.invoke(`{}`, "")
			a.wait(func() bool { return strings.Contains(a.Stdout.String(), "spans were lost") })
			a.stop()
			require.Contains(t, a.Stdout.String(), fmt.Sprintf(`spans were lost: %s/v1/traces answers %d %s and points to "%[1]s/new/v1/traces": set the endpoint to that address`,
				server.URL, status, http.StatusText(status)))
			asked.Range(func(what, _ any) bool {
				require.Contains(t, []any{"POST /v1/traces", "POST /v1/logs"}, what)
				return true
			})
		})
	}
}

// TestOneSignal: a server that accepts only spans gets nothing else, and no error is reported. The same for logs alone.
// Headers may differ.
func TestOneSignal(t *testing.T) {
	for off, on := range map[string]string{"logs": "traces", "traces": "logs"} {
		t.Run(on, func(t *testing.T) {
			c := newCollector(t, nil)
			a := startAgent(t, c.URL, "OTEL_"+strings.ToUpper(off)+"_EXPORTER=none", "OTEL_"+strings.ToUpper(on)+"_EXPORTER=otlp",
				"OTEL_EXPORTER_OTLP_"+strings.ToUpper(on)+"_HEADERS=api-key=a%20b,tenant=t", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
				"OTEL_EXPORTER_OTLP_"+strings.ToUpper(off)+"_PROTOCOL=grpc")
			a.invoke(`{"lines":[["info","x"]]}`, "")
			a.stop()
			require.NotEmpty(t, c.attempts("/v1/"+on))
			require.Empty(t, c.attempts("/v1/"+off))
			require.Equal(t, "t", c.attempts("/v1/" + on)[0].header.Get("Tenant"))
			require.NotContains(t, a.Stdout.String(), "lost")
		})
	}
	c := newCollector(t, nil)
	a := startAgent(t, c.URL, "OTEL_LOGS_EXPORTER=none", "OTEL_TRACES_EXPORTER=none")
	status, _ := a.invoke(`{}`, "")
	require.Equal(t, 200, status)
	a.stop()
	require.Empty(t, c.attempts("/v1/logs"))
	require.Empty(t, c.attempts("/v1/traces"))
	require.Contains(t, a.Stdout.String(), "nothing is sent")
}

// TestPartialProtobuf: what a server rejects is read from its binary answer too.
func TestPartialProtobuf(t *testing.T) {
	c := newCollector(t, func(w http.ResponseWriter, path string, n int) bool {
		if path != "/v1/traces" || n > 1 {
			return false
		}
		answer := ptraceotlp.NewExportResponse()
		answer.PartialSuccess().SetRejectedSpans(1)
		answer.PartialSuccess().SetErrorMessage("too old")
		body, err := answer.MarshalProto()
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(body)
		return true
	})
	a := startAgent(t, c.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
	a.invoke(`{}`, "")
	a.stop()
	require.Contains(t, a.Stdout.String(), "[extensionOtlp] 1 spans were lost: "+c.URL+"/v1/traces rejected them: too old\n")
}

// TestCertificate: a server with a certificate of one's own.
func TestCertificate(t *testing.T) {
	var spans atomic.Int64
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/traces" {
			spans.Add(1)
		}
	}))
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	a := startAgent(t, server.URL, "OTEL_EXPORTER_OTLP_CERTIFICATE="+file)
	a.invoke(`{}`, "")
	a.stop()
	require.EqualValues(t, 1, spans.Load())
	require.NotContains(t, a.Stdout.String(), "lost")
}
