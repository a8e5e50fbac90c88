package http

import (
	"context"
	"html"
	"os/exec"
	"regexp"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// browserText starts the server of testdata/browser.
const browserText = "/opt/function/runtime/nodejs20.15/rtsp/nodejs/bin/node $RUNTIME_CODE_ROOT/server.js"

// noted finds what the scripts of a page have noted.
var noted = regexp.MustCompile(`(?s)<p id="([a-z]+)">(.*?)</p>`)

// chromium is the command of a browser without a screen; the end of ctx ends all its processes.
func chromium(ctx context.Context, profile string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "chromium", append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
		"--no-proxy-server", "--user-data-dir=" + profile,
	}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// browse loads a page in Chromium and returns what its scripts have noted until the page is quiet.
func browse(t *testing.T, url string) map[string]string {
	t.Helper()
	notes := map[string]string{}
	page := dump(t, url)
	for _, found := range noted.FindAllStringSubmatch(page, -1) {
		notes[found[1]] = html.UnescapeString(found[2])
	}
	require.Equal(t, "yes", notes["done"], "%s", page)
	return notes
}

// TestBrowserLoadsAPage: with scripts, style and an image, and with what its scripts ask for.
func TestBrowserLoadsAPage(t *testing.T) {
	f := start(t, "browser", browserText, 0o644)
	for _, addr := range []string{f.server, f.agent} {
		require.Equal(t, map[string]string{
			"style": "123", "picture": "7", "posted": `200 {"method":"POST","url":"/api?x=%C3%BC","body":"{\"a\":\"ü\"}"}`,
			"redirected": `true {"method":"GET","url":"/api?from=redirect","body":""}`, "cookies": "seen=1", "sent": "seen=1; hidden=2",
			"packed": "100000", "atonce": "200,200,200,200,200,200,200,200", "upload": "5000000", "done": "yes",
		}, browse(t, "http://"+addr+"/"))
	}
	f.stop()
}
