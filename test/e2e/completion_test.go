package e2e

import (
	"bytes"
	"fmt"
	"gantry/test/harness"
	"net"
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

// shellCommand is a command of a shell in a folder of its own, where the program is in PATH as gantry, and two functions are.
func shellCommand(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed; make test installs it", name)
	}
	dir := writeFiles(t, map[string]string{
		"hello/index.js":                   "exports.handler = async () => 1;\nmodule.exports.other = () => {};\n",
		"hello/extension/extensionGood.sh": "#!/bin/sh\n",
		"snake/app.py":                     "def handler(event, context):\n    pass\n\nasync def later(event, context):\n    pass\n",
		"mine/a $(touch evil) b.js":        "exports.handler = 1;\n",
		"mine/node_modules/left/index.js":  "exports.pad = 1;\n",
		"event.json":                       "{}",
		"bin/readme":                       "",
	})
	require.NoError(t, os.Symlink(program(t), filepath.Join(dir, "bin", "gantry")))
	cmd := exec.Command(file, args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"), "HOME=" + dir, "TERM=vt100", "LC_ALL=C.UTF-8",
		"GORACE=atexit_sleep_ms=0", "PS1=$ ",
	}
	return cmd
}

// completions are lines and what has to be offered for the word at their end, alone or among others.
var completions = []struct {
	line string
	want []string
	only bool
}{
	{"gantry inv", []string{"invoke"}, true},
	{"gantry invoke --runtime ", []string{"nodejs", "python", "php", "go", "custom", "Node.js20.15", "Python3.10"}, false},
	{"gantry serve --log-level ", []string{"debug", "info", "warn", "error"}, true},
	{"gantry serve --log-format ", []string{"auto", "text", "json"}, true},
	{"gantry serve --api-auth ", []string{"required", "none"}, true},
	{"gantry invoke --code hello --handler ", []string{"index.handler", "index.other"}, true},
	{"gantry invoke --code snake --handler ", []string{"app.handler", "app.later"}, true},
	{"gantry invoke --code ~/hello --handler ", []string{"index.handler", "index.other"}, true},
	{"gantry invoke --code ~/none --handler ", nil, true},
	{"gantry explain FSS.105", []string{"FSS.1051", "FSS.1052", "FSS.1053"}, true},
	{"gantry help set", []string{"settings"}, true},
	{"gantry completion ", []string{"bash", "zsh", "fish"}, true},
	{"gantry async ls --status ", []string{"WAIT", "RUNNING", "SUCCESS", "FAIL", "DISCARD"}, true},
	{"gantry check --code hello --extension ", []string{"hello/extension/extensionGood.sh"}, true},
	{"gantry invoke --event ev", []string{"event.json"}, true},
	{`gantry invoke --event '{"n": 1}; touch evil; true' --log-level de`, []string{"debug"}, true},
	{"gantry invoke --event $(touch evil) --log-level de", []string{"debug"}, true},
	{"gantry wait --timeout ", nil, true},
	{"gantry async ls --to ", nil, true},
	{"gantry event ", []string{"apig", "obs", "rabbitmq", "check"}, false},
	{"gantry event check ev", []string{"event.json"}, true},
	{"gantry invoke --trigger roc", []string{"rocketmq"}, true},
	{"gantry event obs --set buck", []string{"bucket="}, true},
	{"gantry invoke --trigger apig --set zzz", nil, true},
	{"gantry invoke --trigger apig --set hea", []string{"header.", "headers."}, true},
}

func matches(t *testing.T, line string, want, got []string, only bool) {
	t.Helper()
	if only {
		require.ElementsMatch(t, want, got, line)
		return
	}
	require.Subset(t, got, want, line)
}

