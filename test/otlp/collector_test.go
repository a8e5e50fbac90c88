package otlp

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	logspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// collector takes OTLP over HTTP as the OpenTelemetry collector does: with its own decoder of JSON, pdata. That one
// passes over what it does not know, so each message has to be one of the protocol's, too.
type collector struct {
	*httptest.Server
	t *testing.T

	mu    sync.Mutex
	logs  []plog.LogRecord
	spans []ptrace.Span
	// resources are those of all messages, without repetition.
	resources []map[string]any
	// requests are all attempts, refused ones too.
	requests []request
	// answer may respond in place of the collector and then returns true. n counts the requests for the path from 1.
	answer func(w http.ResponseWriter, path string, n int) bool
}

type request struct {
	path, body string
	at         time.Time
	header     http.Header
}

func newCollector(t *testing.T, answer func(w http.ResponseWriter, path string, n int) bool) *collector {
	c := &collector{t: t, answer: answer}
	c.Server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the extension gave up
	}
	if r.Header.Get("Content-Encoding") == "gzip" {
		if body, err = unzip(body); err != nil {
			c.t.Errorf("%s: %v", r.URL, err)
		}
	}
	kind := r.Header.Get("Content-Type")
	if r.Method != http.MethodPost || kind != "application/json" && kind != "application/x-protobuf" || r.Header.Get("Api-Key") != "a b" {
		c.t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
	c.mu.Lock()
	c.requests = append(c.requests, request{r.URL.Path, string(body), time.Now(), r.Header})
	n := 0
	for _, earlier := range c.requests {
		if earlier.path == r.URL.Path {
			n++
		}
	}
	c.mu.Unlock()
	if c.answer != nil && c.answer(w, r.URL.Path, n) {
		return
	}
	c.take(w, r.URL.Path, body, kind == "application/x-protobuf")
}

func unzip(body []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func (c *collector) take(w http.ResponseWriter, path string, body []byte, binary bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var answer []byte
	var err error
	switch path {
	case "/v1/logs":
		if err = strict(body, binary, &logspb.ExportLogsServiceRequest{}, &logspb.ExportLogsServiceRequest{}); err == nil {
			answer, err = c.takeLogs(body, binary)
		}
	case "/v1/traces":
		if err = strict(body, binary, &tracepb.ExportTraceServiceRequest{}, &tracepb.ExportTraceServiceRequest{}); err == nil {
			answer, err = c.takeSpans(body, binary)
		}
	default:
		http.NotFound(w, nil)
		return
	}
	if err != nil {
		c.t.Errorf("%s: %v\n%s", path, err, body)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !binary {
		w.Header().Set("Content-Type", "application/json")
	}
	_, _ = w.Write(answer)
}

// strict decodes with the protocol's own types, which take no member that they do not have. Ids in hex happen to be
// base64 too. again is another message of the same type: the way over JSON loses fields that are not known.
func strict(body []byte, binary bool, m, again proto.Message) error {
	if !binary {
		return protojson.Unmarshal(body, m)
	}
	if err := proto.Unmarshal(body, m); err != nil {
		return err
	}
	text, err := protojson.Marshal(m)
	if err == nil {
		err = protojson.Unmarshal(text, again)
	}
	if err == nil && !proto.Equal(m, again) {
		err = errors.New("fields that the protocol does not have")
	}
	return err
}

func (c *collector) takeLogs(body []byte, binary bool) ([]byte, error) {
	r := plogotlp.NewExportRequest()
	if err := pick(binary, r.UnmarshalProto, r.UnmarshalJSON)(body); err != nil {
		return nil, err
	}
	for _, rl := range r.Logs().ResourceLogs().All() {
		c.seen(rl.Resource())
		for _, sl := range rl.ScopeLogs().All() {
			for _, l := range sl.LogRecords().All() {
				c.logs = append(c.logs, l)
			}
		}
	}
	answer := plogotlp.NewExportResponse()
	return pick(binary, answer.MarshalProto, answer.MarshalJSON)()
}

func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

func (c *collector) takeSpans(body []byte, binary bool) ([]byte, error) {
	r := ptraceotlp.NewExportRequest()
	if err := pick(binary, r.UnmarshalProto, r.UnmarshalJSON)(body); err != nil {
		return nil, err
	}
	for _, rs := range r.Traces().ResourceSpans().All() {
		c.seen(rs.Resource())
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				c.spans = append(c.spans, s)
			}
		}
	}
	answer := ptraceotlp.NewExportResponse()
	return pick(binary, answer.MarshalProto, answer.MarshalJSON)()
}

func (c *collector) seen(r pcommon.Resource) {
	attributes := r.Attributes().AsRaw()
	for _, earlier := range c.resources {
		if len(earlier) == len(attributes) && earlier["faas.instance"] == attributes["faas.instance"] {
			return
		}
	}
	c.resources = append(c.resources, attributes)
}

// spansOf returns the spans of a call.
func (c *collector) spansOf(id string) (all []ptrace.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if s.Attributes().AsRaw()["faas.invocation_id"] == id {
			all = append(all, s)
		}
	}
	return all
}

// logsOf returns the log records of a call.
func (c *collector) logsOf(id string) (all []plog.LogRecord) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.logs {
		if l.Attributes().AsRaw()["faas.invocation_id"] == id {
			all = append(all, l)
		}
	}
	return all
}

// logsWith returns the log records whose text begins so.
func (c *collector) logsWith(text string) (all []plog.LogRecord) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.logs {
		if strings.HasPrefix(l.Body().Str(), text) {
			all = append(all, l)
		}
	}
	return all
}

// attempts returns the requests for a path.
func (c *collector) attempts(path string) []request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.requests), func(r request) bool { return r.path != path })
}
