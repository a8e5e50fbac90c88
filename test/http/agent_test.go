// Package http tests HTTP functions on real frameworks: each runs under the agent as users write it, and every request
// has to have the answer that the same server gives when it is called directly.
package http

import (
	"fmt"
	"gantry/test/harness"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	// built says in the environment where the programs are, across the change of namespaces.
	built = "GANTRY_TEST_BUILT"
	// modules says where make test-http has put what npm installs.
	modules = "GANTRY_TEST_HTTP_MODULES"
)

// programs is the folder of the programs that TestMain builds: the agent, and the server in Go.
var programs string

func TestMain(m *testing.M) {
	if programs = os.Getenv(built); programs == "" { // before there is a network without a way out
		programs = build()
		_ = os.Setenv(built, programs)
	}
	harness.OwnNetwork(".test")
	code := m.Run()
	_ = os.RemoveAll(programs)
	os.Exit(code)
}

func build() string {
	dir, err := os.MkdirTemp("", "gantry-http-")
	if err != nil {
		panic(err)
	}
	agent := exec.Command("go", append(append([]string{"build"}, buildFlags...), "-o", filepath.Join(dir, "bootstrap"), "./bootstrap")...)
	agent.Dir = "../.."
	for _, cmd := range []*exec.Cmd{agent, exec.Command("go", "build", "-o", filepath.Join(dir, "server"), "./testdata/go/server.go")} {
		if out, err := cmd.CombinedOutput(); err != nil {
			_ = os.RemoveAll(dir)
			panic(string(out))
		}
	}
	return dir
}

// function is an HTTP function under an agent, and the address of its server.
type function struct {
	*harness.Program
	t             *testing.T
	agent, server string
}

// start runs the files of a folder of testdata, with a bootstrap text, under an agent.
func start(t *testing.T, folder, text string, mode os.FileMode, env ...string) *function {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", folder))))
	if folder == "go" {
		require.NoError(t, os.Symlink(filepath.Join(programs, "server"), filepath.Join(dir, "server")))
	}
	if npm := os.Getenv(modules); npm != "" {
		require.NoError(t, os.Symlink(npm, filepath.Join(dir, "node_modules")))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bootstrap"), []byte(text), mode))
	require.NoError(t, os.Chmod(filepath.Join(dir, "bootstrap"), mode)) // whatever the umask is
	cmd := exec.Command(filepath.Join(programs, "bootstrap"), "serve")
	server := freeAddress(t)
	// Python is Debian's, which has Flask.
	cmd.Env = append(harness.Environ(dir, "PATH=/usr/bin:"+os.Getenv("PATH"), "RUNTIME_CODE_ROOT="+dir, "RUNTIME_FUNC_NAME=shop",
		"RUNTIME_TIMEOUT=30", "RUNTIME_INITIALIZER_TIMEOUT=30", "GANTRY_CONCURRENCY=8", "GANTRY_UPSTREAM="+server), env...)
	f := &function{t: t, Program: harness.Start(t, cmd), server: server}
	f.agent = f.Listening()["function"]
	harness.Eventually(t, func() bool { return f.Over() || strings.Contains(f.Stdout.String(), "Finish load") }, "the server to listen")
	require.Contains(t, f.Stderr.String(), `"runtime": "http"`)
	require.NotContains(t, f.Stdout.String(), "load Failed")
	return f
}

var port atomic.Int32

// freeAddress is one outside of the range that the kernel takes for connections.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 5000 {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 21000+port.Add(1)))
		if err == nil {
			require.NoError(t, ln.Close())
			return ln.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// stop ends the agent with TERM, which ends the server.
func (f *function) stop() {
	f.t.Helper()
	f.Stop()
	require.Zero(f.t, f.Cmd.ProcessState.ExitCode(), "%s", f.Cmd.ProcessState)
	f.Stderr.WaitFor(f.t, "INFO stopped")
	require.NotContains(f.t, f.Stderr.String(), "DATA RACE")
	_, err := net.Dial("tcp", f.server)
	require.Error(f.t, err, "the server has ended")
}

// need skips the test where a program is missing, and says what would be run with it.
func need(t *testing.T, what string, command ...string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "PATH=/usr/bin:"+os.Getenv("PATH"))
	if strings.HasPrefix(command[0], "/") {
		if _, err := os.Stat(command[0]); err != nil && os.IsNotExist(err) {
			t.Skipf("%s is not tested: %v", what, err)
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("%s is not tested, as %v fails: %v\n%s", what, command, err, out)
	}
}

// needNPM skips the test without what npm installs.
func needNPM(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(os.Getenv(modules), "express")); err != nil || os.Getenv(modules) == "" {
		t.Skipf("frameworks of npm are not tested: run make test-http, which installs them (%s is %q)", modules, os.Getenv(modules))
	}
}
