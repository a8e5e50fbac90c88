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

// TestPythonReplacedStreamIsLoggedWithItsCall: what is written to a stream that user code has put in the place of
// stdout is in the log of its call when that ends.
func TestPythonReplacedStreamIsLoggedWithItsCall(t *testing.T) {
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

// TestPythonReplacedStreamsNameTheirCallsOrNone: with several calls each line names its own, or none.
func TestPythonReplacedStreamsNameTheirCallsOrNone(t *testing.T) {
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

// TestPythonRawOutputNamesOnlyALoneCall: what bypasses the worker, or comes from a thread that knows no call, belongs
// to the call that runs if that has been alone since it began. If not, it could be a late line of another one, and
// has no id.
func TestPythonRawOutputNamesOnlyALoneCall(t *testing.T) {
	t.Parallel()
	source := `import os, threading
met, go = threading.Barrier(2), threading.Event()
def write():
    os.write(1, b'raw line\n')
    t = threading.Thread(target=print, args=('line of a thread',)); t.start(); t.join()
def handler(e, c):
    if e == 'alone': write()
    if e == 'meet': met.wait(20)
    if e == 'stay': met.wait(20); go.wait(20); write()
    if e == 'go': go.set()
    return 'ok'
`
	f := startPython(t, map[string]string{"index.py": source}, withConcurrency(3)).ready()
	inv := f.invocation()
	_, err := f.call(inv, `"alone"`)
	require.NoError(t, err)
	f.logHas(inv.RequestID + " raw line\n")
	f.logHas(inv.RequestID + " line of a thread\n")

	stays := f.invocation()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := f.call(stays, `"stay"`); err != nil {
			t.Error(err)
		}
	})
	for _, event := range []string{`"meet"`, `"go"`} {
		_, err = f.invoke(event)
		require.NoError(t, err)
	}
	wg.Wait()
	require.Eventually(t, func() bool {
		return strings.Count(f.out.String(), "raw line\n") == 2 && strings.Count(f.out.String(), "line of a thread\n") == 2
	}, 10*time.Second, time.Millisecond)
	require.NotContains(t, f.out.String(), stays.RequestID+" raw line\n")
	require.NotContains(t, f.out.String(), stays.RequestID+" line of a thread\n")
}

// TestPythonRootLoggerLinesNameLevelAndCall: lines of the root logger and of modules' loggers have their level and
// the id of their call, from INFO on.
func TestPythonRootLoggerLinesNameLevelAndCall(t *testing.T) {
	t.Parallel()
	source := `import helper
def handler(e, c):
    import logging
    logging.info('of the root %d', 1); logging.debug('hidden')
    log = logging.getLogger(__name__)
    log.info('of a module'); log.debug('hidden'); log.error('failed')
    logging.getLogger('urllib3').addHandler(logging.NullHandler()); logging.getLogger('urllib3.pool').warning('of a library')
    try: 1 / 0
    except ZeroDivisionError: log.exception('caught')
    helper.help()
    logging.getLogger().setLevel(logging.DEBUG); log.debug('shown'); logging.getLogger().setLevel(logging.INFO)
    c.getLogger().info('of the context')
`
	helper := "def help():\n  import logging, threading\n  t = threading.Thread(target=logging.getLogger('helper').info, args=('of a thread',)); t.start(); t.join()\n"
	onEachPython(t, func(t *testing.T, python option) {
		f := startPython(t, map[string]string{"index.py": source, "helper.py": helper}, python).ready()
		for range 2 {
			inv := f.invocation()
			_, err := f.call(inv, "{}")
			require.NoError(t, err)
			for _, line := range []string{
				"INFO of the root 1", "INFO of a module", "ERROR failed", "WARN of a library", "ERROR caught\nTraceback (most recent call last)", "INFO of a thread", "DEBUG shown", "INFO of the context",
			} {
				f.logHas(inv.RequestID + " " + line)
				require.Equal(t, 1, strings.Count(f.out.String(), inv.RequestID+" "+line), "%s\n%s", line, f.out)
			}
		}
		require.NotContains(t, f.out.String(), "hidden")
	})
}

