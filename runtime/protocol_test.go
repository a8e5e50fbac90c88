package runtime

import (
	"gantry/fault"
	"gantry/logger"
	"gantry/runtime/language"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	fncontext "gantry/context"
)

// TestWorkerOfProtocolPageWorksWithTheAgent runs the Python worker that docs/PROTOCOL.md shows, with the agent's real
// transport.
func TestWorkerOfProtocolPageWorksWithTheAgent(t *testing.T) {
	page, err := os.ReadFile("../docs/PROTOCOL.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(page), "```python\n")
	require.True(t, found)
	source, _, _ := strings.Cut(rest, "```")
	python, err := exec.LookPath("python3")
	require.NoError(t, err, "the tests need Python")
	python, err = filepath.Abs(python)
	require.NoError(t, err)

	code := `ready = False
def init(context):
    global ready
    ready = True
def handler(event, context):
    print("seen", context["requestId"])
    if "raise" in event: raise KeyError(event["raise"])
    if "big" in event: return "x" * event["big"]
    return {"event": event, "ready": ready, "token": context["credentials"]["authToken"]}
`
	lang := &language.Language{Name: "page", Title: "Python", Program: "python3", Source: source, Arguments: []string{"-B", "/proc/self/fd/5"}, MinVersion: language.Version{Major: 3, Minor: 8}}
	f := startWorker(t, map[string]string{"index.py": code}, withInitializer("index.init"), func(c *Config) { c.Language, c.Program = lang, python }).ready()
	require.NoError(t, f.Init(t.Context(), f.invocation(), logger.NewRequest(f.sink, "i", false, false)))
	call := func(event string) (Result, error) {
		inv := f.invocation()
		inv.Credentials = fncontext.NewCredentials(fncontext.Secrets{AuthToken: "tok"})
		return f.call(inv, event)
	}
	r, err := call(`{"n":1}`)
	require.NoError(t, err)
	require.JSONEq(t, `{"event":{"n":1},"ready":true,"token":"tok"}`, string(r.Body))
	require.False(t, r.Text)
	r, err = call(`{"big":6291456}`)
	require.NoError(t, err)
	require.Len(t, r.Body, 6291456)
	require.True(t, r.Text)
	for event, want := range map[string]fault.Error{`{"raise":"x"}`: {Kind: fault.Function, Code: 4002}, "{": {Kind: fault.Event, Code: 4002}, `{"big":6291457}`: {Kind: fault.Function, Code: 4004}} {
		_, err = call(event)
		var e *fault.Error
		require.ErrorAs(t, err, &e, event)
		require.Equal(t, want.Kind, e.Kind, event)
		require.Equal(t, want.Code, e.Code, event)
	}
	f.logHas("seen ")
}
