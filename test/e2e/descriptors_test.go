package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fewFiles starts an agent that may open 256 files.
func fewFiles(t *testing.T, files map[string]string, env ...string) *running {
	t.Helper()
	r := prepare(t, writeFiles(t, files), append([]string{"RUNTIME_FUNC_NAME=hello", "GANTRY_API_ADDR=127.0.0.1:0", "GANTRY_API_AUTH=none"}, env...)...)
	shell := exec.Command("sh", "-c", `ulimit -n 256; exec "$0" serve`, r.cmd.Path)
	shell.Env, shell.Stdout, shell.Stderr = r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr
	r.cmd = shell
	r.launch()
	r.findAddresses()
	return r
}

// asker is one connection that stays open for many requests.
type asker struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func ask(t *testing.T, addr string) *asker {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &asker{t, conn, bufio.NewReader(conn)}
}

// request sends bytes and returns the status of the answer, and how long it took.
func (a *asker) request(text string) (status int, took time.Duration) {
	a.t.Helper()
	began := time.Now()
	require.NoError(a.t, a.conn.SetDeadline(began.Add(patience)))
	_, err := io.WriteString(a.conn, text)
	require.NoError(a.t, err)
	resp, err := http.ReadResponse(a.r, nil)
	require.NoError(a.t, err)
	_, err = io.ReadAll(resp.Body)
	require.NoError(a.t, err)
	return resp.StatusCode, time.Since(began)
}

// last is request, and closes the connection.
func (a *asker) last(text string) (status int, took time.Duration) {
	a.t.Helper()
	defer a.conn.Close()
	return a.request(text)
}

func (r *running) descriptors() int {
	r.t.Helper()
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.cmd.Process.Pid))
	require.NoError(r.t, err)
	return len(names)
}

const postForm = "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"

// TestThousandIdleConnectionsDoNotBlockOtherCallers: a thousand idle connections cost others nothing, on any listener
// of an agent that may open 256 files.
func TestThousandIdleConnectionsDoNotBlockOtherCallers(t *testing.T) {
	t.Parallel()
	node := map[string]string{"index.js": "exports.handler = async (event, context) => 'fine';"}
	cases := []struct {
		name   string
		files  map[string]string
		addr   func(r *running) string
		ask    string
		status int
	}{
		{"function", node, func(r *running) string { return r.url }, fmt.Sprintf(postForm, "/invoke"), 200},
		{"platform", node, func(r *running) string { return r.api }, fmt.Sprintf(postForm, invocations), 200},
		{"ops", node, func(r *running) string { return r.ops }, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200},
		{"extension", node, func(r *running) string { return r.ext }, fmt.Sprintf(postForm, "/nowhere"), 404},
		{"runtime", map[string]string{"bootstrap": "#!/bin/sh\necho api=$RUNTIME_API_ADDR.\n" + `exec python3 -c "
import http.client, os
while True:
    c = http.client.HTTPConnection(os.environ['RUNTIME_API_ADDR'])
    c.request('GET', '/v1/runtime/invocation/request')
    r = c.getresponse(); r.read(); c.close()
    c = http.client.HTTPConnection(os.environ['RUNTIME_API_ADDR'])
    c.request('POST', '/v1/runtime/invocation/response/' + str(r.getheader('X-Cff-Request-Id')), 'fine')
    c.getresponse().read(); c.close()
"`}, runtimeAPIOf, fmt.Sprintf(postForm, "/v1/runtime/invocation/response/x"), 404},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := fewFiles(t, c.files)
			require.Equal(t, 200, r.invoke(`{}`).status)
			http.DefaultClient.CloseIdleConnections()
			addr := strings.TrimPrefix(c.addr(r), "http://")
			known := ask(t, addr)
			status, _ := known.request(c.ask)
			require.Equal(t, c.status, status)
			before := r.descriptors()
			strangers := besiege(t, addr, 1000)
			status, open := known.request(c.ask)
			require.Equal(t, c.status, status)
			status, _ = ask(t, addr).last(c.ask) // accepted after all strangers
			require.Equal(t, c.status, status)
			status, fresh := ask(t, addr).last(c.ask)
			require.Equal(t, c.status, status)
			require.Less(t, fresh, time.Second)
			r.replaceWorker()
			t.Logf("%d connections of a stranger: open connection %s, new connection %s, %d descriptors of 256", len(strangers), open, fresh, r.descriptors())
			for _, s := range strangers {
				_ = s.Close()
			}
			require.Eventually(t, func() bool { http.DefaultClient.CloseIdleConnections(); return r.descriptors() <= before+1 }, 2*time.Second, 10*time.Millisecond)
			require.Equal(t, 200, r.invoke(`{}`).status)
			require.LessOrEqual(t, strings.Count(r.stderr.String(), "no room for more connections"), 2)
		})
	}
}

// besiege opens connections and sends nothing.
func besiege(t *testing.T, addr string, n int) (all []net.Conn) {
	t.Helper()
	for range n {
		conn, err := net.DialTimeout("tcp", addr, patience)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		all = append(all, conn)
	}
	return all
}

// replaceWorker kills the worker and waits for a call of the next one.
func (r *running) replaceWorker() {
	r.t.Helper()
	old := r.worker()
	proc, err := os.FindProcess(atoi(r.t, old))
	require.NoError(r.t, err)
	require.NoError(r.t, proc.Kill())
	require.Eventually(r.t, func() bool { return r.try(`{}`).status == 200 }, patience, 10*time.Millisecond)
	require.NotEqual(r.t, old, r.worker())
}

func atoi(t *testing.T, text string) (n int) {
	t.Helper()
	_, err := fmt.Sscan(text, &n)
	require.NoError(t, err)
	return n
}

// runtimeAPIOf is the address that the worker printed.
func runtimeAPIOf(r *running) string {
	r.t.Helper()
	r.stdout.WaitFor(r.t, "api=")
	_, rest, _ := strings.Cut(r.stdout.String(), "api=")
	addr, _, _ := strings.Cut(rest, ". ")
	addr, _, _ = strings.Cut(addr, ".\n")
	return addr
}
