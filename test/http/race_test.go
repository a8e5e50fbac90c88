//go:build race

package http

// The race detector is in the program under test, too.
var buildFlags = []string{"-race"}
