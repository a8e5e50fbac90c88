package e2e

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"gantry/test/harness"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// goodExtension does everything that an extension can, and well.
const goodExtension = `#!/usr/bin/env python3
import http.server, json, os, signal, sys, threading, urllib.request

ADDRESS = ("127.0.0.1", 8084)

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): pass

def post(path, body, **headers):
    request = urllib.request.Request(f"http://{os.environ['EXTENSION_API_ADDR']}{path}", body, method="POST", headers=headers)
    urllib.request.urlopen(request, timeout=60).close()

name = os.path.basename(sys.argv[0])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
threading.Thread(target=Server(ADDRESS, Handler).serve_forever, daemon=True).start()
post("/extension/register", b"", **{"FunctionGraph-Extension-Name": name, "FunctionGraph-Extension-Address": "127.0.0.1:8084",
    "FunctionGraph-Extension-Events": os.environ.get("EVENTS", "INVOKE,SHUTDOWN"), "FunctionGraph-Extension-Mode": os.environ.get("MODE", "async")})
post("/telemetry", json.dumps({"subscriber": {"protocol": "POST", "uri": "http://127.0.0.1:8084/telemetry"},
    "types": ["platform", "function", "extension"]}).encode(), **{"FunctionGraph-Extension-Name": name})
print("ready", flush=True)
signal.sigwait([signal.SIGTERM])
`

// checkNames are the names of all checks, in order.
var checkNames = []string{
	"file", "start", "registration", "registration name", "registration address", "calls", "calls at once", "calls after pauses",
	"freeze and thaw", "telemetry", "telemetry feedback", "second registration", "burst",
	"keeps running", "shutdown notice", "end", "leftovers", "output",
}

// checked is one run of bootstrap check.
type checked struct {
	t              *testing.T
	code           int
	stdout, stderr string
	took           time.Duration
	names          []string
	lines          map[string]string // by name, with the verdict in front
}

// checkProgram is the command in a process of its own: it adopts orphans.
func checkProgram(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program(t), append([]string{"check"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GORACE=atexit_sleep_ms=0"}
	return cmd
}

func runCheck(t *testing.T, args ...string) *checked {
	t.Helper()
	cmd := checkProgram(t, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	c := &checked{
		t: t, code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String(), took: time.Since(began), lines: map[string]string{},
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("stdout:\n%s\nstderr:\n%s", c.stdout, c.stderr[max(0, len(c.stderr)-4000):])
		}
	})
	require.NotContains(t, c.stderr, "DATA RACE")
	require.NotContains(t, c.stderr, "panic:")
	for line := range strings.Lines(c.stdout) {
		if m := regexp.MustCompile(`^(ok|warn|fail|skip) +(\S.{21})  (.*)\n$`).FindStringSubmatch(line); m != nil {
			name := strings.TrimSpace(m[2])
			c.names = append(c.names, name)
			c.lines[name] = m[1] + " " + m[3]
		}
	}
	return c
}

// want requires a verdict and a text; an empty verdict means that there is no failure.
func (c *checked) want(name, verdict, text string) {
	c.t.Helper()
	line := c.lines[name]
	if verdict == "" {
		require.NotEmpty(c.t, line, "no check %s", name)
		require.False(c.t, strings.HasPrefix(line, "fail"), "%s: %s", name, line)
		return
	}
	require.True(c.t, strings.HasPrefix(line, verdict+" "), "%s: %s, want %s", name, line, verdict)
	require.Contains(c.t, line, text, name)
}

// noFailure requires that all checks were made, and none failed.
func (c *checked) noFailure() {
	c.t.Helper()
	require.Equal(c.t, checkNames, c.names)
	for _, name := range checkNames {
		c.want(name, "", "")
	}
	require.Zero(c.t, c.code)
}

func chaosCheck(t *testing.T, env ...string) *checked {
	t.Helper()
	path, err := filepath.Abs("../../examples/chaos/extension/extensionChaos.sh")
	require.NoError(t, err)
	args := []string{"--extension", path, "--timeout", "120"}
	if !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "--wait=") }) {
		args = append(args, "--wait=60")
	}
	for _, e := range env {
		if strings.HasPrefix(e, "--") {
			args = append(args, e)
			continue
		}
		args = append(args, "--env", e)
	}
	return runCheck(t, args...)
}

