package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// loop is a custom runtime in Python; the event's "do" says how it misbehaves.
const loop = `#!/usr/bin/env python3
import http.client, json, os, socket, sys, threading, time
addr = os.environ['RUNTIME_API_ADDR']
path = '/v1/runtime/invocation/'
sys.stdout.reconfigure(line_buffering=True)
def ask(method, where, body=None, headers={}):
    c = http.client.HTTPConnection(addr)
    c.request(method, where, body, headers)
    r = c.getresponse()
    return r, r.read()
def say(what, id, body):
    r, text = ask('POST', path + what + '/' + id, body, {'Content-Type': 'application/x-www-form-urlencoded'})
    print(what, r.status, text.decode().replace('\n', ' '))
while True:
    r, body = ask('GET', path + 'request')
    id = r.getheader('X-Cff-Request-Id')
    if r.status != 200 or not id:
        time.sleep(0.05)
        continue
    event = json.loads(body or '{}')
    do = event.get('do')
    if do == 'silent': continue
    if do == 'twice': say('response', id, 'first'); say('response', id, 'second'); say('error', id, 'third'); continue
    if do == 'wrong': say('response', '00000000-0000-0000-0000-000000000000', 'x'); say('response', id, 'right'); continue
    if do == 'large': say('response', id, 'x' * 6291457); continue
    if do == 'huge': say('response', id, 'x' * 30000000); continue
    if do == 'large, chunked': say('response', id, iter([b'x' * 100000] * 63)); continue
    if do == 'cut':
        s = socket.create_connection(tuple(addr.split(':')))
        s.sendall(b'POST ' + path.encode() + b'response/' + id.encode() + b' HTTP/1.1\r\nHost: ' + addr.encode() + b'\r\nContent-Length: 100\r\n\r\nabc')
        s.shutdown(socket.SHUT_WR)
        print('cut', s.recv(1000)[9:12].decode())
        say('response', id, 'whole'); continue
    if do == 'question': # with a body
        say('response', id, 'fine')
        c = http.client.HTTPConnection(addr)
        c.request('GET', path + 'request', iter([b'{}']))
        r = c.getresponse(); r.read()
        c.request('POST', path + 'response/' + r.getheader('X-Cff-Request-Id'), 'by the same connection')
        print('same', c.getresponse().status); continue
    if do == 'chunked': ask('POST', path + 'response/' + id, iter([b'a', b'b'])); continue
    if do == 'bytes': say('response', id, bytes(range(256))); continue
    if do == 'text': say('error', id, 'plain text'); continue
    if do == 'late': time.sleep(event['s']); say('response', id, 'late'); continue
    if do == 'exit': os._exit(event['code'])
    if do == 'methods':
        for method, where in (('GET', path + 'response/' + id), ('POST', path + 'request'), ('GET', '/'), ('PUT', path + 'error/' + id), ('GET', path + '../x')):
            print(method, ask(method, where)[0].status)
        print('host', ask('GET', path + 'request', None, {'Host': 'evil.example'})[0].status, 'origin', ask('GET', path + 'request', None, {'Origin': 'http://evil.example'})[0].status)
    if do == 'leave': # asks three times, and hangs up
        for i in range(3):
            s = socket.create_connection(tuple(addr.split(':')))
            s.sendall(b'GET ' + path.encode() + b'request HTTP/1.1\r\nHost: ' + addr.encode() + b'\r\n\r\n')
            time.sleep(0.05)
            s.close()
    say('response', id, json.dumps({'event': event}))
`

func custom(t *testing.T, source string, env ...string) *running {
	t.Helper()
	return start(t, writeFiles(t, map[string]string{"bootstrap": source}), env...)
}

