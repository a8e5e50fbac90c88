//go:build !race

package http

var buildFlags []string
