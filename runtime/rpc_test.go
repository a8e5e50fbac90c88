package runtime

import (
	"context"
	"gantry/fault"
	"gantry/logger"
	"gantry/runtime/language"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	fncontext "gantry/context"
)

// built compiles the test functions in Go, once for all tests.
var built struct {
	sync.Mutex
	folder   string
	programs map[string]string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.folder != "" {
		_ = os.RemoveAll(built.folder)
	}
	os.Exit(code)
}

// goProgram returns the compiled program of a package.
func goProgram(t *testing.T, pkg string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if built.programs == nil {
		folder, err := os.MkdirTemp("", "gantry-runtime-test")
		require.NoError(t, err)
		built.folder, built.programs = folder, map[string]string{}
	}
	if built.programs[pkg] == "" {
		to := filepath.Join(built.folder, filepath.Base(pkg))
		cmd := exec.Command("go", "build", "-o", to, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		built.programs[pkg] = to
	}
	return built.programs[pkg]
}

// startGo starts a Go function.
func startGo(t *testing.T, program string, opts ...option) *fixture {
	t.Helper()
	return startWorker(t, nil, append([]option{func(c *Config) {
		lang, err := language.ByName("go")
		require.NoError(t, err)
		c.Language, c.Program = lang, program
		c.Function.Handler = fncontext.Handler{File: "handler"}
	}}, opts...)...)
}

func startSDK(t *testing.T, opts ...option) *fixture {
	t.Helper()
	return startGo(t, goProgram(t, "./testdata/sdk"), opts...)
}

// TestSDKResultsOfEveryKindHaveTheRightBytes: what a function of the platform's Go SDK answers, and the bytes of it.
func TestSDKResultsOfEveryKindHaveTheRightBytes(t *testing.T) {
	t.Parallel()
	f := startSDK(t).ready()
	f.logHas("loading")
	cases := []struct {
		event, want string
		text        bool
	}{
		{`{"do":"value","value":{"a": 1}}`, `{"a":1}`, false},
		{`{"do":"value","value":[1,2]}`, `[1,2]`, false},
		{`{"do":"value","value":"<x>"}`, `"\u003cx\u003e"`, true},
		{`{"do":"text","n":5}`, "xxxxx", true},
		{`{"do":"text","n":0}`, "", false},
		{`{"do":"bytes"}`, "\x00\xff", true},
		{`{"do":"raw"}`, `{"do":"raw"}`, false},
		{``, `{"event":{}}`, false}, // an empty event is {}: the SDK would refuse none at all
		{`{"do":"odd"}`, "", false},
	}
	for _, c := range cases {
		r, err := f.invoke(c.event)
		require.NoError(t, err, c.event)
		require.Equal(t, c.want, string(r.Body), c.event)
		require.Equal(t, c.text, r.Text, c.event)
	}
	r, err := f.invoke(`{"do":"raw","x":"` + strings.Repeat("y", 6<<20-100) + `"}`)
	require.NoError(t, err)
	require.Len(t, r.Body, 6<<20-100+len(`{"do":"raw","x":""}`))
}

// TestSDKCollectorKnowsTheMemoryOfTheFunction: Go's collector knows the function's memory, unless the user has said
// something else.
func TestSDKCollectorKnowsTheMemoryOfTheFunction(t *testing.T) {
	t.Parallel()
	memory := func(c *Config) { c.Function.MemoryMB = 128 }
	for want, env := range map[string][]string{"114085068": nil, "52428800": {"GOMEMLIMIT=50MiB"}} {
		r, err := startSDK(t, memory, withEnv(env...)).ready().invoke(`{"do":"memory limit"}`)
		require.NoError(t, err)
		require.Equal(t, want, string(r.Body))
	}
}

func TestSDKErrorsHaveTheirCodeTypeAndBody(t *testing.T) {
	t.Parallel()
	f := startSDK(t).ready()
	cases := []struct {
		event, kind, body string
		code              int
	}{
		{`{"do":"raise"}`, "FunctionReturnError", "{\n    \"errorMessage\": \"no luck\",\n    \"errorType\": \"FunctionReturnError\"\n}", 4001},
		{`{"do":"none"}`, "FunctionReturnError", "{\n    \"errorMessage\": \"response is empty\",\n    \"errorType\": \"FunctionReturnError\"\n}", 4001},
		{`{"do":"panic"}`, "panic", "\"errorMessage\": \"out of luck\",\n    \"errorType\": \"panic\",\n    \"stackTrace\": [\n        \"handle()\"", 4002},
		{`{"do":"text","n":6291457}`, "FunctionResponseTooLarge", "Response body size '6291457' larger than max value '6291456'.", 4004},
		{`not json`, "FunctionReturnError", "invalid character", 4001}, // the SDK does not look at events
	}
	for _, c := range cases {
		_, err := f.invoke(c.event)
		var e *fault.Error
		require.ErrorAs(t, err, &e, c.event)
		require.Equal(t, fault.Function, e.Kind, c.event)
		require.Equal(t, c.code, e.Code, c.event)
		require.Equal(t, c.kind, e.Type, c.event)
		require.Contains(t, string(e.Body), c.body, c.event)
	}
	r, err := f.invoke(`{"do":"text","n":6291456}`)
	require.NoError(t, err, "exactly the limit, and the worker is alive")
	require.Len(t, r.Body, 6291456)
}

// TestAgentRefusesAnSDKResultOverTheLimit: a function that does not look at the limit itself.
func TestAgentRefusesAnSDKResultOverTheLimit(t *testing.T) {
	t.Parallel()
	f := startSDK(t, func(c *Config) {
		for i, kv := range c.Env {
			if strings.HasPrefix(kv, "RUNTIME_MAX_RESP_BODY_SIZE=") {
				c.Env[i] = "RUNTIME_MAX_RESP_BODY_SIZE="
			}
		}
	}).ready()
	_, err := f.invoke(`{"do":"text","n":6291457}`)
	var e *fault.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, 4004, e.Code)
	require.Equal(t, "response body size 6291457 exceeds the limit of 6291456", string(e.Body))
}

