package main

import (
	"encoding/json"
	"gantry/test/harness"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// earlier are commits whose programs write a queue that this release has to read. A release adds its own.
var earlier = []string{
	"9858969302410734c7ade3dea99c6f4a940689dc", "2417fb9ea5f2ca4e75c902964258aa751594a26c",
	"746cd2e7ad4c3fd17a1e5b7682c97864f2ebf8b6", "9ce10465b23bd6152d3f4a4e44aec2e05e951847",
}

// buildEarlier builds the two programs of a commit into a folder.
func buildEarlier(t *testing.T, commit string) string {
	t.Helper()
	sources, out := t.TempDir(), t.TempDir()
	archive := exec.Command("git", "archive", "-o", filepath.Join(sources, "sources.tar"), commit)
	archive.Dir = ".."
	if said, err := archive.CombinedOutput(); err != nil {
		t.Skipf("this clone does not have commit %s: %s", commit, said)
	}
	run(t, exec.Command("tar", "-xf", filepath.Join(sources, "sources.tar"), "-C", sources))
	for name, pkg := range map[string]string{"gantry": "./bootstrap", "gantry-jetstream": "./jetstream"} {
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(out, name), pkg)
		cmd.Dir, cmd.Env = sources, append(os.Environ(), "CGO_ENABLED=0")
		run(t, cmd)
	}
	return out
}

// queueOf starts the agent of a folder on a data folder and returns the address of its asynchronous requests.
func queueOf(t *testing.T, programs, code, data string) (p *harness.Program, url string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, "gantry"), "serve", "--code", code)
	cmd.Env = harness.Environ(t.TempDir(), "RUNTIME_FUNC_NAME=hello", "GANTRY_API_ADDR=127.0.0.1:0", "GANTRY_API_AUTH=none",
		"GANTRY_DATA_DIR="+data, "GANTRY_SHUTDOWN_TIMEOUT=4", "RUNTIME_TIMEOUT=600")
	p = harness.Start(t, cmd)
	return p, "http://" + p.Listening()["platform"] + "/v2/" + strings.Repeat("0", 32) + "/fgs/functions/hello/"
}

// TestQueuesOfEarlierProgramsAreReadAndRun: the old agent and its child store requests; after the upgrade the records
// are listed, and what waited or was interrupted runs.
func TestQueuesOfEarlierProgramsAreReadAndRun(t *testing.T) {
	heavy(t)
	now := filepath.Join(extracted(t, "gantry-1.2.3-linux-"+runtime.GOARCH+".tar.gz"), "gantry-1.2.3-linux-"+runtime.GOARCH)
	for _, commit := range earlier {
		t.Run(commit[:12], func(t *testing.T) {
			code, data := t.TempDir(), filepath.Join(t.TempDir(), "data")
			source := func(text string) {
				require.NoError(t, os.WriteFile(filepath.Join(code, "index.js"), []byte("exports.handler = async (event, context) => {"+text+"};\n"), 0o600))
			}
			source(`if (event.fail) throw new Error('asked to fail'); if (event.block) await new Promise(r => setTimeout(r, 600000));`)
			p, url := queueOf(t, buildEarlier(t, commit), code, data)
			enqueue := func(event string) string {
				var accepted struct {
					ID string `json:"request_id"`
				}
				require.NoError(t, json.Unmarshal([]byte(ask(t, "POST", url+"invocations-async", event)), &accepted))
				require.NotEmpty(t, accepted.ID)
				return accepted.ID
			}
			await := func(id, status string) {
				harness.Eventually(t, func() bool {
					return strings.Contains(ask(t, "GET", url+"async-invocations?request_id="+id, ""), `"status":"`+status+`"`)
				}, "%s to be %s", id, status)
			}
			configuration := `{"max_async_event_age_in_seconds":7200,"max_async_retry_attempts":0}`
			require.Contains(t, ask(t, "PUT", url+"async-invoke-config", configuration), `"max_async_event_age_in_seconds":7200`)
			succeeded, failed := enqueue(`{}`), enqueue(`{"fail":true}`)
			await(succeeded, "SUCCESS")
			await(failed, "FAIL")
			interrupted := enqueue(`{"block":true}`)
			await(interrupted, "RUNNING")
			waiting := enqueue(`{"waiting":true}`)
			await(waiting, "WAIT")
			p.Stop()

			source(`return 'after the upgrade';`)
			_, url = queueOf(t, now, code, data)
			await(succeeded, "SUCCESS")
			await(failed, "FAIL")
			await(waiting, "SUCCESS")
			await(interrupted, "SUCCESS")
			await(enqueue(`{}`), "SUCCESS")
			require.Contains(t, ask(t, "GET", url+"async-invoke-config", ""), `"max_async_event_age_in_seconds":7200,"max_async_retry_attempts":0`)
		})
	}
}
