package function_test

import (
	"encoding/json"
	"fmt"
	"gantry/function/frame"
	"gantry/function/internal/require"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHandlerResultsBecomeAnswersToTheAgent: what a handler returns, and what the agent gets.
func TestHandlerResultsBecomeAnswersToTheAgent(t *testing.T) {
	p := ready(t, "typed", "RUNTIME_MAX_RESP_BODY_SIZE=1000", "RUNTIME_CODE_ROOT=/code")
	const text = `{"text":true}`
	failure := func(message, kind string) string {
		return fmt.Sprintf("{\n    \"errorMessage\": %s,\n    \"errorType\": \"%s\"\n}", quote(message), kind)
	}
	meta := func(code int, kind string) string { return fmt.Sprintf(`{"code":%d,"type":"%s"}`, code, kind) }
	for event, want := range map[string]answer{
		`{"Text":"<a&é>"}`:              {frame.Result, "", `{"none":false,"text":"\u003ca\u0026é\u003e"}`, nil},
		``:                              {frame.Result, "", `{"none":true,"text":""}`, nil},
		`{"Do":"string","Text":"<\"ü"}`: {frame.Result, text, "<\"ü", nil},
		`{"Do":"string"}`:               {frame.Result, text, "", nil},
		`{"Do":"bytes","Text":"<"}`:     {frame.Result, "", "<", nil},
		`{"Do":"bytes"}`:                {frame.Result, "", "", nil},
		`{"Do":"number","Number":-5}`:   {frame.Result, text, "-5", nil},
		`{"Do":"pointer","Number":5}`:   {frame.Result, text, "5", nil},
		`{"Do":"duration","Number":7}`:  {frame.Result, text, "7", nil},
		`{"Do":"bool"}`:                 {frame.Result, text, "true", nil},
		`{"Do":"nil"}`:                  {frame.Result, "", "null", nil},
		`{"Do":"long","Number":1000}`:   {frame.Result, text, strings.Repeat("x", 1000), nil},
		`{"Do":"channel"}`:              {frame.Failure, meta(4007, "UnsupportedTypeError"), failure("function result is invalid, error: json: unsupported type: chan int", "UnsupportedTypeError"), nil},
		`{"Do":"long","Number":1001}`:   {frame.Failure, meta(4004, "FunctionResponseTooLarge"), failure("Response body size '1001' larger than max value '1000'.", "FunctionResponseTooLarge"), nil},
		`{"Do":"long error","Number":1000}`: {
			frame.Failure, meta(4004, "FunctionResponseTooLarge"), failure("Response body size '1066' larger than max value '1000'.", "FunctionResponseTooLarge"), nil,
		},
		`{"Do":"error","Text":"at /code/x"}`: {frame.Failure, meta(4001, "FunctionReturnError"), failure("at ./x: coded", "FunctionReturnError"), nil},
		`{"Do":"error","Text":"/code-config/x /srv/code/y /code.old é/codeé"}`: {
			frame.Failure, meta(4001, "FunctionReturnError"), failure("/code-config/x /srv/code/y /code.old é/codeé: coded", "FunctionReturnError"), nil,
		},
		`{"Do":"error","Text":"(/code) '/code/z' file:///code/z in /code."}`: {
			frame.Failure, meta(4001, "FunctionReturnError"), failure("(.) './z' file://./z in ..: coded", "FunctionReturnError"), nil,
		},
		"\xef\xbb\xbf{\"Text\":\"é\"}": {frame.Result, "", `{"none":false,"text":"é"}`, nil},
		"\xef\xbb\xbf":                 {frame.Failure, `{"code":4002,"type":"SyntaxError","event":true}`, "unexpected end of JSON input", nil},
		"{\"Text\":\"caf\xe9\"}":       {frame.Failure, `{"code":4002,"type":"UnicodeDecodeError","event":true}`, "the event is not UTF-8: byte 0xe9 at offset 12; JSON has to be UTF-8", nil},
		"\xff\xfe{\x00}\x00":           {frame.Failure, `{"code":4002,"type":"UnicodeDecodeError","event":true}`, "the event is not UTF-8: byte 0xff at offset 0; JSON has to be UTF-8", nil},
		`{"Do":1}`:                     {frame.Failure, meta(4002, "UnmarshalTypeError"), failure("json: cannot unmarshal number into Go struct field Event.Do of type string", "UnmarshalTypeError"), nil},
		`[]`:                           {frame.Failure, meta(4002, "UnmarshalTypeError"), failure("json: cannot unmarshal array into Go value of type function_test.Event", "UnmarshalTypeError"), nil},
		`{"Inner":"x"}`:                {frame.Failure, meta(4002, "SyntaxError"), failure("invalid character 'x' looking for beginning of value", "SyntaxError"), nil},
		`{"Do":`:                       {frame.Failure, `{"code":4002,"type":"SyntaxError","event":true}`, "unexpected end of JSON input", nil},
		`nonsense`:                     {frame.Failure, `{"code":4002,"type":"SyntaxError","event":true}`, "invalid character 'o' in literal null (expecting 'u')", nil},
	} {
		got := p.call(event)
		if want.Type == frame.Failure {
			require.Len(t, got.logs, 1, event)
			require.True(t, strings.HasPrefix(got.logs[0], "ERROR "))
			got.logs = nil
		}
		require.Equal(t, want, got, event)
	}
}

// TestLinkedCodeFolderIsShortenedUnderBothNames: its path is shortened under both of its names.
func TestLinkedCodeFolderIsShortenedUnderBothNames(t *testing.T) {
	folder := t.TempDir()
	real, link := filepath.Join(folder, "real"), filepath.Join(folder, "a link")
	require.NoError(t, os.Mkdir(real, 0o755))
	require.NoError(t, os.Symlink(real, link))
	p := ready(t, "typed", "RUNTIME_CODE_ROOT="+link)
	var body errorBody
	require.NoError(t, json.Unmarshal([]byte(p.call(`{"Do":"error","Text":"`+real+"/x "+link+"/y "+link+`2/z"}`).body), &body))
	require.Equal(t, "./x ./y "+link+"2/z: coded", body.Message)
	p = ready(t, "typed", "RUNTIME_CODE_ROOT=/")
	require.NoError(t, json.Unmarshal([]byte(p.call(`{"Do":"error","Text":"/x/y"}`).body), &body))
	require.Equal(t, "/x/y: coded", body.Message, "below the root folder there is nothing to shorten")
}

// TestMemoryLimitIsSetUnlessTheUserDid: the collector knows the function's memory, unless the user has said something
// else.
func TestMemoryLimitIsSetUnlessTheUserDid(t *testing.T) {
	for want, env := range map[string][]string{
		"114085068":                      {"RUNTIME_MEMORY=128"},
		fmt.Sprint(int64(math.MaxInt64)): nil,
		"1048576":                        {"RUNTIME_MEMORY=128", "GOMEMLIMIT=1MiB"},
		fmt.Sprint(math.MaxInt64) + " ":  {"RUNTIME_MEMORY=128", "GOMEMLIMIT=off"},
	} {
		require.Equal(t, strings.TrimSpace(want), ready(t, "typed", env...).call(`{"Do":"memory limit"}`).body)
	}
}

func quote(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(b)
}

type errorBody struct {
	Message string   `json:"errorMessage"`
	Type    string   `json:"errorType"`
	Stack   []string `json:"stackTrace"`
}

// TestPanicsAreAnsweredWithTheUsersStack: what does not return is answered too, with the user's part of the stack,
// and the process goes on.
func TestPanicsAreAnsweredWithTheUsersStack(t *testing.T) {
	p := ready(t, "typed")
	const here, there, place = `gantry/function_test\.typed\(\)`, `gantry/function_test\.deep\(\)`, `    /.*/functions_test\.go:\d+`
	for event, want := range map[string]errorBody{
		`{"Do":"panic","Text":"oh no"}`: {"oh no", "panic", []string{there, place, here, place}},
		`{"Do":"nil map"}`:              {"assignment to entry in nil map", "panic", []string{`gantry/function_test\.put\(\)`, place, here, place}},
		`{"Do":"nil panic"}`:            {"panic called with nil argument", "panic", []string{here, place}}, // some versions say more
		`{"Do":"goexit"}`:               {"the goroutine of the call was ended with runtime.Goexit", "Goexit", []string{here, place}},
	} {
		for range 3 {
			got := p.call(event)
			require.Equal(t, frame.Failure, got.Type, event)
			require.Equal(t, fmt.Sprintf(`{"code":4002,"type":"%s"}`, want.Type), got.meta)
			var body errorBody
			require.NoError(t, json.Unmarshal([]byte(got.body), &body))
			require.Equal(t, want.Type, body.Type)
			require.True(t, strings.HasPrefix(body.Message, want.Message), body.Message)
			require.Equal(t, []string{"ERROR " + body.Message + "\n" + strings.Join(body.Stack, "\n")}, got.logs)
			require.Len(t, body.Stack, len(want.Stack), body.Stack)
			for i, line := range want.Stack {
				require.Regexp(t, "^"+line+"$", body.Stack[i])
			}
		}
	}
	var body errorBody
	require.NoError(t, json.Unmarshal([]byte(p.call(`{"Do":"panic","Number":100}`).body), &body))
	require.Len(t, body.Stack, 2*32)
	require.Equal(t, frame.Result, p.call("{}").Type)
}

// TestRawHandlersReceiveAndReturnUnchangedBytes: bytes come and go as they are, however many.
func TestRawHandlersReceiveAndReturnUnchangedBytes(t *testing.T) {
	for _, function := range []string{"raw", "message"} {
		t.Run(function, func(t *testing.T) {
			t.Parallel()
			p := ready(t, function)
			for _, size := range []int{1, 8191, 8192, 16384, 16385, 6 << 20} {
				event := strings.Repeat("<", size-1) + "\x00"
				got := p.call(event)
				require.Equal(t, frame.Result, got.Type)
				require.Empty(t, got.meta)
				require.True(t, event == got.body, size)
			}
			require.Equal(t, "{}", p.call("").body)
		})
	}
}

// TestContextHasFactsOfEnvironmentAndCall: the context's facts, from the environment and from the call.
func TestContextHasFactsOfEnvironmentAndCall(t *testing.T) {
	p := ready(t, "context", "RUNTIME_FUNC_NAME=n", "RUNTIME_PACKAGE=g", "RUNTIME_FUNC_VERSION=v", "RUNTIME_PROJECT_ID=p", "RUNTIME_MEMORY=256", "RUNTIME_CPU=400",
		"RUNTIME_TIMEOUT=2.5", `RUNTIME_USERDATA={"user":"<u>","number":1.50}`, "RUNTIME_ALIAS=other")
	want := map[string]any{
		"RequestID": "request-1", "AccessKey": "a", "SecretKey": "b", "SecurityAccessKey": "c", "SecuritySecretKey": "d", "SecurityToken": "e", "Token": "f",
		"user": "<u>", "number": "1.50", "none": "", "FunctionName": "n", "RunningTime": 3.0, "Version": "v", "MemorySize": 256.0, "CPUNumber": 400.0,
		"ProjectID": "p", "Package": "g", "Alias": "live", "WorkflowID": "1", "WorkflowRunID": "2", "WorkflowStateID": "3", "remaining": true,
	}
	const members = `,"alias":"live","workflowId":"1","workflowRunId":"2","workflowStateId":"3","traceparent":"t","credentials":{"v":1,"accessKey":"a","secretKey":"b","securityAccessKey":"c","securitySecretKey":"d","securityToken":"e","authToken":"f"}`
	for _, m := range []string{members, strings.Replace(members, `"live"`, `"l\u0069ve"`, 1) + `,"unknown":[{}]`} {
		var got map[string]any
		require.NoError(t, json.Unmarshal([]byte(p.answer(p.send(frame.Invoke, soon(m), "")).body), &got))
		require.Equal(t, want, got)
	}
}

// TestLogLinesHaveTheirLevelAndCall: lines have their levels and their calls, long ones come in pieces.
func TestLogLinesHaveTheirLevelAndCall(t *testing.T) {
	p := ready(t, "logs")
	require.Equal(t, []string{
		"DEBUG one a=1", `INFO two a=1 msg="x y"`, "WARN three a=1 g.b=true", "ERROR four a=1 h.c=d", "ERROR five\nlines a=1",
	}, p.call(`{"Do":"levels"}`).logs)

	long := p.call(`{"Do":"long"}`).logs
	require.Len(t, long, 3)
	text := ""
	for i, line := range long {
		require.Equal(t, i < 2, strings.HasPrefix(line, "more "))
		text += strings.TrimPrefix(strings.TrimPrefix(line, "more "), "INFO ")
	}
	require.True(t, text == strings.Repeat("é", 70_000))

	got := p.call(`{"Do":"after","Text":"that"}`)
	require.Empty(t, got.logs)
	require.Equal(t, "request-1 INFO after that", logLine(t, p.next()))
}

// TestCancelEndsTheContextWithoutAnAnswer: a Cancel ends the context, and the answer is not sent.
func TestCancelEndsTheContextWithoutAnAnswer(t *testing.T) {
	p := ready(t, "waits")
	for _, event := range []string{"", `{"Do":"child"}`} {
		id := p.send(frame.Invoke, soon(""), event)
		require.Equal(t, "INFO waiting", logLine(t, p.next()))
		_, err := p.events.Write(frame.Append(frame.Append(nil, frame.Cancel, id, nil, nil), frame.Cancel, id+100, nil, nil))
		require.NoError(t, err)
		require.Equal(t, "request-1 INFO context canceled", logLine(t, p.next()))
	}
	meta := fmt.Sprintf(`{"requestId":"late","deadline":%d}`, time.Now().UnixMilli())
	got := p.answer(p.send(frame.Invoke, meta, `{"Do":"child"}`))
	require.Equal(t, "context deadline exceeded", got.body)
	_, err := p.events.Write(frame.Append(nil, frame.Bye, 0, nil, nil))
	require.NoError(t, err)
}

// TestManyCallsRunAtTheSameTime: calls run at the same time, and each gets its own answer.
func TestManyCallsRunAtTheSameTime(t *testing.T) {
	p := ready(t, "waits")
	const n = 200
	var calls []byte
	for id := range uint32(n) {
		calls = frame.Append(calls, frame.Invoke, id+1, []byte(soon("")), nil)
	}
	_, err := p.events.Write(calls)
	require.NoError(t, err)
	for range n {
		require.Equal(t, "INFO waiting", logLine(t, p.next()))
	}
	p = ready(t, "typed")
	calls = nil
	for id := range uint32(n) {
		calls = frame.Append(calls, frame.Invoke, id+1, []byte(soon("")), fmt.Appendf(nil, `{"Do":"number","Number":%d}`, id+1))
	}
	seen := map[uint32]bool{}
	for range 10 {
		_, err = p.events.Write(calls)
		require.NoError(t, err)
		for range n {
			f := p.next()
			require.Equal(t, frame.Result, f.Type)
			require.Equal(t, fmt.Sprint(f.ID), string(f.Payload))
			seen[f.ID] = true
		}
	}
	require.Len(t, seen, n)
}

// TestInitializerRunsOnRequestOrWithTheLoad: it runs when the agent asks, or with the load.
func TestInitializerRunsOnRequestOrWithTheLoad(t *testing.T) {
	const set = "RUNTIME_INITIALIZER_HANDLER=init"
	message := func(a answer) string {
		var body errorBody
		require.NoError(t, json.Unmarshal([]byte(a.body), &body))
		return fmt.Sprintf("%d %s %s %s %d", a.Type, a.meta, body.Type, body.Message, len(body.Stack))
	}
	t.Run("asked for", func(t *testing.T) {
		t.Parallel()
		p := ready(t, "initializer", set)
		require.Equal(t, answer{frame.Result, "", "", []string{"INFO initializing"}}, p.answer(p.send(frame.Init, soon(""), "")))
		require.Equal(t, `"request-1" true`, p.call("").body)
	})
	t.Run("with the load", func(t *testing.T) {
		t.Parallel()
		p := start(t, "initializer", "RUNTIME_INITIALIZER_TIMEOUT=1e3")
		require.Equal(t, answer{frame.Result, "", "", []string{"INFO initializing"}}, p.answer(0))
		require.Equal(t, `"" true`, p.call("").body)
	})
	const prefix = "function initialization exception, error: "
	for function, want := range map[string]string{
		"bad initializer":       `5 {"code":4009,"type":"FunctionReturnError"} FunctionReturnError ` + prefix + "no database at . 0",
		"panicking initializer": `5 {"code":4009,"type":"panic"} panic ` + prefix + "no 2",
		"exiting initializer":   `5 {"code":4009,"type":"Goexit"} Goexit ` + prefix + "the goroutine of the call was ended with runtime.Goexit 2",
	} {
		t.Run(function, func(t *testing.T) {
			t.Parallel()
			p := ready(t, function, set, "RUNTIME_CODE_ROOT=/code")
			require.Equal(t, want, message(p.answer(p.send(frame.Init, soon(""), ""))))
			p = start(t, function, "RUNTIME_CODE_ROOT=/code")
			require.Equal(t, want, message(p.answer(0)))
		})
	}
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		p := ready(t, "typed", set)
		got := message(p.answer(p.send(frame.Init, soon(""), "")))
		require.Contains(t, got, `{"code":4009,"type":"FunctionConfigError","final":true} FunctionConfigError `+prefix+"RUNTIME_INITIALIZER_HANDLER is set")
	})
	t.Run("no handler", func(t *testing.T) {
		t.Parallel()
		p := start(t, "nil")
		require.Contains(t, message(p.answer(0)), `{"code":4001,"type":"FunctionConfigError","final":true} FunctionConfigError function entry exception, error: `)
	})
}

