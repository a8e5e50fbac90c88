package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// conformance is the folder of the suite: cases and languages are data, and each language has one function that does
// what the events ask for.
const conformance = "../../testdata/conformance"

// conformanceUpdate makes the test write the table into docs/COMPATIBILITY.md; "make conformance" sets it.
const conformanceUpdate = "GANTRY_CONFORMANCE_UPDATE"

// conformanceCase is one row: what is sent, and what has to come.
type conformanceCase struct {
	Name    string
	Feature string // only for languages that declare it
	Event   json.RawMessage
	Raw     *string // the event's bytes, where it is no JSON
	Pad     int     // an event of so many bytes
	Headers map[string]string
	// Parallel calls are made at once, each with the same event.
	Parallel int
	// Front sends the event as the body of a request to the front.
	Front bool
	// Stop ends the agent instead of calling.
	Stop bool
	expectation
	// But is what a language does otherwise.
	But map[string]expectation
}

// expectation is what has to come; ID stands for the request id. Members that are absent are not looked at, in But they
// stay as they are.
type expectation struct {
	Status, Code int
	// OrStatus and OrCode may come instead, where two deadlines pass at the same time.
	OrStatus, OrCode int

	Body     *string
	JSON     json.RawMessage
	Type     string
	Size     int
	Has      []string
	Log      []string // patterns of stdout
	LogLacks []string
	Tail     []string // parts of the call's own tail
	Note     string   // what the table says
}

type conformanceLanguage struct {
	Name, Title, Handler string
	// Build is the Go package of the function, Copy the language whose folder is taken, for an agent that is the custom
	// runtime.
	Build, Copy string
	// With is a file of another language that goes into the folder.
	With, Runtime string
	// Jar is set for sources that are built into a jar.
	Jar      bool
	Features []string
}

// hook is the setting of a hook, which lies beside the handler.
func (l *conformanceLanguage) hook(name string) string {
	if dot := strings.LastIndexByte(l.Handler, '.'); dot > 0 {
		return l.Handler[:dot] + "." + name
	}
	return "index." + name
}

func readConformance(t *testing.T, name string, to any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(conformance, name))
	require.NoError(t, err)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(to), name)
}

// of is what a case wants of a language; ok is false if it does not apply.
func (c *conformanceCase) of(l *conformanceLanguage) (want expectation, ok bool) {
	if c.Feature != "" && !slices.Contains(l.Features, c.Feature) {
		return expectation{}, false
	}
	want = c.expectation
	own, has := c.But[l.Name]
	if !has {
		return want, true
	}
	if own.Status != 0 {
		want.Status, want.Code = own.Status, own.Code
	}
	if own.Code != 0 {
		want.Code = own.Code
	}
	if own.Body != nil || own.JSON != nil {
		want.Body, want.JSON, want.Has = own.Body, own.JSON, nil
	}
	if own.Has != nil {
		want.Has, want.Body, want.JSON = own.Has, nil, nil
	}
	if own.Log != nil {
		want.Log = own.Log
	}
	want.OrStatus, want.OrCode, want.Note = own.OrStatus, own.OrCode, own.Note
	return want, true
}

// event is what is sent.
func (c *conformanceCase) event() string {
	switch {
	case c.Raw != nil:
		return *c.Raw
	case c.Pad > 0:
		return `{"pad":"` + strings.Repeat("p", c.Pad-len(`{"pad":""}`)) + `"}`
	}
	return string(c.Event)
}