// checkScript writes an extension into a folder of its own, and returns its path.
func checkScript(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "extension", name)
	require.NoError(t, os.Mkdir(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), mode))
	return path
}

func TestCheckFindsNoFailureInAGoodExtension(t *testing.T) {
	harness.FixedPorts(t)
	path := checkScript(t, "extensionGood", goodExtension, 0o755)
	for _, mode := range []string{"async", "sync"} {
		t.Run(mode, func(t *testing.T) {
			junit := filepath.Join(t.TempDir(), "junit.xml")
			c := runCheck(t, "--extension", path, "--wait", "60", "--timeout", "2m", "--shutdown-timeout", "120", "--env", "MODE="+mode, "--junit", junit)
			c.noFailure()
			for _, name := range []string{"file", "registration name", "registration address", "second registration", "keeps running", "leftovers", "output"} {
				c.want(name, "ok", "")
			}
			c.want("telemetry", "", "")
			require.Regexp(t, `\d{4} telemetry events in \d+ batches, all taken; the biggest had (\d{3,4}) events, the longest \d{2,3} KiB`, c.lines["telemetry"])
			c.want("telemetry feedback", "ok", "does not print")
			c.want("shutdown notice", "ok", "answered")
			c.want("end", "", "exit code 0")
			if mode == "sync" {
				require.Contains(t, c.lines["calls"], "sync: each call of the function waits for that")
			}
			require.Contains(t, c.stderr, "[extensionGood] ready\n")
			c.requireJUnit(junit)
		})
	}
}

// TestCheckSkipsCallsWhenTheExtensionWantsNone: an extension may want no calls.
func TestCheckSkipsCallsWhenTheExtensionWantsNone(t *testing.T) {
	harness.FixedPorts(t)
	c := runCheck(t, "--extension", checkScript(t, "extensionGood", goodExtension, 0o755), "--wait", "60", "--timeout", "2m", "--shutdown-timeout", "120", "--env", "EVENTS=SHUTDOWN")
	c.noFailure()
	c.want("calls", "skip", "it did not ask for calls")
	c.want("burst", "skip", "it did not ask for calls")
	c.want("freeze and thaw", "ok", "it was stopped for 1.5 s, and goes on")
	c.want("telemetry", "", "batches, all taken")
	c.want("telemetry feedback", "ok", "")
	c.want("shutdown notice", "ok", "")
}

func TestCheckFindsNoFailureInTheLoggerExample(t *testing.T) {
	harness.FixedPorts(t)
	dir := filepath.Join(t.TempDir(), "extension")
	require.NoError(t, os.Mkdir(dir, 0o755))
	compile(t, "gantry/examples/extensions/logger", filepath.Join(dir, "extensionLogger"))
	c := runCheck(t, "--extension", filepath.Join(dir, "extensionLogger"), "--wait", "60", "--timeout", "120")
	c.noFailure()
	c.want("telemetry", "skip", "did not subscribe")
	c.want("shutdown notice", "skip", "did not ask")
	c.want("end", "ok", "ended by TERM")
	c.want("output", "ok", "for 1")
	require.Contains(t, c.stderr, "[extensionLogger] registered with function check\n")
}

