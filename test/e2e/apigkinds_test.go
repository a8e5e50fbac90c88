package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFrontOfAnHTTPFunctionPassesRequestsOn: with the headers of the platform and of API Gateway, the caller's taken out.
func TestFrontOfAnHTTPFunctionPassesRequestsOn(t *testing.T) {
	t.Parallel()
	routes := filepath.Join(t.TempDir(), "routes.json")
	require.NoError(t, os.WriteFile(routes, []byte(`[{"path": "/{proxy+}"}]`), 0o600))
	for name, files := range map[string]map[string]string{
		"known": probeFiles, "undecided": {"bootstrap": "#!/usr/bin/env node\n" + probeServer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httpFunction(t, files, "GANTRY_APIG_ADDR=127.0.0.1:0", "GANTRY_APIG_ROUTES="+routes, "RUNTIME_TIMEOUT=20")
			front := frontOf(r)
			a := r.request("POST", front+"/a%2Fb?c=d", "body", "X-APIG-Source-Ip: 192.0.2.9", "X-Apig-Api-Id: evil", "X-CFF-Func-Name: evil", "X-Mine: 1")
			s := see(t, a)
			require.Equal(t, []string{"POST", "/a%2Fb?c=d", "body", "1"}, []string{s.Method, s.URL, s.Body, s.Headers["x-mine"]})
			require.Equal(t, []string{"127.0.0.1", "RELEASE"}, []string{s.Headers["x-apig-source-ip"], s.Headers["x-apig-source-stage"]})
			require.Len(t, s.Headers["x-apig-api-id"], 32)
			require.Equal(t, a.header.Get("X-Cff-Request-Id"), s.Headers["x-apig-request-id"])
			require.Equal(t, a.header.Get("X-Cff-Request-Id"), s.Headers["x-cff-request-id"])
			require.NotContains(t, fmt.Sprint(s.Headers), "evil")
			direct := see(t, r.request("GET", r.url+"/a", "", "X-Apig-Api-Id: kept"))
			require.Equal(t, "kept", direct.Headers["x-apig-api-id"], "there is no gateway in front of the function listener")
			a = r.request("GET", front+"/cookies", "")
			require.Equal(t, []string{"a=1; Path=/", "b=2"}, a.header["Set-Cookie"])
			require.Equal(t, []string{"1", "2"}, a.header["X-Twice"])
			require.Equal(t, 503, r.request("GET", front+"/503", "").status)
			require.Equal(t, 500, r.request("GET", front+"/big", "").status)
			readRefusal(t, r.request("GET", front+"/", ""), 404, "APIG.0101")
			a = r.rawTo(front, "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			require.Equal(t, 400, a.status)
			require.Contains(t, a.body, "takes no upgrade")
		})
	}
}

const gatewayCustom = `#!/usr/bin/env python3
import json, os, urllib.request
base = "http://" + os.environ["RUNTIME_API_ADDR"] + "/v1/runtime/invocation/"
while True:
    with urllib.request.urlopen(base + "request") as r:
        request_id, event = r.headers["X-Cff-Request-Id"], json.load(r)
    answer = {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps(event), "isBase64Encoded": False}
    urllib.request.urlopen(urllib.request.Request(base + "response/" + request_id, json.dumps(answer).encode())).read()
`

const gatewayContainer = `const http = require('http');
http.createServer((q, s) => {
  let body = '';
  q.on('data', (d) => body += d);
  q.on('end', () => {
    if (q.url !== '/invoke') { s.writeHead(404); return s.end(); }
    s.end(JSON.stringify({ statusCode: 200, headers: {}, body: body, isBase64Encoded: false }));
  });
}).listen(process.env.PORT, '127.0.0.1');`

// TestFrontCallsCustomRuntimesAndImagesWithEvents: they are event functions, too.
func TestFrontCallsCustomRuntimesAndImagesWithEvents(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		env   []string
	}{
		"custom":    {map[string]string{"bootstrap": gatewayCustom}, nil},
		"container": {map[string]string{"bootstrap": "exec node server.js", "server.js": gatewayContainer}, []string{"GANTRY_RUNTIME=container", "GANTRY_UPSTREAM=127.0.0.1:" + serverPort(t)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, front := gateway(t, c.files, c.env...)
			e := readEvent(t, r.request("POST", front+"/p?q=1", "hi"))
			require.Equal(t, []string{"POST", "/p", "aGk=", "1"}, []string{e.Method, e.Path, e.Body, e.Query["q"]})
		})
	}
}
