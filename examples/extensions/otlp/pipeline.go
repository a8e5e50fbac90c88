package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// event is a telemetry event of the agent, with the members that are needed here.
type event struct {
	Name      string    `json:"name"`
	StartTime time.Time `json:"startTime"`
	EndTime   time.Time `json:"endTime"`
	TraceID   string    `json:"traceId"` // the request id, not that of a trace
	Status    string    `json:"status"`
	ErrorType string    `json:"errorType"`
	// Of lines. Part is there if the line came in parts.
	Extension string `json:"extension"`
	Record    string `json:"record"`
	Level     string `json:"level"`
	Part      *int64 `json:"part"`
	Last      bool   `json:"last"`
	// Of platform.extension and platform.logsDropped.
	State          string `json:"state"`
	Detail         string `json:"detail"`
	DroppedRecords int64  `json:"droppedRecords"`
	DroppedBytes   int64  `json:"droppedBytes"`
	Reason         string `json:"reason"`
	// Of reports.
	Metrics struct {
		Billed  *int64   `json:"billedDurationMs"`
		MaxUsed *int64   `json:"maxMemoryUsedMB"`
		Init    *float64 `json:"initDurationMs"`
	} `json:"metrics"`
}

// pipeline makes records of telemetry events and hands them to the exporters.
type pipeline struct {
	settings *settings
	ready    chan struct{} // closed when this extension has subscribed
	calls    *calls
	logs     *exporter[*pendingLog]
	spans    *exporter[*pendingSpan]
	resource resource
	function *function
}

// pendingLog and pendingSpan wait for their place in a trace.
type (
	pendingLog struct {
		record logRecord
		call   *call // nil without one
	}
	pendingSpan struct {
		span span
		call *call
	}
)

// weight is roughly its size in memory, in bytes.
func (l *pendingLog) weight() int  { return 500 + len(*l.record.Body.String) }
func (s *pendingSpan) weight() int { return 1000 }

// start begins to send all records, earlier and later ones.
func (p *pipeline) start(f *function) {
	p.function, p.resource = f, p.settings.resource(f)
	go p.logs.run(p.encodeLogs)
	go p.spans.run(p.encodeSpans)
}

// take adds the events of a batch. It returns true if the batch ended the last call in flight.
func (p *pipeline) take(events []event) (idle bool) {
	for i := range events {
		e := &events[i]
		c := p.calls.of(e)
		switch e.Name {
		case "function", "extension":
			p.logs.add(&pendingLog{line(e), c})
		case "platform.report":
			if c == nil {
				continue
			}
			p.spans.add(&pendingSpan{report(e), c})
			idle = true
		default:
			if r, found := trouble(e); found {
				p.logs.add(&pendingLog{r, c})
			}
		}
	}
	return idle && p.calls.idle()
}

// line is a line of output.
func line(e *event) logRecord {
	r := record(e, e.Record)
	r.SeverityNumber, r.SeverityText = severities[e.Level], e.Level
	if e.Extension != "" {
		r.Attributes = append(r.Attributes, text("functiongraph.extension", e.Extension))
	}
	if e.Part != nil {
		r.Attributes = append(
			r.Attributes,
			number("functiongraph.line.part", *e.Part),
			truth("functiongraph.line.last", e.Last),
		)
	}
	return r
}

func record(e *event, body string) logRecord {
	return logRecord{Time: nanos(e.StartTime), ObservedTime: nanos(time.Now()), Body: value{String: &body}}
}

// trouble returns the record for a problem of the instance itself.
func trouble(e *event) (r logRecord, found bool) {
	switch {
	case e.Name == "platform.logsDropped":
		r = record(e, fmt.Sprintf("%d events, %d bytes of text, were lost: %s", e.DroppedRecords, e.DroppedBytes, e.Reason))
		r.SeverityNumber, r.SeverityText = severityWarn, "WARN"
	case e.Name == "platform.extension" && (e.State == "Exited" || e.State == "Refused"):
		r = record(e, fmt.Sprintf("extension %s: %s (%s)", e.Extension, e.State, e.Detail))
		r.SeverityNumber, r.SeverityText = severityWarn, "WARN"
		r.Attributes = append(r.Attributes, text("functiongraph.extension", e.Extension))
	case e.Name == "platform.initReport" && e.Status != "success":
		r = record(e, fmt.Sprintf("the function did not start: %s, %s", e.Status, e.ErrorType))
		r.SeverityNumber, r.SeverityText = severityError, "ERROR"
		r.Attributes = append(r.Attributes, text("error.type", e.ErrorType))
	default:
		return r, false
	}
	r.EventName = e.Name
	return r, true
}

