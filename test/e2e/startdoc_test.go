package e2e

import (
	"gantry/test/harness"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestStartPageRunsFromTheFirstLineToTheLast runs docs/START.md in an empty folder, with the program as gantry in PATH.
func TestStartPageRunsFromTheFirstLineToTheLast(t *testing.T) {
	harness.FixedPorts(t)
	blocks := pageBlocks(t, "docs/START.md", "sh run")
	requireOutputs(t, blocks, shell(t, blocks, installed(t)...))
}

// TestReadmeLeadsToAFunctionThatRuns runs the first commands of README.md in an empty folder.
func TestReadmeLeadsToAFunctionThatRuns(t *testing.T) {
	harness.FixedPorts(t)
	blocks := pageBlocks(t, "README.md", "sh run")
	require.Len(t, blocks, 2)
	requireOutputs(t, blocks, shell(t, blocks, installed(t)...))
}

// installed is an environment with the program as gantry in PATH.
func installed(t *testing.T) []string {
	t.Helper()
	bin := t.TempDir()
	require.NoError(t, os.Symlink(program(t), filepath.Join(bin, "gantry")))
	return []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "RUNTIME_MEMORY=512"}
}
