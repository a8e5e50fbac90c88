// Command extensionOtlp sends the telemetry of a function to OpenTelemetry: OTLP over HTTP, encoded as JSON.
//
// Lines of the function and of extensions become log records, with the severity that the context's logger gave them.
// Every call becomes a server span, and its lines point to it. A call whose caller sent a traceparent joins that trace;
// one that the caller does not sample has no span. What went wrong with the instance itself (lost lines, extensions
// that ended, a failed start) becomes a log record too.
//
// Records are sent in batches: when there are 512, when the oldest is a second old, when no call is in flight, because
// the instance may be frozen then, and when the instance stops. 429, 502, 503, 504 and broken connections are tried
// again, after Retry-After if the server says so, else after pauses that grow; at the stop three times. Meanwhile 8,192
// records of each kind wait; the oldest make room. Lost records are counted and reported, at most once a minute.
//
// A redirect is an error that names the new address: the records would not be sent there.
//
// Variables, which reach an extension only if the agent's GANTRY_EXTENSION_ENV names them, as in
// GANTRY_EXTENSION_ENV='OTEL_*'. Those of the exporter may have LOGS_ or TRACES_ behind OTLP_, for one of the two,
// which goes first:
//
//	OTEL_LOGS_EXPORTER                      otlp or none; default: otlp
//	OTEL_TRACES_EXPORTER                    likewise
//	OTEL_SDK_DISABLED                       true: nothing is sent
//	OTEL_EXPORTER_OTLP_ENDPOINT             base URL; default: http://localhost:4318. The one for logs or traces is used
//	                                        as it is, in place of the base with /v1/logs or /v1/traces
//	OTEL_EXPORTER_OTLP_PROTOCOL             http/json or http/protobuf; default: http/json
//	OTEL_EXPORTER_OTLP_HEADERS              headers: name=value,name=value, values percent-encoded
//	OTEL_EXPORTER_OTLP_COMPRESSION          gzip or none; default: none
//	OTEL_EXPORTER_OTLP_TIMEOUT              limit of one request in milliseconds; default: 10000
//	OTEL_EXPORTER_OTLP_CERTIFICATE          file with the certificates that sign the server's, PEM;
//	                                        default: the system's
//	OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE   file with this client's certificate, PEM; together with its key
//	OTEL_EXPORTER_OTLP_CLIENT_KEY           file with its private key, PEM
//	OTEL_SERVICE_NAME                       default: the function's name
//	OTEL_RESOURCE_ATTRIBUTES                further attributes of the resource: key=value,key=value,
//	                                        values percent-encoded
//	OTEL_EXTENSION_ADDR                     where this extension listens, 127.0.0.1 and a port from 8081 to 8090;
//	                                        default: 127.0.0.1:8085
//
// Other values, like grpc, and other variables that begin with OTEL_EXPORTER_OTLP_, but for those of metrics, are
// refused at the start. Samplers, limits and batch settings of SDKs are not read: whether a call is sampled is up to
// its caller.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// idleLimit bounds how long an answer to telemetry waits for records to leave. The agent waits 2 s for it.
	idleLimit = 1500 * time.Millisecond
	// lastLimit bounds the end if the time for the stop is unknown. If it is known, spare of it stays unused.
	lastLimit = time.Second
	spare     = 100 * time.Millisecond
	// maxBody is more than a batch of the agent ever has.
	maxBody = 16 << 20
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	s, err := readSettings(os.Environ())
	if err != nil {
		return err
	}
	ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	p := newPipeline(s)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /extension/invoke", p.invoked)
	mux.HandleFunc("POST /extension/shutdown", p.shutdown)
	mux.HandleFunc("POST /telemetry", p.telemetry)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }() // calls may come as soon as this extension is registered
	name := filepath.Base(os.Args[0])
	f, err := register(name, s.addr)
	if err != nil {
		return err
	}
	p.start(f)
	if s.logs == nil && s.traces == nil {
		fmt.Fprintln(
			os.Stderr,
			"nothing is sent: OTEL_LOGS_EXPORTER and OTEL_TRACES_EXPORTER are none, or OTEL_SDK_DISABLED is true",
		)
	} else if err := subscribe(name, s.addr, s.types()); err != nil {
		return err
	}
	close(p.ready)
	select {
	case err := <-failed:
		return err
	case <-ended.Done():
	}
	p.close()
	return nil // the server ends with the process
}