func TestCheckReportsEachKindOfMisbehaviour(t *testing.T) {
	harness.FixedPorts(t)
	t.Run("never registers", func(t *testing.T) {
		c := chaosCheck(t, "CHAOS=silent", "--wait=1")
		c.want("registration", "fail", "it did not register within 1")
		c.want("calls", "skip", "not registered")
		c.want("keeps running", "ok", "")
		require.Equal(t, 1, c.code)
	})
	t.Run("registers a wrong address", func(t *testing.T) {
		c := chaosCheck(t, "CHAOS=wrong")
		c.want("registration", "fail", "Extension.InvalidAddress: address 127.0.0.1:9999 is outside 127.0.0.1:8081 to 127.0.0.1:8090")
		c.want("registration address", "skip", "")
		require.Equal(t, 1, c.code)
	})
	t.Run("listens nowhere", func(t *testing.T) {
		c := chaosCheck(t, "CHAOS=deaf")
		c.want("registration address", "fail", "no process listens there")
		c.want("calls", "fail", "no process listens there")
		c.want("burst", "skip", "it answers no calls")
	})
	t.Run("ends at once", func(t *testing.T) {
		c := chaosCheck(t, "CHAOS=crash")
		c.want("registration", "fail", "it ended before it registered: exit code 5")
		c.want("keeps running", "fail", `during "registration": exit code 5`)
		c.want("end", "skip", "")
	})
	t.Run("ends after a call", func(t *testing.T) {
		c := chaosCheck(t, "CHAOS=fragile")
		c.want("calls", "fail", "it ended meanwhile: exit code 4")
		c.want("keeps running", "fail", "exit code 4")
		require.Equal(t, checkNames, c.names)
	})
	t.Run("does not answer calls", func(t *testing.T) {
		c := chaosCheck(t, "CHAOS=never")
		c.want("calls", "fail", "3 calls one after another, 3 of them without a good answer: no answer within 2 s")
		c.want("calls at once", "skip", "")
		c.want("second registration", "ok", "")
		require.Equal(t, 1, c.code)
	})
	t.Run("registers another name, and answers calls with 500", func(t *testing.T) {
		c := chaosCheck(t, "CHAOS=error", "CHAOS_NAME=extensionOther")
		c.want("registration name", "fail", `it registered as "extensionOther", its file is extensionChaos.sh`)
		c.want("calls", "fail", "status 500")
		c.want("keeps running", "ok", "")
	})
	t.Run("leaves a daemon", func(t *testing.T) {
		c := chaosCheck(t, "CHAOS=daemon")
		c.want("keeps running", "fail", "exit code 0")
		c.want("leftovers", "fail", "outside of its group, where no stop reaches them: sleep (")
		c.requireGone(c.lines["leftovers"])
	})
	t.Run("does not end", func(t *testing.T) {
		c := chaosCheck(t, "CHAOS=twice,stubborn,mute", "CHAOS_EVENTS=INVOKE,SHUTDOWN", "CHAOS_TELEMETRY=error")
		c.want("second registration", "warn", "it registered again, and was refused once: Extension.AlreadyRegistered")
		c.want("telemetry", "fail", "deliveries failed: status 500")
		c.want("telemetry feedback", "skip", "")
		c.want("shutdown notice", "fail", "not answered: no answer after 1")
		c.want("end", "fail", "it did not end on TERM, and was killed after")
		require.Equal(t, 1, c.code)
	})
	t.Run("prints for every event", func(t *testing.T) {
		c := chaosCheck(t, "CHAOS_TELEMETRY=good", "CHAOS_ECHO=1")
		c.want("telemetry", "", "")
		c.want("telemetry feedback", "warn", "it prints for every")
		require.Zero(t, c.code, "a warning is no failure")
	})
}

// requireGone requires that the processes that a line names are gone.
func (c *checked) requireGone(line string) {
	c.t.Helper()
	found := regexp.MustCompile(`(\S+) \((\d+)\)`).FindAllStringSubmatch(line, -1)
	require.NotEmpty(c.t, found)
	for _, m := range found {
		comm, err := os.ReadFile("/proc/" + m[2] + "/comm")
		require.True(c.t, err != nil || strings.TrimSpace(string(comm)) != m[1], "%s is still there", m[0])
	}
}

