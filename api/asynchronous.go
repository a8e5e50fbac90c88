package api

import (
	"encoding/json"
	"fmt"
	"gantry/async"
	"gantry/fault"
	"gantry/instance"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// The asynchronous part of the platform API (pages functiongraph_06_0126, 06_0140 to 06_0146; docs/ASYNC.md).

// queue returns the queue, or says why there is none.
func (p *platformAPI) queue() (*async.Queue, error) {
	if p.Queue == nil {
		return nil, &fault.Error{
			Kind:    fault.Unavailable,
			Type:    fault.TypeQueue,
			Code:    fault.CodeUnavailable,
			Message: "asynchronous invocation is not available: " + p.NoQueue,
		}
	}
	return p.Queue, nil
}

// asynchronous wraps what needs the queue.
func asynchronous(serve func(p *platformAPI, x *exchange, q *async.Queue) error) func(*platformAPI, *exchange) {
	return func(p *platformAPI, x *exchange) {
		q, err := p.queue()
		if err == nil {
			err = serve(p, x, q)
		}
		if err != nil {
			f := fault.From(err)
			if f.Kind == fault.Unavailable { // the caller does not get the cause
				p.causes.Warn("an asynchronous request is refused", f, zap.String("request_id", x.id))
			}
			p.refuse(x, f)
		}
	}
}

// accept is POST …/invocations-async: 202 once the event is stored.
func (p *platformAPI) accept(x *exchange, q *async.Queue) error {
	h := &x.ctx.Request.Header
	memory, err := memoryOf(h)
	if err != nil {
		return err
	}
	call := &fncontext.Invocation{RequestID: x.id, Credentials: p.Credentials, Alias: x.urn.Alias, Trace: traceOf(h)}
	if err := p.Instance.CheckMeta(call); err != nil { // no attempt could run
		return err
	}
	hops, _ := strconv.Atoi(string(h.Peek(async.HeaderHops))) // absent: a caller's own event
	id, err := q.Accept(p.Instance.Base(), &async.Event{
		Body:     x.ctx.Request.Body(),
		Alias:    x.urn.Alias,
		Version:  x.urn.Version,
		MemoryMB: memory,
		Trace:    call.Trace,
		Hops:     hops,
	})
	if err != nil {
		return err
	}
	x.id = id
	p.accepted(x)
	p.Metrics.API(instance.OutcomeSuccess)
	p.respond(x, fasthttp.StatusAccepted, append(append([]byte(`{"request_id":"`), id...), `"}`...))
	x.ctx.Response.Header.Set(headerRequestID, id)
	return nil
}

func (p *platformAPI) putConfiguration(x *exchange, q *async.Queue) error {
	c, err := async.ParseConfiguration(x.ctx.Request.Body())
	if err != nil {
		return err
	}
	stored, err := q.SetConfiguration(p.Instance.Base(), x.urn.Version, x.urn.Alias, p.urnOf(x.urn), c)
	if err != nil {
		return err
	}
	p.respondJSON(x, fasthttp.StatusOK, stored)
	return nil
}

// urnOf is the full name of what was addressed.
func (p *platformAPI) urnOf(u fncontext.URN) string {
	served := p.Function.URN()
	last := u.Version
	if u.Alias != "" {
		last = "!" + u.Alias
	}
	return served[:strings.LastIndexByte(served, ':')+1] + last
}

func (p *platformAPI) getConfiguration(x *exchange, q *async.Queue) error {
	c, err := q.Configuration(p.Instance.Base(), x.urn.Version, x.urn.Alias)
	if err != nil {
		return err
	}
	p.respondJSON(x, fasthttp.StatusOK, c)
	return nil
}

func (p *platformAPI) deleteConfiguration(x *exchange, q *async.Queue) error {
	if err := q.DeleteConfiguration(p.Instance.Base(), x.urn.Version, x.urn.Alias); err != nil {
		return err
	}
	p.Metrics.API(instance.OutcomeSuccess)
	p.respond(x, fasthttp.StatusNoContent, nil)
	x.ctx.Response.Header.Del(fasthttp.HeaderContentType)
	return nil
}

type pageInfo struct {
	Next     int `json:"next_marker"`
	Previous int `json:"previous_marker"`
	Current  int `json:"current_count"`
}

// listConfigurations is GET …/async-invoke-configs.
func (p *platformAPI) listConfigurations(x *exchange, q *async.Queue) error {
	const defaultLimit, maxLimit = 10, 100
	args := x.ctx.QueryArgs()
	marker, err := number(args, "marker", 0)
	if err != nil {
		return err
	}
	limit, err := number(args, "limit", defaultLimit)
	if err != nil {
		return err
	}
	if limit == 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	all, err := q.Configurations(p.Instance.Base())
	if err != nil {
		return err
	}
	from := min(marker, len(all))
	to := min(from+limit, len(all))
	info := pageInfo{Previous: max(from-limit, 0), Current: to - from}
	if to < len(all) {
		info.Next = to
	}
	p.respondJSON(
		x,
		fasthttp.StatusOK,
		map[string]any{
			"async_invoke_configs": append([]*async.Configuration{}, all[from:to]...),
			"count":                len(all),
			"page_info":            info,
		},
	)
	return nil
}

// badQuery has the platform's code for a query parameter.
func badQuery(message string) *fault.Error {
	f := invalid(message)
	f.APICode = fault.APIQuery
	return f
}

// number reads a parameter that is a number from 0 up; absent and empty mean fallback.
func number(args *fasthttp.Args, name string, fallback int) (int, error) {
	text := string(args.Peek(name))
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || len(text) > 64 {
		return 0, badQuery(fmt.Sprintf("%s is %.80q, want a number from 0", name, text))
	}
	return n, nil
}

// Pages of records, and how far back they reach (page functiongraph_06_0112_00_3).
const (
	recordLimit    = 100
	maxRecordLimit = 500
	recordWindow   = time.Hour
	maxIDs         = 10
)

// listRecords is GET …/async-invocations.
func (p *platformAPI) listRecords(x *exchange, q *async.Queue) error {
	f, err := recordFilter(x.ctx.QueryArgs())
	if err != nil {
		return err
	}
	if id := string(x.ctx.QueryArgs().Peek("request_id")); id != "" {
		f.IDs = []string{id}
	}
	return p.writeRecords(x, q, f)
}

// listActive is GET …/active-async-invocations: what waits or runs.
func (p *platformAPI) listActive(x *exchange, q *async.Queue) error {
	f, err := recordFilter(x.ctx.QueryArgs())
	if err != nil {
		return err
	}
	if ids := string(x.ctx.QueryArgs().Peek("requests")); ids != "" {
		f.IDs = strings.Split(ids, ",")
		if len(f.IDs) > maxIDs {
			return badQuery(fmt.Sprintf("requests has %d ids, want at most %d", len(f.IDs), maxIDs))
		}
	}
	f.Active = true
	return p.writeRecords(x, q, f)
}

func recordFilter(args *fasthttp.Args) (f *async.Filter, err error) {
	f = &async.Filter{Status: async.Status(args.Peek("status"))}
	if f.Status != "" && !slices.Contains(async.Statuses(), f.Status) {
		return nil, badQuery(fmt.Sprintf("status is %.40q, want one of WAIT, RUNNING, SUCCESS, FAIL, DISCARD", f.Status))
	}
	if f.Offset, err = number(args, "marker", 0); err != nil {
		return nil, err
	}
	if f.Limit, err = number(args, "limit", recordLimit); err != nil {
		return nil, err
	}
	if f.Limit == 0 {
		f.Limit = recordLimit
	}
	if f.Limit > maxRecordLimit {
		return nil, badQuery(fmt.Sprintf("limit is %d, want at most %d", f.Limit, maxRecordLimit))
	}
	if f.Begin, err = moment(args, "query_begin_time"); err != nil {
		return nil, err
	}
	f.End, err = moment(args, "query_end_time")
	return f, err
}

// momentForm is a time of the record routes, in UTC; SDKs also write a zone behind it.
const momentForm = "2006-01-02T15:04:05"

func moment(args *fasthttp.Args, name string) (time.Time, error) {
	text := string(args.Peek(name))
	if text == "" {
		return time.Time{}, nil
	}
	// A + that was not encoded arrives as a blank, which no form has.
	zoned := strings.Replace(text, " ", "+", 1)
	for _, form := range []string{momentForm, time.RFC3339Nano} {
		if t, err := time.Parse(form, zoned); err == nil {
			return t, nil
		}
	}
	return time.Time{}, badQuery(fmt.Sprintf("%s is %.80q, want a time in UTC like 2026-01-31T23:59:59", name, text))
}

type recordJSON struct {
	RequestID    string       `json:"request_id"`
	Status       async.Status `json:"status"`
	ErrorMessage string       `json:"error_message"`
	ErrorCode    int          `json:"error_code"`
	Start        string       `json:"start_time"`
	End          string       `json:"end_time"`
}

func (p *platformAPI) writeRecords(x *exchange, q *async.Queue, f *async.Filter) error {
	// The default window applies only to listings without ids, without a begin and without the active filter.
	if len(f.IDs) == 0 && f.Begin.IsZero() && !f.Active {
		f.Begin = time.Now().Add(-recordWindow)
	}
	page, err := q.Records(p.Instance.Base(), f)
	if err != nil {
		return err
	}
	rows := []recordJSON{}
	for _, r := range page.Records {
		row := recordJSON{RequestID: r.RequestID, Status: r.Status, Start: r.Started().UTC().Format(momentForm)}
		if r.Ended() {
			row.End, row.ErrorMessage, row.ErrorCode = r.End.UTC().Format(momentForm), r.ErrorMessage, r.ErrorCode
		}
		rows = append(rows, row)
	}
	p.respondJSON(x, fasthttp.StatusOK, map[string]any{"invocations": rows, "count": page.Count, "next_marker": page.Next})
	return nil
}

// cancel is POST …/cancel. The platform's page shows null as the answer, which its Node.js SDK cannot parse; an empty
// object works for all SDKs.
func (p *platformAPI) cancel(x *exchange, q *async.Queue) error {
	var body struct {
		RequestID string `json:"request_id"`
		Type      string `json:"type"`
	}
	if err := json.Unmarshal(x.ctx.Request.Body(), &body); err != nil || body.RequestID == "" {
		return invalid(`the body is not of the form {"request_id":"…","type":"force"}`)
	}
	if body.Type != "" && body.Type != "force" && body.Type != "recursive" {
		return invalid(fmt.Sprintf("type is %.40q, want force or recursive", body.Type))
	}
	if err := q.Cancel(p.Instance.Base(), body.RequestID, body.Type == "recursive"); err != nil {
		return err
	}
	p.Metrics.API(instance.OutcomeSuccess)
	p.respond(x, fasthttp.StatusOK, []byte("{}"))
	return nil
}

// enableStatusLog is POST …/enable-async-status-logs: the platform makes the log stream then. Here the log is there.
func (p *platformAPI) enableStatusLog(x *exchange) {
	p.Metrics.API(instance.OutcomeSuccess)
	p.respond(x, fasthttp.StatusOK, nil)
	x.ctx.Response.Header.Del(fasthttp.HeaderContentType)
	x.ctx.Response.Header.SetNoDefaultContentType(true)
}

// showStatusLog is GET …/async-status-log-detail: the platform's names of group and stream. Their lines are in the
// agent's log, for functions whose configuration has enable_async_status_log.
func (p *platformAPI) showStatusLog(x *exchange) {
	group, stream := "function-async-log-group-"+p.Function.Project, "function-async-log-stream-"+p.Function.Project
	p.respondJSON(
		x,
		fasthttp.StatusOK,
		map[string]string{"group_name": group, "group_id": group, "stream_name": stream, "stream_id": stream},
	)
}

// asyncBodyLimit bounds the bodies of the asynchronous routes but for events.
const asyncBodyLimit = 64 << 10