// TestEveryEndOfTheProcessHasItsExitCode: what ends the process, and how.
func TestEveryEndOfTheProcessHasItsExitCode(t *testing.T) {
	for name, test := range map[string]struct {
		does   func(p *process)
		code   int
		stderr string
	}{
		"the agent is gone": {does: func(p *process) { p.events.Close() }},
		"the agent takes no answers": {code: 1, stderr: "takes no more answers", does: func(p *process) {
			p.answers.Close()
			call := frame.Append(nil, frame.Invoke, 1, []byte(soon("")), nil)
			within(p.t, "the end", func() bool { // another test's child holds the socket until its exec
				p.events.Write(call)
				select {
				case <-p.ended:
					return true
				default:
					return false
				}
			})
		}},
		"half a frame":    {code: 1, stderr: "unexpected EOF", does: func(p *process) { p.events.Write([]byte{0, 0}); p.events.Close() }},
		"a broken stream": {code: 1, stderr: "unknown type", does: func(p *process) { p.events.Write(make([]byte, 100)) }},
		"broken meta":     {code: 1, stderr: "meta of a call", does: func(p *process) { p.send(frame.Invoke, "{", "") }},
		"os.Exit": {code: 7, does: func(p *process) {
			p.send(frame.Invoke, soon(""), `{"Do":"exit"}`)
			require.Equal(p.t, "INFO last words", logLine(p.t, p.next()))
		}},
		"a panic of another goroutine": {code: 2, stderr: "panic: outside", does: func(p *process) { p.send(frame.Invoke, soon(""), `{"Do":"crash"}`) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := ready(t, "typed")
			test.does(p)
			require.Equal(t, test.code, p.exit())
			require.Contains(t, p.stderr.String(), test.stderr)
		})
	}
}

