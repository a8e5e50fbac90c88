package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/basic"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/sdktime"
	functiongraph "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/functiongraph/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/functiongraph/v2/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	contentType = "application/json"
	often       = 10 * time.Millisecond
	// maxEvent is the largest event of an asynchronous call, in bytes.
	maxEvent = 256 << 10
	// unknownID has the form of a request id, and is none.
	unknownID = "01890000-0000-7000-8000-000000000000"
)

type (
	client = functiongraph.FunctionGraphClient
	record = model.ListFunctionAsyncInvocationsResult
)

// start is the function's journal entry of a start.
type start struct {
	ID     string
	Size   int
	Memory string
	Alias  string
	Event  map[string]any
}

// journal returns the starts of the function so far.
func (a *agent) journal(t require.TestingT) (all []start) {
	text, err := os.ReadFile(filepath.Join(a.folder, "journal"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		var s start
		if strings.HasSuffix(line, "\n") { // else it is being written
			require.NoError(t, json.Unmarshal([]byte(line), &s), line)
			all = append(all, s)
		}
	}
	return all
}

// starts returns those of one request.
func (a *agent) starts(t require.TestingT, id string) (its []start) {
	for _, s := range a.journal(t) {
		if s.ID == id {
			its = append(its, s)
		}
	}
	return its
}

// gate makes calls that name it wait until it is opened, at the latest at the end of the test.
func (a *agent) gate(name string) (open func()) {
	open = func() { assert.NoError(a.t, os.WriteFile(filepath.Join(a.folder, name), nil, 0o600)) }
	a.t.Cleanup(open)
	return open
}

func eventually(t *testing.T, condition func(c *assert.CollectT)) {
	t.Helper()
	require.EventuallyWithT(t, condition, patience, often)
}

// accept sends an event and returns its request id.
func (a *agent) accept(function string, event map[string]any) string {
	a.t.Helper()
	r, err := a.client().AsyncInvokeFunction(asynchronous(function, event))
	require.NoError(a.t, err)
	require.Equal(a.t, 202, r.HttpStatusCode)
	require.Len(a.t, *r.RequestId, 36)
	return *r.RequestId
}

func asynchronous(function string, event map[string]any) *model.AsyncInvokeFunctionRequest {
	return &model.AsyncInvokeFunctionRequest{FunctionUrn: function, ContentType: contentType, Body: event}
}

// list returns accepted requests, filtered by change.
func (a *agent) list(t require.TestingT, change func(r *model.ListAsyncInvocationsRequest)) (page *model.ListAsyncInvocationsResponse, ids []string) {
	request := &model.ListAsyncInvocationsRequest{FunctionUrn: "hello", ContentType: contentType}
	change(request)
	page, err := a.client().ListAsyncInvocations(request)
	require.NoError(t, err)
	require.NotNil(t, page.Invocations)
	return page, idsOf(*page.Invocations)
}

// active returns requests that wait or run, filtered by change.
func (a *agent) active(t require.TestingT, change func(r *model.ListActiveAsyncInvocationsRequest)) (page *model.ListActiveAsyncInvocationsResponse, ids []string) {
	request := &model.ListActiveAsyncInvocationsRequest{FunctionUrn: "hello", ContentType: contentType}
	change(request)
	page, err := a.client().ListActiveAsyncInvocations(request)
	require.NoError(t, err)
	require.NotNil(t, page.Invocations)
	return page, idsOf(*page.Invocations)
}

func idsOf(records []record) []string {
	ids := []string{}
	for i := range records {
		ids = append(ids, *records[i].RequestId)
	}
	return ids
}

// record returns the one record of a request.
func (a *agent) record(t require.TestingT, id string) *record {
	page, ids := a.list(t, func(r *model.ListAsyncInvocationsRequest) { r.RequestId = &id })
	require.Equal(t, []string{id}, ids)
	require.EqualValues(t, 1, *page.Count)
	return &(*page.Invocations)[0]
}

// reaches waits until a request has a status and returns its record.
func (a *agent) reaches(id, status string) (r *record) {
	a.t.Helper()
	eventually(a.t, func(c *assert.CollectT) {
		r = a.record(c, id)
		require.Equal(c, status, r.Status.Value(), *r.ErrorMessage)
	})
	return r
}

// statusLog returns the entries of the status log about a request: statuses with their codes.
func (a *agent) statusLog(id string) (statuses []string) {
	for _, fields := range a.Stderr.Logged("asynchronous status") {
		if fields["request_id"] == id {
			statuses = append(statuses, fmt.Sprint(fields["status"], " ", fields["error_code"]))
		}
	}
	return statuses
}

// acceptRetried sends an event that fails, and returns while it waits for a retry. The status log distinguishes that
// from the wait for the first attempt.
func (a *agent) acceptRetried() (id string) {
	a.t.Helper()
	on := true
	a.configure("hello", &model.UpdateFunctionAsyncInvokeConfigRequestBody{EnableAsyncStatusLog: &on})
	id = a.accept("hello", map[string]any{"fail": true})
	eventually(a.t, func(c *assert.CollectT) { require.Equal(c, []string{"RUNNING 0", "WAIT 4002"}, a.statusLog(id)) })
	return id
}

// operation is one operation of the SDK, with a request that is valid except for the function.
type operation struct {
	name string
	// ofProject operations name no function and need no queue.
	ofProject bool
	call      func(c *client, function string) error
}

func operations() []operation {
	return []operation{
		{"AsyncInvokeFunction", false, func(c *client, function string) error {
			_, err := c.AsyncInvokeFunction(asynchronous(function, map[string]any{}))
			return err
		}},
		{"UpdateFunctionAsyncInvokeConfig", false, func(c *client, function string) error {
			_, err := c.UpdateFunctionAsyncInvokeConfig(update(function, &model.UpdateFunctionAsyncInvokeConfigRequestBody{}))
			return err
		}},
		{"ShowFunctionAsyncInvokeConfig", false, func(c *client, function string) error {
			_, err := c.ShowFunctionAsyncInvokeConfig(&model.ShowFunctionAsyncInvokeConfigRequest{FunctionUrn: function, ContentType: contentType})
			return err
		}},
		{"DeleteFunctionAsyncInvokeConfig", false, func(c *client, function string) error {
			_, err := c.DeleteFunctionAsyncInvokeConfig(&model.DeleteFunctionAsyncInvokeConfigRequest{FunctionUrn: function, ContentType: contentType})
			return err
		}},
		{"ListFunctionAsyncInvokeConfig", false, func(c *client, function string) error {
			_, err := c.ListFunctionAsyncInvokeConfig(&model.ListFunctionAsyncInvokeConfigRequest{FunctionUrn: function, ContentType: contentType})
			return err
		}},
		{"ListAsyncInvocations", false, func(c *client, function string) error {
			_, err := c.ListAsyncInvocations(&model.ListAsyncInvocationsRequest{FunctionUrn: function, ContentType: contentType})
			return err
		}},
		{"ListActiveAsyncInvocations", false, func(c *client, function string) error {
			_, err := c.ListActiveAsyncInvocations(&model.ListActiveAsyncInvocationsRequest{FunctionUrn: function, ContentType: contentType})
			return err
		}},
		{"CancelAsyncInvocation", false, func(c *client, function string) error {
			_, err := c.CancelAsyncInvocation(cancellation(function, unknownID))
			return err
		}},
		{"EnableAsyncStatusLog", true, func(c *client, _ string) error {
			_, err := c.EnableAsyncStatusLog(&model.EnableAsyncStatusLogRequest{ContentType: contentType})
			return err
		}},
		{"ShowProjectAsyncStatusLogInfo", true, func(c *client, _ string) error {
			_, err := c.ShowProjectAsyncStatusLogInfo(&model.ShowProjectAsyncStatusLogInfoRequest{ContentType: contentType})
			return err
		}},
	}
}

func requireRefusal(t *testing.T, err error, status int, code, says string, hint ...any) {
	t.Helper()
	require.Error(t, err, hint...)
	e := refusal(t, err)
	require.Equal(t, status, e.StatusCode, e.ErrorMessage)
	require.Equal(t, code, e.ErrorCode, e.ErrorMessage)
	require.Contains(t, e.ErrorMessage, says, hint...)
}

func TestAsyncInvoke(t *testing.T) {
	a := startAgent(t)
	for _, function := range []string{"hello", "default:hello", project + ":default:hello", project + ":default:hello:latest", project + ":default:hello:!prod", urn("latest"), urn("!prod"), strings.TrimSuffix(urn(""), ":")} {
		event := map[string]any{"k": "v", "ü": "<&>", "urn": function}
		id := a.accept(function, event)
		r := a.reaches(id, "SUCCESS")
		require.Empty(t, *r.ErrorMessage)
		require.Zero(t, *r.ErrorCode)
		require.WithinDuration(t, time.Now(), time.Time(*r.StartTime), patience)
		end, err := time.Parse("2006-01-02T15:04:05", *r.EndTime)
		require.NoError(t, err)
		require.False(t, end.Before(time.Time(*r.StartTime)))
		its := a.starts(t, id)
		require.Len(t, its, 1, function)
		require.Equal(t, event, its[0].Event)
		require.Equal(t, "512", its[0].Memory)
		require.Equal(t, map[bool]string{true: "prod"}[strings.Contains(function, "!")], its[0].Alias)
	}
}

func TestAsyncInvokeMemory(t *testing.T) {
	a := startAgent(t)
	request := asynchronous("hello", map[string]any{})
	for mb, ok := range map[string]bool{"1024": true, "128": true, "10240": true, "100": false, "-128": false, "128MB": false} {
		request.XCffInstanceMemory = &mb
		r, err := a.client().AsyncInvokeFunction(request)
		if !ok {
			requireRefusal(t, err, 400, "FSS.1007", "X-Cff-Instance-Memory")
			continue
		}
		require.NoError(t, err)
		a.reaches(*r.RequestId, "SUCCESS")
		line := regexp.MustCompile("Finish invoke request '" + *r.RequestId + "'.*billing memory: " + mb + "MB")
		require.Eventually(t, func() bool { return line.MatchString(a.Stdout.String()) }, patience, time.Millisecond, "%s: %s", line, a.Stdout)
	}
}

func TestAsyncInvokeLargestEvent(t *testing.T) {
	a := startAgent(t)
	// event is of n bytes: the SDK writes the object without blanks, and ends it with a line feed.
	event := func(n int) map[string]any { return map[string]any{"x": strings.Repeat("x", n-len("{\"x\":\"\"}\n"))} }
	id := a.accept("hello", event(maxEvent))
	a.reaches(id, "SUCCESS")
	require.Equal(t, maxEvent-1, a.starts(t, id)[0].Size, "without the line feed")
	_, err := a.client().AsyncInvokeFunction(asynchronous("hello", event(maxEvent+1)))
	requireRefusal(t, err, 413, "FSS.0413", strconv.Itoa(maxEvent))
	_, err = a.client().AsyncInvokeFunction(asynchronous("hello", event(7<<20)))
	requireRefusal(t, err, 413, "FSS.0413", "")
	require.Len(t, a.journal(t), 1)
}

// TestAsyncUnknown: an unknown function has one code on all routes except that of synchronous calls. Another project is
// refused first.
func TestAsyncUnknown(t *testing.T) {
	a := startAgent(t)
	for _, o := range operations() {
		if o.ofProject {
			requireRefusal(t, o.call(a.client(func(b *basic.CredentialsBuilder) { b.WithProjectId("another") }), ""), 403, "FSS.0403", `X-Project-Id names the project "another"`, o.name)
			continue
		}
		for _, function := range []string{"other", "app:hello", urn("v7"), urn("!test"), strings.Replace(urn("latest"), "local-1", "cn-north-4", 1)} {
			requireRefusal(t, o.call(a.client(), function), 404, "FSS.0404", "Not found", o.name, function)
		}
		requireRefusal(t, o.call(a.client(), "a:b:c:d:e"), 400, "FSS.1309", "fields", o.name)
		requireRefusal(t, o.call(a.client(func(b *basic.CredentialsBuilder) { b.WithProjectId("another") }), "hello"), 403, "FSS.0403", `X-Project-Id names the project "another"`, o.name)
	}
	require.Empty(t, a.journal(t))
}

func TestAsyncCallers(t *testing.T) {
	a := startAgent(t)
	temporary := keys("AKTEMP00000000000001", "SKTEMP0000000000000000000000000000000001", "temporary-token")
	forbidden := "may not do FunctionGraph:function:invokeAsync"
	for _, o := range operations() {
		requireRefusal(t, o.call(a.client(keys(access, secret+"x", "")), "hello"), 401, "APIGW.0301", "verify aksk signature fail", o.name)
		requireRefusal(t, o.call(a.client(keys("AKREADER000000000001", "SKREADER00000000000000000000000000000001", "")), "hello"), 403, "FSS.0403", forbidden, o.name)
		requireRefusal(t, o.call(a.client(keys("AKCALLER000000000001", "SKCALLER00000000000000000000000000000001", "")), "hello"), 403, "FSS.0403", forbidden, o.name)
		a.accept("hello", map[string]any{"good": o.name}) // too many failures in a row would lock the key
	}
	_, err := a.client(keys("AKCALLER000000000001", "SKCALLER00000000000000000000000000000001", "")).InvokeFunction(invocation("hello", map[string]any{"good": "invoke"}))
	require.NoError(t, err)
	r, err := a.client(temporary).AsyncInvokeFunction(asynchronous("hello", map[string]any{"good": "temporary"}))
	require.NoError(t, err)
	a.reaches(*r.RequestId, "SUCCESS")
	for _, s := range a.journal(t) {
		require.Contains(t, s.Event, "good", "nothing of the refused calls ran")
	}
}

// TestAsyncWithoutQueue: without the queue's program everything else works.
func TestAsyncWithoutQueue(t *testing.T) {
	a := startAgent(t, "GANTRY_ASYNC_PROGRAM=/nowhere/gantry-jetstream")
	for _, o := range operations() {
		if o.ofProject {
			require.NoError(t, o.call(a.client(), ""), o.name)
			continue
		}
		requireRefusal(t, o.call(a.client(), "hello"), 503, "FSS.0503", "/nowhere/gantry-jetstream", o.name)
	}
	_, err := a.client().InvokeFunction(invocation("hello", map[string]any{}))
	require.NoError(t, err)
}

func TestAsyncQueueIsFull(t *testing.T) {
	a := startAgent(t, "GANTRY_ASYNC_MAX_EVENTS=2")
	open := a.gate("gate")
	first := a.accept("hello", map[string]any{"gate": "gate"})
	second := a.accept("hello", map[string]any{})
	_, err := a.client().AsyncInvokeFunction(asynchronous("hello", map[string]any{}))
	requireRefusal(t, err, 429, "FSS.0429", "GANTRY_ASYNC_MAX_EVENTS")
	open()
	a.reaches(first, "SUCCESS")
	a.reaches(second, "SUCCESS")
	var third *model.AsyncInvokeFunctionResponse
	eventually(t, func(c *assert.CollectT) { // its record is there a moment before its event is gone
		var err error
		third, err = a.client().AsyncInvokeFunction(asynchronous("hello", map[string]any{}))
		require.NoError(c, err)
	})
	a.reaches(*third.RequestId, "SUCCESS")
	require.Len(t, a.journal(t), 3)
}

func update(function string, body *model.UpdateFunctionAsyncInvokeConfigRequestBody) *model.UpdateFunctionAsyncInvokeConfigRequest {
	return &model.UpdateFunctionAsyncInvokeConfigRequest{FunctionUrn: function, ContentType: contentType, Body: body}
}

// configure sets a configuration and returns the agent's response.
func (a *agent) configure(function string, body *model.UpdateFunctionAsyncInvokeConfigRequestBody) *model.UpdateFunctionAsyncInvokeConfigResponse {
	a.t.Helper()
	r, err := a.client().UpdateFunctionAsyncInvokeConfig(update(function, body))
	require.NoError(a.t, err)
	require.Equal(a.t, 200, r.HttpStatusCode)
	return r
}

func (a *agent) show(function string) (*model.ShowFunctionAsyncInvokeConfigResponse, error) {
	return a.client().ShowFunctionAsyncInvokeConfig(&model.ShowFunctionAsyncInvokeConfigRequest{FunctionUrn: function, ContentType: contentType})
}

func (a *agent) remove(function string) (*model.DeleteFunctionAsyncInvokeConfigResponse, error) {
	return a.client().DeleteFunctionAsyncInvokeConfig(&model.DeleteFunctionAsyncInvokeConfigRequest{FunctionUrn: function, ContentType: contentType})
}

func number(n int32) *int32 { return &n }

// destination is a destination whose kind the SDK may not know.
func destination(t *testing.T, kind, param string) *model.FuncDestinationConfig {
	t.Helper()
	d := &model.FuncDestinationConfigDestination{}
	require.NoError(t, d.UnmarshalJSON([]byte(strconv.Quote(kind))))
	return &model.FuncDestinationConfig{Destination: d, Param: &param}
}

func TestAsyncConfiguration(t *testing.T) {
	a := startAgent(t)
	for _, function := range []string{"hello", urn("!prod")} {
		_, err := a.show(function)
		requireRefusal(t, err, 404, "FSS.0404", "not found")
		_, err = a.remove(function)
		requireRefusal(t, err, 404, "FSS.0404", "not found")
	}

	put := a.configure("hello", &model.UpdateFunctionAsyncInvokeConfigRequestBody{})
	require.Equal(t, urn("latest"), *put.FuncUrn)
	require.EqualValues(t, 3600, *put.MaxAsyncEventAgeInSeconds)
	require.EqualValues(t, 1, *put.MaxAsyncRetryAttempts)
	require.False(t, *put.EnableAsyncStatusLog)
	require.Nil(t, put.DestinationConfig.OnSuccess)
	require.Nil(t, put.DestinationConfig.OnFailure)
	for _, moment := range []string{*put.CreatedTime, *put.LastModified} {
		at, err := time.Parse(time.RFC3339, moment)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), at, patience)
	}

	// Byte for byte: other blanks and orders of members are kept.
	const obs, topic = "{ \"prefix\":\"a/<&>/ü\",\n\t\"bucket\" : \"b\", \"expires\":365, \"more\":[1, 2] }", `{"topic_urn":"urn:smn:local-1:p:t"}`
	enums := model.GetFuncDestinationConfigDestinationEnum()
	on := true
	body := &model.UpdateFunctionAsyncInvokeConfigRequestBody{
		MaxAsyncEventAgeInSeconds: number(86400), MaxAsyncRetryAttempts: number(3), EnableAsyncStatusLog: &on,
		LogGroupId: text("g"), LogStreamId: text("s"), LogGroupName: text("gn"), LogStreamName: text("sn"),
		DestinationConfig: &model.FuncAsyncDestinationConfig{
			OnSuccess: &model.FuncDestinationConfig{Destination: &enums.OBS, Param: text(obs)},
			OnFailure: &model.FuncDestinationConfig{Destination: &enums.SMN, Param: text(topic)},
		},
	}
	for _, function := range []string{urn("!prod"), project + ":default:hello:!prod"} { // the second replaces the first
		put = a.configure(function, body)
		require.Equal(t, urn("!prod"), *put.FuncUrn)
	}
	got, err := a.show(project + ":default:hello:!prod")
	require.NoError(t, err)
	require.Equal(t, 200, got.HttpStatusCode)
	require.Equal(t, urn("!prod"), *got.FuncUrn)
	require.EqualValues(t, 86400, *got.MaxAsyncEventAgeInSeconds)
	require.EqualValues(t, 3, *got.MaxAsyncRetryAttempts)
	require.True(t, *got.EnableAsyncStatusLog)
	for _, d := range []*model.FuncAsyncDestinationConfig{put.DestinationConfig, got.DestinationConfig} {
		require.Equal(t, "OBS", d.OnSuccess.Destination.Value())
		require.Equal(t, obs, *d.OnSuccess.Param)
		require.Equal(t, "SMN", d.OnFailure.Destination.Value())
		require.Equal(t, topic, *d.OnFailure.Param)
	}
	require.Equal(t, *put.CreatedTime, *got.CreatedTime)

	got, err = a.show(urn("latest"))
	require.NoError(t, err)
	require.EqualValues(t, 3600, *got.MaxAsyncEventAgeInSeconds, "that of the version is another one")

	gone, err := a.remove(urn("!prod"))
	require.NoError(t, err)
	require.Equal(t, 204, gone.HttpStatusCode)
	_, err = a.remove(urn("!prod"))
	requireRefusal(t, err, 404, "FSS.0404", "not found")
	_, err = a.show(urn("!prod"))
	requireRefusal(t, err, 404, "FSS.0404", "not found")
	_, err = a.show("hello")
	require.NoError(t, err)
}

