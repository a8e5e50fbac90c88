package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFunctionsOfRuntimesPageRunAsDocumented runs the functions of docs/RUNTIMES.md, each in the way of its section.
func TestFunctionsOfRuntimesPageRunAsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/RUNTIMES.md")
	require.NoError(t, err)
	block := func(language string) string {
		_, rest, found := strings.Cut(string(page), "```"+language+"\n")
		require.True(t, found, language)
		text, _, found := strings.Cut(rest, "```")
		require.True(t, found, language)
		return text
	}
	t.Run("python", func(t *testing.T) {
		t.Parallel()
		r := start(t, writeFiles(t, map[string]string{"index.py": block("python")}), "RUNTIME_TIMEOUT=20", "RUNTIME_INITIALIZER_HANDLER=index.initializer")
		require.JSONEq(t, `{"statusCode":200,"body":"Hello, page"}`, r.invoke(`{"name":"page"}`).body)
		r.stdout.WaitFor(t, "what is printed belongs to its request, too")
		r.stdout.WaitFor(t, "once per worker, before the first call")
	})
	t.Run("php", func(t *testing.T) {
		t.Parallel()
		needPHP(t)
		r := start(t, writeFiles(t, map[string]string{"index.php": block("php")}), "RUNTIME_TIMEOUT=20", "RUNTIME_INITIALIZER_HANDLER=index.initializer")
		require.JSONEq(t, `{"statusCode":200,"body":"Hello, page"}`, r.invoke(`{"name":"page"}`).body)
		r.stdout.WaitFor(t, "what is printed belongs to its request, too")
		r.stdout.WaitFor(t, "once per worker, before the first call")
	})
	t.Run("java", func(t *testing.T) {
		t.Parallel()
		dir := javaFunction(t, map[string]string{"Hello.java": block("java")})
		r := start(t, dir, "RUNTIME_TIMEOUT=20", "RUNTIME_HANDLER=com.demo.Hello.handler")
		require.Equal(t, "Hello", r.invoke(`{"name":"page"}`).body)
		r.stdout.WaitFor(t, `name is "page"`)
	})
	t.Run("go", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		source := filepath.Join(dir, "main.go")
		require.NoError(t, os.WriteFile(source, []byte(block("go")), 0o644))
		code := t.TempDir()
		cmd := exec.Command("go", "build", "-o", filepath.Join(code, "handler"), source)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		r := start(t, code, "RUNTIME_TIMEOUT=20")
		require.JSONEq(t, `{"statusCode":200,"body":"Hello, page"}`, r.invoke(`{"name":"page"}`).body)
		r.stdout.WaitFor(t, "INFO hello from request")
	})
	t.Run("sh", func(t *testing.T) {
		t.Parallel()
		r := custom(t, block("sh"), "RUNTIME_TIMEOUT=20")
		require.JSONEq(t, `{"event":{"name":"page"}}`, r.invoke(`{"name":"page"}`).body)
		large := `{"name":"` + strings.Repeat("x", 3<<20) + `"}`
		require.Equal(t, `{"event":`+large+"}", r.invoke(large).body)
	})
}
