package function_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/function"
	"gantry/function/internal/require"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// functionVariable makes the test binary a function.
const functionVariable = "TEST_FUNCTION"

func TestMain(m *testing.M) {
	if name := os.Getenv(functionVariable); name != "" {
		functions[name]()
		panic("Start has returned")
	}
	require.NoLeaks(m)
}

type Event struct {
	Do     string
	Text   string
	Number int
	Inner  *Inner
}

// Inner has an error of its own when it is unmarshalled.
type Inner struct{}

func (*Inner) UnmarshalJSON(text []byte) error {
	var v any
	return json.Unmarshal(text[1:], &v)
}

type codedError struct{}

func (codedError) Error() string { return "coded" }

var functions = map[string]func(){
	"typed": func() { function.Start(typed) },
	"raw": func() {
		function.Start(func(_ context.Context, event []byte) ([]byte, error) { return event, nil })
	},
	"message": func() {
		function.Start(func(_ context.Context, event json.RawMessage) (json.RawMessage, error) { return event, nil })
	},
	"nil": func() { function.Start[any, any](nil) },
	"context": func() {
		function.Start(facts)
	},
	"logs":  func() { function.Start(logs, function.LogLevel(slog.LevelDebug)) },
	"waits": func() { function.Start(waits) },
	"gate": func() {
		function.Start(func(ctx context.Context, _ any) (string, error) {
			function.FromContext(ctx).GetLogger().Logf("waiting")
			_, err := io.Copy(io.Discard, os.Stdin)
			return "done", errors.Join(err, ctx.Err())
		})
	},
	"initializer": func() {
		ready := ""
		function.Start(func(context.Context, any) (string, error) { return ready, nil }, function.Initializer(func(ctx context.Context) error {
			c := function.FromContext(ctx)
			c.GetLogger().Logf("initializing")
			ready = fmt.Sprintf("%q %v", c.GetRequestID(), c.GetRemainingTimeInMilliSeconds() > 0)
			return nil
		}))
	},
	"bad initializer": func() {
		function.Start(typed, function.Initializer(func(context.Context) error { return errors.New("no database at " + os.Getenv("RUNTIME_CODE_ROOT")) }))
	},
	"panicking initializer": func() {
		function.Start(typed, function.Initializer(func(context.Context) error { panic("no") }))
	},
	"exiting initializer": func() {
		function.Start(typed, function.Initializer(func(context.Context) error { runtime.Goexit(); return nil }))
	},
	"pollers": func() { function.Start(typed, function.Pollers(3)) },
}

func typed(ctx context.Context, e Event) (any, error) {
	switch e.Do {
	case "":
		return map[string]any{"text": e.Text, "none": e == Event{}}, nil
	case "string":
		return e.Text, nil
	case "bytes":
		return []byte(e.Text), nil
	case "number":
		return e.Number, nil
	case "memory limit":
		return debug.SetMemoryLimit(-1), nil
	case "bool":
		return true, nil
	case "nil":
		return nil, nil
	case "pointer":
		return &e.Number, nil
	case "duration":
		return time.Duration(e.Number), nil
	case "channel":
		return make(chan int), nil
	case "long":
		return strings.Repeat("x", e.Number), nil
	case "long error":
		return nil, errors.New(strings.Repeat("x", e.Number))
	case "error":
		return "dropped", fmt.Errorf("%s: %w", e.Text, codedError{})
	case "panic":
		deep(e.Text, e.Number)
	case "nil map":
		put(nil)
	case "nil panic":
		panic(nil)
	case "goexit":
		runtime.Goexit()
	case "exit":
		function.FromContext(ctx).GetLogger().Logf("last words")
		os.Exit(7)
	case "crash":
		go panic("outside")
		<-ctx.Done()
	case "children":
		out, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
		return string(out) + os.Getenv("GANTRY_FRAMES"), err
	case "print":
		fmt.Println(function.FromContext(ctx), e.Text)
	}
	return nil, nil
}

func put(m map[string]int) { m["x"] = 1 }

//go:noinline
func deep(text string, n int) {
	if n > 0 {
		deep(text, n-1)
	}
	panic(text)
}

func facts(ctx context.Context, _ any) (map[string]any, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	c := function.FromContext(ctx)
	return map[string]any{
		"RequestID": c.GetRequestID(), "AccessKey": c.GetAccessKey(), "SecretKey": c.GetSecretKey(), "SecurityAccessKey": c.GetSecurityAccessKey(),
		"SecuritySecretKey": c.GetSecuritySecretKey(), "SecurityToken": c.GetSecurityToken(), "Token": c.GetToken(), "user": c.GetUserData("user"),
		"number": c.GetUserData("number"), "none": c.GetUserData("none"), "FunctionName": c.GetFunctionName(), "RunningTime": c.GetRunningTimeInSeconds(),
		"Version": c.GetVersion(), "MemorySize": c.GetMemorySize(), "CPUNumber": c.GetCPUNumber(), "ProjectID": c.GetProjectID(), "Package": c.GetPackage(),
		"Alias": c.GetAlias(), "WorkflowID": c.GetWorkflowID(), "WorkflowRunID": c.GetWorkflowRunID(), "WorkflowStateID": c.GetWorkflowStateID(),
		"remaining": c.GetRemainingTimeInMilliSeconds() > 0,
	}, nil
}

// logs writes what e.Text says, and with "after" once more when the call has been answered.
func logs(ctx context.Context, e Event) (any, error) {
	l := function.FromContext(ctx).GetLogger()
	s := l.Slog().With("a", 1)
	switch e.Do {
	case "levels":
		s.Debug("one")
		s.Info("two", "msg", "x y")
		s.WithGroup("g").Warn("three", "b", true)
		s.Error("four", slog.Group("h", "c", "d"))
		s.Log(ctx, slog.LevelError+1, "five\nlines")
	case "after":
		go func() {
			<-ctx.Done()
			l.Logf("after %s", e.Text)
		}()
	case "long":
		l.Logf("%s", strings.Repeat("é", 70_000))
	}
	return nil, nil
}

// waits answers when its context has ended, with why.
func waits(ctx context.Context, e Event) (string, error) {
	function.FromContext(ctx).GetLogger().Logf("waiting")
	if e.Do == "child" {
		child, cancel := context.WithCancel(ctx)
		defer cancel()
		<-child.Done()
	}
	<-ctx.Done()
	function.FromContext(ctx).GetLogger().Logf("%v", ctx.Err())
	return ctx.Err().Error(), nil
}
