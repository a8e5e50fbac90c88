package main

import (
	"io/fs"
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

// stand is a program in place of the agent's: it writes pages and scripts, and says which name it was called by.
const stand = `#!/bin/sh
# ours: bootstrap
case $1 in
man) for page in $PAGES; do printf '.\\" Written by "gantry man".\n' >"$2/$page"; done ;;
completion) echo "$2 of $(basename "$0")" ;;
esac
`

// filesBelow lists the files below a folder.
func filesBelow(t *testing.T, folder string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(folder, path)
			names = append(names, name)
		}
		return err
	}))
	return names
}

// TestInstallAndRemoveTouchOnlyOurOwnFiles: both names lead to the program; another program called bootstrap stays, and
// so do manual pages that are not the program's.
func TestInstallAndRemoveTouchOnlyOurOwnFiles(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "usr", "bin")
	for name, text := range map[string]string{"bootstrap": stand, "gantry-jetstream": "ours: gantry-jetstream"} {
		require.NoError(t, os.WriteFile(filepath.Join(from, name), []byte(text), 0o700))
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(to, name))
		require.NoError(t, err)
		return string(text)
	}
	man := filepath.Join(to, "../share/man/man1")
	require.NoError(t, os.MkdirAll(man, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(man, "gantry-crane.1"), []byte(".TH GANTRY-CRANE 1\n"), 0o600))
	for _, last := range []string{"gantry-old.1", "gantry-new.1"} { // an upgrade too
		t.Setenv("PAGES", "gantry.1 "+last)
		require.Empty(t, script(t, "install", from, to))
		require.Equal(t, stand, read("gantry"))
		require.Equal(t, stand, read("bootstrap"))
		require.Equal(t, "ours: gantry-jetstream", read("gantry-jetstream"))
		require.Equal(t, "bash of gantry\n", read("../share/bash-completion/completions/gantry"))
		require.Equal(t, "zsh of gantry\n", read("../share/zsh/site-functions/_gantry"))
		require.Equal(t, "fish of gantry\n", read("../share/fish/vendor_completions.d/gantry.fish"))
		require.ElementsMatch(t, []string{
			"bin/bootstrap", "bin/gantry", "bin/gantry-jetstream", "share/bash-completion/completions/gantry",
			"share/fish/vendor_completions.d/gantry.fish", "share/zsh/site-functions/_gantry",
			"share/man/man1/gantry.1", "share/man/man1/" + last, "share/man/man1/gantry-crane.1",
		}, filesBelow(t, filepath.Dir(to)))
	}
	script(t, "install", "--remove", to)
	require.Equal(t, []string{"share/man/man1/gantry-crane.1"}, filesBelow(t, filepath.Dir(to)))

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