// bashComplete returns what bash would offer for each line, with the words as bash cuts them. The functions of the
// package bash-completion are not there.
func bashComplete(t *testing.T, lines ...string) (offered [][]string) {
	t.Helper()
	script := "source <(gantry completion bash)\n"
	for _, line := range lines {
		// read splits as the command line does, but for the word breaks that the script has to mend.
		words := strings.Split(strings.NewReplacer("=", " = ", ":", " : ").Replace(line), " ")
		if strings.HasSuffix(line, "=") {
			words = words[:len(words)-1]
		}
		script += fmt.Sprintf("COMP_LINE=%[1]s COMP_POINT=${#COMP_LINE} COMP_WORDS=(", quoted(line))
		for _, word := range words {
			script += quoted(word) + " "
		}
		script += fmt.Sprintf(") COMP_CWORD=%d COMPREPLY=()\n", len(words)-1) +
			"_gantry\nprintf '%s\\n' \"${COMPREPLY[@]}\"\nprintf '\\f'\n"
	}
	cmd := shellCommand(t, "bash", "--norc", "--noprofile", "-c", script)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	require.Empty(t, stderr.String())
	require.NoFileExists(t, filepath.Join(cmd.Dir, "evil"))
	for text := range strings.SplitSeq(strings.TrimSuffix(string(out), "\f"), "\f") {
		offered = append(offered, strings.FieldsFunc(text, func(r rune) bool { return r == '\n' }))
	}
	return offered
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// TestBashCompletesValuesWithoutItsPackage: bash-completion is not loaded, and nothing typed is evaluated.
func TestBashCompletesValuesWithoutItsPackage(t *testing.T) {
	t.Parallel()
	var lines []string
	for _, c := range completions {
		lines = append(lines, c.line)
	}
	lines = append(lines, "gantry invoke --runtime=no", "gantry serve --api-auth=", "gantry serve --code=hel",
		"gantry invoke --code=mine --handler=")
	offered := bashComplete(t, lines...)
	for i, c := range completions {
		matches(t, c.line, c.want, offered[i], c.only)
	}
	rest := offered[len(completions):]
	require.Equal(t, []string{"nodejs"}, rest[0], "bash keeps what stands before the =")
	require.Equal(t, []string{"required", "none"}, rest[1])
	require.Equal(t, []string{"hello"}, rest[2])
	require.Equal(t, []string{`a\ \$\(touch\ evil\)\ b.handler`}, rest[3], "a file's name may hold anything")
}

// TestFishCompletesValues: fish has a command that lists what it would offer.
func TestFishCompletesValues(t *testing.T) {
	t.Parallel()
	for _, c := range append(completions[:len(completions):len(completions)],
		struct {
			line string
			want []string
			only bool
		}{"gantry invoke --runtime=nodej", []string{"--runtime=nodejs"}, true}) {
		if strings.Contains(c.line, "$(") {
			continue // fish itself does not complete behind it
		}
		cmd := shellCommand(t, "fish", "--no-config", "-c", "gantry completion fish | source; complete -C $argv[1]", c.line)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		var got []string
		for line := range strings.Lines(string(out)) {
			value, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			got = append(got, value)
		}
		matches(t, c.line, c.want, got, c.only)
		require.NoFileExists(t, filepath.Join(cmd.Dir, "evil"))
	}
}

// typist is an interactive shell on a terminal.
type typist struct {
	t     *testing.T
	keys  *os.File
	shown *harness.Output
	dir   string
}

func newTypist(t *testing.T, setup, name string, args ...string) *typist {
	t.Helper()
	keys, screen, shown := typewriter(t)
	cmd := shellCommand(t, name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = screen, screen, screen
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	y := &typist{t: t, keys: keys, shown: shown, dir: cmd.Dir}
	y.press(setup + "; echo re''ady\n")
	shown.WaitFor(t, "ready\r\n")
	return y
}

func (y *typist) press(keys string) {
	y.t.Helper()
	_, err := y.keys.WriteString(keys)
	require.NoError(y.t, err)
}

// TestInteractiveShellsCompleteOnTab: the real keys, on a terminal; the line is run in the end, so that it is seen whole.
func TestInteractiveShellsCompleteOnTab(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		setup string
		args  []string
	}{
		"bash": {"source <(gantry completion bash)", []string{"--norc", "--noprofile", "-i"}},
		"zsh":  {"autoload -U compinit && compinit -u -D && source <(gantry completion zsh)", []string{"-f", "-i"}},
	} {
		y := newTypist(t, c.setup, name, c.args...)
		for i, line := range []struct{ typed, want string }{
			{"gantry invoke --runtime=nodej\t", "--runtime=nodejs"},
			{"gantry serve --log-level w\t", "--log-level warn"},
			{"gantry invoke --code ~/hello --handler index.o\t", "--handler index.other"},
			{"gantry invoke --code hello --handler index.o\t", "--handler index.other"},
			{"gantry invoke --event ev\t", "--event event.json"},
			{"gantry serve --code hel\t", "--code hello/?"},
			{"gantry async ls --status RU\t", "--status RUNNING"},
			{`gantry invoke --event '{"n": 1}; touch evil; true' --log-level de` + "\t", "--log-level debug"},
			{"gantry exp\t40\t10\t", "gantry explain 4010"},
		} {
			// The line becomes the arguments of a function that shows them.
			y.press("\x01show() { printf '%s ' \"$@\"; echo done" + fmt.Sprint(i) + "; }\n" + line.typed + "\x01show \x05\n")
			y.shown.WaitFor(t, "done"+fmt.Sprint(i)+"\r\n")
			shown := y.shown.String()
			require.True(t, regexp.MustCompile(line.want+" done"+fmt.Sprint(i)).MatchString(shown), "%s: %s: %q", name, line.typed,
				shown[max(0, len(shown)-300):])
		}
		require.NotContains(t, y.shown.String(), "not found", name)
		require.NoFileExists(t, filepath.Join(y.dir, "evil"))
	}
}

// TestCompletionIsQuickAndSilent: little work, no waiting, no interpreter started, nothing on stderr, no secret read,
// also for mistakes. Its work is its processor time: others on the machine do not count.
func TestCompletionIsQuickAndSilent(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, syscall.Mkfifo(secret, 0o600)) // a reader would wait for ever
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer mute.Close() // it takes connections, and never answers
	users := "GANTRY_API_USERS_FILE=" + secret
	for _, args := range [][]string{
		{"invoke", "--runtime", ""},
		{"invoke", "--handler", ""},
		{"async", "show", ""},
		{"async", "show", "--code", "hello", "--to", mute.Addr().String(), ""},
		{"nonsense", ""},
		{"serve", "--nonsense", "x", ""},
		{"serve", "--timeout", "soon", "--handler", ""},
	} {
		work, took := time.Hour, time.Hour
		for range 10 {
			cmd := shellCommand(t, "env", append([]string{"gantry", "__complete"}, args...)...)
			cmd.Env = append(cmd.Env, "GANTRY_SECRET_KEY_FILE="+secret)
			if len(args) < 4 {
				cmd.Env = append(cmd.Env, users)
			}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			interpreters(t, filepath.Join(cmd.Dir, "bin"))
			began := time.Now()
			require.NoError(t, cmd.Run())
			took = min(took, time.Since(began))
			work = min(work, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
			require.NoFileExists(t, filepath.Join(cmd.Dir, "bin", "started"), args)
			require.Empty(t, stderr.String(), args)
		}
		if len(buildFlags) == 0 { // the race detector needs longer to start
			require.Less(t, work, 50*time.Millisecond, args)
		}
		require.Less(t, took, 5*time.Second, args) // a shell waits for it
		t.Logf("%v: %s, %s of work", args, took, work)
	}
}

// interpreters puts programs into a folder that note their start.
func interpreters(t *testing.T, folder string) {
	t.Helper()
	for _, name := range []string{"node", "python3", "java", "php"} {
		script := "#!/bin/sh\n: > " + quoted(filepath.Join(folder, "started")) + "\nexit 1\n"
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(script), 0o700))
	}
}

