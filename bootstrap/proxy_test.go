package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoopbackIsExemptFromAProxyThatIsSet(t *testing.T) {
	const both = ",127.0.0.1,localhost"
	for _, c := range []struct{ says, env, lower, upper string }{
		{"without a proxy", "NO_PROXY=a", "", "a"},
		{"nothing set", "http_proxy=http://p", both[1:], both[1:]},
		{"a proxy for all", "ALL_PROXY=socks5://p", both[1:], both[1:]},
		{"an empty proxy", "http_proxy=", "", ""},
		{"only one form", "HTTP_PROXY=p NO_PROXY=.example.com,10.0.0.0/8", ".example.com,10.0.0.0/8" + both, ".example.com,10.0.0.0/8" + both},
		{"both forms", "https_proxy=p no_proxy=a NO_PROXY=b", "a" + both, "b" + both},
		{"there already", "http_proxy=p no_proxy=localhost,127.0.0.1", "localhost,127.0.0.1", "localhost,127.0.0.1"},
		{"half", "http_proxy=p no_proxy=localhost", "localhost,127.0.0.1", "localhost,127.0.0.1"},
		{"everything", "http_proxy=p no_proxy=*", "*", "*"},
	} {
		env := loopbackDirect(strings.Fields(c.env))
		values := variables(env)
		require.Equal(t, c.lower, values["no_proxy"], c.says)
		require.Equal(t, c.upper, values["NO_PROXY"], c.says)
		require.Len(t, env, len(values), "no name twice: %s", c.says)
	}
}

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
