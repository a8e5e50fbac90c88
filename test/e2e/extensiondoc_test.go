package e2e

import (
	"encoding/json"
	"gantry/test/harness"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const extensionDoc = "docs/EXTENSIONS.md"

// TestExampleOfExtensionPageRunsAsItSays runs the extension of docs/EXTENSIONS.md, as the page says.
func TestExampleOfExtensionPageRunsAsItSays(t *testing.T) {
	harness.FixedPorts(t)
	source := pageBlocks(t, extensionDoc, "python extension")
	require.Len(t, source, 1)
	code := writeFiles(t, map[string]string{"index.js": okFunction, "extension/extensionHello": source[0].text})
	require.NoError(t, os.Chmod(filepath.Join(code, "extension", "extensionHello"), 0o644))
	programs := t.TempDir()
	compile(t, "gantry/bootstrap", filepath.Join(programs, "bootstrap"))
	blocks := pageBlocks(t, extensionDoc, "sh run")
	blocks[0].text = "ln -s " + code + " my-function\n" + blocks[0].text // the folder that the page speaks of
	requireOutputs(t, blocks, shell(t, blocks, "PATH="+programs+":"+os.Getenv("PATH"), "EXTENSION_API_ADDR=127.0.0.1:0"))
}

// TestEventsOfExtensionPageAreValidJSON: the events that the page shows are JSON, and have what an event has.
func TestEventsOfExtensionPageAreValidJSON(t *testing.T) {
	blocks := pageBlocks(t, extensionDoc, "json events")
	require.Len(t, blocks, 1)
	seen := map[string]bool{}
	for line := range strings.Lines(blocks[0].text) {
		var event struct{ Name, StartTime string }
		require.NoError(t, json.Unmarshal([]byte(line), &event), line)
		require.NotEmpty(t, event.StartTime, line)
		seen[event.Name] = true
	}
	require.Len(t, seen, 10)
}

// TestExtensionsThatPeopleCopyLetABurstOfCallsConnect: the one of docs/EXTENSIONS.md, and the example in Python. They are
// stopped, so that the kernel alone takes connections, as many as the listener has room for.
func TestExtensionsThatPeopleCopyLetABurstOfCallsConnect(t *testing.T) {
	harness.FixedPorts(t)
	source := pageBlocks(t, extensionDoc, "python extension")
	require.Len(t, source, 1)
	for _, path := range []string{
		checkScript(t, "extensionHello", source[0].text, 0o755), root + "/examples/extensions/counter/extensionCounter.sh",
	} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			registered := make(chan string, 1)
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, `{"functionName":"f","functionVersion":"latest"}`)
				registered <- r.Header.Get("FunctionGraph-Extension-Address")
			}))
			t.Cleanup(api.Close)
			cmd := exec.Command(path)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "EXTENSION_API_ADDR=" + api.Listener.Addr().String()}
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			require.NoError(t, cmd.Start())
			t.Cleanup(func() {
				assert.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
				assert.ErrorContains(t, cmd.Wait(), "killed")
			})
			select {
			case address := <-registered:
				require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGSTOP))
				for i := range 32 {
					c, err := net.DialTimeout("tcp", address, 5*time.Second)
					require.NoError(t, err, "connection %d of 32", i+1)
					defer c.Close()
				}
			case <-time.After(time.Minute):
				t.Fatal("it did not register")
			}
		})
	}
}
