package e2e

import (
	"gantry/test/harness"
	"testing"
)

// TestPageOnCIPrintsWhatItSays runs docs/CI.md in an empty folder, with the program as gantry in PATH.
func TestPageOnCIPrintsWhatItSays(t *testing.T) {
	harness.FixedPorts(t)
	blocks := pageBlocks(t, "docs/CI.md", "sh run")
	requireOutputs(t, blocks, shell(t, blocks, installed(t)...))
}
