package function_test

import (
	"gantry/function/internal/require"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestModuleBuildsOutsideTheRepository builds a function in a folder of its own, with the commands that
// docs/RUNTIMES.md gives and without a module proxy: the module needs nothing but the standard library.
func TestModuleBuildsOutsideTheRepository(t *testing.T) {
	here, err := os.Getwd()
	require.NoError(t, err)
	dir := t.TempDir()
	source := `package main

import (
	"context"
	"gantry/function"
)

func main() {
	function.Start(func(context.Context, map[string]string) (string, error) { return "hello", nil })
}
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
	for _, command := range []string{
		"go mod init hello",
		"go mod edit -require gantry/function@v0.0.0 -replace gantry/function=" + here,
		"go build -o handler .",
	} {
		args := strings.Fields(command)
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOPROXY=off", "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, command, "\n", string(out))
	}
	mod, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	require.NotContains(t, string(mod), "require")
}
