package explain

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLocateFindsTheFirstLineOfTheFunctionsOwnCode(t *testing.T) {
	for body, want := range map[string]*Place{
		`{"stackTrace":["at JSON.parse (<anonymous>)","at f (./node_modules/x/y.js:1:2)","at exports.handler (./src/index.js:12:7)","at g (./z.js:1:1)"]}`: {File: "src/index.js", Line: 12, Function: "exports.handler"},
		`{"stackTrace":["at ./index.js:3:1"]}`:                                                              {File: "index.js", Line: 3},
		`{"stackTrace":["at async handler (./a b.mjs:4:1)"]}`:                                               {File: "a b.mjs", Line: 4, Function: "handler"},
		`{"stackTrace":["File \"./index.py\", line 6, in handler","File \"./lib/a.py\", line 3, in row"]}`:  {File: "lib/a.py", Line: 3, Function: "row"},
		`{"stackTrace":["File \"./index.py\", line 6, in handler","File \"/usr/lib/x.py\", line 3, in y"]}`: {File: "index.py", Line: 6, Function: "handler"},
		`{"errorMessage":"Unexpected token ';' (./index.js:3)"}`:                                            {File: "index.js", Line: 3},
		`{"errorMessage":"no place","stackTrace":["at node:internal/x:1:2"]}`:                               nil,
		`{"errorMessage":5}`: nil,
		`not JSON`:           nil,
		``:                   nil,
	} {
		require.Equal(t, want, Locate([]byte(body)), body)
	}
}

func TestSourceIsReadWithinTheCodeFolderOnly(t *testing.T) {
	dir := t.TempDir()
	code := filepath.Join(dir, "code")
	require.NoError(t, os.Mkdir(code, 0o700))
	for name, text := range map[string]string{
		"secret": "outside\n", "code/index.js": "one\ntwo\r\n\tthree\nfour\nfive\nsix\n", "code/binary": "a\x00b\n",
		"code/long.js": strings.Repeat("ü", 200),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	require.NoError(t, os.Symlink("../secret", filepath.Join(code, "link")))
	source := func(file string, line int) (lines []string) {
		p := &Place{File: file, Line: line}
		p.read(code)
		for _, l := range p.source {
			lines = append(lines, l.text)
		}
		return lines
	}
	require.Equal(t, []string{"one", "two", "  three", "four", "five"}, source("index.js", 3))
	require.Equal(t, []string{"one", "two", "  three"}, source("index.js", 1))
	require.Equal(t, []string{"four", "five", "six"}, source("index.js", 6))
	require.Equal(t, []string{strings.Repeat("ü", 80) + " …"}, source("long.js", 1))
	for _, none := range []Place{{File: "index.js", Line: 7}, {File: "index.js"}, {File: "../secret", Line: 1}, {File: "link", Line: 1}, {File: "binary", Line: 1}, {File: "gone", Line: 1}, {File: ".", Line: 1}} {
		require.Empty(t, source(none.File, none.Line), none)
	}
}

func TestFailureIsShownInBothLanguages(t *testing.T) {
	code := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(code, "index.js"), []byte("a\nb()\nc\n"), 0o600))
	busy := true
	f := &Failure{
		RequestID: "id-1", CodeRoot: code, Code: 4010, Type: "Runtime.Timeout", Message: "too \x1b[31mlate\nsecond line", Hint: "look there",
		Took: 1001 * time.Millisecond, Limit: time.Second, MemoryMB: 31.4, LimitMB: 128,
		Stopped: []Place{{File: "index.js", Line: 2, Function: "b"}, {File: "index.js", Line: 3}}, Busy: &busy,
		Waits: []Wait{{What: "TCP to 127.0.0.1:3306, SYN-SENT", Unconnected: true}, {What: "Timeout"}}, LastLines: []string{"last"},
	}
	require.Equal(t, `✗ 4010 Runtime.Timeout: too [31mlate
  request id-1, after 1s of 1s, memory 31 of 128 MB

  ./index.js:2, in b: it was here when its time was over
       1 │ a
  >    2 │ b()
       3 │ c
  ./index.js:3

  Why: It was computing when its time was over.
  Open at that moment:
    TCP to 127.0.0.1:3306, SYN-SENT: the other end has not answered at all
    Timeout
  Hint: look there

  Last lines of the process:
    last
  More: gantry explain Runtime.Timeout
`, f.Text(English, "gantry", false))
	chinese := f.Text(Chinese, "gantry", false)
	for _, want := range []string{"请求 id-1", "超时时函数正在计算", "提示: look there", "当时仍打开"} {
		require.Contains(t, chinese, want)
	}
	require.Contains(t, f.Text(English, "gantry", true), "\x1b[31;1m✗\x1b[0m")
}

func TestFailureWithoutEvidenceSaysNoReason(t *testing.T) {
	text := (&Failure{Code: 4002, Type: "TypeError", Message: "x"}).Text(English, "bootstrap", false)
	require.Equal(t, "✗ 4002 TypeError: x\n  More: bootstrap explain 4002\n", text)
	text = (&Failure{Code: 4002, Type: "SyntaxError"}).Text(English, "bootstrap", false)
	require.Contains(t, text, "✗ 4002 SyntaxError: the function threw an error, or the event is not JSON")
	text = (&Failure{Code: 4205, Type: "Runtime.OutOfMemory", Message: "m"}).Text(English, "bootstrap", false)
	require.Contains(t, text, "Why: The process was killed at the limit")
	require.Contains(t, text, "Do: ")
}

func TestFailureAsJSONHasNoLinesOfLogOrCode(t *testing.T) {
	code := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(code, "index.js"), []byte("password"), 0o600))
	f := &Failure{CodeRoot: code, Place: &Place{File: "index.js", Line: 1}, LastLines: []string{"password"}}
	require.Contains(t, f.Text(English, "", false), "password")
	text, err := json.Marshal(f)
	require.NoError(t, err)
	require.NotContains(t, string(text), "password")
}

func TestCallThatNothingCanSettleIsSaidToBeOne(t *testing.T) {
	waited := false
	f := &Failure{Code: 4010, Type: "Runtime.Timeout", Message: "late", Busy: &waited, Unsettled: true}
	require.Contains(t, f.Text(English, "", false), "Why: It was waiting when its time was over. Nothing was left that could go on")
	f.Unsettled = false
	require.NotContains(t, f.Text(English, "", false), "Nothing was left")
}
