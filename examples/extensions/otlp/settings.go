package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settings are the values from the environment. OpenTelemetry's documents of the SDK and the exporter name the
// variables.
type settings struct {
	addr         string
	logs, traces *target // nil if they are not sent
	service      string
	attributes   []attribute
}

// types are the kinds of telemetry that are needed. Problems of the instance are of the first kind.
func (s *settings) types() []string {
	if s.logs == nil {
		return []string{"platform"}
	}
	return []string{"platform", "function", "extension"}
}

// target is the address and the encoding for one kind of records.
type target struct {
	url, shown string // shown has no password
	headers    http.Header
	protobuf   bool
	gzip       bool
	client     *http.Client
}

// Prefixes of the variables of the exporter.
const (
	exporterPrefix = "OTEL_EXPORTER_OTLP_"
	metricsPrefix  = exporterPrefix + "METRICS_" // there are no metrics here
)

// signalVariables are the ends of the exporter's variables, for both signals and, with LOGS_ or TRACES_ before them,
// for one.
var signalVariables = []string{
	"ENDPOINT",
	"PROTOCOL",
	"HEADERS",
	"COMPRESSION",
	"TIMEOUT",
	"CERTIFICATE",
	"CLIENT_CERTIFICATE",
	"CLIENT_KEY",
}

// readSettings reads the environment, whose entries are NAME=value.
func readSettings(environ []string) (*settings, error) {
	variables := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		variables[name] = strings.TrimSpace(value)
	}
	env := func(name string) string { return variables[name] }
	s := &settings{addr: cmp.Or(env("OTEL_EXTENSION_ADDR"), "127.0.0.1:8085"), service: env("OTEL_SERVICE_NAME")}
	if err := checkNames(variables); err != nil {
		return nil, err
	}
	var err error
	if s.logs, err = readSignal(env, "LOGS", "/v1/logs"); err != nil {
		return nil, err
	}
	if s.traces, err = readSignal(env, "TRACES", "/v1/traces"); err != nil {
		return nil, err
	}
	err = readPairs(
		"OTEL_RESOURCE_ATTRIBUTES",
		env,
		func(key, value string) { s.attributes = append(s.attributes, text(key, value)) },
	)
	return s, err
}

// checkNames refuses unknown variables of the exporter, because they would have no effect. INSECURE is for
// gRPC.
func checkNames(variables map[string]string) error {
	for name, value := range variables {
		end, ours := strings.CutPrefix(name, exporterPrefix)
		if !ours || value == "" || strings.HasPrefix(name, metricsPrefix) {
			continue
		}
		end = strings.TrimPrefix(strings.TrimPrefix(end, "LOGS_"), "TRACES_")
		if !slices.Contains(signalVariables, end) && end != "INSECURE" {
			return fmt.Errorf(
				"%s is not known here; there are %s…, each also with LOGS_ or TRACES_ before the last part",
				name,
				exporterPrefix+strings.Join(signalVariables, ", "+exporterPrefix),
			)
		}
	}
	return nil
}

// readSignal reads the settings of one kind of records; nil if they are not sent. path follows the common endpoint.
func readSignal(env func(string) string, kind, path string) (*target, error) {
	if send, err := isSent(env, kind); err != nil || !send {
		return nil, err
	}
	// find returns a setting, and the name of its variable for errors: that of the signal goes first.
	find := func(end, fallback string) (name, value string) {
		for _, name := range []string{exporterPrefix + kind + "_" + end, exporterPrefix + end} {
			if value := env(name); value != "" {
				return name, value
			}
		}
		return exporterPrefix + end, fallback
	}
	s := &target{headers: http.Header{}}
	if err := s.readEndpoint(env, kind, path); err != nil {
		return nil, err
	}
	if err := s.readForm(find); err != nil {
		return nil, err
	}
	headers, _ := find("HEADERS", "")
	if err := readPairs(headers, env, s.headers.Set); err != nil {
		return nil, err
	}
	name, value := find("TIMEOUT", "10000")
	millis, err := strconv.Atoi(value)
	if err != nil || millis <= 0 {
		return nil, fmt.Errorf("%s is %q, want milliseconds", name, value)
	}
	config, err := readTLS(find)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	s.client = &http.Client{
		Timeout:       time.Duration(millis) * time.Millisecond,
		Transport:     transport,
		CheckRedirect: noRedirect,
	}
	return s, nil
}

// noRedirect makes a redirect an answer: the client would send a GET without the records to the new address, and count
// its 200 as their delivery.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// isSent reads whether a kind of records is exported.
func isSent(env func(string) string, kind string) (bool, error) {
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	name := "OTEL_" + kind + "_EXPORTER"
	switch value := cmp.Or(env(name), "otlp"); value {
	case "otlp":
		return true, nil
	case "none":
		return false, nil
	default:
		return false, fmt.Errorf("%s is %q, want otlp or none", name, value)
	}
}

func (s *target) readEndpoint(env func(string) string, kind, path string) error {
	name := exporterPrefix + kind + "_ENDPOINT"
	s.url = env(name)
	if s.url == "" {
		name = exporterPrefix + "ENDPOINT"
		s.url = strings.TrimSuffix(cmp.Or(env(name), "http://localhost:4318"), "/") + path
	}
	u, err := url.Parse(s.url)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		// Without the value, which may hold a password.
		return fmt.Errorf("%s is no URL that begins with http:// or https:// and has a host", name)
	}
	s.shown = u.Redacted()
	return nil
}

// readForm reads the encoding of messages.
func (s *target) readForm(find func(end, fallback string) (name, value string)) error {
	switch name, value := find("PROTOCOL", "http/json"); value {
	case "http/json":
	case "http/protobuf":
		s.protobuf = true
	default:
		return fmt.Errorf("%s is %q, want http/json or http/protobuf (port 4318, not 4317)", name, value)
	}
	switch name, value := find("COMPRESSION", "none"); value {
	case "none":
	case "gzip":
		s.gzip = true
	default:
		return fmt.Errorf("%s is %q, want gzip or none", name, value)
	}
	return nil
}

// readTLS reads the trusted certificates and the certificate of this client; nil for the defaults.
func readTLS(find func(end, fallback string) (name, value string)) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if name, file := find("CERTIFICATE", ""); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: %s has no certificate in PEM", name, file)
		}
	}
	name, cert := find("CLIENT_CERTIFICATE", "")
	_, key := find("CLIENT_KEY", "")
	if cert == "" && key == "" {
		return config, nil
	}
	if cert == "" || key == "" {
		return nil, errors.New(
			"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY belong together: set both or none",
		)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
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

// resource identifies the source of the telemetry by the semantic conventions for functions (faas). cloud.provider is
// not known here: the agent runs in any container, and the conventions have no value for Huawei Cloud yet. Name it with
// OTEL_RESOURCE_ATTRIBUTES.
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
	for _, a := range own { // the user's attributes take precedence
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
