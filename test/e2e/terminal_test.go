package e2e

import (
	"fmt"
	"gantry/test/harness"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal makes a pseudo terminal: what the program writes to screen is collected in shown.
func terminal(t *testing.T) (screen *os.File, shown *harness.Output) {
	t.Helper()
	_, screen, shown = typewriter(t)
	return screen, shown
}

// typewriter is a terminal with its keyboard.
func typewriter(t *testing.T) (master, screen *os.File, shown *harness.Output) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = screen.Close() })
	shown = &harness.Output{}
	go func() { _, _ = io.Copy(shown, master) }() // ends with the terminal
	return master, screen, shown
}

const talker = `exports.handler = async (event, context) => {
  context.getLogger().info('it speaks');
  if (event.fail) throw new TypeError('asked to fail');
  return 1;
}`

// TestTerminalShowsOneLineForEachCall: in place of the platform's frame, with ids that tell calls apart, and an address
// to call.
func TestTerminalShowsOneLineForEachCall(t *testing.T) {
	t.Parallel()
	screen, shown := terminal(t)
	r := prepare(t, writeFiles(t, map[string]string{"index.js": talker}), "NO_COLOR=1")
	r.cmd.Stdout = screen
	r.cmd.Stderr = io.MultiWriter(r.stderr, screen)
	r.launch()
	r.findAddresses()
	require.Equal(t, 200, r.invoke(`{}`).status)
	require.Equal(t, 500, r.invoke(`{"fail":true}`).status)
	shown.WaitFor(t, "error (TypeError) in ")
	text := shown.String()
	require.Regexp(t, `\n\S+Z start: success in [0-9.]+m?s\r\n`, text)
	require.Regexp(t, `\n\S+Z [0-9a-f]{8} INFO it speaks\r\n`, text)
	require.Regexp(t, `\n\S+Z [0-9a-f]{8}: success in [0-9.]+[mµ]?s, [0-9]+ MB\r\n`, text)
	require.Contains(t, text, "to call it: curl "+r.url+"/invoke -d '{}'; Ctrl-C stops it")
	require.NotContains(t, text, "Start invoke")
	require.NotContains(t, text, "Finish ")
}

// TestTerminalNamesAnAddressOfAnHTTPFunction: every path is one.
func TestTerminalNamesAnAddressOfAnHTTPFunction(t *testing.T) {
	t.Parallel()
	screen, shown := terminal(t)
	r := prepare(t, writeFiles(t, probeFiles), "NO_COLOR=1", "GANTRY_UPSTREAM=127.0.0.1:"+serverPort(t))
	r.cmd.Stdout = screen
	r.cmd.Stderr = io.MultiWriter(r.stderr, screen)
	r.launch()
	r.findAddresses()
	shown.WaitFor(t, "to call it: curl "+r.url+"/; Ctrl-C stops it")
}

// TestPipeKeepsTheFrameOfThePlatform: only a terminal shows less.
func TestPipeKeepsTheFrameOfThePlatform(t *testing.T) {
	t.Parallel()
	r := function(t, talker)
	require.Equal(t, 200, r.invoke(`{}`).status)
	r.stdout.WaitFor(t, "Finish invoke request '")
	require.Contains(t, r.stdout.String(), "Start invoke request '")
	require.NotContains(t, r.stdout.String(), ": success in ")
	require.NotContains(t, r.stderr.String(), "to call it")
}

// TestInvokeEndsItsLineOnATerminal: the prompt does not stick to the result; in a pipe the result is as it is.
func TestInvokeEndsItsLineOnATerminal(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"index.js": talker})
	screen, shown := terminal(t)
	r := prepare(t, dir)
	r.cmd.Args[1] = "invoke"
	r.cmd.Stdout = screen
	r.launch()
	require.Zero(t, r.wait())
	shown.WaitFor(t, "1\r\n")
	require.Equal(t, "1\r\n", shown.String())

	piped := prepare(t, dir)
	piped.cmd.Args[1] = "invoke"
	piped.launch()
	require.Zero(t, piped.wait())
	require.Equal(t, "1", piped.stdout.String())
}