// TestCheckSaysWhatIsWrongWithAFile: what is wrong with a file is said before, or instead of, the start.
func TestCheckSaysWhatIsWrongWithAFile(t *testing.T) {
	const quick = "#!/bin/sh\necho started\n"
	cases := []struct {
		name, file, text string
		mode             os.FileMode
		verdict, seen    string
		started          bool
	}{
		{"a script", "extensionX", quick, 0o755, "ok", "an executable script for /bin/sh", true},
		{"not executable", "extensionX", quick, 0o644, "fail", "lacks the execute bit, and is not called", false},
		{"sh without the bit", "extensionX.sh", quick, 0o644, "warn", "/bin/sh runs it", true},
		{"another language without the bit", "extensionX.sh", "#!/usr/bin/env python3\nprint(1)\n", 0o644, "fail", "its first line wants /usr/bin/env python3", false},
		{"CR LF", "extensionX", "#!/bin/sh\r\necho started\r\n", 0o755, "fail", "ends in CR LF", false},
		{"CR LF, without the bit", "extensionX.sh", "echo started\r\n", 0o644, "fail", "ends in CR LF", false},
		{"no interpreter", "extensionX", "#!/nowhere/python\n", 0o755, "fail", "the interpreter of its first line, /nowhere/python, is not there", false},
		{"no interpreter by env", "extensionX", "#!/usr/bin/env python-of-tomorrow\n", 0o755, "fail", "python-of-tomorrow in PATH=", false},
		{"env with an option", "extensionX", "#!/usr/bin/env -S A=b sh -e\necho started\n", 0o755, "ok", "-S A=b sh -e", true},
		{"another name", "monitor", quick, 0o755, "fail", "monitor is not called extension…, so the agent passes it over; right: mv ", true},
		{"another name, and not executable", "index.js", "console.log(1)\n", 0o644, "fail", "/extensionIndex.js, and chmod +x it", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := runCheck(t, "--extension", checkScript(t, c.file, c.text, c.mode), "--wait", "60")
			require.Equal(t, checkNames, r.names)
			r.want("file", c.verdict, c.seen)
			require.Equal(t, 1, r.code, "none of them registers")
			if !c.started {
				r.want("start", "skip", "it cannot be started")
				r.want("keeps running", "skip", "")
				return
			}
			r.want("start", "ok", "process ")
			r.want("registration", "fail", "it ended before it registered: exit code 0")
			require.Contains(t, r.stderr, "["+c.file+"] started\n")
		})
	}
	t.Run("no program", func(t *testing.T) {
		r := runCheck(t, "--extension", checkScript(t, "extensionX", "what is this\n", 0o755))
		r.want("start", "fail", "neither a program nor a script")
		r.want("leftovers", "skip", "")
	})
}

// TestCheckAddsEnvToTheEnvironmentAnAgentGives: an extension gets what an agent gives it, and --env.
func TestCheckAddsEnvToTheEnvironmentAnAgentGives(t *testing.T) {
	nice := min(19, 10+niceness(t)) // set soon after the start
	path := checkScript(t, "extensionEnv", `#!/bin/sh
for i in $(seq 500); do test "$(nice)" = $NICE && break; sleep 0.01; done
echo "cwd $(pwd) root $EXTENSION_ROOT api ${EXTENSION_API_ADDR%:*} a $A b $B home $HOME name $RUNTIME_FUNC_NAME timeout $RUNTIME_TIMEOUT color $COLOR nice $(nice)"
kill -0 -$$ && echo "a group of its own"
`, 0o755)
	c := runCheck(t, "--extension", path, "--env", "A=1=2", "--env=B=", "--env", "HOME=/there", "--name", "order", "--userdata", `{"COLOR":"blue"}`, "--timeout", "50s", "--env", "NICE="+itoa(nice))
	dir := filepath.Dir(path)
	require.Contains(t, c.stderr, fmt.Sprintf("[extensionEnv] cwd %s root %s api 127.0.0.1 a 1=2 b  home /there name order timeout 3 color blue nice %d\n", dir, filepath.Dir(dir), nice))
	require.Contains(t, c.stderr, "a group of its own")
}

func niceness(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("nice").Output()
	require.NoError(t, err)
	n, err := strconv.Atoi(strings.TrimSpace(string(out)))
	require.NoError(t, err)
	return n
}

