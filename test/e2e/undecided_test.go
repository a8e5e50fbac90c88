package e2e

import (
	"encoding/base64"
	"encoding/json"
	"gantry/test/harness"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The programs here do not say what they are before they run: none names the runtime API or port 8000.

const (
	servesOnPort = `require('http').createServer((q, s) => q.url === '/die' ? process.exit(3) : s.end(q.url + ' ' + !!process.env['RUNTIME_API_' + 'ADDR']))
  .listen(process.env.PORT, '127.0.0.1');`
	// pollsForever answers with the event. A request id is missing when there is no event.
	pollsForever = `
const api = 'http://' + process.env['RUNTIME_API_' + 'ADDR'] + '/v1/runtime/invocation/', http = require('http');
const ask = (method, path, body, then) => http.request(api + path, { method }, (r) => {
  let text = '';
  r.on('data', (d) => text += d).on('end', () => then(text, r.headers['x-cff-request-id']));
}).on('error', () => setTimeout(next, 50)).end(body);
const next = () => ask('GET', 'request', '', (event, id) => {
  if (!id) { console.log('no event: ' + event); return setTimeout(next, 1000); }
  if (event === '"die"') process.exit(3);
  ask('POST', 'response/' + id, event + ' ' + process.cwd(), next);
});
`
	runsAsHTTP   = ": it runs as an HTTP function"
	runsAsCustom = "the program polls the runtime API: it runs as a custom runtime"
)

func nodeScript(text string) map[string]string {
	return map[string]string{"bootstrap": "#!/usr/bin/env node\n" + text}
}

// undecided starts an agent for a program that shows what it is; it returns once it has.
func undecided(t *testing.T, files map[string]string, env ...string) *running {
	t.Helper()
	return start(t, writeFiles(t, files), append([]string{"GANTRY_UPSTREAM=127.0.0.1:" + serverPort(t)}, env...)...)
}

// TestProgramThatListensRunsAsHTTPFunction: a program and a script, also after it has died and after a reload. It has
// the same environment at each start.
func TestProgramThatListensRunsAsHTTPFunction(t *testing.T) {
	t.Parallel()
	t.Run("a program", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		compile(t, "gantry/test/e2e/testdata/webserver", filepath.Join(dir, "bootstrap"))
		r := start(t, dir, "GANTRY_UPSTREAM=127.0.0.1:"+serverPort(t))
		require.Equal(t, "/a/b in "+dir, r.request("GET", r.url+"/a/b", "").body)
		require.Equal(t, 1, strings.Count(r.stderr.String(), runsAsHTTP))
		require.Equal(t, "http", r.stderr.Logged("listening")[0]["runtime"])
		require.Contains(t, r.stderr.Logged("listening")[0]["because"], "the program listens on 127.0.0.1:")
	})
	t.Run("a script", func(t *testing.T) {
		t.Parallel()
		r := undecided(t, nodeScript(servesOnPort))
		require.Equal(t, "/invoke true", r.invoke("{}").body, "any path is the server's")
		require.Equal(t, 502, r.request("GET", r.url+"/die", "").status)
		harness.Eventually(t, func() bool { return r.request("GET", r.url+"/x", "").body == "/x true" }, "its successor")
		loads := strings.Count(r.stdout.String(), "Finish load")
		r.signal(syscall.SIGHUP)
		harness.Eventually(t, func() bool { return strings.Count(r.stdout.String(), "Finish load") > loads }, "the next server")
		require.Equal(t, "/y true", r.request("GET", r.url+"/y", "").body)
		require.Equal(t, 1, strings.Count(r.stderr.String(), runsAsHTTP), "it was decided once")
	})
}

// TestProgramThatPollsRunsAsCustomRuntime: also one that listens as well, elsewhere or where servers do, and the
// example.
func TestProgramThatPollsRunsAsCustomRuntime(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"polls":                      "next()",
		"listens elsewhere":          "http.createServer().listen(0, '127.0.0.1', () => setTimeout(next, 300))",
		"listens and polls at once":  "http.createServer().listen(process.env.PORT, '127.0.0.1', next)",
		"polls, and listens then":    "next(); setTimeout(() => http.createServer().listen(process.env.PORT, '127.0.0.1'), 300)",
		"polls as a child":           "if (process.env.CHILD) next(); else require('child_process').fork(__filename, { env: { ...process.env, CHILD: 1 } })",
		"polls after a long start":   "setTimeout(next, 4000)",
		"needs another program, too": "require('child_process').execFileSync('sleep', ['0.1']); next()",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := undecided(t, nodeScript(pollsForever+text), "RUNTIME_TIMEOUT=20")
			require.Equal(t, 1, strings.Count(r.stderr.String(), runsAsCustom), r.stderr)
			require.Equal(t, "custom", r.stderr.Logged("listening")[0]["runtime"])
			require.Equal(t, `{"n":1} `+r.dir, r.invoke(`{"n":1}`).body)
			require.Equal(t, 404, r.request("GET", r.url+"/a/b", "").status)
			require.Equal(t, 502, r.invoke(`"die"`).status)
			require.Equal(t, 200, r.invoke("{}").status)
			require.Equal(t, 1, strings.Count(r.stderr.String(), runsAsCustom), "it was decided once")
			require.NotContains(t, r.stderr.String(), runsAsHTTP)
		})
	}
	t.Run("the example", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		compile(t, "gantry/examples/custom/go", filepath.Join(dir, "bootstrap"))
		r := start(t, dir, "GANTRY_UPSTREAM=127.0.0.1:"+serverPort(t), "RUNTIME_TIMEOUT=20")
		require.Contains(t, r.stderr.String(), runsAsCustom)
		require.Equal(t, 200, r.invoke(`{"name":"x"}`).status)
	})
}

