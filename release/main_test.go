package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	version = "1.2.3"
	newer   = "1.3.0"
)

// at is the time of the release under test.
var at = time.Unix(1_700_000_000, 0).UTC()

// dist is the release under test, and upgrade the packages of the version after it, for this machine only.
var dist, upgrade string

// notes are the lines that the release printed.
var notes bytes.Buffer

func TestMain(m *testing.M) {
	os.Exit(func() int {
		folder, err := os.MkdirTemp("", "gantry-release-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(folder)
		dist, upgrade = filepath.Join(folder, "dist"), filepath.Join(folder, "upgrade")
		if err := newRelease("..", dist).make(); err != nil {
			panic(err)
		}
		second := newRelease("..", upgrade)
		second.version, second.arches, second.notes = newer, []string{runtime.GOARCH}, io.Discard
		if err := second.make(); err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

// heavy skips a test in CI, whose time is short; "make test-release" runs it.
func heavy(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("left to make test-release")
	}
}

// newRelease is a release of the sources in root.
func newRelease(root, out string) *release {
	return &release{
		root: root, out: out, version: version, commit: "0123abc", source: "https://sources.test/gantry", time: at,
		arches: []string{"amd64", "arm64"}, bases: map[string]string{}, notes: &notes,
	}
}

// entry is what a tar archive says about one file.
type entry struct {
	tar.Header
	data content
}

// content is the data of a file. A failed test prints its size only.
type content []byte

// GoString is for the messages of failed tests.
func (c content) GoString() string { return fmt.Sprintf("%d bytes", len(c)) }

// entries reads a tar archive.
func entries(t *testing.T, data []byte) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NotContains(t, all, h.Name, "twice in the archive")
		all[h.Name] = entry{*h, data}
	}
}

func unzipped(t *testing.T, name string) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(readDist(t, name)))
	require.NoError(t, err)
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	return data
}

func readDist(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dist, name))
	require.NoError(t, err)
	return data
}

// extracted unpacks an archive of the release with the system's tar, and returns the folder.
func extracted(t *testing.T, name string) string {
	t.Helper()
	folder := t.TempDir()
	run(t, exec.Command("tar", "-xzf", filepath.Join(dist, name), "-C", folder))
	return folder
}

// run runs a command that has to succeed and returns its stdout.
func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := output(cmd)
	require.NoError(t, err, "%s", out)
	return string(out)
}

// outcome runs a command and returns what it printed, and its exit code.
func outcome(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	err := cmd.Run()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return out.String(), errors.String(), cmd.ProcessState.ExitCode()
}

// needRoot skips a test that changes its root folder.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it installs packages into a folder with a Debian")
	}
}

// customRuntime builds the example for an architecture into a code folder.
func customRuntime(t *testing.T, arch, name string) string {
	t.Helper()
	folder := t.TempDir()
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(folder, name), "./examples/custom/go")
	cmd.Dir, cmd.Env = "..", append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	run(t, cmd)
	require.NoError(t, os.Chmod(folder, 0o755))
	return folder
}

// TestSecondBuildHasTheSameBytes: from a copy of the sources at another path, with another mask of modes.
// "make release-check" does the same without the compiler's cache.
func TestSecondBuildHasTheSameBytes(t *testing.T) {
	heavy(t)
	root := filepath.Join(t.TempDir(), "a longer path", "checkout")
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = ".."
	for name := range strings.SplitSeq(strings.TrimRight(run(t, list), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join("..", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed, and not committed yet
		}
		require.NoError(t, err)
		info, err := os.Stat(filepath.Join("..", name))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), data, info.Mode().Perm()&0o700))
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "--all"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = root
		run(t, cmd)
	}
	out := filepath.Join(t.TempDir(), "dist")
	require.NoError(t, newRelease(root, out).make())
	again, err := os.ReadFile(filepath.Join(out, sumsName))
	require.NoError(t, err)
	require.Equal(t, string(readDist(t, sumsName)), string(again))
}

// TestSumsNameEveryFile: sha256sum reads them, and no file is missing.
func TestSumsNameEveryFile(t *testing.T) {
	cmd := exec.Command("sha256sum", "--check", "--strict", sumsName)
	cmd.Dir = dist
	checked := run(t, cmd)
	files, err := os.ReadDir(dist)
	require.NoError(t, err)
	require.Equal(t, len(files)-1, strings.Count(checked, ": OK\n"))
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	require.Equal(t, []string{
		"SHA256SUMS", "THIRD-PARTY-LICENSES", "gantry-1.2.3-1.aarch64.rpm", "gantry-1.2.3-1.x86_64.rpm",
		"gantry-1.2.3-image-binary.tar", "gantry-1.2.3-image-go.tar", "gantry-1.2.3-image-queue-binary.tar",
		"gantry-1.2.3-linux-amd64.tar.gz", "gantry-1.2.3-linux-arm64.tar.gz", "gantry-1.2.3.cdx.json", "gantry-1.2.3.tgz",
		"gantry_1.2.3-1_amd64.deb", "gantry_1.2.3-1_arm64.deb",
	}, names)
}

// TestOnlyAnEarlierReleaseIsReplaced: a folder with other files stays, whatever DIST says.
func TestOnlyAnEarlierReleaseIsReplaced(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, mayReplace(folder), "empty")
	require.NoError(t, mayReplace(filepath.Join(folder, "missing")))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "letter"), nil, 0o600))
	r := newRelease("..", folder)
	require.ErrorContains(t, r.make(), "is no earlier release: choose another folder with DIST=")
	require.FileExists(t, filepath.Join(folder, "letter"))
	require.NoError(t, os.WriteFile(filepath.Join(folder, sumsName), nil, 0o600))
	require.NoError(t, mayReplace(folder))
}

// TestFailedReleaseLeavesTheEarlierOneAndNothingElse: here the checkout lacks the sources.
func TestFailedReleaseLeavesTheEarlierOneAndNothingElse(t *testing.T) {
	parent := t.TempDir()
	out := filepath.Join(parent, "dist")
	require.NoError(t, os.Mkdir(out, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(out, sumsName), []byte("earlier"), 0o600))
	require.ErrorContains(t, newRelease(t.TempDir(), out).make(), "programs: ")
	left, err := filepath.Glob(filepath.Join(parent, "*"))
	require.NoError(t, err)
	hidden, err := filepath.Glob(filepath.Join(parent, ".*"))
	require.NoError(t, err)
	require.Equal(t, []string{out}, slices.Concat(left, hidden))
	kept, err := os.ReadFile(filepath.Join(out, sumsName))
	require.NoError(t, err)
	require.Equal(t, "earlier", string(kept))
}
