package e2e

import (
	"gantry/test/harness"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// deeds is a function that does what its event says.
const deeds = `let calls = 0;
exports.handler = async (event, context) => {
  calls++;
  if (event.exit) process.exit(3);
  if (event.hang) return new Promise(() => {});
  if (event.fail) throw new TypeError(event.fail);
  if (event.text) return event.text;
  console.log('call ' + calls);
  return { id: context.getRequestID(), at: new Date().toISOString(), calls, body: JSON.stringify({ n: event.n }) };
};`

// readJUnit reads a file of JUnit XML with one suite.
func readJUnit(t *testing.T, name string) *junitSuites {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	suites := parseJUnit(t, text)
	require.Len(t, suites.Suites, 1)
	require.Len(t, suites.Suites[0].Cases, suites.Tests)
	return suites
}

// TestInvokeRunsSeveralEventsOnOneInstance: one load, a line for each result, in order; a failure stops nothing, and
// after a crash the next event gets a new worker.
func TestInvokeRunsSeveralEventsOnOneInstance(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"index.js": deeds, "two.json": "{\"n\": 2}\n"})
	got := runInvoke(t, dir, []string{"--event", `{"n":1}`, "--event", filepath.Join(dir, "two.json"), "--event", ""})
	require.Equal(t, 0, got.code, got.stderr)
	lines := strings.Split(got.stdout, "\n")
	require.Len(t, lines, 4, got.stdout)
	for i, want := range []string{`"calls":1,"body":"{\"n\":1}"`, `"calls":2,"body":"{\"n\":2}"`, `"calls":3,"body":"{}"`} {
		require.Contains(t, lines[i], want)
	}
	require.Equal(t, 1, strings.Count(got.stderr, "Start load"), got.stderr)
	require.Equal(t, 3, strings.Count(got.stderr, "Finish invoke"), got.stderr)
	require.NotContains(t, got.stderr, "bootstrap:")

	got = runInvoke(t, dir, []string{"--event", `{"fail":"no paper"}`, "--event", `{"exit":1}`, "--event", `{"n":3}`})
	require.Equal(t, 1, got.code)
	lines = strings.Split(got.stdout, "\n")
	require.Len(t, lines, 4, got.stdout)
	require.Contains(t, lines[0], `{"errorMessage":"function invocation exception, error: no paper","errorType":"TypeError"`)
	require.Contains(t, lines[1], `"errorType":"Runtime.Exited"`)
	require.Contains(t, lines[2], `"calls":1,"body":"{\"n\":3}"`)
	require.Equal(t, 2, strings.Count(got.stderr, "Start load"), got.stderr)
	require.NotContains(t, got.stderr, "bootstrap:", "pipes get the log alone")

	got = runInvoke(t, dir, append(slices.Repeat([]string{"--event", `{"exit":1}`}, 4), "--event", `{"n":5}`))
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stdout, `"calls":1,"body":"{\"n\":5}"`)
	require.Equal(t, 4, strings.Count(got.stderr, `"delay": "0s"`), "nothing is gained by a pause: %s", got.stderr)

	got = runInvoke(t, dir, []string{"--timeout", "2", "--event", `{"hang":1}`, "--event", `{"n":6}`})
	require.Equal(t, 1, got.code)
	require.Regexp(t, `^\{.*"errorType":"Runtime.Timeout".*\}\n\{.*"calls":1,.*\}\n$`, got.stdout)
}

// TestInvokeExplainsEachFailureBehindTheLogOfItsCall: with several events, too, where the next call has not begun.
func TestInvokeExplainsEachFailureBehindTheLogOfItsCall(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"index.js": deeds})
	events := []string{"--event", `{"fail":"first"}`, "--event", `{"exit":1}`, "--event", `{"fail":"third"}`, "--event", `{}`}
	got := runInvoke(t, dir, events)
	require.Equal(t, 1, got.code)
	var order []string
	for _, line := range strings.Split(got.stderr, "\n") {
		if strings.HasPrefix(line, "✗") {
			order = append(order, "explained")
		} else if strings.Contains(line, " Finish invoke ") {
			order = append(order, "finished")
		}
	}
	want := slices.Repeat([]string{"finished", "explained"}, 3)
	require.Equal(t, append(want, "finished"), order, got.stderr)
}