// TestTimersWaitForTheDecision: a custom runtime gets their events, and a server ends the agent as it would at once if
// it were known for one.
func TestTimersWaitForTheDecision(t *testing.T) {
	t.Parallel()
	env, _ := queueSettings(t)
	env = append(env, "GANTRY_TIMER=@every 100ms", "RUNTIME_TIMEOUT=20")
	r := undecided(t, nodeScript(pollsForever+"next()"), env...)
	r.stderr.WaitFor(t, "timer set")
	harness.Eventually(t, func() bool { return strings.Contains(r.stdout.String(), "Finish invoke request") }, "a tick")
	before, _, _ := strings.Cut(r.stderr.String(), runsAsCustom)
	require.NotContains(t, before, "timer tick accepted")

	server := prepare(t, writeFiles(t, nodeScript(servesOnPort)), append(env, "GANTRY_UPSTREAM=127.0.0.1:"+serverPort(t))...)
	server.launch()
	require.Equal(t, 2, server.wait())
	require.Contains(t, server.stderr.String(), "an HTTP function takes requests only")
	require.NotContains(t, server.stderr.String(), "timer tick accepted")
}

// TestDecisionHoldsUntilTheAgentEnds: a reload with code of the other kind does not change it, and says so.
func TestDecisionHoldsUntilTheAgentEnds(t *testing.T) {
	t.Parallel()
	r := undecided(t, nodeScript(servesOnPort), "GANTRY_QUEUE_WAIT=60", "RUNTIME_INITIALIZER_TIMEOUT=1")
	require.Equal(t, 200, r.request("GET", r.url+"/", "").status)
	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "bootstrap"), []byte("#!/usr/bin/env node\n"+pollsForever+"next()"), 0o755))
	r.signal(syscall.SIGHUP)
	r.stderr.WaitFor(t, "the program asks for events and gets none: the function runs as an HTTP function")
	r.stdout.WaitFor(t, "if it is a custom runtime, set GANTRY_RUNTIME=custom and start the agent again")
}

// TestProgramThatShowsNothingIsDiagnosed: the answer names both possibilities, with invoke and with serve, whose
// callers get it from the listener of a custom runtime.
func TestProgramThatShowsNothingIsDiagnosed(t *testing.T) {
	t.Parallel()
	const never = "bootstrap did not ask for an event, as a custom runtime does (GET http://$RUNTIME_API_ADDR/v1/runtime/invocation/request)"
	for name, c := range map[string]struct{ text, says string }{
		"neither":           {"setInterval(() => {}, 1000)", never + ", and no process of it listens on GANTRY_UPSTREAM, whose port is PORT, as the server of an HTTP function does"},
		"listens elsewhere": {"require('http').createServer().listen(0, '127.0.0.1')", never + "; the function listens on 127.0.0.1:"},
		"ends":              {"process.exit(7)", "it has to ask for events in an endless loop, or to serve until TERM"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := undecided(t, nodeScript(c.text), "GANTRY_QUEUE_WAIT=60")
			require.Equal(t, "custom", r.stderr.Logged("listening")[0]["runtime"])
			failed := r.invoke("{}")
			require.Equal(t, 502, failed.status, failed.body)
			require.Contains(t, failed.body, c.says)
			require.NotContains(t, r.stderr.String(), ": it runs as")
		})
		t.Run(name+", with invoke", func(t *testing.T) {
			t.Parallel()
			got := runInvoke(t, writeFiles(t, nodeScript(c.text)), []string{"--upstream", "127.0.0.1:" + serverPort(t), "--event", "{}"})
			require.Equal(t, 1, got.code)
			require.Contains(t, got.stdout, c.says)
		})
	}
}

// TestUnrunnableUndecidedBootstrapEndsTheAgentWithCode2: as one of a known kind.
func TestUnrunnableUndecidedBootstrapEndsTheAgentWithCode2(t *testing.T) {
	t.Parallel()
	r := prepare(t, writeFiles(t, map[string]string{"bootstrap": "#!/no/such/thing\n"}))
	r.launch()
	require.Equal(t, 2, r.wait(), r.stderr)
	require.Contains(t, r.stderr.String(), "the interpreter of its first line (#!/no/such/thing) does not exist")
}

