package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWaitEndsWhenTheAgentIsReady: through the time when nothing listens and the one when the function loads.
func TestWaitEndsWhenTheAgentIsReady(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	require.NoError(t, ln.Close())
	file, err := os.Create(t.TempDir() + "/out")
	require.NoError(t, err)
	defer file.Close()
	ended := make(chan int, 1)
	go func() {
		ended <- run([]string{"bootstrap", "wait", "--ops-addr", addr}, nil, strings.NewReader(""), file, file)
	}()
	var asked atomic.Int64
	ln, err = net.Listen("tcp", addr)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) <= 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("init\n"))
			return
		}
		_, _ = w.Write([]byte("ready\n"))
	}))
	server.Listener = ln
	server.Start()
	defer server.Close()
	require.Zero(t, <-ended)
	require.EqualValues(t, 4, asked.Load())
	text, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	require.Equal(t, "ready\n", string(text))
}

func TestWaitEndsWithTheLastReasonWhenTheTimeIsOver(t *testing.T) {
	code, stdout, stderr := output(t, "bootstrap", "wait", "--timeout", "0.1", "--ops-addr", notReady(t, "init"))
	require.Equal(t, exitError, code)
	require.Empty(t, stdout)
	require.Equal(t, "bootstrap: the agent is not ready after 100ms: not ready: init\n", stderr)
	code, _, stderr = output(t, "bootstrap", "wait", "--timeout", "soon")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, `--timeout: "soon": want seconds, or a duration like 1m30s`)
}

// TestWaitEndsAtOnceWhenTheFunctionHasFailed: the time that is left would change nothing.
func TestWaitEndsAtOnceWhenTheFunctionHasFailed(t *testing.T) {
	addr := notReady(t, "failed: Cannot find module 'x'")
	code, stdout, stderr := output(t, "bootstrap", "wait", "--timeout", "1h", "--ops-addr", addr)
	require.Equal(t, exitError, code)
	require.Empty(t, stdout)
	require.Equal(t, "bootstrap: the agent is not ready, and will not be until a reload or another call: "+
		"not ready: failed: Cannot find module 'x'\n", stderr)
}

// notReady is the address of an ops listener that says why no call is taken.
func notReady(t *testing.T, why string) (addr string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(why + "\n"))
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestWaitForTheAgentAloneAsksHealthz(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte("ok\n"))
	}))
	defer server.Close()
	code, stdout, _ := output(t, "bootstrap", "wait", "--ready=false", "--ops-addr", server.Listener.Addr().String())
	require.Zero(t, code)
	require.Equal(t, "ok\n", stdout)
	code, _, _ = output(t, "bootstrap", "wait", "--ready", "--timeout", "0.05", "--ops-addr", server.Listener.Addr().String())
	require.Equal(t, exitError, code)
}