// TestSDKResultFarOverTheLimitEndsTheProgram: an answer that is far too large is not read; its call learns why, and
// its program ends.
func TestSDKResultFarOverTheLimitEndsTheProgram(t *testing.T) {
	t.Parallel()
	f := startSDK(t, withConcurrency(8), func(c *Config) {
		for i, kv := range c.Env {
			if strings.HasPrefix(kv, "RUNTIME_MAX_RESP_BODY_SIZE=") {
				c.Env[i] = "RUNTIME_MAX_RESP_BODY_SIZE="
			}
		}
	}).ready()
	neighbour := make(chan error, 1)
	go func() {
		_, err := f.invoke(`{"do":"loop"}`)
		neighbour <- err
	}()
	_, err := f.invoke(`{"do":"text","n":30000000}`)
	e := fault.From(err)
	require.Equal(t, 4004, e.Code, e.Error())
	require.Equal(t, "response body size unknown exceeds the limit of 6291456", string(e.Body))
	select {
	case err := <-neighbour:
		e := fault.From(err)
		require.Equal(t, fault.Crash, e.Kind)
		require.Contains(t, e.Message, "over net/rpc is above the limit of 6356992")
	case <-time.After(30 * time.Second):
		t.Fatal("the program goes on")
	}
}

func TestSDKFunctionGetsThePlatformsHeaders(t *testing.T) {
	t.Parallel()
	f := startSDK(t).ready()
	inv := f.invocation()
	inv.Alias, inv.Workflow = "blue", fncontext.Workflow{ID: "w", RunID: "r", StateID: "s"}
	inv.Credentials = fncontext.NewCredentials(fncontext.Secrets{AccessKey: "ak", SecretKey: "sk", SecurityAccessKey: "sak", SecuritySecretKey: "ssk", SecurityToken: "st", AuthToken: "at"})
	r, err := f.call(inv, `{"do":"headers"}`)
	require.NoError(t, err)
	require.JSONEq(t, `{"X-Cff-Request-Id":"`+inv.RequestID+`","X-Cff-Invoke-Type":"sync","X-Cff-Origin-Version-Tag":"!blue","X-Cff-Workflow-Id":"w","X-Cff-Workflow-Run-Id":"r",
		"X-Cff-Workflow-State-Id":"s","X-Cff-Access-Key":"ak","X-Cff-Secret-Key":"sk","X-Cff-Security-Access-Key":"sak","X-Cff-Security-Secret-Key":"ssk",
		"X-Cff-Security-Token":"st","X-Cff-Auth-Token":"at","GANTRY_FRAMES":"1"}`, string(r.Body))
}

// TestSDKOutputOfACallIsInItsTail: what is printed during a call is there when the call ends, and belongs to it.
func TestSDKOutputOfACallIsInItsTail(t *testing.T) {
	t.Parallel()
	f := startSDK(t).ready()
	for range 50 {
		inv := f.invocation()
		log := logger.NewRequest(f.sink, inv.RequestID, true, true)
		_, err := f.Invoke(context.Background(), inv, []byte(`{"do":"print"}`), log)
		require.NoError(t, err)
		tail := string(log.Tail())
		for _, line := range []string{"out " + inv.RequestID, "err " + inv.RequestID} {
			require.Contains(t, tail, line+"\n")
		}
	}
}

