package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRuntimeAndExtensionReachTheAgentDespiteAProxy: a custom runtime and an extension reach the agent although their
// environment names a proxy, at which nothing listens here.
func TestRuntimeAndExtensionReachTheAgentDespiteAProxy(t *testing.T) {
	t.Parallel()
	const poller = `#!/usr/bin/env python3
import os, json, urllib.request as u
api = "http://%s/v1/runtime/invocation/" % os.environ["RUNTIME_API_ADDR"]
while True:
    with u.urlopen(api + "request") as r:
        answer = json.dumps([json.load(r), os.environ["no_proxy"], os.environ["http_proxy"]])
    u.urlopen(u.Request(api + "response/" + r.headers["X-Cff-Request-Id"], answer.encode())).close()
`
	const ext = `#!/usr/bin/env python3
import os, signal, urllib.request as u
u.urlopen(u.Request("http://%s/extension/register" % os.environ["EXTENSION_API_ADDR"], method="POST", headers={
    "FunctionGraph-Extension-Name": "extensionProxy", "FunctionGraph-Extension-Address": "127.0.0.1:9"})).close()
`
	r := start(t, writeFiles(t, map[string]string{"bootstrap": poller, "extension/extensionProxy": ext}), "http_proxy=http://127.0.0.1:9", "NO_PROXY=.example.com", "RUNTIME_TIMEOUT=60", "GANTRY_EXTENSION_WAIT=60")
	require.JSONEq(t, `[{"n": 1}, ".example.com,127.0.0.1,localhost", "http://127.0.0.1:9"]`, r.invoke(`{"n": 1}`).body)
	r.stdout.WaitFor(t, "[extensionProxy] ") // the traceback of the refusal: 127.0.0.1:9 is no extension's address
	r.stdout.WaitFor(t, "HTTP Error 400")    // of the agent, not of the proxy
}
