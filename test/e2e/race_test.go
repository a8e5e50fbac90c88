//go:build race

package e2e

// The race detector is in the program under test, too.
var buildFlags, buildEnvironment = []string{"-race"}, []string{"CGO_ENABLED=1"}
