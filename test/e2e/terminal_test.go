package e2e

import (
	"fmt"
	"gantry/test/harness"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// terminal makes a pseudo terminal: what the program writes to screen is collected in shown.
func terminal(t *testing.T) (screen *os.File, shown *harness.Output) {
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
	return screen, shown
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