// function is whose telemetry it is, as the answer to the registration has it.
type function struct {
	Name    string `json:"functionName"`
	Version string `json:"functionVersion"`
}

// register announces this extension to the agent. Listen first: calls may come at once.
func register(name, addr string) (*function, error) {
	body, err := ask("/extension/register", nil, map[string]string{
		"FunctionGraph-Extension-Name":    name,
		"FunctionGraph-Extension-Address": addr,
		"FunctionGraph-Extension-Events":  "INVOKE,SHUTDOWN",
	})
	if err != nil {
		return nil, err
	}
	f := &function{}
	return f, json.Unmarshal(body, f)
}

func subscribe(name, addr string, types []string) error {
	body, err := json.Marshal(map[string]any{
		"subscriber": map[string]string{"protocol": "POST", "uri": "http://" + addr + "/telemetry"},
		"types":      types,
	})
	if err != nil {
		return err
	}
	_, err = ask(
		"/telemetry",
		body,
		map[string]string{"FunctionGraph-Extension-Name": name, "Content-Type": "application/json"},
	)
	return err
}

// attempts limits the tries of a request to the agent: a freeze of the instance can make one time out.
const attempts = 3

// ask posts to the agent. The same again is no error. Anything but 200 is one, with the agent's reason.
func ask(path string, body []byte, headers map[string]string) (answer []byte, err error) {
	for range attempts {
		var refused bool
		if answer, refused, err = attempt(path, body, headers); err == nil || refused {
			break
		}
	}
	return answer, err
}

func attempt(path string, body []byte, headers map[string]string) (answer []byte, refused bool, err error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+os.Getenv("EXTENSION_API_ADDR")+path, bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return nil, false, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && resp.StatusCode != http.StatusOK {
		return nil, true, fmt.Errorf("%s answers %s: %s", path, resp.Status, answer)
	}
	return answer, false, err
}

// invoked takes the notice of a call: only it has the caller's trace. The first one may come before this extension has
// subscribed, and the instance may be frozen with the answer.
func (p *pipeline) invoked(w http.ResponseWriter, r *http.Request) {
	var notice struct {
		TraceID string `json:"traceId"`
		URN     string `json:"invokedFunctionUrn"`
	}
	if decode(w, r, &notice) {
		p.calls.noticed(notice.TraceID, notice.URN, r.Header.Get("Traceparent"))
		select {
		case <-p.ready:
		case <-r.Context().Done():
		}
	}
}

// telemetry takes a batch. When it says that no call is in flight, it is answered once everything was sent: the
// instance may be frozen with the answer.
func (p *pipeline) telemetry(w http.ResponseWriter, r *http.Request) {
	var events []event
	if decode(w, r, &events) && p.take(events) {
		ctx, cancel := context.WithTimeout(r.Context(), idleLimit)
		defer cancel()
		p.flush(ctx, false)
	}
}

// shutdown sends everything before it answers. Other extensions may still print after that, so this is not the end.
func (p *pipeline) shutdown(w http.ResponseWriter, r *http.Request) {
	var notice struct {
		DeadlineMs int64 `json:"deadlineMs"`
	}
	if decode(w, r, &notice) {
		p.hurry(time.UnixMilli(notice.DeadlineMs).Add(-spare))
		p.flush(r.Context(), true)
	}
}

func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

// newPipeline makes the pipeline of the telemetry; start starts it.
func newPipeline(s *settings) *pipeline {
	return &pipeline{
		settings: s, calls: newCalls(), ready: make(chan struct{}),
		logs: newExporter[*pendingLog]("log records", s.logs), spans: newExporter[*pendingSpan]("spans", s.traces),
	}
}