// TestCheckKillsAndReportsChildrenLeftInTheGroup: children in the group that still run at the extension's end are
// killed and reported.
func TestCheckKillsAndReportsChildrenLeftInTheGroup(t *testing.T) {
	ready := "while ! test -e $READY; do sleep 0.01; done; sleep 600"
	path := checkScript(t, "extensionParent.sh", "#!/bin/sh\n(trap '' TERM; touch $READY; exec sleep 600) &\n"+ready+"\n", 0o755)
	c := runCheck(t, "--extension", path, "--wait", "3", "--env", "READY="+filepath.Join(t.TempDir(), "ready"))
	c.want("end", "ok", "ended by TERM")
	c.want("leftovers", "warn", "still at work when it ended, and killed at once: sleep (")
	c.requireGone(c.lines["leftovers"])
	path = checkScript(t, "extensionParent.sh", "#!/bin/sh\nsleep 600 & sleep 600\n", 0o755)
	c = runCheck(t, "--extension", path, "--wait", "1")
	c.want("leftovers", "ok", "")
}

// TestCheckEndsWithinItsTimeLimit: everything is over in time, whatever the extension does.
func TestCheckEndsWithinItsTimeLimit(t *testing.T) {
	harness.FixedPorts(t)
	stubborn := checkScript(t, "extensionStubborn.sh", "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n", 0o755)
	c := runCheck(t, "--extension", stubborn, "--wait", "60", "--timeout", "8")
	require.Equal(t, 1, c.code)
	c.want("time", "fail", "not all checks were made: --timeout has passed")
	c.want("burst", "skip", "--timeout has passed")
	c.want("end", "fail", "it did not end on TERM")
	require.Less(t, c.took, 30*time.Second)
	c = chaosCheck(t, "--timeout=1ms")
	require.Equal(t, 1, c.code)
	require.Equal(t, []string{"time"}, slices.DeleteFunc(slices.Clone(c.names), func(name string) bool { return slices.Contains(checkNames, name) }))
}

