package otlp

import (
	"gantry/test/harness"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// patience bounds every wait, often is how often a condition is checked.
	patience, often = harness.Patience, 10 * time.Millisecond

	// functionCode does what the event says.
	functionCode = `
console.log('loaded');
exports.handler = async (event, context) => {
    const log = context.getLogger();
    for (const [level, text] of event.lines || []) level ? log[level](text) : console.log(text);
    for (let i = 0; i < (event.flood || 0); i++) console.log('line ' + i);
    if (event.fail) throw new TypeError('asked to fail');
    if (event.exit) process.exit(7);
    if (event.hang) await new Promise(() => {});
    return context.getRequestID();
};
`
)

// programs is the folder of the programs under test.
var programs string

func TestMain(m *testing.M) {
	harness.OwnNetwork(".test")
	os.Exit(func() int {
		var err error
		if programs, err = os.MkdirTemp("", "otlp"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(programs)
		for name, pkg := range map[string]string{"bootstrap": "./bootstrap", "extensionOtlp": "./examples/extensions/otlp"} {
			cmd := exec.Command("go", append(append([]string{"build"}, buildFlags...), "-o", filepath.Join(programs, name), pkg)...)
			cmd.Dir = "../.."
			if out, err := cmd.CombinedOutput(); err != nil {
				panic(string(out))
			}
		}
		return m.Run()
	}())
}

// agent is an agent under test with the extension.
type agent struct {
	t *testing.T
	*harness.Program
	url       string
	extension string // its file
}

func startAgent(t *testing.T, endpoint string, env ...string) *agent {
	t.Helper()
	harness.FixedPorts(t)
	dir := t.TempDir()
	extension := filepath.Join(dir, "extension", "extensionOtlp")
	require.NoError(t, os.Mkdir(filepath.Dir(extension), 0o755))
	require.NoError(t, os.Symlink(filepath.Join(programs, "extensionOtlp"), extension))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.js"), []byte(functionCode), 0o644))
	cmd := exec.Command(filepath.Join(programs, "bootstrap"), "serve")
	cmd.Env = append(harness.Environ(dir, "RUNTIME_CODE_ROOT="+dir, "RUNTIME_FUNC_NAME=shop", "RUNTIME_FUNC_VERSION=v3", "RUNTIME_TIMEOUT=60",
		"GANTRY_EXTENSION_WAIT=60", "GANTRY_EXTENSION_ENV=OTEL_*", "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint,
		"OTEL_EXPORTER_OTLP_HEADERS=api-key=a%20b"), env...)
	a := &agent{t: t, Program: harness.Start(t, cmd), extension: extension}
	t.Cleanup(a.stop)
	a.url = "http://" + a.Listening()["function"]
	return a
}

// wait waits for a condition, which may use require.
func (a *agent) wait(condition func() bool) {
	a.t.Helper()
	harness.Eventually(a.t, condition, "a condition to come true")
}

// invoke calls the function and returns status and request id.
func (a *agent) invoke(event, traceparent string) (status int, id string) {
	a.t.Helper()
	req, err := http.NewRequest("POST", a.url+"/invoke", strings.NewReader(event))
	require.NoError(a.t, err)
	if traceparent != "" {
		req.Header.Set("Traceparent", traceparent)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(a.t, err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(a.t, err)
	return resp.StatusCode, resp.Header.Get("X-Cff-Request-Id")
}

// stop ends the agent in the orderly way; again is no error. The extension must not have been killed.
func (a *agent) stop() {
	a.Stop()
	if strings.Contains(a.Stdout.String()+a.Stderr.String(), "DATA RACE") {
		a.t.Error("a race")
	}
	if a.Cmd.ProcessState.ExitCode() != 0 || strings.Contains(a.Stderr.String(), "extension killed") {
		a.t.Errorf("the agent did not stop well: %s", a.Cmd.ProcessState)
	}
}

// peakMemory is the extension's, in KiB.
func (a *agent) peakMemory() (kib int) {
	a.t.Helper()
	want, err := filepath.EvalSymlinks(a.extension)
	require.NoError(a.t, err)
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	require.NoError(a.t, err)
	for _, link := range links {
		if exe, err := os.Readlink(link); err == nil && exe == want {
			status, err := os.ReadFile(filepath.Join(filepath.Dir(link), "status"))
			require.NoError(a.t, err)
			_, rest, _ := strings.Cut(string(status), "VmHWM:")
			for _, c := range strings.TrimLeft(rest, " \t") {
				if c < '0' || c > '9' {
					break
				}
				kib = 10*kib + int(c-'0')
			}
		}
	}
	require.NotZero(a.t, kib, "no process of the extension")
	return kib
}

// run runs the extension alone, to its end.
func run(t *testing.T, env ...string) (output string, code int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, "extensionOtlp"))
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	return string(out), exit.ExitCode()
}
