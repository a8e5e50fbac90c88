package http

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// framework is a server as users write it, and how its answers are its own.
type framework struct {
	name, folder string
	text         string // of bootstrap
	mode         os.FileMode
	need         []string // a command that succeeds where it can be tested; empty for npm's
	exits        string   // how the end of the server by /exit is named
	quiet        bool     // it does not say that it was asked to end
	chunked      bool     // it takes bodies in chunks
	path         bool     // it takes any path
	packs        bool     // it compresses
}

const nodeText = "/opt/function/runtime/nodejs18.15/rtsp/nodejs/bin/node $RUNTIME_CODE_ROOT/server.js"

// frameworks have the interpreters of the platform, whose paths do not exist here.
var frameworks = []framework{
	{
		name: "Express 5", folder: "express", mode: 0o644,
		text:  "export NODE_ENV=production\ncd $RUNTIME_CODE_ROOT\nexec /opt/function/runtime/nodejs20.15/rtsp/nodejs/bin/node \\\n  --max-old-space-size=256 \\\n  server.js\n",
		exits: "exit code 3", chunked: true, path: true, packs: true,
	},
	{
		name: "Express 4", folder: "express", mode: 0o755, text: "#!/bin/bash\nexport EXPRESS=express4\n" + nodeText + "\n",
		exits: "exit code 3", chunked: true, path: true, packs: true, quiet: true,
	},
	{name: "Koa", folder: "koa", mode: 0o644, text: nodeText, exits: "exit code 3", chunked: true, path: true},
	{
		name: "Fastify", folder: "fastify", mode: 0o755, text: "#!/bin/sh\ncd $RUNTIME_CODE_ROOT && exec /opt/function/runtime/nodejs20.15/rtsp/nodejs/bin/node server.js",
		exits: "exit code 3", chunked: true, path: true,
	},
	{
		name: "Flask", folder: "flask", mode: 0o644, need: []string{"/usr/bin/python3", "-c", "import flask"},
		text:  "cd $RUNTIME_CODE_ROOT\nexec /opt/function/runtime/python3.9/rtsp/python/bin/python3 app.py\n",
		exits: "exit code 5", path: true, quiet: true,
	},
	{
		name: "flask run", folder: "flask", mode: 0o755, need: []string{"/usr/bin/python3", "-c", "import flask"},
		text:  "#!/bin/sh\nexport FLASK_APP=$RUNTIME_CODE_ROOT/app.py\n/opt/function/runtime/python3.9/rtsp/python/bin/python3 -m flask run \\\n  --host 127.0.0.1 \\\n  --port $PORT\n",
		exits: "exit code 5", path: true, quiet: true,
	},
	{
		name: "gunicorn", folder: "flask", mode: 0o644, need: []string{"/usr/bin/python3", "-c", "import flask, gunicorn"},
		text:  "cd $RUNTIME_CODE_ROOT\nexec /opt/function/runtime/python3.9/rtsp/python/bin/python3 -m gunicorn --bind 127.0.0.1:$PORT \\\n  --workers 2 --threads 4 --max-requests 0 app:app\n",
		exits: "ended the connection without an answer", chunked: true, path: true, quiet: true,
	},
	{
		name: "net/http", folder: "go", mode: 0o755, need: []string{"true"}, text: "#!/bin/sh\nexec $RUNTIME_CODE_ROOT/server\n",
		exits: "exit code 3", chunked: true, packs: true,
	},
	{
		name: "php -S", folder: "php", mode: 0o644, need: []string{"php", "-v"},
		text:  "exec /opt/function/runtime/php7.3/rtsp/php/bin/php -S 127.0.0.1:$PORT \\\n -t $RUNTIME_CODE_ROOT $RUNTIME_CODE_ROOT/index.php\n",
		exits: "killed", path: true, packs: true, quiet: true,
	},
	{
		name: "com.sun.net.httpserver", folder: "java", mode: 0o755, need: []string{"sh", "-c", "command -v javac && java -version"},
		text:  "#!/bin/bash\ncd $RUNTIME_CODE_ROOT\nexec /opt/function/runtime/java17/rtsp/jre/bin/java -Xmx128m -XX:+UseSerialGC Server.java\n",
		exits: "exit code 3", chunked: true,
	},
}

// TestFrameworksAnswerThroughTheAgentAsDirectly runs each framework.
func TestFrameworksAnswerThroughTheAgentAsDirectly(t *testing.T) {
	for _, c := range frameworks {
		t.Run(c.name, func(t *testing.T) {
			if len(c.need) == 0 {
				needNPM(t)
			} else {
				need(t, c.name, c.need...)
			}
			f := start(t, c.folder, c.text, c.mode)
			f.methods(&c)
			f.bodies(&c)
			f.targets(&c)
			f.answers(&c)
			f.atOnce()
			f.ends(&c)
			f.stop()
			if !c.quiet {
				f.Stdout.WaitFor(t, "asked to end")
			}
		})
	}
}