// TestRuntimeAPITakesGoodPostsAndRefusesBadOnes: what a runtime posts, and what it may not.
func TestRuntimeAPITakesGoodPostsAndRefusesBadOnes(t *testing.T) {
	t.Parallel()
	r := custom(t, loop, "RUNTIME_TIMEOUT=20")
	require.Contains(t, r.stderr.String(), `"runtime": "custom"`)
	require.Contains(t, r.stderr.String(), `"because": "bootstrap is in the code folder"`)
	cases := []struct {
		do, body, log string
		status        int
		code          string
	}{
		{"twice", "first", "response 409", 200, "0"},
		{"wrong", "right", "is none that was handed to this runtime", 200, "0"},
		{"chunked", "ab", "", 200, "0"},
		{"text", "plain text", "error 200", 500, "4002"},
		{"large", "response body size 6291457 exceeds the limit of 6291456", "response 413", 500, "4004"},
		{"large, chunked", "response body size unknown exceeds the limit of 6291456", "response 413", 500, "4004"},
		{"cut", "whole", "cut 400", 200, "0"},
		{"question", "fine", "", 200, "0"},
		{"", "by the same connection", "same 200", 200, "0"},
		{"huge", "response body size 30000000 exceeds the limit of 6291456", "", 500, "4004"},
		{"methods", `{"event": {"do": "methods"}}`, "GET 405\nPOST 405\nGET 404\nPUT 405\nGET 400\nhost 403 origin 403\n", 200, "0"},
		{"leave", `{"event": {"do": "leave"}}`, "", 200, "0"},
		{"", `{"event": {"do": ""}}`, "", 200, "0"},
	}
	for _, c := range cases {
		got := r.invoke(`{"do":"` + c.do + `"}`)
		require.Equal(t, c.status, got.status, "%s: %s", c.do, got.body)
		require.Equal(t, c.code, got.header.Get("X-Func-Err-Code"), c.do)
		require.Equal(t, c.body, got.body, c.do)
		if c.log != "" {
			r.stdout.WaitFor(t, c.log)
		}
	}
	got := r.invoke(`{"do":"bytes"}`)
	require.Len(t, got.body, 256)
	require.Equal(t, `{"event": {}}`, r.invoke("").body)
}

// TestTimeoutSaysWhatTheCustomRuntimeDidNotDo: each call ends, says what the runtime did not do, and the next one
// works.
func TestTimeoutSaysWhatTheCustomRuntimeDidNotDo(t *testing.T) {
	t.Parallel()
	r := custom(t, loop, "RUNTIME_TIMEOUT=2", "GANTRY_CONCURRENCY=2")
	got := r.invoke(`{"do":"silent"}`)
	require.Equal(t, 504, got.status, got.body)
	require.Contains(t, got.body, "the runtime took the event and did not answer it: POST to")
	require.Equal(t, 200, r.invoke("{}").status)
	var calls sync.WaitGroup
	var mu sync.Mutex
	var bodies []string
	for range 2 {
		calls.Go(func() {
			got := r.try(`{"do":"late","s":4}`)
			mu.Lock()
			defer mu.Unlock()
			bodies = append(bodies, got.body)
		})
	}
	calls.Wait()
	require.Contains(t, strings.Join(bodies, "\n"), "the runtime did not ask for the event in time: it must GET")
	require.Equal(t, 200, r.invoke("{}").status)
}

func TestDeadCustomRuntimeIsReportedWithItsExitCode(t *testing.T) {
	t.Parallel()
	r := custom(t, loop, "RUNTIME_TIMEOUT=20")
	for _, code := range []string{"0", "7"} {
		got := r.invoke(`{"do":"exit","code":` + code + `}`)
		require.Equal(t, 502, got.status, got.body)
		require.Equal(t, "4204", got.header.Get("X-Func-Err-Code"))
		require.Contains(t, got.body, "runtime process is exited: exit code "+code)
		require.Equal(t, 200, r.invoke("{}").status)
	}
}