// TestVerboseTerminalShowsWhatAPipeGets: the frame and whole request ids.
func TestVerboseTerminalShowsWhatAPipeGets(t *testing.T) {
	t.Parallel()
	screen, shown := terminal(t)
	r := prepare(t, writeFiles(t, map[string]string{"index.js": talker}))
	r.cmd.Args = append(r.cmd.Args, "-v")
	r.cmd.Stdout = screen
	r.launch()
	r.findAddresses()
	require.Equal(t, 200, r.invoke(`{}`).status)
	shown.WaitFor(t, "Finish invoke request '")
	require.Regexp(t, `Start invoke request '[0-9a-f-]{36}', version: latest\r\n`, shown.String())
	require.Regexp(t, `Z [0-9a-f-]{36} INFO it speaks\r\n`, shown.String())
	require.NotContains(t, shown.String(), ": success in ")
}

// TestQuietLogHasOnlyWarningsAndWhatTheFunctionPrints: on a terminal and in a pipe alike.
func TestQuietLogHasOnlyWarningsAndWhatTheFunctionPrints(t *testing.T) {
	t.Parallel()
	r := prepare(t, writeFiles(t, map[string]string{"index.js": talker}), "RUNTIME_TIMOUT=3")
	r.cmd.Args[1] = "invoke"
	r.cmd.Args = append(r.cmd.Args, "--quiet")
	r.launch()
	require.Zero(t, r.wait())
	require.Equal(t, "1", r.stdout.String())
	require.Regexp(t, `^\S+Z [0-9a-f-]{36} INFO it speaks\n\S+Z WARN RUNTIME_TIMOUT is no setting, [^\n]*\n$|`+
		`^\S+Z WARN RUNTIME_TIMOUT is no setting, [^\n]*\n\S+Z [0-9a-f-]{36} INFO it speaks\n$`, r.stderr.String())

	screen, shown := terminal(t)
	r = prepare(t, writeFiles(t, map[string]string{"index.js": talker}), "NO_COLOR=1")
	r.cmd.Args[1] = "invoke"
	r.cmd.Args = append(r.cmd.Args, "-q", "--log-level", "debug")
	r.cmd.Stderr = screen
	r.launch()
	require.Zero(t, r.wait())
	shown.WaitFor(t, "it speaks\r\n")
	require.Regexp(t, `^\S+Z [0-9a-f]{8} INFO it speaks\r\n$`, shown.String())

	r = prepare(t, writeFiles(t, map[string]string{"index.js": talker}))
	r.cmd.Args = append(r.cmd.Args, "-q", "-v")
	r.launch()
	require.Equal(t, exitUsage, r.wait())
	require.Contains(t, r.stderr.String(), "--quiet and --verbose exclude each other: want one of them")
}

// TestNoColorSwitchesTheColorsOfATerminalOff: without it the level of a warning has one.
func TestNoColorSwitchesTheColorsOfATerminalOff(t *testing.T) {
	t.Parallel()
	for variable, colored := range map[string]bool{"NO_COLOR=1": false, "NO_COLOR=": true} {
		screen, shown := terminal(t)
		r := prepare(t, writeFiles(t, map[string]string{"index.js": talker}), "RUNTIME_TIMOUT=3", variable)
		r.cmd.Args[1] = "invoke"
		r.cmd.Stderr = screen
		r.launch()
		require.Zero(t, r.wait())
		shown.WaitFor(t, ": success in ")
		shown.WaitFor(t, "is no setting")
		require.Equal(t, colored, strings.Contains(shown.String(), "\x1b[33mWARN\x1b[0m"), "%s: %q", variable, shown.String())
	}
}

// TestLineOfACallSaysWhatExtensionsCost: one in sync mode makes the call wait.
func TestLineOfACallSaysWhatExtensionsCost(t *testing.T) {
	harness.FixedPorts(t)
	for mode, want := range map[string]string{
		"sync":  ` MB, extensions \+[0-9.]+[mµ]?s\r\n`,
		"async": ` MB, extensions ([0-9.]+[mµ]?s beside the handler|no answer yet)\r\n`,
	} {
		screen, shown := terminal(t)
		dir := writeFiles(t, map[string]string{"index.js": talker, "extension/extensionGood": goodExtension})
		r := prepare(t, dir, "RUNTIME_USERDATA="+`{"MODE":"`+mode+`"}`, "GANTRY_EXTENSION_WAIT=60")
		r.cmd.Args[1] = "invoke"
		r.cmd.Stderr = screen
		r.launch()
		require.Zero(t, r.wait())
		shown.WaitFor(t, ": success in ")
		require.Regexp(t, want, shown.String())
	}
}
