package telemetry

import (
	"gantry/logger"
	"strconv"
	"time"
)

// names are the platform's (page functiongraph_06_2713; the capital R is its own). platform.extension and
// platform.logsDropped are ours (docs/COMPATIBILITY.md).
var names = [...]string{
	InitStart:       "platform.initStart",
	InitRuntimeDone: "platform.initRuntimeDone",
	InitReport:      "platform.initReport",
	Start:           "platform.start",
	RuntimeDone:     "platform.RuntimeDone",
	Report:          "platform.report",
	ExtensionState:  "platform.extension",
	FunctionLine:    "function",
	ExtensionLine:   "extension",
	logsDropped:     "platform.logsDropped",
}

// encoder writes events as JSON objects.
type encoder struct {
	function, version string
	envelope          bool
	second            int64 // the last one that was written
	written           []byte
}

func (c *encoder) append(dst []byte, e *Event) []byte {
	if c.envelope {
		return c.appendEnvelope(dst, e)
	}
	return c.appendFlat(dst, e)
}

// appendTime writes a time in UTC. Lines come in bursts, so that the last second is remembered.
func (c *encoder) appendTime(dst []byte, t time.Time) []byte {
	if s := t.Unix(); s != c.second || c.written == nil {
		c.second, c.written = s, t.UTC().AppendFormat(c.written[:0], "2006-01-02T15:04:05.")
	}
	ms := t.Nanosecond() / 1e6
	return append(append(dst, c.written...), byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// appendFlat writes the platform's shapes: all members at the top level, with the kind of event in name. The shape of
// lines is our proposal.
func (c *encoder) appendFlat(dst []byte, e *Event) []byte {
	dst = append(append(append(dst, `{"name":"`...), names[e.Kind]...), '"')
	dst = c.appendTime(append(dst, `,"startTime":"`...), e.Begin)
	if !e.End.IsZero() {
		dst = c.appendTime(append(dst, `","endTime":"`...), e.End)
	}
	dst = logger.AppendJSONString(append(dst, `","traceId":`...), e.RequestID)
	dst = appendStatus(dst, e)
	switch e.Kind {
	case ExtensionLine, ExtensionState:
		dst = logger.AppendJSONString(append(dst, `,"extension":`...), e.Extension)
	case logsDropped:
		dst = appendDrops(append(dst, ','), e.drops)
	}
	switch e.Kind {
	case ExtensionState:
		dst = appendState(dst, e)
	case FunctionLine, ExtensionLine:
		if e.Level != "" {
			dst = logger.AppendJSONString(append(dst, `,"level":`...), e.Level) // the worker's word, so anything
		}
		dst = appendPart(logger.AppendJSONString(append(dst, `,"record":`...), e.Text), e)
	}
	if e.Figures != nil {
		dst = append(appendFigures(append(dst, `,"metrics":{`...), e.Figures), '}')
	}
	return append(dst, '}')
}

func appendStatus(dst []byte, e *Event) []byte {
	if e.Status != "" {
		dst = append(append(append(dst, `,"status":"`...), e.Status...), '"')
	}
	if e.ErrorType != "" {
		dst = logger.AppendJSONString(append(dst, `,"errorType":`...), e.ErrorType)
	}
	return dst
}

func appendState(dst []byte, e *Event) []byte {
	dst = append(append(append(dst, `,"state":"`...), e.State...), '"')
	if e.Detail != "" {
		dst = logger.AppendJSONString(append(dst, `,"detail":`...), e.Detail)
	}
	return dst
}

// appendPart marks the parts of a line that was too long for one piece.
func appendPart(dst []byte, e *Event) []byte {
	if e.Part > 0 || e.More {
		dst = strconv.AppendInt(append(dst, `,"part":`...), int64(e.Part), 10)
		dst = strconv.AppendBool(append(dst, `,"last":`...), !e.More)
	}
	return dst
}

func appendFigures(dst []byte, f *Figures) []byte {
	dst = appendMillis(append(dst, `"durationMs":`...), f.Duration)
	if f.Billed > 0 {
		dst = strconv.AppendInt(append(dst, `,"billedDurationMs":`...), f.Billed.Milliseconds(), 10)
	}
	if f.MemoryMB > 0 {
		dst = strconv.AppendInt(append(dst, `,"memorySizeMB":`...), int64(f.MemoryMB), 10)
	}
	if f.MemoryUsed > 0 {
		dst = strconv.AppendInt(append(dst, `,"maxMemoryUsedMB":`...), int64(f.MemoryUsed), 10)
	}
	if f.Init > 0 {
		dst = appendMillis(append(dst, `,"initDurationMs":`...), f.Init)
	}
	if f.CacheHits > 0 {
		dst = strconv.AppendInt(append(dst, `,"codeCacheHits":`...), int64(f.CacheHits), 10)
	}
	if f.CacheMisses > 0 {
		dst = strconv.AppendInt(append(dst, `,"codeCacheMisses":`...), int64(f.CacheMisses), 10)
	}
	return dst
}

func appendMillis(dst []byte, d time.Duration) []byte {
	return strconv.AppendFloat(dst, float64(d.Microseconds())/1000, 'f', 3, 64)
}

func appendDrops(dst []byte, d *drops) []byte {
	dst = strconv.AppendInt(append(dst, `"droppedRecords":`...), d.records, 10)
	dst = strconv.AppendInt(append(dst, `,"droppedBytes":`...), d.bytes, 10)
	return logger.AppendJSONString(append(dst, `,"reason":`...), d.reason.text())
}

// envelopeNames are those of Lambda's telemetry, where they differ.
var envelopeNames = map[Kind]string{RuntimeDone: "platform.runtimeDone", subscribed: "platform.telemetrySubscription"}

// appendEnvelope writes the shape that consumers of Lambda's telemetry know: time, type, record.
func (c *encoder) appendEnvelope(dst []byte, e *Event) []byte {
	at, name := e.Begin, envelopeNames[e.Kind]
	if name == "" {
		name = names[e.Kind]
	}
	if !e.End.IsZero() {
		at = e.End
	}
	dst = c.appendTime(append(dst, `{"time":"`...), at)
	dst = append(append(append(dst, `","type":"`...), name...), `","record":`...)
	if e.Kind == FunctionLine || e.Kind == ExtensionLine {
		return append(logger.AppendJSONString(dst, e.Text), '}')
	}
	return append(c.appendRecord(append(dst, '{'), e), `}}`...)
}

func (c *encoder) appendRecord(dst []byte, e *Event) []byte {
	switch e.Kind {
	case InitStart:
		dst = append(dst, `"initializationType":"on-demand","phase":"init","functionName":`...)
		dst = logger.AppendJSONString(dst, c.function)
		return logger.AppendJSONString(append(dst, `,"functionVersion":`...), c.version)
	case InitRuntimeDone, InitReport:
		dst = appendStatus(append(dst, `"initializationType":"on-demand","phase":"init"`...), e)
	case Start:
		dst = logger.AppendJSONString(append(dst, `"requestId":`...), e.RequestID)
		return logger.AppendJSONString(append(dst, `,"version":`...), c.version)
	case RuntimeDone, Report:
		dst = appendStatus(logger.AppendJSONString(append(dst, `"requestId":`...), e.RequestID), e)
	case ExtensionState:
		dst = logger.AppendJSONString(append(dst, `"name":`...), e.Extension)
		return append(appendState(dst, e), `,"events":[]`...)
	case logsDropped:
		return appendDrops(dst, e.drops)
	case subscribed:
		dst = logger.AppendJSONString(append(dst, `"name":`...), e.Extension)
		return append(appendTypes(append(dst, `,"state":"Subscribed","types":[`...), e.types), ']')
	}
	if e.Figures != nil {
		dst = append(appendFigures(append(dst, `,"metrics":{`...), e.Figures), '}')
	}
	return dst
}

func appendTypes(dst []byte, types Type) []byte {
	comma := false
	for i, name := range TypeNames {
		if types&(1<<i) == 0 {
			continue
		}
		if comma {
			dst = append(dst, ',')
		}
		comma = true
		dst = append(append(append(dst, '"'), name...), '"')
	}
	return dst
}