// TestInvokeJUnitHasACaseForEachEvent: with names, times, the error of each failure, and the tail of its log.
func TestInvokeJUnitHasACaseForEachEvent(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"index.js": deeds, "one.json": `{"n": 1}`})
	one, file := filepath.Join(dir, "one.json"), filepath.Join(dir, "junit.xml")
	args := []string{
		"--name", "shop", "--junit", file, "--event", one, "--event", `{"fail":"a<b"}`, "--event", `{"exit":1}`, "--event", `{"n":4}`,
		"--expect", `{"$more":true,"calls":1}`,
	}
	got := runInvoke(t, dir, args)
	require.Equal(t, 1, got.code, got.stderr)
	suites := readJUnit(t, file)
	require.Equal(t, []int{4, 2, 0, 0}, []int{suites.Tests, suites.Failures, suites.Errors, suites.Skipped})
	cases := suites.Suites[0].Cases
	require.Equal(t, []string{one, "event 2", "event 3", "event 4"}, []string{cases[0].Name, cases[1].Name, cases[2].Name, cases[3].Name})
	for _, c := range cases {
		require.Equal(t, "shop", c.Class)
		require.Regexp(t, `^\d+\.\d{3}$`, c.Time)
		require.Contains(t, c.Log, "Start invoke request")
	}
	require.Nil(t, cases[0].Failure)
	require.Contains(t, cases[0].Log, "call 1\n")
	require.Equal(t, "expect", cases[1].Failure.Type)
	require.Contains(t, cases[1].Failure.Message, "$: expected a result, got the error {")
	require.Contains(t, cases[1].Failure.Text, "error: a<b")
	require.Equal(t, "expect", cases[2].Failure.Type)
	require.Nil(t, cases[3].Failure)

	got = runInvoke(t, dir, args[:10])
	require.Equal(t, 1, got.code)
	cases = readJUnit(t, file).Suites[0].Cases
	require.Equal(t, "TypeError (4002)", cases[1].Failure.Type)
	require.Equal(t, "function invocation exception, error: a<b", cases[1].Failure.Message)
	require.Equal(t, "Runtime.Exited (4204)", cases[2].Failure.Type)
}

// TestInvokeJUnitIsWrittenWhenNothingStarts: every event is an error then, with the reason; a file that cannot be
// written is refused before the start.
func TestInvokeJUnitIsWrittenWhenNothingStarts(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"index.js": deeds})
	file := filepath.Join(dir, "junit.xml")
	taken := strings.TrimPrefix(function(t, okFunction).url, "http://")
	for want, c := range map[string]struct {
		code int
		args []string
	}{
		"nowhere.json: no such file": {exitUsage, []string{"--event", "{}", "--event", "nowhere.json"}},
		"RUNTIME_TIMEOUT":            {exitUsage, []string{"--event", "{}", "--event", "{}", "--timeout", "soon"}},
		"listen":                     {exitListen, []string{"--event", "{}", "--event", "{}", "--extension-addr", taken}},
		"127.0.0.1:1 does not answer: no process": {1, []string{"--event", "{}", "--event", "{}", "--to", "127.0.0.1:1"}},
	} {
		require.NoError(t, os.RemoveAll(file))
		got := runInvoke(t, dir, append(c.args, "--junit", file))
		require.Equal(t, c.code, got.code, got.stderr)
		suites := readJUnit(t, file)
		require.Equal(t, []int{2, 0, 2}, []int{suites.Tests, suites.Failures, suites.Errors})
		for _, one := range suites.Suites[0].Cases {
			require.Contains(t, one.Error.Message, want)
			require.NotEmpty(t, one.Error.Type)
		}
	}
	// One that is killed leaves a file that can be read as well.
	cmd := exec.Command(program(t), "invoke", "--code", dir, "--event", `{"hang":1}`, "--event", "{}", "--junit", file, "--timeout", "600")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "RUNTIME_MEMORY=512"}
	log := &harness.Output{}
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	log.WaitFor(t, "Start invoke")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	for _, one := range readJUnit(t, file).Suites[0].Cases {
		require.Equal(t, "the command was cut off before it could write the results", one.Error.Message)
	}
	got := runInvoke(t, dir, []string{"--junit", filepath.Join(dir, "no", "junit.xml")})
	require.Equal(t, exitUsage, got.code)
	require.Regexp(t, `^bootstrap: --junit: open .*no such file or directory\n$`, got.stderr)
}

