package main

import (
	"gantry/test/harness"
	"gantry/trigger"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// TestEventIsReadFromFileStdinOrArgument: a file, standard input or the JSON itself; a byte order mark is no part of
// it.
func TestEventIsReadFromFileStdinOrArgument(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	p := &program{stdin: strings.NewReader("\xef\xbb\xbf[1]")}
	for arg, want := range map[string]string{
		"": "", "-": "[1]", `{"a":1}`: `{"a":1}`, "[]": "[]", `"x"`: `"x"`, "\n {}": "\n {}",
		write("plain", "{}"): "{}", write("mark", "\xef\xbb\xbf{}\n"): "{}\n", write("utf16", harness.UTF16(`{"a":"b"}`)): `{"a":"b"}`,
		write("bytes", "\xff\xfe\x00"): "\xff\xfe\x00", write("text", "\xef\xbb\xbfno JSON"): "\xef\xbb\xbfno JSON",
		write("[id].json", "3"): "3",
	} {
		events := make([]event, 1)
		_, err := p.readEvents(events, []string{arg}, nil)
		require.NoError(t, err, arg)
		require.Equal(t, want, string(events[0].body), arg)
	}
	for arg, why := range map[string]string{
		`{"a":`:        `--event: "{\"a\":" is no JSON: unexpected end of JSON input`,
		`["a"]]`:       "after top-level value",
		"[id].json":    "and ./ before the name of a file that begins so",
		"nowhere.json": "--event: open nowhere.json: no such file or directory",
		"5":            "--event: open 5: no such file",
		dir:            "is a directory",
	} {
		_, err := p.readEvents(make([]event, 1), []string{arg}, nil)
		require.ErrorContains(t, err, why)
		require.ErrorContains(t, err, `want a file, JSON text that begins with {, [ or ", or - for standard input`)
	}
}

func TestEventsHaveNamesOfTheirOwn(t *testing.T) {
	var names []string
	for _, e := range nameEvents([]string{"", "a.json", "{}", "a.json", "-", "event 6", ""}) {
		names = append(names, e.name)
	}
	require.Equal(t, []string{"event 1", "a.json", "event 3", "a.json, event 4", "event 5", "event 6", "event 7"}, names)
}

func TestWrongEventsAndExpectationsAreRefused(t *testing.T) {
	for want, o := range map[string]invokeOptions{
		"--expect is given 2 times for 3 event(s): give it once for all, or once for each": {
			events: []string{"", "", ""}, expect: []string{"1.json", "2.json"},
		},
		"- is given more than once by --event and --expect": {events: []string{"-"}, expect: []string{"-"}},
		"--expect: open nowhere: no such file":              {events: []string{""}, expect: []string{"nowhere"}},
		`--expect: JSON text: $: "$x" is no matcher`:        {events: []string{""}, expect: []string{`"$x"`}},
	} {
		_, err := (&program{stdin: strings.NewReader("")}).readEvents(make([]event, len(o.events)), o.events, o.expect)
		require.ErrorContains(t, err, want)
	}
}

// TestReportsOfEventsCannotCommandATerminal: neither by the event's words nor by the file's name.
func TestReportsOfEventsCannotCommandATerminal(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer out.Close()
	p := &program{name: "bootstrap", stdout: out}
	report, err := trigger.Check([]byte("{\"Records\":[{\"\u009b31m\":1,\"\\u001b[31m\":1}]}"))
	require.NoError(t, err)
	require.NoError(t, p.printReport("a\x1b[31m\x9b1m\u009b1m\rb", report))
	text, err := os.ReadFile(out.Name())
	require.NoError(t, err)
	require.Contains(t, string(text), "fail  a [31m 1m 1m b: obs")
	require.Contains(t, string(text), "31m: is in no event of obs that is known")
	for _, r := range strings.ReplaceAll(string(text), "\n", "") {
		require.False(t, unicode.IsControl(r) || r == utf8.RuneError, "%q", text)
	}
}
