package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// block is a fenced block of a page. words is its info string, output the text of the "text output" right behind it.
type block struct {
	page                string
	line                int
	words, text, output string
}

// apiBlocks returns the blocks of docs/API.md with the info string words.
func apiBlocks(t *testing.T, words string) []*block {
	t.Helper()
	return pageBlocks(t, "docs/API.md", words)
}

// pageBlocks returns the blocks of a page with the info string words.
func pageBlocks(t *testing.T, name, words string) []*block {
	t.Helper()
	page, err := os.ReadFile("../../" + name)
	require.NoError(t, err)
	return blocksOf(t, name, string(page), words)
}

// blocksOf returns the blocks of a text, a page or a part of one, with the info string words.
func blocksOf(t *testing.T, name, text, words string) (found []*block) {
	t.Helper()
	var open, last *block
	n := 0
	for line := range strings.Lines(text) {
		n++
		info, fence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case fence && open == nil:
			// Nothing would run a block with a mistyped word.
			require.Contains(t, []string{"json users", "json endpoints", "json events", "conf cluster", "python extension", "sh run", "sh open", "sh env", "go run", "js run", "text output"}, info, "%s:%d", name, n)
			open = &block{page: name, line: n, words: info}
			if info == words {
				found = append(found, open)
			}
		case fence && open.words == "text output":
			require.NotNil(t, last, "%s:%d: the output of nothing", name, open.line)
			last.output, last, open = open.text, nil, nil
		case fence:
			last, open = open, nil
		case open != nil:
			open.text += line
		default:
			last = nil
		}
	}
	require.Nil(t, open, "%s: a fence is not closed", name)
	require.NotEmpty(t, found, "%s has no block %q", name, words)
	return found
}

// fits reports whether got is what the page prints: line by line, with … for anything within a line.
func fits(want, got string) error {
	wanted, lines := strings.Split(strings.TrimRight(want, "\n"), "\n"), strings.Split(strings.TrimRight(got, "\n"), "\n")
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		if i >= len(wanted) {
			return fmt.Errorf("it also prints: %s", line)
		}
		pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(wanted[i]), "…", ".*") + "$"
		if !regexp.MustCompile(pattern).MatchString(line) {
			return fmt.Errorf("the page says: %s\nit prints:     %s", wanted[i], line)
		}
	}
	if len(wanted) > len(lines) {
		return fmt.Errorf("the page also says: %s", wanted[len(lines)])
	}
	return nil
}

// shell runs blocks in one shell and returns what each printed.
func shell(t *testing.T, blocks []*block, env ...string) (outputs []string) {
	t.Helper()
	for _, tool := range []string{"sh", "curl", "openssl"} {
		_, err := exec.LookPath(tool)
		require.NoError(t, err, "the examples need %s: install it", tool)
	}
	const mark = "\x1e" // in no output
	script := ""
	for _, b := range blocks {
		script += b.text + "\nprintf '\\036'\n"
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-eu", "-c", script)
	cmd.Dir = t.TempDir()
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + cmd.Dir, "LC_ALL=C"}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// The shell's children end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	require.NoError(t, err, "stdout:\n%s\nstderr:\n%s", &stdout, &stderr)
	require.Empty(t, stderr.String(), "the examples complain")
	outputs = strings.Split(strings.TrimSuffix(stdout.String(), mark), mark)
	require.Len(t, outputs, len(blocks))
	return outputs
}

func requireOutputs(t *testing.T, blocks []*block, outputs []string) {
	t.Helper()
	for i, b := range blocks {
		if err := fits(b.output, outputs[i]); err != nil {
			t.Errorf("%s:%d: %v", b.page, b.line, err)
		}
	}
}

// documented starts an agent as the page does, and returns the address of its platform API.
func documented(t *testing.T, env ...string) (addr string) {
	t.Helper()
	code, err := filepath.Abs("../../examples/nodejs/hello")
	require.NoError(t, err)
	r := prepare(t, t.TempDir(), append([]string{"RUNTIME_CODE_ROOT=" + code, "GANTRY_API_ADDR=127.0.0.1:0"}, env...)...)
	r.launch()
	r.findAddresses()
	for line := range strings.Lines(r.stderr.String()) {
		var listening struct{ Platform string }
		if i := strings.IndexByte(line, '{'); i >= 0 && strings.Contains(line, "listening") && json.Unmarshal([]byte(line[i:]), &listening) == nil {
			addr = listening.Platform
		}
	}
	require.NotEmpty(t, addr, "the platform API does not listen:\n%s", r.stderr)
	return addr
}

// TestExamplesOfAPIPagePrintWhatItSays runs the shell examples of docs/API.md, with the users that the page has.
func TestExamplesOfAPIPagePrintWhatItSays(t *testing.T) {
	page := apiBlocks(t, "json users")
	require.Len(t, page, 1)
	var file struct {
		Users []struct {
			Keys []struct{ Access, Secret string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(page[0].text), &file))
	users := filepath.Join(t.TempDir(), "users.json")
	require.NoError(t, os.WriteFile(users, []byte(page[0].text), 0o600))
	addr := documented(t, "GANTRY_API_USERS_FILE="+users)

	// What the page exports is what the test has, but for the port.
	key := file.Users[0].Keys[0]
	env := []string{"API=http://" + addr, "PROJECT=00000000000000000000000000000000", "NAME=hello", "AK=" + key.Access, "SK=" + key.Secret}
	text, err := os.ReadFile("../../docs/API.md")
	require.NoError(t, err)
	for _, variable := range append(env[1:], "API=http://127.0.0.1:8079") {
		require.Regexp(t, "(?m)^    export .*"+regexp.QuoteMeta(variable)+"( |$)", string(text))
	}
	blocks := apiBlocks(t, "sh run")
	requireOutputs(t, blocks, shell(t, blocks, env...))
}

// TestQuickStartOfAPIPagePrintsWhatItSays runs the quick start of docs/API.md, which has no authentication.
func TestQuickStartOfAPIPagePrintsWhatItSays(t *testing.T) {
	const printed = "127.0.0.1:8079"
	addr := documented(t, "GANTRY_API_AUTH=none")
	blocks := apiBlocks(t, "sh open")
	for _, b := range blocks {
		require.Contains(t, b.text, printed)
		b.text = strings.ReplaceAll(b.text, printed, addr)
	}
	requireOutputs(t, blocks, shell(t, blocks))
}

// TestFitsRefusesOutputThatDiffersFromThePage: the comparison notices what it is there to notice.
func TestFitsRefusesOutputThatDiffersFromThePage(t *testing.T) {
	require.NoError(t, fits("a…c\nd\n", "abbc\r\nd"))
	require.NoError(t, fits("", ""))
	for _, got := range []string{"", "abc", "abc\nd\ne", "xabc\nd", "abc\nd."} {
		require.Error(t, fits("a…c\nd\n", got), got)
	}
	require.Error(t, fits("", "something"))
	require.Error(t, fits("something", ""))
}