// TestPythonConfiguredLoggingWritesEachLineOnce: what user code makes of logging is as in any program: lines appear
// once, in the user's format.
func TestPythonConfiguredLoggingWritesEachLineOnce(t *testing.T) {
	t.Parallel()
	const begin, end = "import logging, logging.config, sys\n", "\ndef handler(e, c): logging.getLogger('my.module').warning('the line')\n"
	cases := map[string]struct{ how, line string }{
		"basicConfig":              {"logging.basicConfig()", "WARNING:my.module:the line\n"},
		"basicConfig with a form":  {"logging.basicConfig(format='own %(message)s', stream=sys.stdout)", "\nown the line\n"},
		"basicConfig by force":     {"logging.basicConfig(format='own %(message)s', force=True)", "\nown the line\n"},
		"basicConfig twice":        {"logging.basicConfig(format='own %(message)s')\nlogging.basicConfig(format='other %(message)s')", "\nown the line\n"},
		"basicConfig that fails":   {"try: logging.basicConfig(stream=sys.stdout, filename='f')\nexcept ValueError: pass", "WARN the line\n"},
		"dictConfig":               {"logging.config.dictConfig({'version': 1, 'formatters': {'f': {'format': 'own %(message)s'}}, 'handlers': {'h': {'class': 'logging.StreamHandler', 'formatter': 'f'}}, 'root': {'handlers': ['h']}})", "\nown the line\n"},
		"dictConfig of a logger":   {"logging.config.dictConfig({'version': 1, 'formatters': {'f': {'format': 'own %(message)s'}}, 'handlers': {'h': {'class': 'logging.StreamHandler', 'formatter': 'f'}}, 'loggers': {'my': {'handlers': ['h']}}})", "\nown the line\n"},
		"handler at the root":      {"h = logging.StreamHandler(sys.stdout); h.setFormatter(logging.Formatter('own %(message)s')); logging.getLogger().addHandler(h)", "\nown the line\n"},
		"handler at the module":    {"h = logging.StreamHandler(); h.setFormatter(logging.Formatter('own %(message)s')); logging.getLogger('my.module').addHandler(h)", "\nown the line\n"},
		"handlers replaced":        {"h = logging.StreamHandler(); h.setFormatter(logging.Formatter('own %(message)s')); logging.root.handlers = [h]", "\nown the line\n"},
		"handler of errors":        {"h = logging.StreamHandler(); h.setLevel(logging.ERROR); logging.getLogger().addHandler(h)", "WARN the line\n"},
		"handler that writes away": {"h = logging.FileHandler('/dev/null'); logging.getLogger().addHandler(h)", "WARN the line\n"},
		"form of the handler":      {"for h in logging.getLogger().handlers: h.setFormatter(logging.Formatter('own %(message)s'))", "WARN own the line\n"},
		"own wrapper":              {"import io\nsys.stderr = io.TextIOWrapper(sys.stderr.buffer)\nlogging.basicConfig(format='own %(message)s')", "\nown the line\n"},
	}
	onOldAndNewPython(t, func(t *testing.T, python option) {
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				f := startPython(t, map[string]string{"index.py": begin + "print('loaded')\n" + c.how + end}, python).ready()
				_, err := f.invoke("{}")
				require.NoError(t, err)
				f.logHas(c.line)
				_, err = f.invoke("{}")
				require.NoError(t, err)
				require.Eventually(t, func() bool { return strings.Count(f.out.String(), "the line\n") >= 2 }, 10*time.Second, time.Millisecond)
				f.ended()
				require.Equal(t, 2, strings.Count(f.out.String(), "the line"), f.out)
			})
		}
	})
}

// TestPythonUserFileNamedLoggingLoads: a file of the user's of that name is no logging package, and loads.
func TestPythonUserFileNamedLoggingLoads(t *testing.T) {
	t.Parallel()
	f := startPython(t, map[string]string{"index.py": "import logging\ndef handler(e, c): return logging.v", "logging.py": "v = 'mine'"}).ready()
	r, err := f.invoke("{}")
	require.NoError(t, err)
	require.Equal(t, "mine", string(r.Body))
}