func TestAsyncConfigurationRefused(t *testing.T) {
	a := startAgent(t)
	type body = model.UpdateFunctionAsyncInvokeConfigRequestBody
	for _, ok := range []*body{{MaxAsyncEventAgeInSeconds: number(1)}, {MaxAsyncRetryAttempts: number(0)}} {
		a.configure("hello", ok)
	}
	before, err := a.show("hello")
	require.NoError(t, err)
	to := func(kind, param string) *body {
		return &body{DestinationConfig: &model.FuncAsyncDestinationConfig{OnFailure: destination(t, kind, param)}}
	}
	for _, c := range []struct {
		body *body
		says string
	}{
		{&body{MaxAsyncEventAgeInSeconds: number(0)}, "max_async_event_age_in_seconds is 0"},
		{&body{MaxAsyncEventAgeInSeconds: number(-1)}, "max_async_event_age_in_seconds"},
		{&body{MaxAsyncEventAgeInSeconds: number(86401)}, "max_async_event_age_in_seconds is 86401"},
		{&body{MaxAsyncRetryAttempts: number(4)}, "max_async_retry_attempts is 4"},
		{&body{MaxAsyncRetryAttempts: number(-1)}, "max_async_retry_attempts is -1"},
		{to("SQS", `{}`), `on_failure.destination is "SQS"`},
		{to("OBS", ``), "on_failure.param"},
		{to("OBS", `{"bucket":`), "on_failure.param"},
		{to("OBS", `[]`), "on_failure.param"},
		{to("OBS", `{"prefix":"p"}`), `"bucket"`},
		{to("OBS", `{"bucket":"b","expires":366}`), "expires is 366"},
		{to("SMN", `{"bucket":"b"}`), `"topic_urn"`},
		{to("DIS", `{}`), `"stream_name"`},
		{to("FunctionGraph", `{}`), `"func_urn"`},
		{nil, "the body is not a JSON object"},
	} {
		_, err := a.client().UpdateFunctionAsyncInvokeConfig(update("hello", c.body))
		requireRefusal(t, err, 400, "FSS.0400", c.says)
	}
	after, err := a.show("hello")
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestAsyncConfigurations(t *testing.T) {
	const all = 102
	var aliases, urns []string
	for n := range all - 1 {
		aliases = append(aliases, fmt.Sprintf("a%03d", n))
		urns = append(urns, urn("!"+aliases[n]))
	}
	urns = append(urns, urn("latest"))
	a := startAgent(t, "RUNTIME_ALIAS="+strings.Join(aliases, ","))
	page := func(marker, limit *string) ([]string, *model.ListFunctionAsyncInvokeConfigResponse) {
		r, err := a.client().ListFunctionAsyncInvokeConfig(&model.ListFunctionAsyncInvokeConfigRequest{FunctionUrn: "hello", ContentType: contentType, Marker: marker, Limit: limit})
		require.NoError(t, err)
		found := []string{}
		for _, c := range *r.AsyncInvokeConfigs {
			require.EqualValues(t, 2, c.MaxAsyncRetryAttempts)
			require.NotNil(t, c.DestinationConfig)
			found = append(found, c.FuncUrn)
		}
		return found, r
	}
	found, r := page(nil, nil)
	require.Empty(t, found)
	require.Zero(t, *r.Count)
	require.Equal(t, &model.PageInfo{}, r.PageInfo)

	for n := range all {
		a.configure(urns[n], &model.UpdateFunctionAsyncInvokeConfigRequestBody{MaxAsyncRetryAttempts: number(2)})
	}
	for _, c := range []struct {
		marker, limit  *string
		from, to       int
		next, previous int64
	}{
		{nil, nil, 0, 10, 10, 0},
		{nil, text("0"), 0, 10, 10, 0},
		{nil, text("1"), 0, 1, 1, 0},
		{nil, text("100"), 0, 100, 100, 0},
		{nil, text("101"), 0, 100, 100, 0},
		{text("0"), text("3"), 0, 3, 3, 0},
		{text("2"), text("3"), 2, 5, 5, 0},
		{text("5"), text("3"), 5, 8, 8, 2},
		{text("100"), text("10"), 100, 102, 0, 90},
		{text("101"), text("1"), 101, 102, 0, 100},
		{text("102"), text("10"), 102, 102, 0, 92},
		{text("1000000"), text("10"), 102, 102, 0, 92},
	} {
		found, r := page(c.marker, c.limit)
		require.Equal(t, urns[c.from:c.to], found)
		require.EqualValues(t, all, *r.Count)
		require.Equal(t, &model.PageInfo{NextMarker: c.next, PreviousMarker: c.previous, CurrentCount: int64(c.to - c.from)}, r.PageInfo)
	}
	var walked []string
	for marker := text("0"); ; {
		found, r := page(marker, text("7"))
		walked = append(walked, found...)
		if r.PageInfo.NextMarker == 0 {
			break
		}
		marker = text(strconv.FormatInt(r.PageInfo.NextMarker, 10))
	}
	require.Equal(t, urns, walked)

	for _, bad := range []string{"-1", "x", "1.5", "99999999999999999999"} {
		_, err := a.client().ListFunctionAsyncInvokeConfig(&model.ListFunctionAsyncInvokeConfigRequest{FunctionUrn: "hello", ContentType: contentType, Limit: &bad})
		requireRefusal(t, err, 400, "FSS.1001", "limit")
		_, err = a.client().ListFunctionAsyncInvokeConfig(&model.ListFunctionAsyncInvokeConfigRequest{FunctionUrn: "hello", ContentType: contentType, Marker: &bad})
		requireRefusal(t, err, 400, "FSS.1001", "marker")
	}
	_, err := a.remove(urns[0])
	require.NoError(t, err)
	found, r = page(nil, text("2"))
	require.Equal(t, urns[1:3], found)
	require.EqualValues(t, all-1, *r.Count)
}

// TestAsyncRecords has one request in each status and queries it in all ways.
func TestAsyncRecords(t *testing.T) {
	a := startAgent(t, "GANTRY_ASYNC_RETRY_DELAY=1h")
	open := a.gate("gate")
	a.configure(urn("!prod"), &model.UpdateFunctionAsyncInvokeConfigRequestBody{MaxAsyncEventAgeInSeconds: number(1)})
	discarded := a.accept(urn("!prod"), map[string]any{"fail": true}) // its retry would be too late
	r := a.reaches(discarded, "DISCARD")
	require.Contains(t, *r.ErrorMessage, "older than 1s")
	require.Contains(t, *r.ErrorMessage, "asked to fail")
	require.EqualValues(t, 4002, *r.ErrorCode)
	require.NotEmpty(t, *r.EndTime)
	succeeded := a.accept("hello", map[string]any{})
	require.Zero(t, *a.reaches(succeeded, "SUCCESS").ErrorCode)
	failed := a.accept("hello", map[string]any{"fail": true})
	r = a.reaches(failed, "FAIL")
	require.Contains(t, *r.ErrorMessage, "asked to fail")
	require.EqualValues(t, 4002, *r.ErrorCode)
	retried := a.acceptRetried()
	r = a.record(t, retried)
	require.Equal(t, "WAIT", r.Status.Value())
	require.Zero(t, *r.ErrorCode)
	require.Empty(t, *r.EndTime)
	running := a.accept("hello", map[string]any{"gate": "gate"})
	r = a.reaches(running, "RUNNING")
	require.Empty(t, *r.EndTime)
	next := a.accept("hello", map[string]any{}) // it has left the queue, or will soon, and waits for the worker
	waiting := a.accept("hello", map[string]any{})
	r = a.reaches(waiting, "WAIT")
	require.Empty(t, *r.EndTime)
	require.WithinDuration(t, time.Now(), time.Time(*r.StartTime), patience)

	all := []string{discarded, succeeded, failed, retried, running, next, waiting}
	page, ids := a.list(t, func(*model.ListAsyncInvocationsRequest) {})
	require.Equal(t, all, ids, "in the order of their acceptance")
	require.EqualValues(t, len(all), *page.Count)
	require.Zero(t, *page.NextMarker)
	for status, want := range map[string][]string{"WAIT": {retried, next, waiting}, "RUNNING": {running}, "DISCARD": {discarded}, "SUCCESS": {succeeded}, "FAIL": {failed}} {
		page, ids = a.list(t, func(r *model.ListAsyncInvocationsRequest) { r.Status = &status })
		require.Equal(t, want, ids, status)
		for _, r := range *page.Invocations {
			require.Equal(t, status, r.Status.Value())
		}
		if status != "WAIT" && status != "RUNNING" {
			want = []string{}
		}
		_, ids = a.active(t, func(r *model.ListActiveAsyncInvocationsRequest) { r.Status = &status })
		require.Equal(t, want, ids, status)
	}

	// By id: one, or several of the active ones.
	_, ids = a.list(t, func(r *model.ListAsyncInvocationsRequest) { r.RequestId, r.Status = &failed, text("SUCCESS") })
	require.Empty(t, ids)
	for _, nobody := range []string{unknownID, "x", "*", ">", strings.ToUpper(failed)} {
		page, ids = a.list(t, func(r *model.ListAsyncInvocationsRequest) { r.RequestId = &nobody })
		require.Empty(t, ids, nobody)
		require.Zero(t, *page.Count)
	}
	_, ids = a.active(t, func(*model.ListActiveAsyncInvocationsRequest) {})
	require.Equal(t, all[3:], ids)
	_, ids = a.active(t, func(r *model.ListActiveAsyncInvocationsRequest) {
		r.Requests = text(strings.Join([]string{waiting, succeeded, unknownID, retried, "x"}, ","))
	})
	require.Equal(t, []string{retried, waiting}, ids)
	_, ids = a.active(t, func(r *model.ListActiveAsyncInvocationsRequest) {
		r.Requests, r.Status = text(running+","+waiting), text("RUNNING")
	})
	require.Equal(t, []string{running}, ids)
	_, ids = a.active(t, func(r *model.ListActiveAsyncInvocationsRequest) { r.Requests = &waiting })
	require.Equal(t, []string{waiting}, ids)
	ten := strings.Repeat(waiting+",", 9) + running
	_, ids = a.active(t, func(r *model.ListActiveAsyncInvocationsRequest) { r.Requests = &ten })
	require.Equal(t, []string{running, waiting}, ids)

	// Pages.
	for _, c := range []struct{ marker, limit, from, to, next int }{{0, 2, 0, 2, 2}, {2, 4, 2, 6, 6}, {6, 1, 6, 7, 0}, {6, 500, 6, 7, 0}, {0, 0, 0, 7, 0}, {7, 1, 7, 7, 0}, {1000, 1, 7, 7, 0}} {
		page, ids := a.list(t, func(r *model.ListAsyncInvocationsRequest) {
			r.Marker, r.Limit = text(strconv.Itoa(c.marker)), text(strconv.Itoa(c.limit))
		})
		require.Equal(t, all[c.from:c.to], ids)
		require.EqualValues(t, len(all), *page.Count)
		require.EqualValues(t, c.next, *page.NextMarker)
	}
	activePage, ids := a.active(t, func(r *model.ListActiveAsyncInvocationsRequest) { r.Marker, r.Limit = text("1"), text("2") })
	require.Equal(t, all[4:6], ids)
	require.EqualValues(t, 4, *activePage.Count)
	require.EqualValues(t, 3, *activePage.NextMarker)

	open()
	for _, id := range []string{running, next, waiting} {
		require.Equal(t, "SUCCESS", a.reaches(id, "SUCCESS").Status.Value())
	}
	_, ids = a.active(t, func(*model.ListActiveAsyncInvocationsRequest) {})
	require.Equal(t, []string{retried}, ids)
}

func TestAsyncRecordsByTime(t *testing.T) {
	a := startAgent(t)
	first := a.accept("hello", map[string]any{})
	between := time.Now().Truncate(time.Second).Add(time.Second)
	time.Sleep(time.Until(between.Add(often))) // times have seconds, and nothing smaller
	second := a.accept("hello", map[string]any{})
	a.reaches(first, "SUCCESS")
	a.reaches(second, "SUCCESS")
	at := func(moment time.Time) *sdktime.SdkTime {
		if moment.IsZero() {
			return nil
		}
		s := sdktime.SdkTime(moment.UTC()) // the SDK writes a Z behind whatever the zone is
		return &s
	}
	never, both := time.Time{}, []string{first, second}
	for _, c := range []struct {
		begin, end time.Time
		want       []string
	}{
		{never, never, both},
		{between.Add(-time.Minute), never, both},
		{between, never, both[1:]},
		{between.Add(time.Minute), never, []string{}},
		{never, between.Add(time.Minute), both},
		{never, between, both[:1]},
		{never, between.Add(-time.Minute), []string{}},
		{between.Add(-time.Minute), between.Add(time.Minute), both},
		{between, between.Add(time.Minute), both[1:]},
		{between.Add(time.Minute), between.Add(-time.Minute), []string{}},
		{between.Add(-48 * time.Hour), between.Add(-2 * time.Hour), []string{}},
	} {
		_, ids := a.list(t, func(r *model.ListAsyncInvocationsRequest) { r.QueryBeginTime, r.QueryEndTime = at(c.begin), at(c.end) })
		require.Equal(t, c.want, ids, "%s to %s", c.begin, c.end)
	}
	_, ids := a.list(t, func(r *model.ListAsyncInvocationsRequest) { r.RequestId, r.QueryEndTime = &second, at(between) })
	require.Empty(t, ids)

	open := a.gate("gate")
	third := a.accept("hello", map[string]any{"gate": "gate"})
	_, ids = a.active(t, func(r *model.ListActiveAsyncInvocationsRequest) { r.QueryBeginTime = at(between) })
	require.Equal(t, []string{third}, ids)
	_, ids = a.active(t, func(r *model.ListActiveAsyncInvocationsRequest) { r.QueryEndTime = at(between) })
	require.Empty(t, ids)
	open()
	a.reaches(third, "SUCCESS")
}

func TestAsyncRecordsRefused(t *testing.T) {
	a := startAgent(t)
	eleven := strings.Repeat(unknownID+",", 10) + unknownID
	for _, c := range []struct {
		status, marker, limit *string
		says                  string
	}{
		{text("DONE"), nil, nil, "WAIT, RUNNING, SUCCESS, FAIL, DISCARD"},
		{text("wait"), nil, nil, "WAIT, RUNNING, SUCCESS, FAIL, DISCARD"},
		{nil, text("-1"), nil, "marker"},
		{nil, text("x"), nil, "marker"},
		{nil, nil, text("-1"), "limit"},
		{nil, nil, text("501"), "limit is 501"},
		{nil, nil, text("x"), "limit"},
	} {
		_, err := a.client().ListAsyncInvocations(&model.ListAsyncInvocationsRequest{FunctionUrn: "hello", ContentType: contentType, Status: c.status, Marker: c.marker, Limit: c.limit})
		requireRefusal(t, err, 400, "FSS.1001", c.says)
		_, err = a.client().ListActiveAsyncInvocations(&model.ListActiveAsyncInvocationsRequest{FunctionUrn: "hello", ContentType: contentType, Status: c.status, Marker: c.marker, Limit: c.limit})
		requireRefusal(t, err, 400, "FSS.1001", c.says)
	}
	_, err := a.client().ListActiveAsyncInvocations(&model.ListActiveAsyncInvocationsRequest{FunctionUrn: "hello", ContentType: contentType, Requests: &eleven})
	requireRefusal(t, err, 400, "FSS.1001", "11 ids")
}

func cancellation(function, id string) *model.CancelAsyncInvocationRequest {
	return &model.CancelAsyncInvocationRequest{FunctionUrn: function, ContentType: contentType, Body: &model.CancelAsyncInvocationRequestBody{RequestId: id}}
}

func (a *agent) cancel(function, id string, kind *model.CancelAsyncInvocationRequestBodyType) {
	a.t.Helper()
	request := cancellation(function, id)
	request.Body.Type = kind
	r, err := a.client().CancelAsyncInvocation(request)
	require.NoError(a.t, err)
	require.Equal(a.t, 200, r.HttpStatusCode)
}

func TestAsyncCancel(t *testing.T) {
	const canceled = 4208
	a := startAgent(t, "GANTRY_ASYNC_RETRY_DELAY=1h")
	kinds := model.GetCancelAsyncInvocationRequestBodyTypeEnum()
	retried := a.acceptRetried()
	a.gate("never")
	running := a.accept("hello", map[string]any{"gate": "never"})
	a.reaches(running, "RUNNING")
	eventually(t, func(c *assert.CollectT) { require.Len(c, a.starts(c, running), 1) })
	var waiting []string // the first may have left the queue and wait for the worker
	for range 4 {
		waiting = append(waiting, a.accept("hello", map[string]any{}))
	}

	for id, kind := range map[string]*model.CancelAsyncInvocationRequestBodyType{waiting[0]: nil, waiting[1]: &kinds.FORCE, waiting[2]: &kinds.RECURSIVE, retried: nil} {
		a.cancel("hello", id, kind)
		r := a.record(t, id)
		require.Equal(t, "DISCARD", r.Status.Value())
		require.EqualValues(t, canceled, *r.ErrorCode)
		require.Contains(t, *r.ErrorMessage, "canceled")
		require.NotEmpty(t, *r.EndTime)
	}
	a.cancel(urn("!prod"), running, &kinds.FORCE)
	r := a.reaches(running, "FAIL")
	require.EqualValues(t, canceled, *r.ErrorCode)
	require.Contains(t, *r.ErrorMessage, "canceled")
	a.reaches(waiting[3], "SUCCESS")

	for _, id := range []string{retried, running, waiting[0], waiting[3], unknownID, "x", "*", ">"} {
		_, err := a.client().CancelAsyncInvocation(cancellation("hello", id))
		requireRefusal(t, err, 400, "FSS.0400", "Invalid RequestId")
	}
	var bad model.CancelAsyncInvocationRequestBodyType
	require.NoError(t, bad.UnmarshalJSON([]byte(`"gentle"`)))
	request := cancellation("hello", unknownID)
	request.Body.Type = &bad
	_, err := a.client().CancelAsyncInvocation(request)
	requireRefusal(t, err, 400, "FSS.0400", `type is "gentle"`)
	for _, body := range []*model.CancelAsyncInvocationRequestBody{{}, nil} {
		_, err = a.client().CancelAsyncInvocation(&model.CancelAsyncInvocationRequest{FunctionUrn: "hello", ContentType: contentType, Body: body})
		requireRefusal(t, err, 400, "FSS.0400", "request_id")
	}
	for id, starts := range map[string]int{retried: 1, running: 1, waiting[0]: 0, waiting[1]: 0, waiting[2]: 0, waiting[3]: 1} {
		require.Len(t, a.starts(t, id), starts)
	}
}

func TestAsyncStatusLog(t *testing.T) {
	a := startAgent(t)
	enabled, err := a.client().EnableAsyncStatusLog(&model.EnableAsyncStatusLogRequest{ContentType: contentType})
	require.NoError(t, err)
	require.Equal(t, 200, enabled.HttpStatusCode)
	shown, err := a.client().ShowProjectAsyncStatusLogInfo(&model.ShowProjectAsyncStatusLogInfoRequest{ContentType: contentType})
	require.NoError(t, err)
	require.Equal(t, 200, shown.HttpStatusCode)
	require.Equal(t, "function-async-log-group-"+project, *shown.GroupName)
	require.Equal(t, *shown.GroupName, *shown.GroupId)
	require.Equal(t, "function-async-log-stream-"+project, *shown.StreamName)
	require.Equal(t, *shown.StreamName, *shown.StreamId)

	on := true
	a.configure(urn("!prod"), &model.UpdateFunctionAsyncInvokeConfigRequestBody{MaxAsyncRetryAttempts: number(0), EnableAsyncStatusLog: &on})
	silent := a.accept("hello", map[string]any{})
	a.reaches(silent, "SUCCESS")
	failed := a.accept(urn("!prod"), map[string]any{"fail": true})
	a.reaches(failed, "FAIL")
	eventually(t, func(c *assert.CollectT) { require.Equal(c, []string{"RUNNING 0", "FAIL 4002"}, a.statusLog(failed)) })
	require.Empty(t, a.statusLog(silent))
}

func TestAsyncRetries(t *testing.T) {
	a := startAgent(t, "GANTRY_ASYNC_RETRY_DELAY=10ms")
	a.configure(urn("!prod"), &model.UpdateFunctionAsyncInvokeConfigRequestBody{MaxAsyncRetryAttempts: number(2)})
	for _, c := range []struct {
		function string
		fails    int
		status   string
		starts   int
	}{
		{urn("!prod"), 0, "SUCCESS", 1},
		{urn("!prod"), 2, "SUCCESS", 3},
		{urn("!prod"), 3, "FAIL", 3},
		{"hello", 1, "FAIL", 1}, // nothing is configured
	} {
		id := a.accept(c.function, map[string]any{"fails": c.fails})
		r := a.reaches(id, c.status)
		if c.status == "FAIL" {
			require.EqualValues(t, 4002, *r.ErrorCode)
			require.Contains(t, *r.ErrorMessage, "asked to fail")
		} else {
			require.Zero(t, *r.ErrorCode)
			require.Empty(t, *r.ErrorMessage)
		}
		require.Len(t, a.starts(t, id), c.starts)
	}
	a.configure("hello", &model.UpdateFunctionAsyncInvokeConfigRequestBody{})
	id := a.accept("hello", map[string]any{"fails": 1})
	a.reaches(id, "SUCCESS")
	require.Len(t, a.starts(t, id), 2, "one retry is the default of a configuration")
	_, err := a.remove("hello")
	require.NoError(t, err)
	a.reaches(a.accept("hello", map[string]any{"fails": 1}), "FAIL")
}

// outcomeMessage waits for the file of a destination that has no endpoint, and reads it.
func (a *agent) outcomeMessage(name string) (n map[string]any) {
	a.t.Helper()
	file := filepath.Join(a.folder, "data", "notifications", name)
	eventually(a.t, func(c *assert.CollectT) {
		body, err := os.ReadFile(file)
		require.NoError(c, err)
		n = nil
		decoder := json.NewDecoder(bytes.NewReader(body))
		require.NoError(c, decoder.Decode(&n))
	})
	return n
}

func TestAsyncDestinations(t *testing.T) {
	a := startAgent(t, "GANTRY_ASYNC_RETRY_DELAY=10ms")
	set := func(function, kind, param string) {
		d := destination(t, kind, param)
		a.configure(function, &model.UpdateFunctionAsyncInvokeConfigRequestBody{DestinationConfig: &model.FuncAsyncDestinationConfig{OnSuccess: d, OnFailure: d}})
	}
	check := func(name, id, condition string, status, attempts int, message string, event, result any) {
		t.Helper()
		n := a.outcomeMessage(name)
		at, err := time.Parse(time.RFC3339, fmt.Sprint(n["timestamp"]))
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), at, patience)
		require.Equal(t, map[string]any{"request_id": id, "function_urn": urn("latest"), "condition": condition, "approximate_invoke_count": float64(attempts)}, n["request_context"])
		require.Equal(t, event, n["request_payload"])
		response := n["response_context"].(map[string]any)
		require.EqualValues(t, status, response["status_code"])
		if message == "" {
			require.Equal(t, "", response["function_error"])
			require.Equal(t, result, n["response_payload"])
		} else {
			require.Contains(t, response["function_error"], message)
			require.Contains(t, fmt.Sprint(n["response_payload"]), message)
		}
	}
	good, bad := map[string]any{"k": "ü <&>"}, map[string]any{"fail": true}
	result := map[string]any{"got": good}

	set("hello", "OBS", `{"bucket":"outcomes","prefix":"a/b","expires":1}`)
	before := time.Now().UTC()
	id := a.accept("hello", good)
	a.reaches(id, "SUCCESS")
	day := before.Format("2006/01/02")
	if now := time.Now().UTC(); now.Day() != before.Day() {
		if _, err := os.Stat(filepath.Join(a.folder, "data", "notifications", "OBS", "outcomes", "a", "b", "hello", day)); err != nil {
			day = now.Format("2006/01/02")
		}
	}
	check("OBS/outcomes/a/b/hello/"+day+"/"+id+".json", id, "", 200, 1, "", good, result)

	set("hello", "SMN", `{"topic_urn":"urn:smn:local-1:p:topic"}`)
	id = a.accept("hello", bad)
	a.reaches(id, "FAIL")
	check("SMN/urn:smn:local-1:p:topic/"+id+".json", id, "RetriesExhausted", 200, 2, "asked to fail", bad, nil)

	set(urn("!prod"), "DIS", `{"stream_name":"stream"}`)
	id = a.accept(urn("!prod"), good)
	check("DIS/stream/"+id+".json", id, "", 200, 1, "", good, result)

	set(urn("!prod"), "FunctionGraph", `{"func_urn":"urn:fss:local-1:p:function:default:other:latest"}`)
	id = a.accept(urn("!prod"), bad)
	check("FunctionGraph/urn:fss:local-1:p:function:default:other:latest/"+id+".json", id, "RetriesExhausted", 200, 2, "asked to fail", bad, nil)

	// To the function that runs here: the outcome message is an event of its own.
	_, err := a.remove("hello")
	require.NoError(t, err)
	set(urn("!prod"), "FunctionGraph", `{"func_urn":"`+urn("latest")+`"}`)
	id = a.accept(urn("!prod"), map[string]any{"first": true})
	eventually(t, func(c *assert.CollectT) {
		var caused []start
		for _, s := range a.journal(c) {
			if cause, ok := s.Event["request_context"].(map[string]any); ok && cause["request_id"] == id {
				caused = append(caused, s)
			}
		}
		require.Len(c, caused, 1)
		require.NotEqual(c, id, caused[0].ID)
		require.Equal(c, map[string]any{"first": true}, caused[0].Event["request_payload"])
		require.Equal(c, "SUCCESS", a.record(c, caused[0].ID).Status.Value())
	})
}

