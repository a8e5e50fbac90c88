package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// kept is a caller that keeps its connection, and makes a new one after an answer with Connection: close.
type kept struct {
	addr  string
	conn  net.Conn
	read  *bufio.Reader
	since time.Time // when the last request was sent: the answer may have waited for this process to read it
}

// quietAtStop is how long a connection may be silent during a stop and still find its next request answered. The agent
// promises about 50 ms; a busy machine may keep the caller itself from its CPU for longer.
const quietAtStop = 40 * time.Millisecond

var (
	// errRefused means that no connection can be made any more.
	errRefused = errors.New("refused")
	// errSilent means that the connection was closed after the caller had been silent for longer than quietAtStop.
	errSilent = errors.New("closed after a silence")
)

// ask sends one request and reads its answer. Only a connection that cannot be made is errRefused.
func (k *kept) ask() (status int, closes bool, err error) {
	if k.conn == nil {
		if k.conn, err = net.Dial("tcp", k.addr); errors.Is(err, syscall.ECONNREFUSED) {
			return 0, false, errRefused
		} else if err != nil {
			return 0, false, err
		}
		k.read, k.since = bufio.NewReader(k.conn), time.Now()
	}
	if err := k.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, false, err
	}
	_, err = io.WriteString(k.conn, "POST /invoke HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
	silent := time.Since(k.since)
	k.since = time.Now()
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(k.read, nil)
	}
	if err != nil && silent > quietAtStop {
		_ = k.conn.Close()
		return 0, false, errSilent
	}
	if err != nil {
		return 0, false, fmt.Errorf("the request has no answer: %w", err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, false, err
	}
	if resp.Close {
		_ = k.conn.Close()
		k.conn = nil
	}
	return resp.StatusCode, resp.Close, nil
}

// run asks until no connection can be made. It accepts 503 only with Connection: close.
func (k *kept) run() (answered int, err error) {
	for {
		status, closes, err := k.ask()
		switch {
		case errors.Is(err, errRefused):
			return answered, nil
		case errors.Is(err, errSilent):
			k.conn = nil
			continue
		case err != nil:
			return answered, err
		case status == http.StatusServiceUnavailable && !closes:
			return answered, errors.New("503 without Connection: close")
		case status != http.StatusOK && status != http.StatusServiceUnavailable:
			return answered, fmt.Errorf("status %d", status)
		}
		answered++
	}
}

// TestStopAnswersKeptConnections: each request has an answer, until connections are refused.
func TestStopAnswersKeptConnections(t *testing.T) {
	t.Parallel()
	for range 3 {
		r := function(t, "exports.handler = async (e, c) => 1", "GANTRY_CONCURRENCY=8")
		require.Equal(t, 200, r.invoke("{}").status)
		var callers sync.WaitGroup
		var busy sync.WaitGroup
		for range 8 {
			busy.Add(1)
			callers.Go(func() {
				k := &kept{addr: strings.TrimPrefix(r.url, "http://")}
				_, _, err := k.ask()
				busy.Done()
				if err == nil {
					_, err = k.run()
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		busy.Wait()
		r.signal(syscall.SIGTERM)
		callers.Wait()
		require.Equal(t, 0, r.wait())
	}
}

// newTerminal opens a pseudo-terminal: closing the first end hangs the second one up.
func newTerminal(t *testing.T) (window, shell *os.File) {
	t.Helper()
	window, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	var number uint32
	err = errors.Join(unix.IoctlSetPointerInt(int(window.Fd()), unix.TIOCSPTLCK, 0), func() (err error) {
		n, err := unix.IoctlGetInt(int(window.Fd()), unix.TIOCGPTN)
		number = uint32(n)
		return err
	}())
	require.NoError(t, err)
	shell, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = window.Close(), shell.Close() })
	return window, shell
}

// TestHangupReloadsUntilTheTerminalIsGone: SIGHUP is a reload as long as the terminal is there, and the end once its
// window is closed.
func TestHangupReloadsUntilTheTerminalIsGone(t *testing.T) {
	t.Parallel()
	handled := make(chan os.Signal, 1)
	signal.Notify(handled, syscall.SIGHUP) // a child inherits a signal that is ignored: the tests may run under nohup
	defer signal.Stop(handled)
	window, shell := newTerminal(t)
	r := prepare(t, writeFiles(t, map[string]string{"index.js": "exports.handler = async (e, c) => 1"}))
	r.cmd.Stdin = shell
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	r.launch()
	require.NoError(t, shell.Close())
	r.findAddresses()
	require.Equal(t, 200, r.invoke("{}").status)
	r.signal(syscall.SIGHUP)
	r.stderr.WaitFor(t, "INFO reload")
	require.Equal(t, 200, r.invoke("{}").status)
	require.NoError(t, window.Close())
	require.Equal(t, 0, r.wait())
	require.Contains(t, r.stderr.String(), "the terminal it was started from is gone")
}

// TestHangupReloadsAgentsWithoutTerminalOrUnderNohup: an agent that never had a terminal, or was started by nohup, is
// meant to go on.
func TestHangupReloadsAgentsWithoutTerminalOrUnderNohup(t *testing.T) {
	t.Parallel()
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		r := prepare(t, writeFiles(t, map[string]string{"index.js": "exports.handler = async (e, c) => 1"}))
		r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		r.launch()
		r.findAddresses()
		r.signal(syscall.SIGHUP)
		r.stderr.WaitFor(t, "INFO reload")
		require.Equal(t, 200, r.invoke("{}").status)
	})
	t.Run("nohup", func(t *testing.T) {
		t.Parallel()
		window, shell := newTerminal(t)
		r := prepare(t, writeFiles(t, map[string]string{"index.js": "exports.handler = async (e, c) => 1"}))
		r.cmd.Path, r.cmd.Args = "/bin/sh", []string{"sh", "-c", "trap '' HUP; exec " + r.cmd.Path + " serve"}
		r.cmd.Stdin = shell
		r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		r.launch()
		require.NoError(t, shell.Close())
		r.findAddresses()
		require.Equal(t, 200, r.invoke("{}").status)
		require.NoError(t, window.Close())
		r.stderr.WaitFor(t, "INFO reload")
		require.Equal(t, 200, r.invoke("{}").status)
	})
}