func TestSDKCallsRunAtTheSameTime(t *testing.T) {
	t.Parallel()
	f := startSDK(t, withConcurrency(20)).ready()
	began := time.Now()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if r, err := f.invoke(`{"do":"sleep","ms":500}`); err != nil || string(r.Body) != "slept" {
				t.Errorf("%q, %v", r.Body, err)
			}
		})
	}
	wg.Wait()
	require.Less(t, time.Since(began), 8*time.Second, "one after another they take 10")
}

func TestSDKDeathFailsTheCallWithItsReason(t *testing.T) {
	t.Parallel()
	for do, message := range map[string]string{"exit": "exit code 7", "kill": "signal 9"} {
		t.Run(do, func(t *testing.T) {
			t.Parallel()
			f := startSDK(t).ready()
			_, err := f.invoke(`{"do":"` + do + `"}`)
			var e *fault.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, fault.Crash, e.Kind)
			require.Equal(t, 4204, e.Code)
			require.Contains(t, e.Message, message)
			<-f.Gone()
			_, err = f.invoke("{}")
			require.ErrorIs(t, err, ErrNotSent)
		})
	}
}

func TestSDKTimeoutLeavesOtherCallsAlone(t *testing.T) {
	t.Parallel()
	f := startSDK(t, withConcurrency(2)).ready()
	inv := f.invocation()
	inv.Deadline = time.Now().Add(300 * time.Millisecond)
	_, err := f.call(inv, `{"do":"loop"}`)
	var e *fault.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, fault.Timeout, e.Kind)
	r, err := f.invoke(`{"do":"text","n":1}`)
	require.NoError(t, err, "the neighbours are not disturbed")
	require.Equal(t, "x", string(r.Body))
}

// TestHungSDKProgramHoldsNoCallBeyondItsDeadline: a program that has stopped reading does not hold a caller beyond
// its deadline.
func TestHungSDKProgramHoldsNoCallBeyondItsDeadline(t *testing.T) {
	t.Parallel()
	f := startSDK(t, withConcurrency(8)).ready()
	require.NoError(t, f.Signal(19)) // STOP
	big := `{"do":"raw","x":"` + strings.Repeat("y", 5<<20) + `"}`
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			inv := f.invocation()
			inv.Deadline = time.Now().Add(500 * time.Millisecond)
			_, err := f.call(inv, big)
			if e := fault.From(err); err == nil || e.Kind != fault.Timeout {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	f.Stop(time.Now().Add(time.Second))
}

// TestSlowSDKStartIsAwaitedAndFailureExplained: when the load ends, and when it never does.
func TestSlowSDKStartIsAwaitedAndFailureExplained(t *testing.T) {
	t.Parallel()
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		r, err := startSDK(t, withEnv("SDK_START=slow")).ready().invoke(`{"do":"text","n":1}`)
		require.NoError(t, err)
		require.Equal(t, "x", string(r.Body))
	})
	t.Run("talks", func(t *testing.T) { // all of which belongs to the load
		t.Parallel()
		f := startSDK(t, withEnv("SDK_START=talk")).ready()
		lines, _, _ := f.sink.Counts()
		require.EqualValues(t, 2001, lines)
	})
	t.Run("exit", func(t *testing.T) {
		t.Parallel()
		e := startSDK(t, withEnv("SDK_START=exit")).loadError()
		require.Equal(t, 4204, e.Code)
		require.Contains(t, e.Message, "exit code 0")
		require.Contains(t, e.Hint, "an end of main()")
	})
	for _, how := range []string{"never", "garbage"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f := startSDK(t, withEnv("SDK_START="+how))
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			require.ErrorIs(t, f.WaitLoaded(ctx), context.DeadlineExceeded)
			require.Contains(t, f.Silent(), map[string]string{
				"never": "neither called function.Start nor listened", "garbage": "is no function of the platform's Go SDK: it answered CONNECT with \"HTTP/1.0 404",
			}[how])
		})
	}
}

func TestSDKFloodLosesNoLogLines(t *testing.T) {
	t.Parallel()
	f := startSDK(t, withConcurrency(8)).ready()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if _, err := f.invoke(`{"do":"log"}`); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.Eventually(t, func() bool { return strings.Count(f.out.String(), " i 1\n") == 800 }, 30*time.Second, time.Millisecond)
}
