package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDetectLanguage: by the handler's file, then by a program, then by any file. A name that ends in * is executable.
func TestDetectLanguage(t *testing.T) {
	t.Parallel()
	cases := []struct{ files, handler, want, says string }{
		{"index.js", "", "nodejs", "index.js is in the code folder"},
		{"index.py", "", "python", "index.py is in the code folder"},
		{"index.js index.py", "", "nodejs", "index.js is"},
		{"index.py tool.js", "", "python", "index.py is"},
		{"src/main.py index.js", "src/main.run", "python", "src/main.py is"},
		{"main.py README", "", "python", "but main.py"},
		{"main.mjs", "index.handler", "nodejs", "but main.mjs"},
		{"handler*", "", "go", "handler is in"},
		{"hello* handler*", "hello", "go", "hello is in"},
		{"handler", "", "nodejs", "default"},
		{"bootstrap*", "", "custom", "bootstrap is in"},
		{"bootstrap", "", "custom", "bootstrap is in"},
		{"bootstrap* index.py", "", "python", "index.py is"},
		{"bootstrap* helper.py", "index.handler", "custom", "bootstrap is in"},
		{"bootstrap* index.py", "bootstrap", "custom", "bootstrap is in"},
		{"README", "", "nodejs", "default"},
		{"App.dll App.deps.json", "", "", "looks like a C# function (App.dll), which is not supported in this version: publish it"},
		{"app.jar", "", "", "Java"},
		{"index.php", "", "", "PHP"},
		{"lib.dll index.js", "", "nodejs", "index.js is"},
	}
	for _, c := range cases {
		dir := t.TempDir()
		for name := range strings.FieldsSeq(c.files) {
			name, program := strings.CutSuffix(name, "*")
			path := filepath.Join(dir, name)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			mode := os.FileMode(0o644)
			if program {
				mode = 0o755
			}
			require.NoError(t, os.WriteFile(path, nil, mode))
		}
		l, reason, err := DetectLanguage(dir, c.handler)
		if c.want == "" {
			require.ErrorContains(t, err, c.says, c.files)
			continue
		}
		require.NoError(t, err, c.files)
		require.Equal(t, c.want, l.Name, "%s, handler %q", c.files, c.handler)
		require.Contains(t, reason, c.says, c.files)
	}
}

// TestDetectIgnoresTheAgent: a platform has started it as bootstrap, and it is not its own function.
func TestDetectIgnoresTheAgent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(self, filepath.Join(dir, "bootstrap")))
	l, _, err := DetectLanguage(dir, "")
	require.NoError(t, err)
	require.Equal(t, "nodejs", l.Name)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.py"), nil, 0o644))
	l, _, err = DetectLanguage(dir, "bootstrap")
	require.NoError(t, err)
	require.Equal(t, "python", l.Name)
}

func TestLanguageByName(t *testing.T) {
	t.Parallel()
	for _, l := range Languages {
		got, err := LanguageByName(l.Name)
		require.NoError(t, err)
		require.Same(t, l, got)
	}
	_, err := LanguageByName("csharp")
	require.ErrorContains(t, err, "C# functions are not supported in this version: publish it as a program of its own")
	_, err = LanguageByName("cobol")
	require.ErrorContains(t, err, `runtime "cobol" is not one of: nodejs, python, go, custom`)
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"3.8.18": "3.8", "20.1.0": "20.1", "3": "3", "3.14.0rc1": "3.14", "10.0.0": "10"} {
		v, ok := parseVersion(text)
		require.True(t, ok, text)
		require.Equal(t, want, v.String(), text)
	}
	for _, text := range []string{"", "pyenv: python3: command not found", "v8"} {
		_, ok := parseVersion(text)
		require.False(t, ok, text)
	}
	require.True(t, Version{3, 7}.before(Version{3, 8}))
	require.True(t, Version{2, 7}.before(Version{3, 0}))
	require.False(t, Version{3, 10}.before(Version{3, 8}))
	require.False(t, Version{4, 0}.before(Version{3, 8}))
}
