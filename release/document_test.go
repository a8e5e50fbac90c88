package main

import (
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInstallPageRuns runs the commands of docs/INSTALL.md that are marked so, in a copy of the release.
func TestInstallPageRuns(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/INSTALL.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```sh run\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	require.GreaterOrEqual(t, len(blocks), 5)
	script := "set -eux\n"
	for _, b := range blocks {
		script += b[1]
	}
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder, os.DirFS(dist)))
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = folder
	home := t.TempDir()
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "VERSION=" + version, "ARCH=" + runtime.GOARCH, "npm_config_offline=true",
	}
	stdout, stderr, code := outcome(t, cmd)
	require.Zero(t, code, "%s\n%s", stdout, stderr)
	require.Equal(t, 2, strings.Count(stdout, "gantry 1.2.3 (0123abc, "), "from the archive and from npm:\n%s", stdout)
	require.Contains(t, stdout, "you")
	left, err := os.ReadDir(home + "/.local/bin")
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestInstallPageNamesEveryFile: what is in a release, and the variables that add the rest.
func TestInstallPageNamesEveryFile(t *testing.T) {
	text, err := os.ReadFile("../docs/INSTALL.md")
	require.NoError(t, err)
	for _, stage := range targets {
		require.Contains(t, string(text), "| `gantry-$VERSION-image-"+stage.stage+".tar` | `"+stage.name+"` |")
	}
	for _, name := range []string{
		"gantry-$VERSION-linux-$ARCH.tar.gz", "gantry_$VERSION-1_$ARCH.deb", "gantry-$VERSION-1.x86_64.rpm", "gantry-$VERSION.tgz",
		"gantry-$VERSION.cdx.json", licencesName, sumsName, "NODE_BASE=", "PYTHON_BASE", "PHP_BASE",
	} {
		require.Contains(t, string(text), name)
	}
}
