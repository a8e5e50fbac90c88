package extension

import (
	"fmt"
	"gantry/process"
	"gantry/test/harness"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds waits that end by themselves.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	harness.OwnNetwork(".test")
	os.Exit(m.Run())
}

func eventually(t testing.TB, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, time.Millisecond)
}

// script writes an extension of the shell.
func script(t testing.TB, name, body string) Script {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return Script{Name: name, Path: path, Executable: true}
}

// process returns the process of an extension, once it runs.
func (h *Host) process(name string) *process.Process {
	for {
		h.mu.Lock()
		e := h.byName[name]
		if e != nil && e.proc != nil {
			defer h.mu.Unlock()
			return e.proc
		}
		h.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

func listen(t testing.TB, port int) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
	require.NoError(t, err)
	return ln
}

// record is a handler that sends what it gets to a channel.
func record(got chan<- string) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.Method + " " + r.URL.RequestURI() + " " + r.Header.Get("Content-Type") + " " + string(body)
	}
}
