package main

import (
	"gantry/settings"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// pages writes the manual pages of a program called name, and returns them by file name.
func pages(t *testing.T, name string) (dir string, texts map[string]string) {
	t.Helper()
	dir = t.TempDir()
	code := run([]string{name, "man", dir}, []string{"SOURCE_DATE_EPOCH=86400"}, nil, os.Stdout, os.Stderr)
	require.Zero(t, code)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	texts = map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(t, err)
		texts[f.Name()] = string(text)
	}
	return dir, texts
}

// TestEveryCommandHasAManualPage: with its flags; the program's has all settings.
func TestEveryCommandHasAManualPage(t *testing.T) {
	_, texts := pages(t, "gantry")
	seen := 0
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		seen++
		text := texts[pageName(cmd)+".1"]
		require.True(t, strings.HasPrefix(text, manMark+"\n.TH GANTRY"), pageName(cmd))
		require.Contains(t, text, `"1970-01-02"`)
		own := ownFlags(cmd)
		for _, name := range regexp.MustCompile(`--[a-z-]+`).FindAllString(own.FlagUsages(), -1) {
			require.Contains(t, text, escape(name), pageName(cmd))
		}
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				visit(c)
			}
		}
	}
	visit((&program{name: "gantry"}).rootCommand())
	require.Len(t, texts, seen)
	for _, s := range settings.Table() {
		require.Contains(t, texts["gantry.1"], "\n.B "+s.Env, s.Env)
	}
	_, again := pages(t, "gantry")
	require.Equal(t, texts, again)
	_, other := pages(t, "bootstrap")
	require.Contains(t, other["bootstrap-async-ls.1"], ".B bootstrap async ls [flags]\n")
}

// TestManualPagesAreWithoutWarnings: by the two programs that show them.
func TestManualPagesAreWithoutWarnings(t *testing.T) {
	dir, texts := pages(t, "gantry")
	for program, args := range map[string][]string{
		"mandoc": {"-T", "lint", "-W", "style"}, "man": {"--warnings", "-P", "cat", "-l"},
	} {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Logf("%s is not installed; make test installs mandoc", program)
			continue
		}
		for name := range texts {
			cmd := exec.Command(path, append(args, filepath.Join(dir, name))...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "MANWIDTH=80"}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			require.NoError(t, err, "%s %s: %s%s", program, name, out, stderr.String())
			require.Empty(t, stderr.String(), "%s %s", program, name)
			if program == "man" {
				require.Contains(t, string(out), "DESCRIPTION", name)
			} else {
				require.Empty(t, string(out), name)
			}
		}
	}
}

// TestExitStatusesAreThoseOfTheDocument: the page and docs/CONFIGURATION.md list the same codes.
func TestExitStatusesAreThoseOfTheDocument(t *testing.T) {
	section := configurationSection(t, "Exit codes")
	var want, got []string
	for _, m := range regexp.MustCompile(`(?m)^\| ([0-9][^|]*) \|`).FindAllStringSubmatch(section, -1) {
		want = append(want, m[1])
	}
	for _, s := range exitStatuses() {
		got = append(got, s.code)
	}
	require.Equal(t, want, got)
}

// TestPageKeepsTextThatRoffWouldTakeForItsOwn: a dot at the start of a line, quotes, backslashes.
func TestPageKeepsTextThatRoffWouldTakeForItsOwn(t *testing.T) {
	m := &manual{}
	m.text(`.dots 'quotes' \ back -- ` + strings.Repeat("word ", 20) + ".end")
	for line := range strings.Lines(m.String()) {
		require.False(t, strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'"), line)
		require.LessOrEqual(t, len(line), manWidth+3)
	}
	require.Contains(t, m.String(), `\&.dots \(aqquotes\(aq \e back \-\-`)
	code, _, stderr := output(t, "gantry", "man", "/nonexistent")
	require.Equal(t, exitError, code)
	require.Contains(t, stderr, "/nonexistent")
}
