package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	functiongraph "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/functiongraph/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/functiongraph/v2/region"
	"github.com/stretchr/testify/require"
)

const nodeFolder = "../sdk-node"

// example returns the one block of docs/API.md with the info string words, and the output printed behind it.
func example(t *testing.T, words string) (text, output string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/API.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?ms)^```"+regexp.QuoteMeta(words)+"\n(.*?)^```\n(?:```text output\n(.*?)^```\n)?").FindAllStringSubmatch(string(page), -1)
	require.Len(t, blocks, 1, "docs/API.md: blocks %q", words)
	return blocks[0][1], blocks[0][2]
}

// documented starts an agent with the example and the users of docs/API.md, and returns it with the variables that the
// page exports.
func documented(t *testing.T) (a *agent, env []string) {
	t.Helper()
	page, _ := example(t, "json users")
	var file struct {
		Users []struct {
			Keys []struct{ Access, Secret string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(page), &file))
	users := filepath.Join(t.TempDir(), "users.json")
	require.NoError(t, os.WriteFile(users, []byte(page), 0o600))
	code, err := filepath.Abs("../../examples/nodejs/hello")
	require.NoError(t, err)
	a = startAgent(t, "RUNTIME_CODE_ROOT="+code, "GANTRY_API_USERS_FILE="+users)
	key := file.Users[0].Keys[0]
	return a, []string{"API=" + a.url, "PROJECT=" + project, "NAME=hello", "AK=" + key.Access, "SK=" + key.Secret}
}

// run returns what a command prints. It and its children end with the test.
func run(t *testing.T, limit time.Duration, folder, input string, env []string, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdin = folder, append(os.Environ(), env...), strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	require.NoError(t, cmd.Run(), "%s: stdout:\n%s\nstderr:\n%s", command, &stdout, &stderr)
	return stdout.String()
}

// TestDocGo runs the Go program of docs/API.md.
func TestDocGo(t *testing.T) {
	program, output := example(t, "go run")
	require.NotEmpty(t, output)
	_, env := documented(t)
	folder, err := os.MkdirTemp(".", "_doc") // in this module, and not in ./...
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	require.NoError(t, os.WriteFile(filepath.Join(folder, "main.go"), []byte(program), 0o644))
	require.Empty(t, run(t, patience, folder, "", nil, "gofmt", "-l", "."), "not in gofmt's form")
	require.Equal(t, output, run(t, 5*patience, folder, "", env, "go", "run", "main.go"))
}

// TestDocNode runs the Node.js program of docs/API.md.
func TestDocNode(t *testing.T) {
	program, output := example(t, "js run")
	require.NotEmpty(t, output)
	if _, err := os.Stat(filepath.Join(nodeFolder, "node_modules")); err != nil {
		require.ErrorIs(t, err, fs.ErrNotExist)
		run(t, 5*patience, nodeFolder, "", nil, "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
	}
	_, env := documented(t)
	require.Equal(t, output, run(t, patience, nodeFolder, program, env, "node", "-"))
}

// TestDocEnvironment: a program that takes region and credentials from the SDK needs only the variables of docs/API.md.
func TestDocEnvironment(t *testing.T) {
	exports, _ := example(t, "sh env")
	_, env := documented(t)
	set := 0
	for line := range strings.Lines(run(t, patience, ".", exports+"env", env, "sh", "-eu")) {
		if name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "="); strings.HasPrefix(name, "HUAWEICLOUD_SDK_") {
			t.Setenv(name, value)
			set++
		}
	}
	require.Equal(t, strings.Count(exports, "HUAWEICLOUD_SDK_"), set)
	http, err := functiongraph.FunctionGraphClientBuilder().WithRegion(region.ValueOf("cn-north-4")).SafeBuild()
	require.NoError(t, err)
	r, err := functiongraph.NewFunctionGraphClient(http).InvokeFunction(invocation("hello", map[string]any{"name": "you"}))
	require.NoError(t, err)
	require.Contains(t, *r.Result, "Hello, you")
}
