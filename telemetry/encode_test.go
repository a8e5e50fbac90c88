package telemetry

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

var (
	began = time.Date(2026, 5, 4, 8, 15, 30, 120_999_999, time.UTC)
	ended = time.Date(2026, 5, 4, 10, 15, 30, 431_000_000, time.FixedZone("somewhere", 2*3600))
)

const quoted = `a"b\` + "\n\x7f<é>\xff" // as JSON: quotedJSON

const quotedJSON = `"a\"b\\\n\u007f<é>\ufffd"`

func golden() map[string]struct {
	event          Event
	flat, envelope string
} {
	figures := &Figures{
		Duration: 61*time.Millisecond + 874_999*time.Nanosecond, Billed: 62 * time.Millisecond, MemoryMB: 256, MemoryUsed: 71, Init: 311*time.Millisecond + 402*time.Microsecond,
	}
	return map[string]struct {
		event          Event
		flat, envelope string
	}{
		"init start": {
			Event{Kind: InitStart, Begin: began, RequestID: "b4f0"},
			`{"name":"platform.initStart","startTime":"2026-05-04T08:15:30.120Z","traceId":"b4f0"}`,
			`{"time":"2026-05-04T08:15:30.120Z","type":"platform.initStart","record":{"initializationType":"on-demand","phase":"init","functionName":"order","functionVersion":"v2"}}`,
		},
		"init done": {
			Event{Kind: InitRuntimeDone, Begin: began, RequestID: "b4f0", Status: StatusSuccess},
			`{"name":"platform.initRuntimeDone","startTime":"2026-05-04T08:15:30.120Z","traceId":"b4f0","status":"success"}`,
			`{"time":"2026-05-04T08:15:30.120Z","type":"platform.initRuntimeDone","record":{"initializationType":"on-demand","phase":"init","status":"success"}}`,
		},
		"init report": {
			Event{Kind: InitReport, Begin: began, End: ended, RequestID: "b4f0", Status: StatusTimeout, ErrorType: "Runtime.InitTimeout", Figures: &Figures{Duration: time.Second}},
			`{"name":"platform.initReport","startTime":"2026-05-04T08:15:30.120Z","endTime":"2026-05-04T08:15:30.431Z","traceId":"b4f0","status":"timeout","errorType":"Runtime.InitTimeout","metrics":{"durationMs":1000.000}}`,
			`{"time":"2026-05-04T08:15:30.431Z","type":"platform.initReport","record":{"initializationType":"on-demand","phase":"init","status":"timeout","errorType":"Runtime.InitTimeout","metrics":{"durationMs":1000.000}}}`,
		},
		"start": {
			Event{Kind: Start, Begin: began, RequestID: quoted},
			`{"name":"platform.start","startTime":"2026-05-04T08:15:30.120Z","traceId":` + quotedJSON + `}`,
			`{"time":"2026-05-04T08:15:30.120Z","type":"platform.start","record":{"requestId":` + quotedJSON + `,"version":"v2"}}`,
		},
		"done": {
			Event{Kind: RuntimeDone, Begin: began, RequestID: "7c1d", Status: StatusError, ErrorType: quoted},
			`{"name":"platform.RuntimeDone","startTime":"2026-05-04T08:15:30.120Z","traceId":"7c1d","status":"error","errorType":` + quotedJSON + `}`,
			`{"time":"2026-05-04T08:15:30.120Z","type":"platform.runtimeDone","record":{"requestId":"7c1d","status":"error","errorType":` + quotedJSON + `}}`,
		},
		"report": {
			Event{Kind: Report, Begin: began, End: ended, RequestID: "7c1d", Status: StatusSuccess, Figures: figures},
			`{"name":"platform.report","startTime":"2026-05-04T08:15:30.120Z","endTime":"2026-05-04T08:15:30.431Z","traceId":"7c1d","status":"success","metrics":{"durationMs":61.874,"billedDurationMs":62,"memorySizeMB":256,"maxMemoryUsedMB":71,"initDurationMs":311.402}}`,
			`{"time":"2026-05-04T08:15:30.431Z","type":"platform.report","record":{"requestId":"7c1d","status":"success","metrics":{"durationMs":61.874,"billedDurationMs":62,"memorySizeMB":256,"maxMemoryUsedMB":71,"initDurationMs":311.402}}}`,
		},
		"report of nothing known": {
			Event{Kind: Report, Begin: began, End: ended, RequestID: "7c1d", Status: StatusFailure, ErrorType: "Runtime.Exited", Figures: &Figures{}},
			`{"name":"platform.report","startTime":"2026-05-04T08:15:30.120Z","endTime":"2026-05-04T08:15:30.431Z","traceId":"7c1d","status":"failure","errorType":"Runtime.Exited","metrics":{"durationMs":0.000}}`,
			`{"time":"2026-05-04T08:15:30.431Z","type":"platform.report","record":{"requestId":"7c1d","status":"failure","errorType":"Runtime.Exited","metrics":{"durationMs":0.000}}}`,
		},
		"extension": {
			Event{Kind: ExtensionState, Begin: began, Extension: quoted, State: StateExited, Detail: quoted},
			`{"name":"platform.extension","startTime":"2026-05-04T08:15:30.120Z","traceId":"","extension":` + quotedJSON + `,"state":"Exited","detail":` + quotedJSON + `}`,
			`{"time":"2026-05-04T08:15:30.120Z","type":"platform.extension","record":{"name":` + quotedJSON + `,"state":"Exited","detail":` + quotedJSON + `,"events":[]}}`,
		},
		"line": {
			Event{Kind: FunctionLine, Begin: began, RequestID: "7c1d", Text: []byte(quoted)},
			`{"name":"function","startTime":"2026-05-04T08:15:30.120Z","traceId":"7c1d","record":` + quotedJSON + `}`,
			`{"time":"2026-05-04T08:15:30.120Z","type":"function","record":` + quotedJSON + `}`,
		},
		"line with a level": {
			Event{Kind: FunctionLine, Begin: began, RequestID: "7c1d", Level: quoted, Text: []byte("text")},
			`{"name":"function","startTime":"2026-05-04T08:15:30.120Z","traceId":"7c1d","level":` + quotedJSON + `,"record":"text"}`,
			`{"time":"2026-05-04T08:15:30.120Z","type":"function","record":"text"}`,
		},
		"first part": {
			Event{Kind: FunctionLine, Begin: began, RequestID: "7c1d", Text: []byte("a"), More: true},
			`{"name":"function","startTime":"2026-05-04T08:15:30.120Z","traceId":"7c1d","record":"a","part":0,"last":false}`,
			`{"time":"2026-05-04T08:15:30.120Z","type":"function","record":"a"}`,
		},
		"last part": {
			Event{Kind: ExtensionLine, Begin: began, Extension: "extensionA", Text: []byte("b"), Part: 12},
			`{"name":"extension","startTime":"2026-05-04T08:15:30.120Z","traceId":"","extension":"extensionA","record":"b","part":12,"last":true}`,
			`{"time":"2026-05-04T08:15:30.120Z","type":"extension","record":"b"}`,
		},
		"empty line": {
			Event{Kind: ExtensionLine, Begin: began, Extension: "extensionA"},
			`{"name":"extension","startTime":"2026-05-04T08:15:30.120Z","traceId":"","extension":"extensionA","record":""}`,
			`{"time":"2026-05-04T08:15:30.120Z","type":"extension","record":""}`,
		},
		"drops": {
			Event{Kind: logsDropped, Begin: began, drops: &drops{reason: overflow, records: 312, bytes: 20480}},
			`{"name":"platform.logsDropped","startTime":"2026-05-04T08:15:30.120Z","traceId":"","droppedRecords":312,"droppedBytes":20480,"reason":"events came faster than the subscriber took them"}`,
			`{"time":"2026-05-04T08:15:30.120Z","type":"platform.logsDropped","record":{"droppedRecords":312,"droppedBytes":20480,"reason":"events came faster than the subscriber took them"}}`,
		},
		"subscription": {
			Event{Kind: subscribed, Begin: began, Extension: quoted, types: TypeFunction | TypeExtension},
			"", // there is none in this shape
			`{"time":"2026-05-04T08:15:30.120Z","type":"platform.telemetrySubscription","record":{"name":` + quotedJSON + `,"state":"Subscribed","types":["function","extension"]}}`,
		},
	}
}

func TestEveryKindOfEventHasItsGoldenEncoding(t *testing.T) {
	kinds := map[Kind]bool{}
	flat, envelope := &encoder{function: "order", version: "v2"}, &encoder{function: "order", version: "v2", envelope: true}
	for name, c := range golden() {
		kinds[c.event.Kind] = true
		if c.flat != "" {
			require.True(t, json.Valid([]byte(c.flat)), name)
			require.Equal(t, c.flat, string(flat.append(nil, &c.event)), name)
		}
		require.True(t, json.Valid([]byte(c.envelope)), name)
		require.Equal(t, c.envelope, string(envelope.append(nil, &c.event)), name)
	}
	require.Len(t, kinds, int(subscribed)+1, "every kind")
	for r := range reasons {
		require.NotEmpty(t, r.text())
		require.NotEmpty(t, ReasonNames()[r])
	}
}

// TestTimesAreWrittenAsTimeFormatDoes: the second that is remembered, and all of its milliseconds.
func TestTimesAreWrittenAsTimeFormatDoes(t *testing.T) {
	var c encoder
	at := time.Date(1969, 12, 31, 23, 59, 58, 0, time.UTC)
	for range 5000 {
		require.Equal(t, at.Format("2006-01-02T15:04:05.000Z"), string(c.appendTime(nil, at)))
		at = at.Add(time.Millisecond)
	}
	zero := encoder{} // the second 0 before anything was written
	require.Equal(t, "1970-01-01T00:00:00.000Z", string(zero.appendTime(nil, time.Unix(0, 0))))
}

func TestLineBecomesAnEvent(t *testing.T) {
	l := line{seq: 7, at: began.UnixNano(), requestID: "7c1d", level: "INFO", text: []byte("x"), part: 2, more: true}
	e := l.event()
	require.True(t, began.Equal(e.Begin))
	e.Begin = time.Time{}
	require.Equal(t, Event{Kind: FunctionLine, RequestID: "7c1d", Level: "INFO", Text: []byte("x"), Part: 2, More: true, seq: 7}, e)
	l.extension = "extensionA"
	require.Equal(t, ExtensionLine, l.event().Kind)
}

// FuzzEncode: whatever a function or an extension says, the batch is JSON, and a text comes back as it was.
func FuzzEncode(f *testing.F) {
	f.Add(uint8(FunctionLine), "text", "7c1d", "extensionA", "INFO", 0, false, int64(0))
	f.Add(uint8(Report), quoted, quoted, quoted, quoted, 1, true, int64(-1))
	f.Add(uint8(logsDropped), "\x00\u2028\U0001F600\xed\xa0\x80", "", "", `","name":"platform.report`, -1, true, int64(1)<<62)
	f.Fuzz(func(t *testing.T, kind uint8, text, id, name, word string, part int, more bool, number int64) {
		e := Event{
			Kind: Kind(kind % (uint8(subscribed) + 1)), Begin: time.Unix(number%(1<<33), number%1e9), RequestID: id, Extension: name, Text: []byte(text), Level: word,
			Status: StatusError, ErrorType: word, State: StateRefused, Detail: word, Part: part, More: more, types: Type(kind) & allTypes,
			Figures: &Figures{Duration: time.Duration(number), Billed: time.Duration(number), MemoryMB: int(number), MemoryUsed: part, Init: time.Duration(number)},
			drops:   &drops{reason: reason(kind) % reasons, records: number, bytes: number},
		}
		if e.Kind != subscribed {
			check(t, &e, &encoder{function: name, version: word})
		}
		check(t, &e, &encoder{function: name, version: word, envelope: true})
	})
}

func check(t *testing.T, e *Event, c *encoder) {
	d := &delivery{encoder: *c}
	body := d.build([]byte("x")[:0], []Event{*e, *e})
	if !json.Valid(body) || !utf8.Valid(body) {
		t.Fatalf("no JSON: %q", body)
	}
	var got []struct {
		Name, Type, Extension string
		TraceID               string
		Record                json.RawMessage
	}
	if err := json.Unmarshal(body, &got); err != nil || len(got) != 2 {
		t.Fatalf("%v: %q", err, body)
	}
	if e.Kind != FunctionLine && e.Kind != ExtensionLine {
		return
	}
	var text string
	if err := json.Unmarshal(got[1].Record, &text); err != nil || text != valid(string(e.Text)) {
		t.Fatalf("%q became %q", e.Text, text)
	}
	if !c.envelope && (got[0].TraceID != valid(e.RequestID) || e.Kind == ExtensionLine && got[0].Extension != valid(e.Extension)) {
		t.Fatalf("%q", body)
	}
}

// valid replaces each byte that is no UTF-8.
func valid(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}