// TestEveryLanguagePassesTheCasesOfTheTable runs every case against every language, and holds the table in
// docs/COMPATIBILITY.md against what was seen.
func TestEveryLanguagePassesTheCasesOfTheTable(t *testing.T) {
	t.Parallel()
	var cases []conformanceCase
	var languages []conformanceLanguage
	readConformance(t, "cases.json", &cases)
	readConformance(t, "languages.json", &languages)
	for _, c := range cases {
		for name, own := range c.But {
			require.NotEmpty(t, own.Note, "%s: what %s does otherwise needs words", c.Name, name)
			require.True(t, slices.ContainsFunc(languages, func(l conformanceLanguage) bool { return l.Name == name }), "%s: %s is no language", c.Name, name)
		}
	}
	passed := t.Run("languages", func(t *testing.T) {
		for i := range languages {
			t.Run(languages[i].Name, func(t *testing.T) {
				t.Parallel()
				runConformance(t, &languages[i], cases)
			})
		}
	})
	require.True(t, passed)
	table := conformanceTable(cases, languages)
	const doc = "../../docs/COMPATIBILITY.md"
	text, err := os.ReadFile(doc)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), "<!-- conformance: written by make conformance -->\n")
	require.True(t, found, "%s has no place for the table", doc)
	old, after, found := strings.Cut(rest, "<!-- end of conformance -->")
	require.True(t, found)
	if os.Getenv(conformanceUpdate) != "" {
		require.NoError(t, os.WriteFile(doc, []byte(before+"<!-- conformance: written by make conformance -->\n"+table+"<!-- end of conformance -->"+after), 0o644))
		return
	}
	require.Equal(t, table, old, "run make conformance")
}

// conformanceTable is the language × case table in Markdown.
func conformanceTable(cases []conformanceCase, languages []conformanceLanguage) string {
	var b strings.Builder
	b.WriteString("| Case |")
	for _, l := range languages {
		b.WriteString(" " + l.Title + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(languages)) + "\n")
	for i := range cases {
		b.WriteString("| " + cases[i].Name + " |")
		for k := range languages {
			want, ok := cases[i].of(&languages[k])
			switch {
			case !ok:
				b.WriteString(" – |")
			case want.Note != "":
				b.WriteString(" " + want.Note + " |")
			default:
				b.WriteString(" yes |")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// conformanceFunction returns the code folder of a language's function.
func conformanceFunction(t *testing.T, l *conformanceLanguage) string {
	t.Helper()
	folder := l.Name
	if l.Copy != "" {
		folder = l.Copy
	}
	if l.Build != "" {
		dir := t.TempDir()
		compile(t, l.Build, filepath.Join(dir, l.Handler))
		return dir
	}
	files := filepath.Join(conformance, folder)
	if l.Jar {
		needJava(t)
		dir, classes := t.TempDir(), t.TempDir()
		compileJava(t, files, classes)
		jarOf(t, classes, filepath.Join(dir, "app.jar"))
		return dir
	}
	if l.Copy != "" {
		text, err := os.ReadFile(filepath.Join(files, "index.py"))
		require.NoError(t, err)
		return runtimeFolder(t, map[string]string{"index.py": string(text)})
	}
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(files)))
	if l.With != "" {
		text, err := os.ReadFile(filepath.Join(conformance, l.With))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(l.With)), text, 0o600))
	}
	return dir
}

func runConformance(t *testing.T, l *conformanceLanguage, cases []conformanceCase) {
	if l.Name == "php" {
		needPHP(t)
	}
	env := []string{
		"RUNTIME_HANDLER=" + l.Handler, "RUNTIME_FUNC_NAME=hello", "RUNTIME_FUNC_VERSION=v7", "RUNTIME_PACKAGE=apps",
		"RUNTIME_PROJECT_ID=0123456789abcdef0123456789abcdef", "RUNTIME_CPU=400", "GANTRY_CONCURRENCY=16", "GANTRY_TRUST_PLATFORM_HEADERS=true",
		`RUNTIME_USERDATA={"ready":"ready","from":"from the console","GANTRY_LOG_FORMAT":"text","GANTRY_RUNTIME":"` + l.Copy + `"}`,
		"GANTRY_APIG_ADDR=127.0.0.1:0", "RUNTIME_TIMEOUT=10", "GANTRY_RUNTIME=" + l.Runtime, "GANTRY_UPSTREAM=127.0.0.1:" + serverPort(t), "GANTRY_INCLUDE_KEYS=true",
	}
	if slices.Contains(l.Features, "initializer") {
		env = append(env, "RUNTIME_INITIALIZER_HANDLER="+l.hook("initializer"), "RUNTIME_INITIALIZER_TIMEOUT=20")
	}
	if slices.Contains(l.Features, "prestop") {
		env = append(env, "RUNTIME_PRESTOP_HANDLER="+l.hook("hook"), "RUNTIME_PRESTOP_TIMEOUT=2", "GANTRY_SHUTDOWN_TIMEOUT=20")
	}
	r := start(t, conformanceFunction(t, l), env...)
	for i := range cases {
		c := &cases[i]
		want, ok := c.of(l)
		if !ok {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			if c.Stop {
				r.signal(syscall.SIGTERM)
				require.Equal(t, 0, r.wait())
				want.checkLog(t, r, 0, "")
				return
			}
			var calls sync.WaitGroup
			for range max(c.Parallel, 1) {
				calls.Go(func() { c.call(t, r, want) })
			}
			calls.Wait()
		})
	}
}

