//go:build race

package otlp

// The race detector is in the programs under test, too. It needs several times the memory.
var buildFlags = []string{"-race"}

const memoryLimit = 1 << 20 // KiB
