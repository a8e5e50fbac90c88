package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func script(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command("../.ci/"+name, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// TestInstallAndRemoveTouchOnlyOurOwnFiles: both names lead to the program; another program called bootstrap stays.
func TestInstallAndRemoveTouchOnlyOurOwnFiles(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "usr", "bin")
	for _, name := range []string{"bootstrap", "gantry-jetstream"} {
		require.NoError(t, os.WriteFile(filepath.Join(from, name), []byte("ours: "+name), 0o600))
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(to, name))
		require.NoError(t, err)
		return string(text)
	}
	for range 2 { // an upgrade too
		require.Empty(t, script(t, "install", from, to))
		require.Equal(t, "ours: bootstrap", read("gantry"))
		require.Equal(t, "ours: bootstrap", read("bootstrap"))
		require.Equal(t, "ours: gantry-jetstream", read("gantry-jetstream"))
	}
	script(t, "install", "--remove", to)
	left, err := os.ReadDir(to)
	require.NoError(t, err)
	require.Empty(t, left)

	require.NoError(t, os.WriteFile(filepath.Join(to, "bootstrap"), []byte("another"), 0o700))
	require.Contains(t, script(t, "install", from, to), "is another program and stays")
	require.Equal(t, "another", read("bootstrap"))
	script(t, "install", "--remove", to)
	require.Equal(t, "another", read("bootstrap"))
	require.NoFileExists(t, filepath.Join(to, "gantry"))
}

// TestOlderGoIsNamedWithTheVersionThatIsNeeded: go itself would only say that it cannot read go.mod.
func TestOlderGoIsNamedWithTheVersionThatIsNeeded(t *testing.T) {
	for version, works := range map[string]bool{"go1.19.8": false, "go1.25": false, "go1.26.0": true, "go1.27rc1": true, "devel go1.28": true} {
		folder := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(folder, "go"), []byte("#!/bin/sh\necho "+version+"\n"), 0o700))
		cmd := exec.Command("../.ci/need", "go")
		cmd.Env = []string{"PATH=" + folder + ":" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		require.Equal(t, works, err == nil, "%s: %s", version, out)
		if !works {
			require.Contains(t, string(out), "/go is "+version+", and Go 1.26 or later is needed")
		}
	}
}
