package runtime

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// withIDs makes plain output name its call in the text of the log.
func withIDs(c *Config) { c.Several = true }

// TestPythonReplacedStreams: what is written to a stream that user code has put in the place of stdout is in the log of its call
// when that ends.
func TestPythonReplacedStreams(t *testing.T) {
	t.Parallel()
	cases := map[string]string{
		"wrapper":              "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')",
		"detached wrapper":     "sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding='utf-8')",
		"detached twice":       "sys.stdout = io.TextIOWrapper(sys.stdout.detach().detach(), encoding='utf-8')",
		"line buffering":       "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8', line_buffering=True)",
		"writer of a codec":    "sys.stdout = codecs.getwriter('utf-8')(sys.stdout.detach())",
		"descriptor":           "sys.stdout = open(1, 'w', encoding='utf-8', closefd=False)",
		"buffered bytes":       "class Text:\n  buffer = io.BufferedWriter(sys.stdout.buffer)\n  def write(self, text): return self.buffer.write(text.encode())\n  def flush(self): self.buffer.flush()\nsys.stdout = Text()",
		"stderr":               "sys.stdout = sys.stderr = io.TextIOWrapper(sys.stderr.buffer, encoding='utf-8')",
		"by the first call":    "def replace(): sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')",
		"closed":               "sys.stderr = io.TextIOWrapper(sys.stdout.buffer); sys.stderr.close()",
		"deleted":              "del sys.stderr",
		"none":                 "sys.stderr = None",
		"one that cannot":      "class Bad:\n  def flush(self): raise ValueError\nsys.stderr = Bad()",
		"restored by the call": "def replace():\n  before = sys.stdout; sys.stdout = io.StringIO(); print('gone'); sys.stdout = before",
	}
	onOldAndNewPython(t, func(t *testing.T, python option) {
		for name, how := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				source := "import codecs, io, sys\ndef replace(): pass\n" + how + "\ndef handler(e, c):\n  replace()\n  print('line of', e)\n  print('grüße', e, end='')\n  return e\n"
				f := startPython(t, map[string]string{"index.py": source}, python, withIDs).ready()
				for _, e := range []string{"1", "2", "3"} {
					inv := f.invocation()
					r, err := f.call(inv, e)
					require.NoError(t, err)
					require.Equal(t, e, string(r.Body))
					f.logHas(inv.RequestID + " line of " + e + "\n")
					f.logHas(inv.RequestID + " grüße " + e + "\n")
				}
				require.NotContains(t, f.out.String(), "gone")
			})
		}
	})
}

// TestPythonReplacedStreamsAtOnce: with several calls each line names its own, or none.
func TestPythonReplacedStreamsAtOnce(t *testing.T) {
	t.Parallel()
	wrap := "import codecs, io, random, sys, time\nsys.stdout = %s\n"
	handler := `
def handler(e, c):
    for i in range(7):
        print('step', e['n'], c.getRequestID()); time.sleep(random.random() / 200)
    return e['n']
`
	for name, stream := range map[string]string{
		"wrapper": "io.TextIOWrapper(sys.stdout.buffer)",
		"codec":   "codecs.getwriter('utf-8')(sys.stdout.detach())",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startPython(t, map[string]string{"index.py": strings.Replace(wrap, "%s", stream, 1) + handler}, withConcurrency(30)).ready()
			f.linesNameTheirCalls(30, 7)
		})
	}
	t.Run("one that keeps what it gets", func(t *testing.T) {
		t.Parallel()
		source := `import io, sys, threading
class Keeps:
    text = ''
    def write(self, text): self.text += text
    def flush(self):
        text, self.text = self.text, ''
        sys.__stderr__ is None or out.buffer.write(text.encode())
out = sys.stdout
sys.stdout = Keeps()
met = threading.Barrier(2)
def handler(e, c):
    print('kept'); met.wait(20)
    return e
`
		f := startPython(t, map[string]string{"index.py": source}, withConcurrency(2)).ready()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, err := f.invoke("1"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Eventually(t, func() bool { return strings.Count(f.out.String(), "kept\n") == 2 }, 10*time.Second, time.Millisecond, f.out)
		require.True(t, strings.HasPrefix(f.out.String(), "kept\n"), "whose line the first flush writes cannot be known:\n%s", f.out)
	})
}

// TestPythonRawOutput: what bypasses the worker belongs to the call that runs, if calls run one by one; with several it could be a
// late line of another one, and has no id.
func TestPythonRawOutput(t *testing.T) {
	t.Parallel()
	source := "import os\ndef handler(e, c):\n  os.write(1, b'raw line\\n')\n  return 'ok'\n"
	for _, concurrency := range []int{1, 2} {
		f := startPython(t, map[string]string{"index.py": source}, withConcurrency(concurrency), withIDs).ready()
		inv := f.invocation()
		_, err := f.call(inv, "{}")
		require.NoError(t, err)
		f.logHas("raw line\n")
		require.Equal(t, concurrency == 1, strings.Contains(f.out.String(), inv.RequestID+" raw line\n"), f.out)
	}
}
