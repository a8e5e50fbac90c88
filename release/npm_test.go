package main

import (
	"encoding/json"
	"fmt"
	"gantry/test/harness"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const npmName = "gantry-1.2.3.tgz"

// TestNPMPackageDownloadsAndRunsNothingAtTheInstall: no scripts, no dependencies, and every program executable.
func TestNPMPackageDownloadsAndRunsNothingAtTheInstall(t *testing.T) {
	all := entries(t, unzipped(t, npmName))
	var manifest map[string]any
	require.NoError(t, json.Unmarshal(all["package/package.json"].data, &manifest))
	require.Equal(t, map[string]any{"gantry": "bin/gantry"}, manifest["bin"])
	for _, key := range []string{"scripts", "dependencies", "optionalDependencies", "os", "cpu"} {
		require.NotContains(t, manifest, key)
	}
	for _, name := range []string{
		"bin/gantry", "lib/linux-amd64/gantry", "lib/linux-amd64/gantry-jetstream",
		"lib/linux-arm64/gantry", "lib/linux-arm64/gantry-jetstream",
	} {
		require.Equal(t, int64(0o755), all["package/"+name].Mode, name)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		require.NotEmpty(t, all["package/lib/linux-"+arch+"/"+javaWorker].data, "beside the program, which looks there")
	}
	require.NotEmpty(t, all["package/LICENSE"].data)
	require.NotEmpty(t, all["package/THIRD-PARTY-LICENSES"].data)
}

// npmCommand is a command of npm without a network, in an empty folder that has the package.
func npmCommand(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is missing: %v", name, err)
	}
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, npmName), readDist(t, npmName), 0o600))
	cmd := exec.Command(path, args...)
	cmd.Dir = folder
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "npm_config_offline=true", "npm_config_cache=" + t.TempDir(),
		"npm_config_registry=http://127.0.0.1:9/", "npm_config_update_notifier=false",
	}
	return cmd
}

// TestNpxRunsAFunctionOffline: results and exit codes are the program's.
func TestNpxRunsAFunctionOffline(t *testing.T) {
	t.Parallel()
	code := t.TempDir()
	source := "exports.handler = async (event, context) => { if (event.fail) throw new Error('asked for'); return {got: event}; };\n"
	require.NoError(t, os.WriteFile(filepath.Join(code, "index.js"), []byte(source), 0o600))
	top := filepath.Join(extracted(t, "gantry-1.2.3-linux-"+runtime.GOARCH+".tar.gz"), "gantry-1.2.3-linux-"+runtime.GOARCH)
	for wanted, args := range [][]string{ // in the order of their exit codes
		{"invoke", "--code", code, "--event", `{"name":"it's \"quoted\" $HOME"}`},
		{"invoke", "--code", code, "--event", `{"fail":true}`},
		{"invoke", "--no-such-flag"},
	} {
		direct := exec.Command(filepath.Join(top, "gantry"), args...)
		result, stderr, code := outcome(t, direct)
		require.Equal(t, wanted, code, stderr)
		got, stderr, gotCode := outcome(t, npmCommand(t, "npx", append([]string{"--yes", "./" + npmName}, args...)...))
		require.Equal(t, wanted, gotCode, "%s\n%s", got, stderr)
		require.Equal(t, result, got, stderr)
		if wanted == 0 {
			require.JSONEq(t, `{"got":{"name":"it's \"quoted\" $HOME"}}`, got)
		}
	}
}

// TestInstalledLauncherBecomesTheProgram: no shell is left between npm's link and the program, so that signals reach it.
func TestInstalledLauncherBecomesTheProgram(t *testing.T) {
	install := npmCommand(t, "npm", "install", "--no-audit", "--no-fund", "./"+npmName)
	run(t, install)
	link := filepath.Join(install.Dir, "node_modules/.bin/gantry")
	code := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(code, "index.js"), []byte("exports.handler = async (event, context) => 1;\n"), 0o600))
	cmd := exec.Command(link, "serve", "--code", code)
	cmd.Env = harness.Environ(t.TempDir())
	p := harness.Start(t, cmd)
	p.Listening()
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.Cmd.Process.Pid))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(install.Dir, "node_modules/gantry/lib/linux-"+runtime.GOARCH+"/gantry"), exe)
	p.Stop()
	require.True(t, p.Cmd.ProcessState.Success(), "%s", p.Cmd.ProcessState)
}

// TestLauncherNamesAMachineWithoutAProgram: one line, and the exit code of a wrong use.
func TestLauncherNamesAMachineWithoutAProgram(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "gantry"), launcher, 0o700))
	for answers, line := range map[string]string{"Darwin arm64": "Darwin on arm64", "Linux riscv64": "Linux on riscv64"} {
		system, machine, _ := strings.Cut(answers, " ")
		uname := "#!/bin/sh\n[ \"$1\" = -s ] && echo " + system + " || echo " + machine + "\n"
		require.NoError(t, os.WriteFile(filepath.Join(folder, "uname"), []byte(uname), 0o700))
		cmd := exec.Command(filepath.Join(folder, "gantry"), "version")
		cmd.Env = []string{"PATH=" + folder + ":" + os.Getenv("PATH")}
		stdout, stderr, code := outcome(t, cmd)
		require.Equal(t, 2, code)
		require.Empty(t, stdout)
		require.Equal(t, "gantry: this package has programs for Linux on x86_64 and aarch64; this is "+line+"\n", stderr)
	}
}
