package e2e

import (
	"gantry/async/destination"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const asyncDoc = "docs/ASYNC.md"

// TestExamplesOfAsyncPagePrintWhatItSays runs the shell examples of docs/ASYNC.md.
func TestExamplesOfAsyncPagePrintWhatItSays(t *testing.T) {
	code, err := filepath.Abs("../../examples/chaos/function")
	require.NoError(t, err)
	dir := t.TempDir()
	program, data := filepath.Join(dir, queueProgram), filepath.Join(dir, "data")
	compile(t, "gantry/jetstream", program)
	addr := documented(t, "RUNTIME_CODE_ROOT="+code, "RUNTIME_FUNC_NAME=chaos", "RUNTIME_TIMEOUT=60", "GANTRY_API_AUTH=none",
		"GANTRY_DATA_DIR="+data, "GANTRY_ASYNC_PROGRAM="+program)

	// What the page exports is what the test has, but for port and folder.
	page, err := os.ReadFile("../../" + asyncDoc)
	require.NoError(t, err)
	const function = "/v2/00000000000000000000000000000000/fgs/functions/chaos"
	exports := "\n    export F=http://127.0.0.1:8079" + function + " DATA=/tmp/queue\n"
	require.True(t, strings.Contains(string(page), exports), "%s lacks %q", asyncDoc, exports)
	blocks := pageBlocks(t, asyncDoc, "sh run")
	requireOutputs(t, blocks, shell(t, blocks, "F=http://"+addr+function, "DATA="+data))
}

// TestEndpointsFileOfAsyncPageCanBeRead: the file of endpoints that the page has is one.
func TestEndpointsFileOfAsyncPageCanBeRead(t *testing.T) {
	blocks := pageBlocks(t, asyncDoc, "json endpoints")
	require.Len(t, blocks, 1)
	file := filepath.Join(t.TempDir(), "endpoints.json")
	require.NoError(t, os.WriteFile(file, []byte(blocks[0].text), 0o600))
	endpoints, err := destination.ReadEndpoints(file)
	require.NoError(t, err)
	for _, e := range []destination.Endpoint{endpoints.OBS, endpoints.SMN, endpoints.DIS} {
		require.NotEmpty(t, e.URL)
	}
	require.NotEmpty(t, endpoints.Functions)
}
