package e2e

import (
	"encoding/json"
	"gantry/test/harness"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
