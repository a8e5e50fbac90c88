package async

import (
	"encoding/json"
	"fmt"
	"gantry/async/destination"
	"gantry/fault"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

// TestRecursiveCancelReachesTheLastOfThreeFunctions follows an outcome over three functions on one server: the last
// one runs.
func TestRecursiveCancelReachesTheLastOfThreeFunctions(t *testing.T) {
	s, end := startServer(t, t.TempDir()), make(chan struct{})
	defer close(end)
	named := func(name string, f *testFunction) *Queue {
		q := open(t, s, f, func(c *Config) {
			fn := *c.Function
			fn.Name = name
			c.Function, c.Folder, c.Log = &fn, t.TempDir(), zap.NewNop()
		})
		require.NoError(t, q.Start(t.Context()))
		return q
	}
	last := &testFunction{}
	last.answer = func(_ int, inv *fncontext.Invocation, _ string) *fault.Error { return last.block(inv, end) }
	third := named("third", last)
	second := named("second", &testFunction{})
	configure(t, second, &Destination{"FunctionGraph", `{"func_urn":"third"}`}, nil)
	first := named("first", &testFunction{})
	configure(t, first, &Destination{"FunctionGraph", `{"func_urn":"second"}`}, &Destination{"FunctionGraph", `{"func_urn":"third"}`})

	id := accept(t, first, "{}")
	require.Eventually(t, func() bool { return last.calls() == 1 }, patience, time.Millisecond)
	requireFault(t, first.Cancel(t.Context(), id, false), fault.Invalid, "Invalid RequestId")
	require.Eventually(t, func() bool { return first.Cancel(t.Context(), id, true) == nil }, patience, 5*time.Millisecond, "until every outcome is linked")
	r := waitStatus(t, third, last.seen[0].RequestID, Fail)
	require.Equal(t, fault.CodeCanceled, r.ErrorCode)
	require.Equal(t, Success, one(t, first, id).Status, "an outcome stays")
	requireFault(t, first.Cancel(t.Context(), id, true), fault.Invalid, "Invalid RequestId")
}

// TestRecursiveCancelNotifiesServicesButNoFunction: the failure of what is cancelled goes to a service, but to no
// function.
func TestRecursiveCancelNotifiesServicesButNoFunction(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	for _, recursive := range []bool{true, false} {
		f := &testFunction{}
		f.answer = func(_ int, inv *fncontext.Invocation, _ string) *fault.Error { return f.block(inv, end) }
		q := open(t, startServer(t, t.TempDir()), f, func(c *Config) { c.Folder, c.Parallel = t.TempDir(), 1 })
		configure(t, q, nil, &Destination{"FunctionGraph", `{"func_urn":"nobody"}`})
		running := accept(t, q, "{}")
		waitStatus(t, q, running, Running)
		waiting := accept(t, q, "{}")
		require.NoError(t, q.Cancel(t.Context(), waiting, recursive))
		require.Eventually(t, func() bool { return q.Cancel(t.Context(), running, recursive) == nil }, patience, time.Millisecond)
		waitStatus(t, q, running, Fail)
		pattern := q.cfg.Folder + "/notifications/FunctionGraph/nobody/"
		if !recursive {
			sent(t, pattern+running+".json")
			sent(t, pattern+waiting+".json")
			continue
		}
		// What follows is sent after what was cancelled would have been.
		configure(t, q, nil, &Destination{"DIS", `{"stream_name":"s"}`})
		f.answer = func(int, *fncontext.Invocation, string) *fault.Error {
			return &fault.Error{Kind: fault.Function, Code: fault.CodeInvocation}
		}
		sent(t, q.cfg.Folder+"/notifications/DIS/s/"+accept(t, q, "{}")+".json")
		require.NoDirExists(t, pattern)
	}
}

// TestRecursiveCancelStopsOrFollowsAnOutcomeMessage: the outcome of what is cancelled could not be sent to its
// function yet.
func TestRecursiveCancelStopsOrFollowsAnOutcomeMessage(t *testing.T) {
	var mu sync.Mutex
	var paths []string
	refuse := true
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		paths = append(paths, r.URL.EscapedPath()+" "+string(body))
		switch {
		case refuse:
			w.Header().Set("Retry-After", "3600")
			http.Error(w, "later", http.StatusServiceUnavailable)
		case strings.HasSuffix(r.URL.Path, "/cancel") && strings.Contains(string(body), "gone"):
			http.Error(w, "Invalid RequestId", http.StatusBadRequest)
		default:
			fmt.Fprint(w, `{"request_id":"theirs"}`)
		}
	}))
	defer service.Close()
	seen := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string{}, paths...)
	}
	const other = "urn:fss:r:q:function:default:other"
	q := open(t, startServer(t, t.TempDir()), &testFunction{}, func(c *Config) {
		c.Endpoints = &destination.Endpoints{Functions: map[string]destination.Endpoint{other: {URL: service.URL}}}
		c.Log = zap.NewNop()
	})
	configure(t, q, &Destination{"FunctionGraph", `{"func_urn":"` + other + `"}`}, nil)
	id := accept(t, q, "{}")
	require.Eventually(t, func() bool { return len(seen()) == 1 }, patience, time.Millisecond)
	require.NoError(t, q.Cancel(t.Context(), id, true), "it waits for an hour")
	requireFault(t, q.Cancel(t.Context(), id, true), fault.Invalid, "Invalid RequestId")

	mu.Lock()
	refuse = false
	mu.Unlock()
	id = accept(t, q, "{}")
	require.Eventually(t, func() bool { return len(seen()) == 2 }, patience, time.Millisecond)
	waitStatus(t, q, id, Success)
	require.Eventually(t, func() bool { return q.Cancel(t.Context(), id, true) == nil }, patience, time.Millisecond)
	all := seen()
	path, body, _ := strings.Cut(all[len(all)-1], " ")
	require.Equal(t, "/v2/q/fgs/functions/"+other+"/cancel", path)
	sentBody := map[string]string{}
	require.NoError(t, json.Unmarshal([]byte(body), &sentBody))
	require.Equal(t, map[string]string{"request_id": "theirs", "type": "recursive"}, sentBody)
}