// TestSignalCutsChecksOffAndStopsTheExtension: a signal cuts the checks off, and the extension is stopped.
func TestSignalCutsChecksOffAndStopsTheExtension(t *testing.T) {
	path := checkScript(t, "extensionSilent", "#!/bin/sh\necho $$ waits\nsleep 600\n", 0o755)
	cmd := checkProgram(t, "--extension", path, "--wait", "600", "--timeout", "600")
	stdout, stderr := &harness.Output{}, &harness.Output{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	require.NoError(t, cmd.Start())
	stderr.WaitFor(t, " waits\n")
	pid := regexp.MustCompile(`(\d+) waits`).FindStringSubmatch(stderr.String())[1]
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	require.Equal(t, 128+int(syscall.SIGTERM), cmd.ProcessState.ExitCode())
	require.Contains(t, stdout.String(), "not all checks were made: the checks were cut off: terminated")
	require.Contains(t, stderr.String(), "bootstrap: the checks were cut off")
	_, err := os.Stat("/proc/" + pid + "/fd")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestCheckRefusesWrongCommandLinesWithTheReason(t *testing.T) {
	good := checkScript(t, "extensionX", "#!/bin/sh\n", 0o755)
	for want, args := range map[string][]string{
		"--extension FILE is missing":            nil,
		"no such file":                           {"--extension", good + "not"},
		"is no file":                             {"--extension", filepath.Dir(good)},
		`--env: "A" is not of the form`:          {"--extension", good, "--env", "A"},
		`--env: "=b" is not of the form`:         {"--extension", good, "--env", "=b"},
		"EXTENSION_API_ADDR is set by the agent": {"--extension", good, "--env", "EXTENSION_API_ADDR=x"},
		"RUNTIME_FUNC_NAME is set by the agent":  {"--extension", good, "--env", "RUNTIME_FUNC_NAME=x"},
		`--timeout: "soon": want seconds`:        {"--extension", good, "--timeout", "soon"},
		`--wait: "-1"`:                           {"--extension", good, "--wait=-1"},
		"--junit: open /nowhere/x":               {"--extension", good, "--junit", "/nowhere/x"},
		"unknown flag: --nonsense":               {"--nonsense"},
		`check takes no arguments, and "extensionX" is one; did you mean --extension extensionX?`: {"extensionX"},
		`GANTRY_EXTENSION_WAIT: "x", from --exte`:                                                 {"--extension", good, "--extension-wait", "x"},
	} {
		c := runCheck(t, args...)
		require.Equal(t, exitUsage, c.code, "%v: %s", args, c.stderr)
		require.Contains(t, c.stderr, want)
		require.Empty(t, c.stdout)
	}
	help := runCheck(t, "--help")
	require.Zero(t, help.code)
	for _, flag := range []string{"--extension FILE", "--env NAME=VALUE", "--junit FILE", "--timeout TIME", "--wait TIME", "2\nthe command line or a setting is wrong"} {
		require.Contains(t, help.stdout, flag)
	}
	require.NotContains(t, help.stdout, "runs from the moment the call has a slot", "our --timeout hides the handler's")
}

// requireJUnit reads the XML back and holds it against the lines.
func (c *checked) requireJUnit(path string) {
	c.t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(c.t, err)
	suites := parseJUnit(c.t, text)
	require.Len(c.t, suites.Suites, 1)
	suite := suites.Suites[0]
	count := map[string]int{}
	require.Len(c.t, suite.Cases, len(c.names))
	for i, junit := range suite.Cases {
		require.Equal(c.t, c.names[i], junit.Name)
		verdict, seen, _ := strings.Cut(c.lines[junit.Name], " ")
		count[verdict]++
		require.Equal(c.t, verdict == "fail", junit.Failure != nil, junit.Name)
		require.Equal(c.t, verdict == "skip", junit.Skipped != nil, junit.Name)
		require.Equal(c.t, verdict == "warn", junit.Output != "", junit.Name)
		if junit.Failure != nil {
			require.True(c.t, strings.HasPrefix(seen, junit.Failure.Message), junit.Name)
		}
		_, err := strconv.ParseFloat(junit.Time, 64)
		require.NoError(c.t, err)
	}
	require.Equal(c.t, []int{len(c.names), count["fail"], count["skip"]}, []int{suite.Tests, suite.Failures, suite.Skipped})
	require.Equal(c.t, []int{suite.Tests, suite.Failures, suite.Skipped}, []int{suites.Tests, suites.Failures, suites.Skipped})
}

// junitSuites is what a reader of JUnit XML needs of a report.
type junitSuites struct {
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Tests    int    `xml:"tests,attr"`
	Failures int    `xml:"failures,attr"`
	Skipped  int    `xml:"skipped,attr"`
	Time     string `xml:"time,attr"`
	Cases    []struct {
		Class   string `xml:"classname,attr"`
		Name    string `xml:"name,attr"`
		Time    string `xml:"time,attr"`
		Failure *struct {
			Type    string `xml:"type,attr"`
			Message string `xml:"message,attr"`
			Text    string `xml:",chardata"`
		} `xml:"failure"`
		Error *struct {
			Type    string `xml:"type,attr"`
			Message string `xml:"message,attr"`
		} `xml:"error"`
		Skipped *struct {
			Message string `xml:"message,attr"`
		} `xml:"skipped"`
		Output string `xml:"system-out"`
		Log    string `xml:"system-err"`
	} `xml:"testcase"`
}

func parseJUnit(t *testing.T, text []byte) *junitSuites {
	t.Helper()
	var suites junitSuites
	require.NoError(t, xml.Unmarshal(text, &suites), string(text))
	return &suites
}

// TestQuietCheckLeavesTheFindingsAlone: and a terminal shows them in colours, unless NO_COLOR is set.
func TestQuietCheckLeavesTheFindingsAlone(t *testing.T) {
	harness.FixedPorts(t)
	path := checkScript(t, "extensionGood", goodExtension, 0o755)
	for variable, colored := range map[string]bool{"NO_COLOR=1": false, "NO_COLOR=": true} {
		screen, shown := terminal(t)
		var stderr bytes.Buffer
		cmd := checkProgram(t, "--extension", path, "--quiet", "--wait", "60", "--timeout", "2m")
		cmd.Env = append(cmd.Env, variable)
		cmd.Stdout, cmd.Stderr = screen, &stderr
		require.NoError(t, cmd.Run())
		shown.WaitFor(t, "extensionGood: 18 checks in ")
		require.Equal(t, colored, strings.HasPrefix(shown.String(), "\x1b[32mok  \x1b[0m  file "), shown.String())
		require.Equal(t, colored, strings.Contains(shown.String(), "\x1b"))
		require.Empty(t, stderr.String())
	}
}
