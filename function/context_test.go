package function

import (
	"context"
	"encoding/json"
	"fmt"
	"gantry/function/internal/require"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// noSink is for calls that log nothing.
type noSink struct{}

func (noSink) log(*call, string, string) {}

func testCall(t *testing.T, meta string) *call {
	t.Helper()
	c := newCall(testFunction(func(context.Context, any) (any, error) { return nil, nil }), noSink{})
	require.NoError(t, c.info.read([]byte(meta)))
	return c
}

func TestFromContextFindsTheCallInDerivedContexts(t *testing.T) {
	require.Nil(t, FromContext(t.Context()))
	c := testCall(t, fmt.Sprintf(`{"requestId":"r","deadline":%d}`, time.Now().Add(time.Hour).UnixMilli()))
	child, cancel := context.WithTimeout(context.WithValue(c, noSink{}, 1), time.Minute)
	defer cancel()
	for _, ctx := range []context.Context{c, child, context.WithoutCancel(child)} {
		require.Equal(t, "r", FromContext(ctx).GetRequestID())
	}
	require.Equal(t, 1, child.Value(noSink{}))
	require.Nil(t, c.Value(noSink{}))
	require.NotContains(t, fmt.Sprint(child), "0x")
}

// TestCallContextBehavesLikeAStandardContext: a call is a context like those of the standard library, whether Done
// was asked for before its end or after.
func TestCallContextBehavesLikeAStandardContext(t *testing.T) {
	later := fmt.Sprintf(`{"requestId":"r","deadline":%d}`, time.Now().Add(time.Hour).UnixMilli())
	const past = `{"requestId":"r","deadline":1000.5}`
	for name, test := range map[string]struct {
		meta      string
		end, ask  bool
		err       error
		remaining bool
	}{
		"under way":               {meta: later, remaining: true},
		"under way, asked":        {meta: later, ask: true, remaining: true},
		"ended":                   {meta: later, end: true, err: context.Canceled, remaining: true},
		"ended, asked":            {meta: later, end: true, ask: true, err: context.Canceled, remaining: true},
		"too late":                {meta: past, err: context.DeadlineExceeded},
		"too late, asked":         {meta: past, ask: true, err: context.DeadlineExceeded},
		"too late and ended":      {meta: past, end: true, err: context.DeadlineExceeded},
		"too late, asked, ended":  {meta: past, end: true, ask: true, err: context.DeadlineExceeded},
		"a deadline out of range": {meta: `{"requestId":"r","deadline":1e300}`, remaining: true},
		"no deadline":             {meta: `{"requestId":"r"}`, err: context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			c := testCall(t, test.meta)
			var child context.Context = c
			if test.ask {
				var cancel context.CancelFunc
				child, cancel = context.WithCancel(c)
				defer cancel()
			}
			if test.end {
				c.end()
				c.end()
			}
			for range 2 { // Done in between changes nothing
				require.Equal(t, test.err, c.Err())
				require.Equal(t, test.err, child.Err())
				require.Equal(t, test.err, context.Cause(c))
				select {
				case <-c.Done():
					require.Error(t, test.err)
				default:
					require.NoError(t, test.err)
				}
			}
			deadline, ok := c.Deadline()
			require.True(t, ok)
			require.Equal(t, test.remaining, deadline.After(time.Now()))
			require.Equal(t, test.remaining, c.info.GetRemainingTimeInMilliSeconds() > 0)
			require.True(t, c.info.GetRemainingTimeInMilliSeconds() >= 0)
			c.end()
		})
	}
}

func TestCredentialsNeverPrint(t *testing.T) {
	const secret = "s3cr3t"
	c := testCall(t, `{"requestId":"r","deadline":1,"credentials":{"accessKey":"`+secret+`","authToken":"`+secret+`"}}`)
	require.Equal(t, secret, c.info.GetAccessKey())
	require.Equal(t, secret, c.info.GetToken())
	info := &c.info
	values := []any{info, *info, c, struct{ inner *Context }{info}, []*Context{info}, context.WithValue(c, noSink{}, info)} // nor may a copy
	texts := []string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range values {
			texts = append(texts, fmt.Sprintf(verb, v))
		}
	}
	document, err := json.Marshal(values)
	require.NoError(t, err)
	var line strings.Builder
	slog.New(slog.NewJSONHandler(&line, nil)).Info("x", "context", info)
	for _, text := range append(texts, string(document), line.String()) {
		require.NotContains(t, text, secret)
		require.NotContains(t, text, fmt.Sprintf("%x", secret))
	}
	require.Equal(t, "<nil>", fmt.Sprint((*Context)(nil)))
}
