package e2e

import (
	"gantry/test/harness"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// idleSubscriber registers, waits without using the processor, and subscribes.
const idleSubscriber = `#!/usr/bin/env node
const http = require('http'), fs = require('fs');
const post = (path, body, headers) => new Promise((done, failed) => {
  const [host, port] = process.env.EXTENSION_API_ADDR.split(':');
  const request = http.request({ host, port, path, method: 'POST', headers, agent: false }, (answer) => answer.resume().on('end', done));
  request.on('error', failed).end(body);
});
const name = { 'FunctionGraph-Extension-Name': 'extensionIdle' };
http.createServer((request, answer) => {
  let text = '';
  request.on('data', (part) => text += part).on('end', () => {
    if (request.url === '/t') fs.appendFileSync(process.env.OUT, JSON.parse(text).map((e) => JSON.stringify(e) + '\n').join(''));
    answer.end();
  });
}).listen(8081, '127.0.0.1', async () => {
  await post('/extension/register', '', { ...name, 'FunctionGraph-Extension-Address': '127.0.0.1:8081' });
  setTimeout(() => post('/telemetry', JSON.stringify({
    subscriber: { protocol: 'POST', uri: 'http://127.0.0.1:8081/t' }, types: ['platform', 'function', 'extension'],
  }), name), 600);
});
process.on('SIGTERM', () => process.exit());
`

// occupy keeps the processors busy with four loops until the test ends.
func occupy(t *testing.T) {
	for range 4 {
		cmd := exec.Command("sh", "-c", "while :; do :; done")
		require.NoError(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		})
	}
}

// TestTelemetryOfInvokeIsCompleteOnABusyMachine: whatever the extension is written in, and however late it subscribes
// within a second after its registration, it gets what happened from the start on, of calls and of failed loads.
func TestTelemetryOfInvokeIsCompleteOnABusyMachine(t *testing.T) {
	harness.FixedPorts(t)
	occupy(t)
	const lines = 1500 // more than serve keeps for a subscriber
	const prints = `exports.handler = async (event, context) => { for (let i = 0; i < 1500; i++) console.log('line ' + i); return 1; };`
	out := filepath.Join(t.TempDir(), "out")
	env := []string{"GANTRY_EXTENSION_ENV=OUT,TELEMETRY_FILE", "OUT=" + out, "TELEMETRY_FILE=" + out}
	names := func(t *testing.T, dir string, code int) map[string]int {
		require.NoError(t, os.RemoveAll(out))
		got := runInvoke(t, dir, []string{"--timeout", "30"}, env...)
		require.Equal(t, code, got.code, got.stderr)
		require.FileExists(t, out, got.stderr)
		count := map[string]int{}
		for _, e := range events(t, out) {
			count[e.Name]++
		}
		return count
	}
	for name, extension := range map[string]map[string]string{
		"idle": {"extension/extensionIdle": idleSubscriber},
		"the example": {
			"extension/extensionTelemetryFile.py": exampleScript(t, "telemetry-file/extensionTelemetryFile.py"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			extension["index.js"] = prints
			dir := writeFiles(t, extension)
			for range 2 {
				count := names(t, dir, 0)
				for _, one := range []string{
					"platform.initStart", "platform.initRuntimeDone", "platform.initReport",
					"platform.start", "platform.RuntimeDone", "platform.report",
				} {
					require.Equal(t, 1, count[one], "%s in %v", one, count)
				}
				require.Equal(t, lines, count["function"], count)
			}
			extension["index.js"] = "exports.handler = ("
			require.Positive(t, names(t, writeFiles(t, extension), 1)["platform.initReport"])
		})
	}
}
