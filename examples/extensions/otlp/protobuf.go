package main

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
)

// The messages of otlp.go in protobuf (opentelemetry-proto v1): fields with default values are left out, but for the
// members of a value.

// message is a protobuf message that is being written.
type message []byte

// Types on the wire.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

func (m *message) tag(field, wire int) { *m = binary.AppendUvarint(*m, uint64(field)<<3|uint64(wire)) }

func (m *message) varint(field int, n uint64) {
	if n != 0 {
		m.tag(field, wireVarint)
		*m = binary.AppendUvarint(*m, n)
	}
}

func (m *message) fixed64(field int, n uint64) {
	if n != 0 {
		m.tag(field, wireFixed64)
		*m = binary.LittleEndian.AppendUint64(*m, n)
	}
}

func (m *message) fixed32(field int, n uint32) {
	if n != 0 {
		m.tag(field, wireFixed32)
		*m = binary.LittleEndian.AppendUint32(*m, n)
	}
}

func (m *message) bytes(field int, b []byte) {
	m.tag(field, wireBytes)
	*m = append(binary.AppendUvarint(*m, uint64(len(b))), b...)
}

func (m *message) text(field int, s string) {
	if s != "" {
		m.bytes(field, []byte(s))
	}
}

// id writes what is hex in JSON.
func (m *message) id(field int, s string) {
	if b, err := hex.DecodeString(s); err == nil && len(b) > 0 { // ids are made or checked here
		m.bytes(field, b)
	}
}

// embed writes messages of one field.
func embed[T interface{ write(*message) }](m *message, field int, all ...T) {
	for _, one := range all {
		var part message
		one.write(&part)
		m.bytes(field, part)
	}
}

func (r logsRequest) write(m *message)   { embed(m, 1, r.ResourceLogs...) }
func (r tracesRequest) write(m *message) { embed(m, 1, r.ResourceSpans...) }
func (r resource) write(m *message)      { embed(m, 1, r.Attributes...) }
func (s scope) write(m *message)         { m.text(1, s.Name) }

func (r resourceLogs) write(m *message) {
	embed(m, 1, r.Resource)
	embed(m, 2, r.ScopeLogs...)
}

func (s scopeLogs) write(m *message) {
	embed(m, 1, s.Scope)
	embed(m, 2, s.LogRecords...)
}

func (r resourceSpans) write(m *message) {
	embed(m, 1, r.Resource)
	embed(m, 2, r.ScopeSpans...)
}

func (s scopeSpans) write(m *message) {
	embed(m, 1, s.Scope)
	embed(m, 2, s.Spans...)
}

func (r logRecord) write(m *message) {
	m.fixed64(1, r.Time)
	m.varint(2, uint64(r.SeverityNumber))
	m.text(3, r.SeverityText)
	embed(m, 5, r.Body)
	embed(m, 6, r.Attributes...)
	m.fixed32(8, r.Flags)
	m.id(9, r.TraceID)
	m.id(10, r.SpanID)
	m.fixed64(11, r.ObservedTime)
	m.text(12, r.EventName)
}

func (s span) write(m *message) {
	m.id(1, s.TraceID)
	m.id(2, s.SpanID)
	m.id(4, s.ParentSpanID)
	m.text(5, s.Name)
	m.varint(6, uint64(s.Kind))
	m.fixed64(7, s.Start)
	m.fixed64(8, s.End)
	embed(m, 9, s.Attributes...)
	embed(m, 15, s.Status)
	m.fixed32(16, s.Flags)
}

func (s status) write(m *message) {
	m.text(2, s.Message)
	m.varint(3, uint64(s.Code))
}

func (a attribute) write(m *message) {
	m.text(1, a.Key)
	embed(m, 2, a.Value)
}

func (v value) write(m *message) {
	switch {
	case v.String != nil:
		m.bytes(1, []byte(*v.String))
	case v.Bool != nil:
		n := uint64(0)
		if *v.Bool {
			n = 1
		}
		m.tag(2, wireVarint)
		*m = binary.AppendUvarint(*m, n)
	case v.Int != nil:
		n, _ := strconv.ParseInt(*v.Int, 10, 64) // formatted from an integer
		m.tag(3, wireVarint)
		*m = binary.AppendUvarint(*m, uint64(n))
	case v.Double != nil:
		m.tag(4, wireFixed64)
		*m = binary.LittleEndian.AppendUint64(*m, math.Float64bits(*v.Double))
	}
}

// fields calls take with each field of a message: n of a varint, text of bytes. False if it cannot be read.
func fields(b []byte, take func(field int, n uint64, text []byte)) bool {
	for len(b) > 0 {
		tag, size := binary.Uvarint(b)
		if size <= 0 {
			return false
		}
		b = b[size:]
		field, n, length := int(tag>>3), uint64(0), 0
		var text []byte
		switch tag & 7 {
		case wireVarint:
			n, length = binary.Uvarint(b)
		case wireFixed64:
			length = 8
		case wireFixed32:
			length = 4
		case wireBytes:
			var bytes uint64
			bytes, size = binary.Uvarint(b)
			if size <= 0 || bytes > uint64(len(b)-size) {
				return false
			}
			length = size + int(bytes)
			text = b[size:length]
		}
		if length <= 0 || length > len(b) {
			return false
		}
		take(field, n, text)
		b = b[length:]
	}
	return true
}

// readPartial reads the answer: how many were rejected, and why.
func readPartial(answer []byte) (rejected int64, why string) {
	fields(answer, func(field int, _ uint64, text []byte) {
		if field != 1 { // partial_success
			return
		}
		fields(text, func(field int, n uint64, text []byte) {
			switch field {
			case 1:
				rejected = int64(n)
			case 2:
				why = string(text)
			}
		})
	})
	return rejected, why
}
