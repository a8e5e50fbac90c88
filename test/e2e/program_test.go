// Package e2e tests the agent from outside: it builds the program and runs it as a process, with its listeners, its
// output and its exit code.
package e2e

import (
	"bytes"
	"fmt"
	"gantry/test/harness"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	// built says in the environment where the program under test is, across the change of namespaces.
	built = "GANTRY_TEST_BUILT"

	// root is the folder of the module.
	root = "../.."

	// queueProgram is the name of the queue's program, which lies beside the agent's.
	queueProgram = "gantry-jetstream"
)

// The exit codes that users get.
const (
	exitUsage    = 2
	exitListen   = 3
	exitFunction = 4
	exitStuck    = 5
)

// programs is the folder of the program under test.
var programs string

// TestMain builds the program under test before it enters a network of its own: go may have to download modules.
func TestMain(m *testing.M) {
	programs = os.Getenv(built)
	if programs == "" {
		programs = build()
		_ = os.Setenv(built, programs)
	}
	harness.OwnNetwork(".test")
	_ = os.Unsetenv(built)
	code := m.Run()
	_ = os.RemoveAll(programs)
	os.Exit(code)
}

// build builds the program under test into a new folder, with the race detector if these tests have it.
func build() (dir string) {
	dir, err := os.MkdirTemp("", "gantry-e2e-")
	if err != nil {
		panic(err)
	}
	args := append([]string{"build", "-buildvcs=false", "-o", filepath.Join(dir, "bootstrap")}, buildFlags...)
	cmd := exec.Command("go", append(args, "gantry/bootstrap")...)
	cmd.Env = append(os.Environ(), buildEnvironment...)
	if out, err := cmd.CombinedOutput(); err != nil {
		_ = os.RemoveAll(dir)
		panic(fmt.Sprintf("the program under test cannot be built: %v\n%s", err, out))
	}
	return dir
}

// program returns the path of the program under test.
func program(t testing.TB) string {
	t.Helper()
	require.NoError(t, readSources())
	return filepath.Join(programs, "bootstrap")
}

// readSources reads what the programs are built from, and the functions and extensions of the module. The test cache
// depends on the files that a test opens itself: without this, a result from before a change would be shown as
// "(cached)". Files that are opened before m.Run do not count, so TestMain cannot do it.
var readSources = sync.OnceValue(func() error {
	module, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	names, err := sources(module)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := os.ReadFile(name); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Dir(name)); err != nil { // changes with a new file in the folder
			return err
		}
	}
	for _, dir := range []string{"examples", "testdata", "test/e2e/testdata", "runtime/testdata"} {
		err := filepath.WalkDir(filepath.Join(module, dir), func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				_, err = os.ReadFile(name)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, name := range []string{"go.mod", "go.sum", "function/go.mod"} {
		if _, err := os.ReadFile(filepath.Join(module, name)); err != nil {
			return err
		}
	}
	return nil
})

// sources lists the files of the module, embedded ones too, that bootstrap, the queue's program and Go functions are
// built from.
func sources(module string) (names []string, err error) {
	const files = "{{if not .Standard}}{{$dir := .Dir}}" +
		"{{range .GoFiles}}{{$dir}}/{{.}}\n{{end}}{{range .EmbedFiles}}{{$dir}}/{{.}}\n{{end}}{{end}}"
	out, err := exec.Command("go", "list", "-deps", "-f", files, "gantry/bootstrap", "gantry/jetstream", "gantry/function").Output()
	for line := range bytes.Lines(out) {
		if name := strings.TrimSpace(string(line)); strings.HasPrefix(name, module+"/") {
			names = append(names, name)
		}
	}
	return names, err
}

// compile builds another program, or the agent as it is released.
func compile(t *testing.T, pkg, to string) {
	t.Helper()
	require.NoError(t, readSources())
	cmd := exec.Command("go", "build", "-o", to, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}
