package main

import (
	"gantry/settings"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// output runs the program with these arguments, its own name first, and returns its exit code and what it printed.
func output(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var files [2]*os.File
	for i := range files {
		file, err := os.Create(filepath.Join(t.TempDir(), "output"))
		require.NoError(t, err)
		defer file.Close()
		files[i] = file
	}
	code = run(args, []string{"PATH=" + os.Getenv("PATH")}, strings.NewReader(""), files[0], files[1])
	text := func(f *os.File) string {
		b, err := os.ReadFile(f.Name())
		require.NoError(t, err)
		return string(b)
	}
	return code, text(files[0]), text(files[1])
}

// TestHelpFitsAScreen: the first screen has 48 lines of 80 columns at most, every command and an example.
func TestHelpFitsAScreen(t *testing.T) {
	code, help, _ := output(t, "bootstrap", "--help")
	require.Zero(t, code)
	lines := strings.Split(help, "\n")
	require.LessOrEqual(t, len(lines), 48)
	for _, line := range lines {
		require.LessOrEqual(t, len(line), 80, line)
	}
	for _, want := range []string{"bootstrap invoke --code", "\n  async ", "\n  check ", "\n  poll ", "\n  serve ", "--code ", "help settings"} {
		require.Contains(t, help, want)
	}
	_, serve, _ := output(t, "bootstrap", "serve", "--help")
	require.NotContains(t, serve, "--async-replicas", "the settings have a list of their own")
	_, show, _ := output(t, "bootstrap", "async", "show", "--help")
	require.Contains(t, show, "--to ", "a flag of the command above it")
}

// TestHelpOfEventsAndCallsFitsAScreen: with their flags, short names and examples.
func TestHelpOfEventsAndCallsFitsAScreen(t *testing.T) {
	for args, want := range map[string]string{
		"event": "--set PATH=VALUE", "event check": "event check FILE...", "invoke": "--trigger TRIGGER",
	} {
		code, help, _ := output(t, append(append([]string{"bootstrap"}, strings.Fields(args)...), "--help")...)
		require.Zero(t, code)
		require.LessOrEqual(t, strings.Count(help, "\n"), 48, args)
		require.Contains(t, help, want)
	}
	_, help, _ := output(t, "bootstrap", "event", "--help")
	require.NotContains(t, help, "Common settings", "it has none")
}

// TestHelpOfEveryCommandFitsTheTerminal: but for examples, which are commands to copy. A blank stands between a flag and
// what it means.
func TestHelpOfEveryCommandFitsTheTerminal(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		name := cmd.CommandPath()
		code, help, _ := output(t, append(strings.Fields(name), "--help")...)
		require.Zero(t, code, name)
		beforeExamples, rest, _ := strings.Cut(help, "\nExamples:\n")
		_, afterExamples, _ := strings.Cut(rest, "\n\n")
		for line := range strings.Lines(beforeExamples + "\n" + afterExamples) {
			require.LessOrEqual(t, len(line), helpWidth+1, "%s: %s", name, line)
		}
		_, common, _ := strings.Cut(help, "\nCommon settings:\n")
		for _, flag := range regexp.MustCompile(`(?m)^  --(\S+)`).FindAllStringSubmatch(common, -1) {
			require.True(t, slices.ContainsFunc(settings.Table(), func(s settings.Setting) bool { return s.Flag() == flag[1] }),
				"%s: %s", name, flag[1])
		}
		_, topic, _ := output(t, append([]string{"bootstrap", "help"}, strings.Fields(name)[1:]...)...)
		require.Equal(t, help, topic, "help %s and %s --help are the same", name, name)
		for _, c := range cmd.Commands() {
			if c.Name() != "help" && c.Name() != "settings" {
				visit(c)
			}
		}
	}
	visit((&program{name: "bootstrap"}).rootCommand())
}

