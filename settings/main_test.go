package settings

import (
	"gantry/test/harness"
	"os"
	"testing"
)

// TestMain hides the platform's folders, in which a default code folder may lie on this machine.
func TestMain(m *testing.M) {
	harness.OwnNetwork(".test")
	os.Exit(m.Run())
}
