// Package require has the checks of this module's tests. The module requires no other one, not even for its tests: what
// it required would be in the module graph of every function.
package require

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func fail(t testing.TB, args []any, format string, values ...any) {
	t.Helper()
	if len(args) > 0 {
		format += "\n" + strings.ReplaceAll(fmt.Sprint(args...), "%", "%%")
	}
	t.Fatalf(format, values...)
}

// Equal ends the test unless got is deeply equal to want; nil and empty byte slices differ.
func Equal(t testing.TB, want, got any, args ...any) {
	t.Helper()
	if !reflect.DeepEqual(want, got) {
		fail(t, args, "not equal:\nwant %#v\ngot  %#v", want, got)
	}
}

// EqualValues ends the test unless got, converted to the type of want, is equal to want.
func EqualValues(t testing.TB, want, got any, args ...any) {
	t.Helper()
	if v := reflect.ValueOf(got); v.IsValid() && v.CanConvert(reflect.TypeOf(want)) {
		got = v.Convert(reflect.TypeOf(want)).Interface()
	}
	Equal(t, want, got, args...)
}

// True ends the test unless the condition holds.
func True(t testing.TB, condition bool, args ...any) {
	t.Helper()
	if !condition {
		fail(t, args, "not true")
	}
}

// False ends the test if the condition holds.
func False(t testing.TB, condition bool, args ...any) {
	t.Helper()
	if condition {
		fail(t, args, "not false")
	}
}

// NoError ends the test on an error.
func NoError(t testing.TB, err error, args ...any) {
	t.Helper()
	if err != nil {
		fail(t, args, "error: %v", err)
	}
}

// Error ends the test unless there is an error.
func Error(t testing.TB, err error, args ...any) {
	t.Helper()
	if err == nil {
		fail(t, args, "no error")
	}
}

// ErrorIs ends the test unless errors.Is finds target in err.
func ErrorIs(t testing.TB, err, target error, args ...any) {
	t.Helper()
	if !errors.Is(err, target) {
		fail(t, args, "error is %v, want %v", err, target)
	}
}

// ErrorAs ends the test unless errors.As finds an error for target, which it sets.
func ErrorAs(t testing.TB, err error, target any, args ...any) {
	t.Helper()
	if !errors.As(err, target) {
		fail(t, args, "error is %v, want one of type %T", err, target)
	}
}

// ErrorContains ends the test unless the error's text contains part.
func ErrorContains(t testing.TB, err error, part string, args ...any) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		fail(t, args, "error is %v, want one with %q", err, part)
	}
}

// NotContains ends the test if text contains part.
func NotContains(t testing.TB, text, part string, args ...any) {
	t.Helper()
	if strings.Contains(text, part) {
		fail(t, args, "%q contains %q", text, part)
	}
}

// Contains ends the test unless part is in the text or among the strings.
func Contains(t testing.TB, in any, part string, args ...any) {
	t.Helper()
	switch in := in.(type) {
	case string:
		if strings.Contains(in, part) {
			return
		}
	case []string:
		if slices.Contains(in, part) {
			return
		}
	}
	fail(t, args, "%q has no %q", in, part)
}

// Regexp ends the test unless the text matches the expression.
func Regexp(t testing.TB, expression, text string, args ...any) {
	t.Helper()
	if !regexp.MustCompile(expression).MatchString(text) {
		fail(t, args, "%q does not match %s", text, expression)
	}
}

// Eventually ends the test unless the condition holds within limit. It looks once every tick.
func Eventually(t testing.TB, condition func() bool, limit, tick time.Duration, args ...any) {
	t.Helper()
	for end := time.Now().Add(limit); !condition(); time.Sleep(tick) {
		if time.Now().After(end) {
			fail(t, args, "the condition did not hold within %s", limit)
		}
	}
}

// Len ends the test unless the slice, map, string or channel has n elements.
func Len(t testing.TB, of any, n int, args ...any) {
	t.Helper()
	if got := reflect.ValueOf(of).Len(); got != n {
		fail(t, args, "length is %d, want %d: %v", got, n, of)
	}
}

// Zero ends the test unless v is the zero value of its type.
func Zero(t testing.TB, v any, args ...any) {
	t.Helper()
	if v != nil && !reflect.ValueOf(v).IsZero() {
		fail(t, args, "not zero: %#v", v)
	}
}

// Empty ends the test unless v is zero, or has no elements.
func Empty(t testing.TB, v any, args ...any) {
	t.Helper()
	if v == nil {
		return
	}
	switch of := reflect.ValueOf(v); of.Kind() {
	case reflect.Slice, reflect.Map, reflect.String, reflect.Chan:
		if of.Len() != 0 {
			fail(t, args, "not empty: %#v", v)
		}
	default:
		Zero(t, v, args...)
	}
}

// Nil ends the test unless v is nil, or a pointer that is.
func Nil(t testing.TB, v any, args ...any) {
	t.Helper()
	if v != nil && (reflect.ValueOf(v).Kind() != reflect.Pointer || !reflect.ValueOf(v).IsNil()) {
		fail(t, args, "not nil: %#v", v)
	}
}

// leakTime is how long goroutines may take to end after the tests.
const leakTime = 5 * time.Second

// NoLeaks runs the tests of a package, and fails them if goroutines that they started are left.
func NoLeaks(m *testing.M) {
	signals := make(chan os.Signal, 1) // package signal's own goroutine stays for good; fuzzing starts it
	signal.Notify(signals, os.Interrupt)
	signal.Stop(signals)
	before := runtime.NumGoroutine()
	code := m.Run()
	for end := time.Now().Add(leakTime); code == 0 && runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			stacks = bytes.TrimSpace(stacks[:runtime.Stack(stacks, true)])
			fmt.Fprintf(os.Stderr, "goroutines are left after the tests:\n%s\n", stacks)
			code = 1
		}
	}
	os.Exit(code)
}