// call makes one call and looks at what comes.
func (c *conformanceCase) call(t *testing.T, r *running, want expectation) {
	id, before := uuid.NewString(), r.stdout.Size()
	got, err := c.send(r, id)
	if err != nil {
		t.Errorf("%s: %v", c.Name, err)
		return
	}
	status := want.Status
	if status == 0 {
		status = http.StatusOK
	}
	code := want.Code
	if want.OrStatus != 0 && got.status == want.OrStatus {
		status, code = want.OrStatus, want.OrCode
	}
	shown := fmt.Sprintf("%.2000s", got.body)
	if got.status != status || got.header.Get("X-Func-Err-Code") != itoa(code) {
		t.Errorf("status %d, code %s, want %d, %d: %s", got.status, got.header.Get("X-Func-Err-Code"), status, code, shown)
	}
	if want.Body != nil && *want.Body != got.body {
		t.Errorf("body %q, want %q", shown, *want.Body)
	}
	if want.JSON != nil && !sameJSON(strings.ReplaceAll(string(want.JSON), "ID", id), got.body) {
		t.Errorf("body %s, want %s", shown, want.JSON)
	}
	if want.Type != "" && want.Type != got.header.Get("Content-Type") {
		t.Errorf("content type %s, want %s", got.header.Get("Content-Type"), want.Type)
	}
	if want.Size > 0 && want.Size != len(got.body) {
		t.Errorf("%d bytes, want %d", len(got.body), want.Size)
	}
	for _, part := range want.Has {
		if !strings.Contains(got.body, part) {
			t.Errorf("body %s lacks %s", shown, part)
		}
	}
	tail, err := base64.StdEncoding.DecodeString(got.header.Get("X-Cff-Function-Log"))
	if err != nil {
		t.Errorf("the call's own log: %v", err)
	}
	for _, part := range want.Tail {
		if !strings.Contains(string(tail), strings.ReplaceAll(part, "ID", id)) {
			t.Errorf("the call's own log lacks %q: %q", part, tail)
		}
	}
	want.checkLog(t, r, before, id)
}

func (c *conformanceCase) send(r *running, id string) (answer, error) {
	url := r.url + "/invoke"
	if c.Front {
		url = frontOf(r)
	}
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(c.event()))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("X-Cff-Request-Id", id)
	req.Header.Set("X-Cff-Log-Type", "tail")
	for name, value := range c.Headers {
		req.Header.Set(name, value)
	}
	return do(req)
}

// checkLog waits for lines in the function's log, after so many bytes of it.
func (e *expectation) checkLog(t *testing.T, r *running, before int, id string) {
	for _, pattern := range e.Log {
		p := regexp.MustCompile(strings.ReplaceAll(pattern, "ID", id))
		limit := time.Now().Add(patience)
		for looked := -1; ; time.Sleep(5 * time.Millisecond) {
			if size := r.stdout.Size(); size != looked {
				looked = size
				if p.MatchString(r.stdout.From(before)) {
					break
				}
			}
			if time.Now().After(limit) {
				t.Errorf("the log lacks %s", p)
				return
			}
		}
	}
	for _, text := range e.LogLacks {
		if strings.Contains(r.stdout.String(), text) {
			t.Errorf("the log has %q", text)
		}
	}
}

func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	p, err := json.Marshal(x)
	if err != nil {
		return false
	}
	q, err := json.Marshal(y)
	return err == nil && bytes.Equal(p, q)
}
