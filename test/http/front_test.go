package http

import (
	"context"
	"gantry/test/harness"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startFront runs an event function behind the front, and returns its address.
func startFront(t *testing.T, folder string, env ...string) (agent *harness.Program, front string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, "bootstrap"), "serve", "--code", folder)
	cmd.Env = append(harness.Environ(t.TempDir(), "GANTRY_APIG_ADDR=127.0.0.1:0", "RUNTIME_TIMEOUT=30"), env...)
	agent = harness.Start(t, cmd)
	return agent, agent.Listening()["apig"]
}

// dump is the document that Chromium has made of a page once that is quiet.
func dump(t *testing.T, url string) string {
	t.Helper()
	need(t, "Chromium", "chromium", "--version")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := chromium(ctx, t.TempDir(), "--virtual-time-budget=20000", "--dump-dom", url)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(&stderr)
		}
	})
	require.NoError(t, cmd.Run())
	return stdout.String()
}

// TestBrowserOpensThePageOfAnEventFunction: the example, with its picture, its cookie and its data, and its form sent.
func TestBrowserOpensThePageOfAnEventFunction(t *testing.T) {
	folder := t.TempDir()
	source, err := os.ReadFile("../../examples/nodejs/page/index.js")
	require.NoError(t, err)
	// What a person would look at and do.
	source = []byte(strings.Replace(string(source), "<script>", `<p id="wide"></p><script>
		const done = () => document.getElementById('wide').textContent = document.getElementById('picture').naturalWidth;
		const image = document.getElementById('picture');
		image.complete ? done() : image.addEventListener('load', done);
		if (location.search === '?send') document.getElementById('form').submit();`, 1))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "index.js"), source, 0o600))
	agent, front := startFront(t, folder)
	text := dump(t, "http://"+front+"/")
	require.Contains(t, text, `<p id="time">1 seen=yes</p>`)
	require.Contains(t, text, `<p id="wide">7</p>`)
	require.Contains(t, dump(t, "http://"+front+"/?send"), `<p id="greeting">Hello, Zoë &amp; Co</p>`)
	require.Contains(t, dump(t, "http://"+front+"/no%20where"), "There is no /no%20where here.")
	agent.Stop()
	require.NotContains(t, agent.Stderr.String(), "DATA RACE")
}

// TestBrowserSeesWhatIsWrongWithAnAnswer: the page names it, and runs nothing of what the function answered.
func TestBrowserSeesWhatIsWrongWithAnAnswer(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "index.js"), []byte(
		`exports.handler = async (event, context) => '<script>document.title = "taken over"</script>';`), 0o600))
	agent, front := startFront(t, folder)
	text := dump(t, "http://"+front+"/")
	require.Contains(t, text, "500 FSS.1202")
	require.Contains(t, text, "&lt;script&gt;document.title")
	require.Contains(t, text, `"isBase64Encoded": false}</pre>`)
	require.NotContains(t, text, "<title>taken over")
	agent.Stop()
}