// TestRequestIDsAreOfferedOfAnOpenAgentOnLoopback: of any other, and of none, nothing is.
func TestRequestIDsAreOfferedOfAnOpenAgentOnLoopback(t *testing.T) {
	t.Parallel()
	env, _ := queueSettings(t)
	r := start(t, writeFiles(t, map[string]string{"index.js": "exports.handler = async () => 1;"}),
		append(env, "GANTRY_API_ADDR=127.0.0.1:0", "GANTRY_API_AUTH=none", "RUNTIME_FUNC_NAME=hello")...)
	id := r.enqueue(`{}`)
	ask := func(address, command string, env ...string) string {
		cmd := shellCommand(t, "env", "gantry", "__complete", "async", command, "--to", address, "--name", "hello", "--code", r.dir, "")
		cmd.Env = append(cmd.Env, env...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err)
		return string(out)
	}
	address := strings.TrimPrefix(r.api, "http://")
	require.Eventually(t, func() bool { return ask(address, "show") == id+"\n:4\n" }, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return ask(address, "cancel") == ":4\n" }, patience, 10*time.Millisecond, "it has ended")
	require.Equal(t, ":4\n", ask(address, "show", "GANTRY_API_USERS_FILE=/none"), "it would need credentials")
	_, port, _ := strings.Cut(address, ":")
	require.Equal(t, ":4\n", ask("localhost:"+port, "show"), "a name has to be looked up")
	require.Equal(t, ":4\n", ask("127.0.0.1:1", "show"))
}

// TestInstalledFilesAreFoundByTheirPrograms: completion files and manual pages, as make install puts them.
func TestInstalledFilesAreFoundByTheirPrograms(t *testing.T) {
	t.Parallel()
	from, prefix := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(program(t), filepath.Join(from, "bootstrap")))
	require.NoError(t, os.WriteFile(filepath.Join(from, queueProgram), nil, 0o600))
	out, err := exec.Command("../../.ci/install", from, filepath.Join(prefix, "bin")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Empty(t, string(out))
	share := filepath.Join(prefix, "share")

	fish := shellCommand(t, "fish", "--no-config", "-c",
		"set -p fish_complete_path $argv[1]; complete -C 'gantry serve --log-level wa'", share+"/fish/vendor_completions.d")
	out, err = fish.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "warn\n", string(out))

	bash := shellCommand(t, "bash", "--norc", "--noprofile", "-c", "source $0 && complete -p gantry",
		share+"/bash-completion/completions/gantry")
	out, err = bash.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "complete -F _gantry gantry\n", string(out))

	y := newTypist(t, "fpath=("+share+"/zsh/site-functions $fpath); autoload -U compinit && compinit -u -D", "zsh", "-f", "-i")
	y.press("gantry serve --log-level wa\t\x01echo \x05\n")
	y.shown.WaitFor(t, "gantry serve --log-level warn\r\n")

	if man, err := exec.LookPath("man"); err == nil {
		cmd := exec.Command(man, "-M", share+"/man", "-P", "cat", "gantry-invoke")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
		out, err = cmd.Output()
		require.NoError(t, err)
		require.Contains(t, string(out), "run events and print the results")
	}
}
