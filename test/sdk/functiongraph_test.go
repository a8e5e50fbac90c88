// Package sdk drives the platform API with the platform's official Go SDK.
package sdk

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/basic"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/region"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/sdkerr"
	functiongraph "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/functiongraph/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/functiongraph/v2/model"
	"github.com/stretchr/testify/require"
)

func text(s string) *string { return &s }

// invocation is the request for a v1 answer with the log.
func invocation(function string, event map[string]any) *model.InvokeFunctionRequest {
	return &model.InvokeFunctionRequest{FunctionUrn: function, ContentType: "application/json", XCffLogType: text("tail"), XCFFRequestVersion: text("v1"), Body: event}
}

// refusal returns the SDK's error for a refused call.
func refusal(t *testing.T, err error) *sdkerr.ServiceResponseError {
	t.Helper()
	var e *sdkerr.ServiceResponseError
	require.True(t, errors.As(err, &e), "%T: %v", err, err)
	require.Len(t, e.RequestId, 36, "X-Request-Id")
	require.NotEmpty(t, e.ErrorMessage)
	return e
}

func TestInvoke(t *testing.T) {
	client := startAgent(t).client()
	for _, function := range []string{"hello", "default:hello", project + ":default:hello", project + ":default:hello:latest", project + ":default:hello:!prod", urn("latest"), urn("!prod"), strings.TrimSuffix(urn(""), ":")} {
		r, err := client.InvokeFunction(invocation(function, map[string]any{"k": "v", "ü": "<&>"}))
		require.NoError(t, err, function)
		require.Equal(t, 200, r.HttpStatusCode)
		require.EqualValues(t, 200, *r.Status)
		require.JSONEq(t, `{"got":{"k":"v","ü":"<&>"}}`, *r.Result, function)
		require.Equal(t, *r.RequestId, *r.XCffRequestId)
		require.Contains(t, *r.Log, "Start invoke request '"+*r.RequestId+"', version: latest\n")
		require.Contains(t, *r.Log, " INFO got {")
		require.Contains(t, *r.Log, "Finish invoke request '"+*r.RequestId)
	}
}

func TestInvokeText(t *testing.T) {
	client := startAgent(t).client()
	request := invocation("hello", map[string]any{"k": "v"})
	request.XCFFRequestVersion, request.XCffLogType = nil, nil
	r, err := client.InvokeFunction(request)
	require.NoError(t, err)
	require.Equal(t, 200, r.HttpStatusCode)
	require.Nil(t, r.Result, "v0: the answer is the function's own, which the SDK has no field for")
	require.Len(t, *r.XCffRequestId, 36)
}

func TestFailuresOfTheFunctionAreAnswers(t *testing.T) {
	client := startAgent(t, "RUNTIME_TIMEOUT=2").client()
	cases := []struct {
		event  map[string]any
		status int32
		says   string
	}{
		{map[string]any{"fail": true}, 500, "asked to fail"},
		{map[string]any{"exit": true}, 502, "runtime process is exited"},
		{map[string]any{"wait": 60000}, 504, "call invoke timeout"},
		{map[string]any{"big": 6<<20 + 1}, 500, "6291456"},
	}
	for _, c := range cases {
		r, err := client.InvokeFunction(invocation("hello", c.event))
		require.NoError(t, err, c.says)
		require.Equal(t, c.status, *r.Status, *r.Result)
		require.Contains(t, *r.Result, c.says)
		require.Contains(t, *r.Log, "(invoke Failed)")
	}
}

