package main

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// settings is what the environment says. OpenTelemetry's documents of the SDK and the exporter name the variables.
type settings struct {
	addr               string
	base, logs, traces string
	headers            http.Header
	timeout            time.Duration
	service            string
	attributes         []attribute
}

func readSettings(env func(string) string) (*settings, error) {
	s := &settings{
		addr:   cmp.Or(env("OTEL_EXTENSION_ADDR"), "127.0.0.1:8085"),
		base:   strings.TrimSuffix(cmp.Or(env("OTEL_EXPORTER_OTLP_ENDPOINT"), "http://localhost:4318"), "/"),
		logs:   env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"),
		traces: env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), headers: http.Header{},
		service: env("OTEL_SERVICE_NAME"),
	}
	millis, err := strconv.Atoi(cmp.Or(env("OTEL_EXPORTER_OTLP_TIMEOUT"), "10000"))
	if err != nil || millis <= 0 {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_TIMEOUT is %q, want milliseconds", env("OTEL_EXPORTER_OTLP_TIMEOUT"))
	}
	s.timeout = time.Duration(millis) * time.Millisecond
	for _, u := range []string{s.base, s.logs, s.traces} {
		if u != "" && !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://") {
			return nil, fmt.Errorf("the endpoint %q does not begin with http:// or https://", u)
		}
	}
	err = readPairs("OTEL_EXPORTER_OTLP_HEADERS", env, s.headers.Set)
	if err == nil {
		err = readPairs("OTEL_RESOURCE_ATTRIBUTES", env, func(key, value string) { s.attributes = append(s.attributes, text(key, value)) })
	}
	return s, err
}

// readPairs reads key=value,key=value. The error has no values: a header may be a secret.
func readPairs(variable string, env func(string) string, set func(key, value string)) error {
	for pair := range strings.SplitSeq(env(variable), ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, found := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); !found || key == "" || err != nil {
			return fmt.Errorf("%s is not of the form key=value,key=value, with percent-encoded values", variable)
		}
		set(key, value)
	}
	return nil
}

// resource says whose telemetry it is, by the semantic conventions for functions (faas). cloud.provider is not known here: the
// agent runs in any container, and the conventions have no value for Huawei Cloud yet. Name it with OTEL_RESOURCE_ATTRIBUTES.
func (s *settings) resource(f *function) resource {
	id := instance()
	all := []attribute{
		text("service.name", f.Name), text("service.version", f.Version), text("service.instance.id", id),
		text("faas.name", f.Name), text("faas.version", f.Version), text("faas.instance", id),
	}
	if mb, err := strconv.ParseInt(os.Getenv("RUNTIME_MEMORY"), 10, 64); err == nil {
		all = append(all, number("faas.max_memory", mb<<20))
	}
	own := s.attributes
	if s.service != "" {
		own = append(own, text("service.name", s.service))
	}
	for _, a := range own { // what the user says is right
		all = with(all, a)
	}
	return resource{Attributes: all}
}

// with returns all with a, which replaces one of the same key.
func with(all []attribute, a attribute) []attribute {
	for i := range all {
		if all[i].Key == a.Key {
			all[i] = a
			return all
		}
	}
	return append(all, a)
}

// instance names this instance of the function.
func instance() string {
	if pod := os.Getenv("PAAS_POD_ID"); pod != "" {
		return pod
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "-" + randomHex(4)
}