// TestChildrenInheritNothingOfTheAgent: children get nothing that belongs to the agent, nor do they learn of it.
func TestChildrenInheritNothingOfTheAgent(t *testing.T) {
	p := ready(t, "typed")
	got := p.call(`{"Do":"children"}`)
	require.Equal(t, frame.Result, got.Type, got.body)
	require.NotContains(t, got.body, "socket")
	require.True(t, strings.HasSuffix(got.body, "\n"), got.body)
}

// TestPrintedContextShowsNoCredentials: what is printed goes to stdout, a context without its credentials.
func TestPrintedContextShowsNoCredentials(t *testing.T) {
	p := ready(t, "typed", "RUNTIME_FUNC_NAME=n", "RUNTIME_FUNC_VERSION=v")
	id := p.send(frame.Invoke, soon(`,"credentials":{"authToken":"s3cret"}`), `{"Do":"print","Text":"x"}`)
	require.Equal(t, frame.Result, p.answer(id).Type)
	within(t, "the line", func() bool { return p.stdout.String() == "{request request-1 of n:v} x\n" })
}

// TestProgramStartedAloneSaysWhatItIs: a program that was not started as a function says what it is.
func TestProgramStartedAloneSaysWhatItIs(t *testing.T) {
	p := launch(t, "typed", nil)
	require.Equal(t, 2, p.exit())
	require.Contains(t, p.stderr.String(), "bootstrap serve")
	p = launch(t, "typed", nil, "GANTRY_FRAMES=1")
	require.Equal(t, 2, p.exit())
	require.Contains(t, p.stderr.String(), "descriptor 3")
}

// TestStacksOfCallsAreSentWhenTheAgentAsks: while the handler waits, without an effect on its call.
func TestStacksOfCallsAreSentWhenTheAgentAsks(t *testing.T) {
	p := ready(t, "waits")
	id := p.send(frame.Invoke, soon(""), "{}")
	require.Equal(t, frame.Log, p.next().Type)
	for range 2 {
		_, err := p.events.Write(frame.Append(nil, frame.Stacks, 0, nil, nil))
		require.NoError(t, err)
		f := p.next()
		require.Equal(t, frame.Stacks, f.Type)
		require.Zero(t, f.ID)
		first, _, _ := strings.Cut(string(f.Payload), "\n\n")
		require.Regexp(t, `^goroutine \d+ `, first)
		require.Contains(t, first, "gantry/function_test.waits(")
		require.Equal(t, true, len(f.Payload) <= 60<<10)
	}
	_, err := p.events.Write(frame.Append(nil, frame.Cancel, id, nil, nil))
	require.NoError(t, err)
}