// report is the span of a call.
func report(e *event) span {
	s := span{Kind: kindServer, Start: nanos(e.StartTime), End: nanos(e.EndTime), Attributes: []attribute{
		text("faas.invocation_id", e.TraceID), text("faas.trigger", "other"), // only the function knows the trigger
		truth("faas.coldstart", e.Metrics.Init != nil), text("functiongraph.status", e.Status),
	}}
	if e.Metrics.Billed != nil {
		s.Attributes = append(s.Attributes, number("functiongraph.billed_duration_ms", *e.Metrics.Billed))
	}
	if e.Metrics.MaxUsed != nil {
		s.Attributes = append(s.Attributes, number("functiongraph.max_memory_used_mb", *e.Metrics.MaxUsed))
	}
	if e.Metrics.Init != nil {
		s.Attributes = append(s.Attributes, real("functiongraph.init_duration_ms", *e.Metrics.Init))
	}
	if e.Status != "success" {
		s.Attributes = append(s.Attributes, text("error.type", e.ErrorType))
		s.Status = status{Code: statusError, Message: e.Status + ": " + e.ErrorType}
	}
	return s
}

func nanos(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }

var ourScope = scope{Name: "gantry/examples/extensions/otlp"}

func (p *pipeline) encodeLogs(batch []*pendingLog) request {
	records := make([]logRecord, 0, len(batch))
	for _, l := range batch {
		r := l.record
		if l.call != nil {
			if at, traced := l.call.settle(); traced {
				r.TraceID, r.SpanID, r.Flags = at.trace, at.span, at.flags&flagSampled
				r.Attributes = append(r.Attributes, text("faas.invocation_id", l.call.id))
			}
		}
		records = append(records, r)
	}
	return logsRequest{[]resourceLogs{{p.resource, []scopeLogs{{ourScope, records}}}}}
}

// encodeSpans returns nil if the callers sampled none of them.
func (p *pipeline) encodeSpans(batch []*pendingSpan) request {
	spans := make([]span, 0, len(batch))
	for _, pending := range batch {
		at, traced := pending.call.settle()
		if !traced || at.flags&flagSampled == 0 {
			continue
		}
		s := pending.span
		s.Name, s.TraceID, s.SpanID, s.ParentSpanID, s.Flags = p.function.Name, at.trace, at.span, at.parent, at.flags
		if at.urn != "" {
			s.Attributes = append(s.Attributes, text("cloud.resource_id", at.urn))
		}
		spans = append(spans, s)
	}
	if len(spans) == 0 {
		return nil
	}
	return tracesRequest{[]resourceSpans{{p.resource, []scopeSpans{{ourScope, spans}}}}}
}

// both does something with both exporters, side by side, and waits.
func (p *pipeline) both(logs, spans func()) {
	var wg sync.WaitGroup
	wg.Go(logs)
	wg.Go(spans)
	wg.Wait()
}

// flush sends the records added so far and waits until they are sent, or ctx ends. Unless patient is set it does not
// wait for a server that has just refused a request.
func (p *pipeline) flush(ctx context.Context, patient bool) {
	p.both(func() { p.logs.flush(ctx, patient) }, func() { p.spans.flush(ctx, patient) })
}

// hurry sets the time at which everything ends.
func (p *pipeline) hurry(end time.Time) {
	p.logs.hurry(end)
	p.spans.hurry(end)
}

// close sends the remaining records, as far as time permits, and ends.
func (p *pipeline) close() {
	p.hurry(time.Now().Add(lastLimit)) // unless the notice said when
	p.both(p.logs.close, p.spans.close)
}