// TestCompletionShowsNoMarksOfTheHelp: in the help's source a value's name stands in back quotes.
func TestCompletionShowsNoMarksOfTheHelp(t *testing.T) {
	stderr := os.Stderr // completion closes it to the library
	t.Cleanup(func() { os.Stderr = stderr })
	for _, command := range []string{"invoke", "check", "warm", "wait", "timers", "explain", "permissions", "async ls"} {
		args := append([]string{"bootstrap", cobra.ShellCompRequestCmd}, strings.Fields(command)...)
		code, offered, _ := output(t, append(args, "--")...)
		require.Zero(t, code)
		require.Contains(t, offered, "--code\t", command)
		require.NotContains(t, offered, "`", command)
	}
}

// TestHelpOfAnUnknownCommandIsAnError: with the name that was probably meant.
func TestHelpOfAnUnknownCommandIsAnError(t *testing.T) {
	for args, want := range map[string]string{
		"help servr":      `unknown command "servr" for "bootstrap"; did you mean serve?`,
		"help async nope": `unknown command "nope" for "bootstrap async"`,
	} {
		code, stdout, stderr := output(t, append([]string{"bootstrap"}, strings.Fields(args)...)...)
		require.Equal(t, exitUsage, code, args)
		require.Empty(t, stdout)
		require.Equal(t, "bootstrap: "+want+"; see bootstrap --help\n", stderr)
	}
}

// TestHelpShowsOnlySettingsThatACommandHas: poll and warm have no function listener and no platform API.
func TestHelpShowsOnlySettingsThatACommandHas(t *testing.T) {
	for command, want := range map[string]string{"poll": "--runtime-api ", "warm": "--code-cache "} {
		_, help, _ := output(t, "bootstrap", command, "--help")
		require.Contains(t, help, "\n  "+want)
		require.NotContains(t, help, "\n  --addr ")
		require.NotContains(t, help, "\n  --api-addr ")
	}
}

func TestHelpSettingsListsEverySettingOnce(t *testing.T) {
	code, help, _ := output(t, "bootstrap", "help", "settings")
	require.Zero(t, code)
	for _, s := range settings.Table() {
		require.Equal(t, 1, strings.Count(help, "\n  "+s.Env+",")+strings.Count(help, "\n  "+s.Env+"\n"), s.Env)
	}
	require.NotContains(t, help, "Others")
	for line := range strings.Lines(help) {
		require.LessOrEqual(t, len(line), 81, line)
	}
}

// TestProgramCalledGantrySaysSo: help, errors and version have the name that the program was called by.
func TestProgramCalledGantrySaysSo(t *testing.T) {
	_, help, _ := output(t, "/usr/local/bin/gantry", "--help")
	require.Contains(t, help, "\n  gantry serve --code")
	require.NotContains(t, help, "bootstrap")
	code, _, stderr := output(t, "gantry", "srve")
	require.Equal(t, exitUsage, code)
	require.Equal(t, "gantry: unknown command \"srve\" for \"gantry\"; did you mean serve?; see gantry --help\n", stderr)
	code, stdout, _ := output(t, "gantry", "--version")
	require.Zero(t, code)
	require.Regexp(t, `^gantry \S+ \(.*go1.*\)\n$`, stdout)
	_, same, _ := output(t, "gantry", "version")
	require.Equal(t, stdout, same)
}

func TestArgumentsOfCommandsWithoutAnyNameTheFlagThatWasMeant(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("code", 0o700))
	for args, want := range map[string]string{
		"serve code":            `bootstrap serve takes no arguments, and "code" is one; did you mean --code code?`,
		"invoke code":           `bootstrap invoke takes no arguments, and "code" is one; did you mean --code code?`,
		"invoke event.json":     `bootstrap invoke takes no arguments, and "event.json" is one; did you mean --event event.json?`,
		"invoke --freeze false": `bootstrap invoke takes no arguments, and "false" is one; the value of a switch follows an equals sign: --NAME=false`,
		"check extensionX":      `bootstrap check takes no arguments, and "extensionX" is one; did you mean --extension extensionX?`,
		"async ls x":            `bootstrap async ls takes no arguments, and "x" is one`,
		"version x":             `bootstrap version takes no arguments, and "x" is one`,
	} {
		code, _, stderr := output(t, append([]string{"bootstrap"}, strings.Fields(args)...)...)
		require.Equal(t, exitUsage, code, args)
		require.Equal(t, "bootstrap: "+want+"; see bootstrap --help\n", stderr)
	}
}
