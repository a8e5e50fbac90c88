//go:build !race

package e2e

// The program under test is built as it is released.
var buildFlags, buildEnvironment = []string(nil), []string{"CGO_ENABLED=0"}