func TestRefusedCalls(t *testing.T) {
	client := startAgent(t).client()
	memory := func(mb string) *model.InvokeFunctionRequest {
		r := invocation("hello", map[string]any{})
		r.XCffInstanceMemory = &mb
		return r
	}
	version := invocation("hello", map[string]any{})
	version.XCFFRequestVersion = text("v2")
	cases := []struct {
		request *model.InvokeFunctionRequest
		status  int
		code    string
	}{
		{invocation("other", map[string]any{}), 404, "FSS.1051"},
		{invocation("app:hello", map[string]any{}), 404, "FSS.1051"},
		{invocation(urn("v7"), map[string]any{}), 404, "FSS.1052"},
		{invocation(urn("!test"), map[string]any{}), 404, "FSS.1053"},
		{invocation("a:b:c:d:e", map[string]any{}), 400, "FSS.1309"},
		{memory("100"), 400, "FSS.1007"},
		{version, 400, "FSS.0400"},
		{invocation("hello", map[string]any{"x": strings.Repeat("x", 6<<20)}), 413, "FSS.0413"},
	}
	for _, c := range cases {
		_, err := client.InvokeFunction(c.request)
		e := refusal(t, err)
		require.Equal(t, c.status, e.StatusCode, e.ErrorMessage)
		require.Equal(t, c.code, e.ErrorCode, e.ErrorMessage)
	}
	r, err := client.InvokeFunction(memory("1024"))
	require.NoError(t, err)
	require.Contains(t, *r.Log, "billing memory: 1024MB")
}

func TestCredentialsOfCallersStayOutside(t *testing.T) {
	client := startAgent(t).client()
	r, err := client.InvokeFunction(invocation(urn("!prod"), map[string]any{"context": true}))
	require.NoError(t, err)
	got := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(*r.Result), &got), *r.Result)
	require.Equal(t, "prod", got["alias"])
	require.Empty(t, got["ak"])
	require.Empty(t, got["token"])
}

func TestCredentials(t *testing.T) {
	a := startAgent(t)
	const temporary, over = "SKTEMP0000000000000000000000000000000001", "SKOVER0000000000000000000000000000000001"
	good := []func(*basic.CredentialsBuilder){
		keys(access, secret, ""),
		keys(access, secret, "ignored-for-a-permanent-key"),
		keys("AKTEMP00000000000001", temporary, "temporary-token"),
	}
	for i, c := range good {
		_, err := a.client(c).InvokeFunction(invocation("hello", map[string]any{}))
		require.NoError(t, err, i)
	}
	bad := []struct {
		credentials func(*basic.CredentialsBuilder)
		status      int
		code, says  string
	}{
		{keys(access, secret+"x", ""), 401, "APIGW.0301", "verify aksk signature fail"},
		{keys("AKNOBODY", secret, ""), 401, "APIGW.0301", "ak not exist"},
		{keys("AKTEMP00000000000001", temporary, "another-token"), 401, "APIGW.0301", "X-Security-Token"},
		{keys("AKTEMP00000000000001", temporary, ""), 401, "APIGW.0301", "X-Security-Token"},
		{keys("AKOVER00000000000001", over, "temporary-token"), 401, "APIGW.0301", "expired"},
		{keys("AKREADER000000000001", "SKREADER00000000000000000000000000000001", ""), 403, "FSS.0403", "may not do FunctionGraph:function:invoke"},
	}
	for _, c := range bad {
		_, err := a.client(c.credentials).InvokeFunction(invocation("hello", map[string]any{}))
		e := refusal(t, err)
		require.Equal(t, c.status, e.StatusCode, e.ErrorMessage)
		require.Equal(t, c.code, e.ErrorCode, e.ErrorMessage)
		require.Contains(t, e.ErrorMessage, c.says)
	}
	_, err := a.client(func(b *basic.CredentialsBuilder) { b.WithProjectId("another") }).InvokeFunction(invocation("hello", map[string]any{}))
	require.Equal(t, "FSS.0403", refusal(t, err).ErrorCode)
	for _, hidden := range []string{secret, temporary, "temporary-token", "correct horse"} {
		require.NotContains(t, a.Stderr.String(), hidden)
	}
}

// TestProjectIsFound: a client that only knows its region asks IAM for the project.
func TestProjectIsFound(t *testing.T) {
	a := startAgent(t)
	credentials, err := basic.NewCredentialsBuilder().WithAk(access).WithSk(secret).WithIamEndpointOverride(a.url).SafeBuild()
	require.NoError(t, err)
	http, err := functiongraph.FunctionGraphClientBuilder().WithRegion(region.NewRegion("local-1", a.url)).WithCredential(credentials).SafeBuild()
	require.NoError(t, err)
	r, err := functiongraph.NewFunctionGraphClient(http).InvokeFunction(invocation("hello", map[string]any{"k": 1}))
	require.NoError(t, err)
	require.JSONEq(t, `{"got":{"k":1}}`, *r.Result)
}
