package e2e

import (
	"encoding/json"
	"gantry/test/harness"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The ports of extensions are fixed, so these tests take them with ports and do not run side by side.

const okFunction = `exports.handler = async (e, c) => c.getRequestID()`

// withChaos starts an agent with the misbehaving extension.
func withChaos(t *testing.T, how string, env ...string) *running {
	t.Helper()
	dir, err := filepath.Abs("../../examples/chaos/extension")
	require.NoError(t, err)
	return function(t, okFunction, append([]string{"GANTRY_EXTENSION_DIRS=" + dir, "GANTRY_EXTENSION_ENV=CHAOS*", "CHAOS=" + how}, env...)...)
}

func (r *running) register(name, address string) answer {
	r.t.Helper()
	var header []string
	if name != "" {
		header = append(header, "FunctionGraph-Extension-Name: "+name)
	}
	if address != "" {
		header = append(header, "functiongraph-extension-address: "+address)
	}
	return r.request("POST", r.ext+"/extension/register", "this body is not parsed {", header...)
}

func TestRegistrationTakesTenExtensionsAndRefusesBadOnes(t *testing.T) {
	harness.FixedPorts(t)
	r := function(t, okFunction, "RUNTIME_FUNC_VERSION=v2", "RUNTIME_FUNC_NAME=order-sync")
	a := r.register("extensionA", "127.0.0.1:8081")
	require.Equal(t, 200, a.status, a.body)
	require.JSONEq(t, `{"functionName":"order-sync","functionVersion":"v2","handler":"index.handler","errorInfo":{"errorType":"","errorMessage":""}}`, a.body)
	require.Equal(t, 200, r.register(" extensionA ", " 127.0.0.1:8081 ").status, "the same again is no error")
	cases := []struct {
		name, address string
		status        int
		errorType     string
	}{
		{"", "127.0.0.1:8082", 400, "Extension.MissingHeader"},
		{"extensionB", "", 400, "Extension.MissingHeader"},
		{"a/b", "127.0.0.1:8082", 400, "Extension.MissingHeader"},
		{"extensionB", "localhost:8082", 400, "Extension.InvalidAddress"},
		{"extensionB", "127.0.0.1", 400, "Extension.InvalidAddress"},
		{"extensionB", "http://127.0.0.1:8082", 400, "Extension.InvalidAddress"},
		{"extensionB", "127.0.0.2:8082", 400, "Extension.InvalidAddress"},
		{"extensionB", "127.0.0.1:8080", 400, "Extension.InvalidAddress"},
		{"extensionB", "127.0.0.1:8091", 400, "Extension.InvalidAddress"},
		{"extensionB", "127.0.0.1:8011", 400, "Extension.InvalidAddress"},
		{"extensionB", "127.0.0.1:8081", 409, "Extension.AddressInUse"},
		{"extensionA", "127.0.0.1:8082", 409, "Extension.AlreadyRegistered"},
	}
	for _, c := range cases {
		a := r.register(c.name, c.address)
		require.Equal(t, c.status, a.status, "%+v %s", c, a.body)
		var got struct {
			FunctionName string
			ErrorInfo    struct{ ErrorType, ErrorMessage string }
		}
		require.NoError(t, json.Unmarshal([]byte(a.body), &got))
		require.Equal(t, c.errorType, got.ErrorInfo.ErrorType)
		require.NotEmpty(t, got.ErrorInfo.ErrorMessage)
		require.Equal(t, "order-sync", got.FunctionName)
	}
	for i := 2; i <= 10; i++ {
		require.Equal(t, 200, r.register("extension"+itoa(i), "127.0.0.1:"+itoa(8080+i)).status)
	}
	a = r.register("extension11", "127.0.0.1:8081")
	require.Equal(t, 409, a.status)
	require.Contains(t, a.body, "Extension.TooManyExtensions")
	require.Equal(t, "10", r.metric("gantry_extensions_registered"))
	require.Equal(t, 403, r.request("POST", r.ext+"/extension/register", "", "Host: evil.example").status)
	require.Equal(t, 405, r.request("GET", r.ext+"/extension/register", "").status)
	require.Equal(t, 404, r.request("POST", r.ext+"/logs", "{}").status)
}

func TestStrictRegistrationRefusesUnknownExtensions(t *testing.T) {
	harness.FixedPorts(t)
	r := function(t, okFunction, "GANTRY_EXTENSION_STRICT=true")
	a := r.register("extensionForeign", "127.0.0.1:8081")
	require.Equal(t, 403, a.status)
	require.Contains(t, a.body, "Extension.UnknownName")
}

// TestForeignExtensionIsForgotten: the agent does not see the end of a process that it did not start, so refused
// connections free its seat.
func TestForeignExtensionIsForgotten(t *testing.T) {
	harness.FixedPorts(t)
	r := function(t, okFunction)
	require.Equal(t, 200, r.register("extensionForeign", "127.0.0.1:8089").status)
	require.Eventually(t, func() bool {
		return r.try("{}").status == 200 && r.metric("gantry_extensions_registered") == "0"
	}, patience, 20*time.Millisecond)
	require.Equal(t, 200, r.register("extensionOther", "127.0.0.1:8089").status)
}

// TestExampleExtensionsAreNotifiedOfEachCall starts the two examples, in Go and in Python, beside an example function.
func TestExampleExtensionsAreNotifiedOfEachCall(t *testing.T) {
	harness.FixedPorts(t)
	dir := t.TempDir()
	compile(t, "gantry/examples/extensions/logger", filepath.Join(dir, "extensionLogger"))
	counter, err := filepath.Abs("../../examples/extensions/counter")
	require.NoError(t, err)
	hello, err := filepath.Abs("../../examples/nodejs/hello")
	require.NoError(t, err)
	r := start(t, hello, "GANTRY_EXTENSION_DIRS="+dir+":"+counter, "GANTRY_EXTENSION_WAIT=60")
	for i := 1; i <= 3; i++ {
		a := r.invoke(`{"name":"test"}`)
		require.Equal(t, 200, a.status, a.body)
		id := a.header.Get("X-Cff-Request-Id")
		r.stdout.WaitFor(t, "[extensionLogger] call "+id+" of urn:fss:local-1:00000000000000000000000000000000:function:default:hello:latest\n")
		r.stdout.WaitFor(t, "[extensionCounter.sh] call number "+itoa(i)+": "+id+"\n")
	}
	require.Equal(t, "3", r.metric(`gantry_notifications_total{slot="8081"}`))
	require.Equal(t, "3", r.metric(`gantry_notifications_total{slot="8082"}`))
	require.Equal(t, "0", r.metric(`gantry_notification_failures_total{slot="8082"}`))
}

func TestMisbehavingExtensionsDoNotDisturbCalls(t *testing.T) {
	harness.FixedPorts(t)
	t.Run("never registers", func(t *testing.T) {
		r := withChaos(t, "silent", "GANTRY_EXTENSION_WAIT=0.5")
		require.Equal(t, 200, r.invoke("{}").status)
		r.stderr.WaitFor(t, "has not registered in time")
	})
	t.Run("registers and dies", func(t *testing.T) {
		r := withChaos(t, "dies", "GANTRY_EXTENSION_WAIT=60")
		require.Equal(t, 200, r.invoke("{}").status)
		r.stderr.WaitFor(t, "extension ended; the function runs on without it")
		r.stderr.WaitFor(t, "exit code 3")
		r.waitMetric("gantry_extensions_registered", "0")
		require.Equal(t, 200, r.invoke("{}").status)
		require.Equal(t, 200, r.register("another", "127.0.0.1:8083").status, "its port is free again")
	})
	t.Run("answers slowly, and never", func(t *testing.T) {
		for _, how := range []string{"slow", "never"} {
			r := withChaos(t, how, "GANTRY_EXTENSION_WAIT=60")
			require.Equal(t, 200, r.invoke("{}").status)
			began := time.Now()
			for range 50 {
				require.Equal(t, 200, r.invoke("{}").status)
			}
			require.Less(t, time.Since(began), 30*time.Second, "50 calls, of which none waits for the extension's second")
		}
	})
	t.Run("answers 500", func(t *testing.T) {
		r := withChaos(t, "error", "GANTRY_EXTENSION_WAIT=60")
		for range 3 {
			require.Equal(t, 200, r.invoke("{}").status)
		}
		r.waitMetric(`gantry_notification_failures_total{slot="8083"}`, "3")
		r.stderr.WaitFor(t, "notifications fail")
		require.Equal(t, 1, strings.Count(r.stderr.String(), "notifications fail"), "logged once a minute")
	})
	t.Run("floods stdout", func(t *testing.T) {
		r := withChaos(t, "flood", "GANTRY_EXTENSION_WAIT=60")
		for range 3 {
			require.Equal(t, 200, r.invoke("{}").status)
		}
		r.stdout.WaitFor(t, "[extensionChaos.sh] flood 9999\n")
	})
	t.Run("leaves a daemon that holds stdout", func(t *testing.T) {
		r := withChaos(t, "daemon", "GANTRY_EXTENSION_WAIT=60")
		require.Equal(t, 200, r.invoke("{}").status)
		r.stderr.WaitFor(t, "extension ended")
		require.Equal(t, 200, r.invoke("{}").status)
	})
	t.Run("does not end on TERM", func(t *testing.T) {
		r := withChaos(t, "stubborn", "GANTRY_EXTENSION_WAIT=60", "GANTRY_SHUTDOWN_TIMEOUT=2")
		require.Equal(t, 200, r.invoke("{}").status)
		require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
		require.Equal(t, 0, r.wait())
		r.stderr.WaitFor(t, "extension killed")
	})
}

func TestExtensionScriptsStartAndOtherFilesAreNamed(t *testing.T) {
	script := "#!/bin/sh\necho \"cwd $(pwd) root $EXTENSION_ROOT api $EXTENSION_API_ADDR color $COLOR gantry $GANTRY_SECURITY_TOKEN name $RUNTIME_FUNC_NAME home $SECRET_OF_THE_HOST\"\n"
	dir := writeFiles(t, map[string]string{
		"index.js": okFunction, "extension/extension_ok.sh": script, "extension/extension_plain.sh": strings.TrimPrefix(script, "#!/bin/sh\n"),
		"extension/extension_crlf.sh": "#!/bin/sh\r\necho never\r\n", "extension/extensionNot.txt": "no", "extension/other.sh": script, "extension/sub/extension.sh": script,
	})
	r := start(t, dir, `RUNTIME_USERDATA={"COLOR":"blue","PATH":"/evil"}`, "GANTRY_SECURITY_TOKEN=hidden", "SECRET_OF_THE_HOST=x", "GANTRY_EXTENSION_WAIT=60")
	require.Equal(t, 200, r.invoke("{}").status)
	for _, name := range []string{"extension_ok.sh", "extension_plain.sh"} {
		r.stdout.WaitFor(t, "["+name+"] cwd "+filepath.Join(dir, "extension")+" root "+dir+" api "+strings.TrimPrefix(r.ext, "http://")+" color blue gantry  name "+filepath.Base(dir)+" home \n")
	}
	r.stderr.WaitFor(t, "extension lacks the execute bit")
	r.stderr.WaitFor(t, "ends in CR LF")
	require.NotContains(t, r.stdout.String(), "never")
	require.NotContains(t, r.stdout.String(), "[other.sh]")
	r.stderr.WaitFor(t, "WARN a file in the extension folder is not started: "+filepath.Join(dir, "extension/extensionNot.txt")+" lacks the execute bit")
	r.stderr.WaitFor(t, "WARN a file in the extension folder is not started: "+filepath.Join(dir, "extension/other.sh")+" is not called extension…")
	require.Equal(t, 2, strings.Count(r.stderr.String(), "is not started: "), "a folder is no file")

	files := map[string]string{"index.js": okFunction}
	for i := range 11 {
		files["extension/extension"+itoa(i)+".sh"] = script
	}
	many := prepare(t, writeFiles(t, files))
	many.launch()
	require.Equal(t, exitUsage, many.wait())
	require.Contains(t, many.stderr.String(), "11 extensions, at most 10")
}
