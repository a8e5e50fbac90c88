package http

import (
	"context"
	"gantry/test/harness"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBrowserStreams needs the mode without the platform's limits: a page gets events, and an answer in parts, as they
// come, and speaks over a WebSocket. The server sends the rest of each only when the page has seen the beginning.
func TestBrowserStreams(t *testing.T) {
	needNPM(t)
	need(t, "Chromium", "chromium", "--version")
	f := start(t, "streaming", browserText, 0o644, "GANTRY_HTTP_LIMITS=none")
	for _, addr := range []string{f.server, f.agent} {
		require.JSONEq(t, `{
			"events": "one,two,three 3", "early": "yes", "echo": "text 5,bytes 3,text 1000000,4001,bye", "fetched": "before,after"
		}`, f.report(t, "http://"+addr+"/"), addr)
	}
	f.stop()
}

// report loads a page, whose scripts send what they have seen to its server, which prints it. Virtual time, which
// browse needs, does not wait for a WebSocket.
func (f *function) report(t *testing.T, url string) string {
	t.Helper()
	profile, err := os.MkdirTemp("", "gantry-chromium-")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	before := f.Stdout.Size()
	cmd := chromium(ctx, profile, url)
	require.NoError(t, cmd.Start())
	defer func() {
		cancel()
		_ = cmd.Wait() // it was killed
		harness.Eventually(t, func() bool { return os.RemoveAll(profile) == nil }, "the profile of Chromium to be removed")
	}()
	said := ""
	harness.Eventually(t, func() bool {
		_, rest, _ := strings.Cut(f.Stdout.From(before), "report ")
		text, _, whole := strings.Cut(rest, "\n")
		said = text
		return whole
	}, "the report of %s", url)
	return said
}
