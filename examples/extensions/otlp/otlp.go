package main

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
)

// The messages of OTLP that are needed here, as JSON: lowerCamelCase, ids in hex, enums as numbers, 64-bit numbers as
// strings (github.com/open-telemetry/opentelemetry-proto, docs/specification.md).

type logsRequest struct {
	ResourceLogs []resourceLogs `json:"resourceLogs"`
}

type resourceLogs struct {
	Resource  resource    `json:"resource"`
	ScopeLogs []scopeLogs `json:"scopeLogs"`
}

type scopeLogs struct {
	Scope      scope       `json:"scope"`
	LogRecords []logRecord `json:"logRecords"`
}

type tracesRequest struct {
	ResourceSpans []resourceSpans `json:"resourceSpans"`
}

type resourceSpans struct {
	Resource   resource     `json:"resource"`
	ScopeSpans []scopeSpans `json:"scopeSpans"`
}

type scopeSpans struct {
	Scope scope  `json:"scope"`
	Spans []span `json:"spans"`
}

type resource struct {
	Attributes []attribute `json:"attributes"`
}

type scope struct {
	Name string `json:"name"`
}

type logRecord struct {
	Time           uint64      `json:"timeUnixNano,string"`
	ObservedTime   uint64      `json:"observedTimeUnixNano,string"`
	SeverityNumber int         `json:"severityNumber,omitempty"`
	SeverityText   string      `json:"severityText,omitempty"`
	Body           value       `json:"body"`
	Attributes     []attribute `json:"attributes,omitempty"`
	Flags          uint32      `json:"flags,omitempty"`
	TraceID        string      `json:"traceId,omitempty"`
	SpanID         string      `json:"spanId,omitempty"`
	EventName      string      `json:"eventName,omitempty"`
}

type span struct {
	TraceID      string      `json:"traceId"`
	SpanID       string      `json:"spanId"`
	ParentSpanID string      `json:"parentSpanId,omitempty"`
	Flags        uint32      `json:"flags"`
	Name         string      `json:"name"`
	Kind         int         `json:"kind"`
	Start        uint64      `json:"startTimeUnixNano,string"`
	End          uint64      `json:"endTimeUnixNano,string"`
	Attributes   []attribute `json:"attributes"`
	Status       status      `json:"status"`
}

type status struct {
	Message string `json:"message,omitempty"`
	Code    int    `json:"code,omitempty"`
}

type attribute struct {
	Key   string `json:"key"`
	Value value  `json:"value"`
}

// value has one member.
type value struct {
	String *string  `json:"stringValue,omitempty"`
	Bool   *bool    `json:"boolValue,omitempty"`
	Int    *string  `json:"intValue,omitempty"`
	Double *float64 `json:"doubleValue,omitempty"`
}

const (
	kindServer  = 2
	statusError = 2
	// Flags of a span: the sampled bit of traceparent, and that it is known whether the parent is remote, and is.
	flagSampled = 0x01
	flagsRemote = 0x300

	severityWarn, severityError = 13, 17
)

// severities are the numbers of the logger's levels.
var severities = map[string]int{"DEBUG": 5, "INFO": 9, "WARN": severityWarn, "ERROR": severityError}

func text(key, s string) attribute { return attribute{key, value{String: &s}} }

func truth(key string, b bool) attribute { return attribute{key, value{Bool: &b}} }

func real(key string, f float64) attribute { return attribute{key, value{Double: &f}} }

func number(key string, n int64) attribute {
	s := strconv.FormatInt(n, 10)
	return attribute{key, value{Int: &s}}
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
