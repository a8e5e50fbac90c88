package main

import (
	"gantry/test/harness"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEventIsReadFromFileStdinOrArgument: a file, standard input or the JSON itself; a byte order mark is no part of
// it.
func TestEventIsReadFromFileStdinOrArgument(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	p := &program{stdin: strings.NewReader("\xef\xbb\xbf[1]")}
	for arg, want := range map[string]string{
		"": "", "-": "[1]", `{"a":1}`: `{"a":1}`, "[]": "[]", "5": "5", `"x"`: `"x"`,
		write("plain", "{}"): "{}", write("mark", "\xef\xbb\xbf{}\n"): "{}\n", write("utf16", harness.UTF16(`{"a":"b"}`)): `{"a":"b"}`,
		write("bytes", "\xff\xfe\x00"): "\xff\xfe\x00", write("text", "\xef\xbb\xbfno JSON"): "\xef\xbb\xbfno JSON",
	} {
		got, err := p.readEvent(arg)
		require.NoError(t, err, arg)
		require.Equal(t, want, string(got), arg)
	}
	for _, arg := range []string{`{"a":`, "nowhere.json"} {
		_, err := p.readEvent(arg)
		require.ErrorContains(t, err, "--event: open "+arg)
		require.ErrorContains(t, err, "want a file, JSON, or - for standard input")
	}
}
