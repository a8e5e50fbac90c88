package main

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProgramsAreStaticForTheirArchitecture: nothing is loaded from the system they run on.
func TestProgramsAreStaticForTheirArchitecture(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		top := "gantry-1.2.3-linux-" + arch
		all := entries(t, unzipped(t, top+".tar.gz"))
		for _, name := range []string{"gantry", "gantry-jetstream"} {
			f, err := elf.NewFile(bytes.NewReader(all[top+"/"+name].data))
			require.NoError(t, err)
			require.Equal(t, machine, f.Machine, name)
			for _, p := range f.Progs {
				require.NotEqual(t, elf.PT_INTERP, p.Type, "%s for %s needs a loader", name, arch)
			}
			libraries, err := f.ImportedLibraries()
			require.NoError(t, err)
			require.Empty(t, libraries)
		}
	}
}

// TestProgramForARM64RunsAFunction: agent and function, both for arm64, run by the processor or by qemu.
func TestProgramForARM64RunsAFunction(t *testing.T) {
	heavy(t)
	top := filepath.Join(extracted(t, "gantry-1.2.3-linux-arm64.tar.gz"), "gantry-1.2.3-linux-arm64")
	code := customRuntime(t, "arm64", "function")
	start := "exec "
	gantry := []string{filepath.Join(top, "gantry")}
	if runtime.GOARCH != "arm64" {
		qemu, err := exec.LookPath("qemu-aarch64-static")
		if err != nil {
			t.Skip("qemu-aarch64-static is missing (apt-get install qemu-user-static), and this is no arm64 machine")
		}
		start, gantry = "exec "+qemu+" ", []string{qemu, gantry[0]}
	}
	// The kernel starts programs for arm64 by itself only where qemu is registered with it.
	script := "#!/bin/sh\n" + start + "\"$(dirname \"$0\")/function\"\n"
	require.NoError(t, os.WriteFile(filepath.Join(code, "bootstrap"), []byte(script), 0o755))
	command := func(args ...string) *exec.Cmd {
		return exec.Command(gantry[0], append(gantry[1:], args...)...)
	}
	require.Regexp(t, `^gantry 1\.2\.3 \(0123abc, go\S+, linux/arm64\)\n$`, run(t, command("version")))
	result := run(t, command("invoke", "--code", code, "--event", `{"name":"arm64"}`, "--timeout", "60"))
	require.Contains(t, result, "Hello, arm64")
}