// TestAsyncDestinationOfCancelled: the destination of failures gets cancelled requests too.
func TestAsyncDestinationOfCancelled(t *testing.T) {
	a := startAgent(t)
	a.configure("hello", &model.UpdateFunctionAsyncInvokeConfigRequestBody{DestinationConfig: &model.FuncAsyncDestinationConfig{OnFailure: destination(t, "DIS", `{"stream_name":"stream"}`)}})
	a.gate("never")
	running := a.accept("hello", map[string]any{"gate": "never"})
	a.reaches(running, "RUNNING")
	next := a.accept("hello", map[string]any{})
	waiting := a.accept("hello", map[string]any{})
	for _, id := range []string{waiting, next, running} {
		a.cancel("hello", id, nil)
		n := a.outcomeMessage("DIS/stream/" + id + ".json")
		require.Equal(t, id, n["request_context"].(map[string]any)["request_id"])
		require.Equal(t, "Canceled", n["request_context"].(map[string]any)["condition"])
		require.Contains(t, n["response_context"].(map[string]any)["function_error"], "canceled")
	}
}

// TestAsyncRestart: accepted requests run, in this process or the next one, and requests with an outcome do not run
// again.
func TestAsyncRestart(t *testing.T) {
	a := startAgent(t, "GANTRY_SHUTDOWN_TIMEOUT=3", "GANTRY_ASYNC_RETRY_DELAY=10ms")
	open := a.gate("gate")
	a.configure(urn("!prod"), &model.UpdateFunctionAsyncInvokeConfigRequestBody{MaxAsyncRetryAttempts: number(3), DestinationConfig: &model.FuncAsyncDestinationConfig{OnSuccess: destination(t, "DIS", `{"stream_name":"stream"}`)}})
	want := map[string]string{}
	starts := map[string]int{}
	succeeded := a.accept("hello", map[string]any{})
	a.reaches(succeeded, "SUCCESS")
	want[succeeded], starts[succeeded] = "SUCCESS", 1
	failed := a.accept("hello", map[string]any{"fail": true})
	a.reaches(failed, "FAIL")
	want[failed], starts[failed] = "FAIL", 1
	slow := a.accept("hello", map[string]any{"gate": "gate"})
	eventually(t, func(c *assert.CollectT) { require.Len(c, a.starts(c, slow), 1) })
	want[slow], starts[slow] = "SUCCESS", 2
	var waiting []string
	for n := range 20 {
		id := a.accept(urn("!prod"), map[string]any{"n": n, "fails": n % 2})
		want[id], starts[id] = "SUCCESS", 1+n%2
		waiting = append(waiting, id)
	}
	cancelled := waiting[len(waiting)-1]
	a.cancel("hello", cancelled, nil)
	want[cancelled], starts[cancelled] = "DISCARD", 0

	a.Stop()
	require.Zero(t, a.Cmd.ProcessState.ExitCode(), a.Stderr)
	require.Len(t, a.journal(t), 3, "nothing else has run")
	open()
	a.start()
	for id, status := range want {
		a.reaches(id, status)
		require.Len(t, a.starts(t, id), starts[id], "%s, %s", id, status)
	}
	for _, id := range waiting[:len(waiting)-1] {
		n := a.outcomeMessage("DIS/stream/" + id + ".json")
		require.Equal(t, id, n["request_context"].(map[string]any)["request_id"])
	}
	got, err := a.show(urn("!prod"))
	require.NoError(t, err)
	require.EqualValues(t, 3, *got.MaxAsyncRetryAttempts)
	page, _ := a.list(t, func(*model.ListAsyncInvocationsRequest) {})
	require.EqualValues(t, len(want), *page.Count)

	a.Stop()
	a.start() // and nothing is left
	_, ids := a.active(t, func(*model.ListActiveAsyncInvocationsRequest) {})
	require.Empty(t, ids)
	a.reaches(a.accept("hello", map[string]any{}), "SUCCESS")
	for id, n := range starts {
		require.Len(t, a.starts(t, id), n)
	}
}