// TestInvokeComparesResultsWithExpectations: matches end with 0; differences are on stderr with their path and end with
// 1; errors can be expected; a wrong file ends with 2 before the start.
func TestInvokeComparesResultsWithExpectations(t *testing.T) {
	t.Parallel()
	const good = `{"id": "$uuid", "at": "$time", "calls": 1, "body": {"$json": {"n": 1}}}`
	dir := writeFiles(t, map[string]string{
		"index.js": deeds, "good.json": good, "wrong.json": strings.Replace(good, `"n": 1`, `"n": 2`, 1), "bad.json": "{\n\"a\": \"$nothing\"}",
	})
	file := func(name string) string { return filepath.Join(dir, name) }
	got := runInvoke(t, dir, []string{"--event", `{"n":1}`, "--expect", file("good.json")})
	require.Equal(t, 0, got.code, got.stderr)

	got = runInvoke(t, dir, []string{"--event", `{"n":1}`, "--expect", file("wrong.json")})
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "\nbootstrap: event 1: the result is not as "+file("wrong.json")+" says\n  $.body.$json.n: expected 2, got 1\n")
	require.Contains(t, got.stdout, `"calls":1`)

	got = runInvoke(t, dir, []string{
		"--event", `{"fail":"no paper"}`, "--expect", `{"$error": {"errorType": "TypeError", "errorMessage": "$match:no paper$", "stackTrace": "$array"}}`,
	})
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, got.stdout, `"errorType": "TypeError"`)

	// One for each event, of which the last one is expected to fail and does not.
	got = runInvoke(t, dir, []string{
		"--event", `{"n":1}`, "--event", `{"text":"five"}`, "--event", `{"n":1}`,
		"--expect", file("good.json"), "--expect", `"five"`, "--expect", `{"$error": "$any"}`,
	})
	require.Equal(t, 1, got.code)
	require.Equal(t, 1, strings.Count(got.stderr, "bootstrap:"), got.stderr)
	require.Contains(t, got.stderr, "bootstrap: event 3: the result is not as --expect says\n  $: expected an error, got the result {")

	for want, args := range map[string][]string{
		`--expect: ` + file("bad.json") + `: $.a: "$nothing" is no matcher`: {"--expect", file("bad.json")},
		`--expect: "{\"a\":" is no JSON`:                                    {"--expect", `{"a":`},
		"--expect is given 2 times for 1 event(s)":                          {"--expect", "{}", "--expect", "{}"},
		"- is given more than once":                                         {"--event", "-", "--event", "-"},
	} {
		got := runInvoke(t, dir, args)
		require.Equal(t, exitUsage, got.code, args)
		require.Contains(t, got.stderr, want)
		require.NotContains(t, got.stderr, "Start load")
		require.Empty(t, got.stdout)
	}
}

// TestInvokeSendsSeveralEventsToARunningAgent: with --to everything is as without, but for the load.
func TestInvokeSendsSeveralEventsToARunningAgent(t *testing.T) {
	t.Parallel()
	r := function(t, deeds)
	file := filepath.Join(t.TempDir(), "junit.xml")
	got := runInvoke(t, r.dir, []string{
		"--to", r.url, "--junit", file, "--event", `{"n":1}`, "--event", `{"fail":"no paper"}`, "--event", `{"n":3}`,
	})
	require.Equal(t, 1, got.code)
	require.Regexp(t, regexp.MustCompile(`^\{.*"calls":1.*\}\n\{"errorMessage":.*\}\n\{.*"calls":3.*\}\n$`), got.stdout)
	require.Equal(t, 3, strings.Count(got.stderr, "Start invoke"))
	cases := readJUnit(t, file).Suites[0].Cases
	require.Nil(t, cases[0].Failure)
	require.Equal(t, "TypeError (4002)", cases[1].Failure.Type)
	require.Contains(t, cases[2].Log, "call 3\n")
	got = runInvoke(t, r.dir, []string{"--to", r.url, "--event", `{"n":1}`, "--expect", `{"calls":4,"$more":true}`})
	require.Equal(t, 0, got.code, got.stderr)
}
