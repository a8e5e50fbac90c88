package extension

import (
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/logger"
	"gantry/metrics"
	"gantry/process"
	"gantry/test/harness"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	fncontext "gantry/context"
)

func TestParseAddressTakesOnlyLoopbackPortsOfExtensions(t *testing.T) {
	for _, good := range []string{"127.0.0.1:8081", "127.0.0.1:8090"} {
		addr, err := ParseAddress(good)
		require.NoError(t, err)
		require.Equal(t, good, addr.String())
	}
	for _, bad := range []string{
		"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:8080", "127.0.0.1:8091", "127.0.0.2:8081", "0.0.0.0:8081", "[::1]:8081", "[::ffff:127.0.0.1]:8081",
		"localhost:8081", "http://127.0.0.1:8081", "127.0.0.1:8081/x", "127.0.0.1:08081", "127.0.0.1:+8081", "a@127.0.0.1:8081", "127.1:8081", "2130706433:8081",
	} {
		_, err := ParseAddress(bad)
		require.Error(t, err, bad)
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"127.0.0.1:8081", "[::1]:8081", "x", "127.0.0.1:99999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := ParseAddress(s)
		if err == nil && (addr.Addr().String() != "127.0.0.1" || addr.Port() < 8081 || addr.Port() > 8090) {
			t.Fatalf("%q gave %s", s, addr)
		}
	})
}

func FuzzRegister(f *testing.F) {
	f.Add("extension.sh", "127.0.0.1:8081")
	f.Add("\x00", " 127.0.0.1:8081 ")
	h := newHost(f, nil, nil)
	f.Fuzz(func(t *testing.T, name, address string) {
		err := h.Register(Registration{Name: name, Address: address})
		var e *fault.Error
		if err != nil && (!errors.As(err, &e) || !strings.HasPrefix(e.Type, "Extension.") || e.Message == "") {
			t.Fatalf("%q %q: %v", name, address, err)
		}
	})
}

func TestDiscoverFindsExtensionsAndNamesThePassedOver(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	write := func(dir, name string, mode os.FileMode) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode))
	}
	write(a, "extension_b.sh", 0o755)
	write(a, "extensionA", 0o755)
	write(a, "extension_c.sh", 0o644)
	write(a, "extensionD", 0o644) // neither .sh nor executable
	write(a, "noextension.sh", 0o755)
	require.NoError(t, os.Mkdir(filepath.Join(a, "extension_dir.sh"), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(a, "lib"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(a, "settings.json"), []byte("{}"), 0o644)) // what an extension may need
	require.NoError(t, os.Symlink("/nowhere", filepath.Join(a, "broken")))
	write(b, "extensionZ.sh", 0o755)
	found, passed, err := Discover([]string{a, filepath.Join(a, "nowhere"), b})
	require.NoError(t, err)
	require.Equal(t, []Script{
		{"extensionA", filepath.Join(a, "extensionA"), true},
		{"extension_b.sh", filepath.Join(a, "extension_b.sh"), true},
		{"extension_c.sh", filepath.Join(a, "extension_c.sh"), false},
		{"extensionZ.sh", filepath.Join(b, "extensionZ.sh"), true},
	}, found)
	in := func(name string) string { return filepath.Join(a, name) }
	require.Equal(t, []*PassedOver{
		{in("broken") + " cannot be read (stat " + in("broken") + ": no such file or directory)", "mend or remove it"},
		{in("extensionD") + " lacks the execute bit, and is not called ….sh", "chmod +x " + in("extensionD")},
		{in("extension_dir.sh") + " is no file", "put a program or a script there; folders are not searched"},
		{in("noextension.sh") + " is not called extension…", "mv " + in("noextension.sh") + " " + in("extensionNoextension.sh")},
	}, passed)
	write(b, "extensionA", 0o755)
	_, _, err = Discover([]string{a, b})
	require.ErrorContains(t, err, "two extensions are called extensionA")
	many := t.TempDir()
	for i := range 11 {
		write(many, fmt.Sprintf("extension%02d.sh", i), 0o755)
	}
	_, _, err = Discover([]string{many})
	require.ErrorContains(t, err, "11 extensions, at most 10")
	require.ErrorContains(t, err, "extension10.sh")
}

// TestDiscoverReportsFilesThatAreNoExtension: in a folder without an extension every file was meant to be one.
func TestDiscoverReportsFilesThatAreNoExtension(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "index.js")
	require.NoError(t, os.WriteFile(file, []byte("console.log(1)"), 0o644))
	found, passed, err := Discover([]string{dir})
	require.NoError(t, err)
	require.Empty(t, found)
	require.Equal(t, []*PassedOver{{file + " is not called extension…, and lacks the execute bit", "mv " + file + " " + filepath.Join(dir, "extensionIndex.js") + ", and chmod +x it"}}, passed)
}

