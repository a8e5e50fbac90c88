//go:build !race

package otlp

var buildFlags []string

const memoryLimit = 128 << 10 // KiB