// TestFunctionListenerWaitsForTheDecision: everything else is there before. The function listener may have the
// server's address, if there is no server.
func TestFunctionListenerWaitsForTheDecision(t *testing.T) {
	harness.FixedPorts(t)
	begin := func(text string, env ...string) (r *running, addr string) {
		addr = "127.0.0.1:" + serverPort(t)
		ops, extension, platform := "127.0.0.1:"+serverPort(t), "127.0.0.1:"+serverPort(t), "127.0.0.1:"+serverPort(t)
		dir := writeFiles(t, nodeScript("const wait = setInterval(() => { if (require('fs').existsSync(__dirname + '/go')) { clearInterval(wait); begin() } }, 5);\n"+text))
		r = prepare(t, dir, append([]string{
			"GANTRY_ADDR=" + addr, "GANTRY_UPSTREAM=127.0.0.1:" + serverPort(t), "GANTRY_OPS_ADDR=" + ops, "EXTENSION_API_ADDR=" + extension,
			"RUNTIME_FUNC_NAME=hello", "GANTRY_API_ADDR=" + platform, "GANTRY_API_AUTH=none", "RUNTIME_TIMEOUT=20",
		}, env...)...)
		r.url, r.ops, r.ext, r.api = "http://"+addr, "http://"+ops, "http://"+extension, "http://"+platform
		r.launch()
		harness.Eventually(t, func() bool {
			conn, err := net.Dial("tcp", ops)
			return err == nil && conn.Close() == nil
		}, "the ops listener")
		return r, addr
	}
	goOn := func(r *running) { require.NoError(t, os.WriteFile(filepath.Join(r.dir, "go"), nil, 0o644)) }

	r, addr := begin("const begin = () => { " + servesOnPort + " }")
	require.Equal(t, 200, r.request("GET", r.ops+"/healthz", "").status)
	require.Contains(t, r.ready().body, "init")
	require.Equal(t, 200, r.register("extensionA", "127.0.0.1:8081").status)
	_, err := net.Dial("tcp", addr)
	require.Error(t, err, "the function listener is not bound")
	answered := make(chan answer, 1)
	go func() { answered <- r.call(`{"httpMethod":"GET","path":"/early"}`) }()
	require.NotContains(t, r.stderr.String(), "INFO listening")
	r.signal(syscall.SIGHUP)
	r.stderr.WaitFor(t, "reload")
	goOn(r)
	a := <-answered
	require.Equal(t, 200, a.status, a.body)
	require.Contains(t, a.body, base64.StdEncoding.EncodeToString([]byte("/early true")))
	r.stderr.WaitFor(t, "INFO listening")
	require.Equal(t, "/x true", r.request("GET", r.url+"/x", "").body)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.wait())

	r, _ = begin("const begin = () => {}")
	began := time.Now()
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.wait(), "a stop before the decision")
	require.Less(t, time.Since(began), 6*time.Second)

	port := serverPort(t)
	r, _ = begin(pollsForever+"const begin = next", "GANTRY_ADDR=127.0.0.1:"+port, "GANTRY_UPSTREAM=127.0.0.1:"+port)
	r.url = "http://127.0.0.1:" + port
	goOn(r)
	r.stderr.WaitFor(t, "INFO listening")
	require.Equal(t, "{} "+r.dir, r.invoke("{}").body)
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.wait())

	r, _ = begin("const begin = () => { "+servesOnPort+" }", "GANTRY_ADDR=127.0.0.1:"+port, "GANTRY_UPSTREAM=127.0.0.1:"+port)
	goOn(r)
	require.Equal(t, 2, r.wait(), "one port for two")
	require.Contains(t, r.stderr.String(), "cannot both have port "+port)

	r, _ = begin(pollsForever+"const begin = () => http.createServer().listen(process.env.PORT, '127.0.0.1', next)",
		"GANTRY_ADDR=127.0.0.1:"+port, "GANTRY_UPSTREAM=127.0.0.1:"+port)
	goOn(r)
	require.Equal(t, 3, r.wait(), "a custom runtime that has taken the port of the function listener")
	require.Contains(t, r.stderr.String(), "taken by process")
}

// TestInvokeRunsProgramsOfEitherKind: the event is one of API Gateway for a server.
func TestInvokeRunsProgramsOfEitherKind(t *testing.T) {
	t.Parallel()
	const event = `{"httpMethod":"GET","path":"/x"}`
	for text, want := range map[string]string{
		servesOnPort:            "/x true",
		pollsForever + "next()": "",
	} {
		dir := writeFiles(t, nodeScript(text))
		got := runInvoke(t, dir, []string{"--upstream", "127.0.0.1:" + serverPort(t), "--timeout", "20", "--event", event, "--event", event})
		require.Equal(t, 0, got.code, got.stderr)
		for line := range strings.Lines(got.stdout) {
			if want == "" {
				require.Equal(t, event+" "+dir, strings.TrimSpace(line))
				continue
			}
			var answer struct{ Body string }
			require.NoError(t, json.Unmarshal([]byte(line), &answer), line)
			body, err := base64.StdEncoding.DecodeString(answer.Body)
			require.NoError(t, err)
			require.Equal(t, want, string(body))
		}
		require.Equal(t, 1, strings.Count(got.stderr, ": it runs as"), got.stderr)
	}
}