func (f *function) methods(c *framework) {
	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"} {
		f.compare(request(method+" /echo", "", "X-Mine: a, b", "User-Agent: test/1", `Cookie: a=1; b="two words"; c={"d":1}`, "Accept-Language: de;q=0.8, en"), 200)
	}
	f.compare(request("HEAD /large", ""), 200)
	f.compare(request("GET /nowhere", ""), 404)
	for _, name := range []string{"X-CFF-Func-Name", "X_CFF_Func_Name", "x-cff-auth-token"} { // the caller's are no platform's
		e := readEcho(f.t, exchange(f.t, f.agent, request("GET /echo", "", name+": evil")).body)
		require.Equal(f.t, "shop", e.Headers["x-cff-func-name"])
		require.NotContains(f.t, fmt.Sprint(e.Headers), "evil")
	}
}

func (f *function) bodies(c *framework) {
	f.compare(request("POST /json", `{"name":"Ünïcode","n":[1,2.5,null]}`, "Content-Type: application/json"), 201)
	f.compare(request("POST /form", "a=1+2&b=%C3%BC%26", "Content-Type: application/x-www-form-urlencoded"), 200)
	require.Contains(f.t, string(exchange(f.t, f.agent, request("POST /form", "a=1+2&b=x%26y", "Content-Type: application/x-www-form-urlencoded")).body), `"a":"1 2"`)
	binary := make([]byte, 6<<20-1)
	rand.New(rand.NewSource(1)).Read(binary)
	for _, size := range []int{1, 65535, 65537, len(binary)} {
		post := request("POST /echo", string(binary[:size]), "Content-Type: application/octet-stream")
		f.compare(post, 200)
		e, sum := readEcho(f.t, exchange(f.t, f.agent, post).body), sha256.Sum256(binary[:size])
		require.Equal(f.t, hex.EncodeToString(sum[:]), e.Hash)
	}
	if c.chunked {
		f.compare("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 200)
	}
}

func (f *function) targets(c *framework) {
	targets := []string{"/echo", "/echo?", "/echo?a=1&a=2&b=%20x+y&&c", "/echo?q=%C3%BC%2F%3F", "/echo?a[]=1&b={}|", "/echo?" + strings.Repeat("q", 4000)}
	for _, target := range targets {
		if c.folder == "java" && strings.ContainsAny(target, "{|[") { // java.net.URI refuses it
			continue
		}
		f.compare(request("GET "+target, ""), 200)
		e := readEcho(f.t, exchange(f.t, f.agent, request("GET "+target, "")).body)
		require.Equal(f.t, target, e.URL)
	}
	if c.path {
		for _, target := range []string{"/a%2Fb", "/a/../b", "//a//b", "/%C3%BC?x", "/a;b=c"} {
			f.compare(request("GET "+target, ""), 404)
		}
	}
}

func (f *function) answers(c *framework) {
	f.compare(request("GET /", ""), 200)
	f.compare(request("GET /redirect", ""), 302)
	f.compare(request("GET /cookies", ""), 200)
	require.GreaterOrEqual(f.t, len(exchange(f.t, f.agent, request("GET /cookies", "")).header["Set-Cookie"]), 2)
	f.compare(request("GET /204", ""), 204)
	f.compare(request("GET /etag", ""), 200)
	f.compare(request("GET /etag", "", `If-None-Match: "v1"`), 304)
	f.compare(request("GET /chunks", ""), 200)
	f.compare(request("GET /error", ""), 500)
	require.Equal(f.t, "true", exchange(f.t, f.agent, request("GET /error", "")).header.Get("X-Is-Func-Err"))
	f.compare(request("GET /large", ""), 200)
	f.compare(request("GET /large", "", "Accept-Encoding: gzip"), 200)
	packed := exchange(f.t, f.agent, request("GET /large", "", "Accept-Encoding: gzip"))
	require.Equal(f.t, c.packs, packed.header.Get("Content-Encoding") == "gzip")
	require.Equal(f.t, c.packs, len(packed.body) < 10000)
}

// atOnce sends requests at the same time: each gets its own answer, and the server each once.
func (f *function) atOnce() {
	var calls sync.WaitGroup
	for caller := range 8 {
		calls.Go(func() {
			for n := range 10 {
				target := fmt.Sprintf("/echo?caller=%d&n=%d", caller, n)
				a := exchange(f.t, f.agent, request("POST "+target, strings.Repeat("x", 1000*n+1), "Content-Type: application/x"))
				e := readEcho(f.t, a.body)
				require.Equal(f.t, target, e.URL)
				require.Equal(f.t, 1000*n+1, e.Size)
				require.Equal(f.t, a.header.Get("X-Cff-Request-Id"), e.Headers["x-cff-request-id"])
			}
		})
	}
	calls.Wait()
}

// ends has the server end in the middle of a call: the caller sees how, and the next call has the next server.
func (f *function) ends(c *framework) {
	a := exchange(f.t, f.agent, request("GET /exit", ""))
	require.Equal(f.t, 502, a.status, "%s", a.body)
	require.Contains(f.t, string(a.body), c.exits)
	require.Equal(f.t, 200, exchange(f.t, f.agent, request("GET /", "")).status, "which waits for the next server")
	f.compare(request("GET /", ""), 200)
}
