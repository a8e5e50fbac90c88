package language

import (
	"gantry/process"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestScriptsForShAreRunByThePlatformsShell: what is for /bin/sh is run by the shell that stands for the platform's;
// everything else is left to the kernel.
func TestScriptsForShAreRunByThePlatformsShell(t *testing.T) {
	t.Parallel()
	cases := []struct {
		text string
		mode os.FileMode
		args []string // before the file; nil if it is started itself
	}{
		{"#!/bin/sh\nset -o pipefail\n", 0o755, []string{"/bin/sh"}},
		{"#! /usr/bin/sh -e -u \n", 0o755, []string{"/usr/bin/sh", "-e -u"}},
		{"echo\n", 0o755, []string{"/bin/sh"}},
		{"#!/bin/bash\n", 0o755, nil},
		{"#!/usr/bin/env python3\n", 0o755, nil},
		{"#!/bin/shell\n", 0o755, nil},
		{"\x7fELF\x00", 0o755, nil},
		{"#!/bin/sh\n", 0o644, nil},
	}
	for _, c := range cases {
		file := filepath.Join(t.TempDir(), "bootstrap")
		require.NoError(t, os.WriteFile(file, []byte(c.text), c.mode))
		cmd := &process.Command{Path: file, Args: []string{file}}
		require.NoError(t, asScript(cmd, "/bin/bash"))
		want := &process.Command{Path: file, Args: []string{file}}
		if c.args != nil {
			want = &process.Command{Path: "/bin/bash", Args: append(c.args, file)}
		}
		require.Equal(t, want, cmd, c.text)
	}
}

// TestShellRemarkNamesTheMissingBash: without bash the end of a script says what may be the reason.
func TestShellRemarkNamesTheMissingBash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o755))
		return path
	}
	script, python := write("bootstrap", "#!/bin/sh -e\n"), write("python", "#!/usr/bin/env python3\n")
	dash, bash := write("dash", ""), write("bash", "")
	sh := filepath.Join(dir, "sh")
	require.NoError(t, os.Symlink(dash, sh))
	require.Contains(t, shellRemark(script, sh), "which is dash here and bash on the platform")
	require.Contains(t, shellRemark(write("plain", "echo\n"), sh), "install bash")
	require.Empty(t, shellRemark(script, bash))
	require.Empty(t, shellRemark(python, sh))
	require.Empty(t, shellRemark(write("program", "\x7fELF\x00"), sh))
}