// TestUnrunnableBootstrapEndsTheAgentWithCode2: what cannot be run at all ends the agent with code 2 and the reason.
func TestUnrunnableBootstrapEndsTheAgentWithCode2(t *testing.T) {
	t.Parallel()
	arm := "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00\x01\x00\x00\x00" + strings.Repeat("\x00", 28) + "\x40\x00\x38\x00\x00\x00\x40\x00\x00\x00\x00\x00"
	cases := map[string]struct {
		text string
		mode os.FileMode
		says string
	}{
		"missing":            {"", 0, `the code folder`},
		"not executable":     {loop, 0o644, "it lacks the execute bit: chmod +x it"},
		"line endings":       {strings.ReplaceAll(loop, "\n", "\r\n"), 0o755, "its first line ends in CR LF"},
		"no interpreter":     {"#!/no/such/thing\n", 0o755, "the interpreter of its first line (#!/no/such/thing) does not exist"},
		"wrong architecture": {arm, 0o755, "it was built for EM_AARCH64"},
		"empty":              {"", 0o755, "it is empty"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if c.mode != 0 {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "bootstrap"), []byte(c.text), c.mode))
			}
			r := prepare(t, dir, "GANTRY_RUNTIME=custom")
			r.launch()
			require.Equal(t, 2, r.wait(), r.stderr)
			require.Contains(t, r.stderr.String(), c.says)
		})
	}
}

// TestCallsGetTheReasonWhenTheRuntimeNeverPolls: every call is answered with the reason.
func TestCallsGetTheReasonWhenTheRuntimeNeverPolls(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ source, code, message, hint string }{
		"exits":       {"#!/bin/sh\nexit 0\n", "4204", "runtime process is exited: exit code 0", "it has to ask for events in an endless loop"},
		"never polls": {"#!/bin/sh\nsleep 1000\n", "4211", "runtime initialization timed out after 10s", "bootstrap did not ask for an event"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := custom(t, c.source, "GANTRY_QUEUE_WAIT=60")
			require.Eventually(t, func() bool { return strings.Contains(r.ready().body, "failed") }, patience, 50*time.Millisecond)
			got := r.invoke("{}")
			require.Equal(t, 502, got.status, got.body)
			require.Equal(t, c.code, got.header.Get("X-Func-Err-Code"))
			require.Contains(t, got.body, c.message)
			require.Contains(t, got.body, c.hint)
		})
	}
}

// TestScriptWithoutInterpreterLineRunsWithUserVariables: without a first line like #!/bin/sh a shell runs it, and the
// user variables are real ones there.
func TestScriptWithoutInterpreterLineRunsWithUserVariables(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := `ask() { python3 -c 'import os,sys,urllib.request as u
r=u.urlopen("http://"+os.environ["RUNTIME_API_ADDR"]+"/v1/runtime/invocation/request")
print(r.headers["X-Cff-Request-Id"]); print(r.read().decode())'; }
while true; do
  { read -r id; read -r event; } <<EOF
$(ask)
EOF
  echo "{\"colour\": \"$COLOUR\", \"event\": $event}" | python3 -c "import os,sys,urllib.request as u
u.urlopen(u.Request('http://'+os.environ['RUNTIME_API_ADDR']+'/v1/runtime/invocation/response/$id', sys.stdin.buffer.read().strip()))"
done
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bootstrap"), []byte(script), 0o755))
	r := start(t, dir, `RUNTIME_USERDATA={"COLOUR":"blue"}`, "RUNTIME_TIMEOUT=20")
	require.Equal(t, `{"colour": "blue", "event": {"n":1}}`, r.invoke(`{"n":1}`).body)
	require.Equal(t, `{"colour": "blue", "event": {"n":2}}`, r.invoke(`{"n":2}`).body)
}

// TestBootstrapForShMayUseBashFeatures: the guide's bootstrap is for /bin/sh and needs bash, which sh is on the
// platform.
func TestBootstrapForShMayUseBashFeatures(t *testing.T) {
	if _, err := os.Stat("/bin/bash"); err != nil {
		t.Skip("LOUD SKIP: no bash on this machine")
	}
	t.Parallel()
	r := start(t, writeFiles(t, map[string]string{
		"loop.py": loop, "bootstrap": "#!/bin/sh\nset -o pipefail\nname=$(basename $0)\n[[ $name == boot* ]] || exit 9\nexec python3 $RUNTIME_CODE_ROOT/loop.py\n",
	}), "RUNTIME_TIMEOUT=20")
	require.Equal(t, 200, r.invoke("{}").status)
}