// TestDiscoverReportsAnExtensionInOtherLetters: also beside a file that is an extension.
func TestDiscoverReportsAnExtensionInOtherLetters(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "ExtensionX.sh")
	require.NoError(t, os.WriteFile(file, []byte("sleep 1\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "extensionY.sh"), []byte("sleep 1\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "extend.txt"), []byte("text\n"), 0o644))
	found, passed, err := Discover([]string{dir})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, []*PassedOver{{file + " is not called extension…", "mv " + file + " " + filepath.Join(dir, "extensionX.sh")}}, passed)
}

var supervisor = process.NewSupervisor(false)

func newHost(t testing.TB, scripts []Script, change func(*Config)) *Host {
	sink := logger.NewSink(io.Discard, false, nil)
	cfg := &Config{
		Function: &fncontext.Function{Name: "f", Version: "latest", Region: "r", Project: "p", Package: "default"}, Wait: 5 * time.Second, UID: -1, GID: -1,
		Supervisor: supervisor, Sink: sink, Log: zap.NewNop(), Metrics: metrics.NewMetrics(nil), Env: []string{"PATH=" + os.Getenv("PATH")},
	}
	if change != nil {
		change(cfg)
	}
	h := NewHost(cfg, scripts)
	t.Cleanup(func() {
		h.Stop(time.Now().Add(5*time.Second), ReasonSpindown)
		sink.Close(time.Now().Add(5 * time.Second))
	})
	return h
}

func TestNoExtensionsIsReadyAtOnce(t *testing.T) {
	h := newHost(t, nil, nil)
	began := time.Now()
	h.WaitReady(t.Context())
	require.Less(t, time.Since(began), 3*time.Second)
}

func TestRegistrationWhileShuttingDownIsRefused(t *testing.T) {
	h := newHost(t, nil, nil)
	h.Stop(time.Now().Add(time.Second), ReasonSpindown)
	var e *fault.Error
	require.ErrorAs(t, h.Register(Registration{Name: "x", Address: "127.0.0.1:8081"}), &e)
	require.Equal(t, TypeShuttingDown, e.Type)
	require.Equal(t, fault.Unavailable, e.Kind)
}

// receiver is an extension's server in this process.
func receiver(t *testing.T, port int, handle http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	require.NoError(t, err)
	s := &http.Server{Handler: handle}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { _ = s.Close() })
	return ln.Addr().String()
}

func TestNotificationCarriesRequestTraceAndFunctionURN(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, nil, nil)
	got := make(chan string, 10)
	addr := receiver(t, 8085, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type") + " " + r.Header.Get("Traceparent") + " " + string(body)
	})
	require.NoError(t, h.Register(Registration{Name: "extensionX.sh", Address: addr}))
	h.Notify(&fncontext.Call{Invocation: &fncontext.Invocation{RequestID: "7c1d", Trace: fncontext.Trace{Parent: "00-ab-cd-01"}}})
	require.Equal(t, `POST /extension/invoke application/json 00-ab-cd-01 {"traceId":"7c1d","invokedFunctionUrn":"urn:fss:r:p:function:default:f:latest"}`, <-got)
}

// TestNotificationIsRetriedUntilTheListenerIsThere registers before it listens: the first notification is tried again.
func TestNotificationIsRetriedUntilTheListenerIsThere(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, nil, nil)
	require.NoError(t, h.Register(Registration{Name: "extensionX.sh", Address: "127.0.0.1:8086"}))
	h.Notify(&fncontext.Call{Invocation: &fncontext.Invocation{RequestID: "early"}})
	got := make(chan struct{}, 1)
	receiver(t, 8086, func(http.ResponseWriter, *http.Request) { got <- struct{}{} })
	select {
	case <-got:
	case <-time.After(20 * time.Second):
		t.Fatal("the early notification was lost")
	}
}

// TestOverloadDeliversOrCountsEveryNotification: an extension that does not answer makes its own buffer overflow, and
// delays no call.
func TestOverloadDeliversOrCountsEveryNotification(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, nil, nil)
	release := make(chan struct{})
	addr := receiver(t, 8087, func(http.ResponseWriter, *http.Request) { <-release })
	var other atomic.Int64
	good := receiver(t, 8088, func(http.ResponseWriter, *http.Request) { other.Add(1) })
	require.NoError(t, h.Register(Registration{Name: "extensionStuck", Address: addr}))
	require.NoError(t, h.Register(Registration{Name: "extensionGood", Address: good}))
	const n = 3000
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range n / 10 {
				h.Notify(&fncontext.Call{Invocation: &fncontext.Invocation{RequestID: "x"}})
				time.Sleep(50 * time.Microsecond)
			}
		})
	}
	wg.Wait()
	// Calls do not wait for the buffers to be filled.
	require.Eventually(t, func() bool {
		return h.cfg.Metrics.NotificationDrops[6].Get() > n-bufferSize-maxDeliveries-100
	}, 30*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return uint64(other.Load())+h.cfg.Metrics.NotificationDrops[7].Get() == n }, 30*time.Second, time.Millisecond)
	close(release)
	require.Eventually(t, func() bool {
		return h.cfg.Metrics.Notifications[6].Get()+h.cfg.Metrics.NotificationDrops[6].Get() == n
	}, 30*time.Second, time.Millisecond, "every notification is delivered or counted as dropped")
}
