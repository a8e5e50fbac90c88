package runtime

import (
	"gantry/runtime/language"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// olderThan reports whether a worker's Node.js is older than that.
func (f *fixture) olderThan(major, minor int) bool {
	f.t.Helper()
	v, ok := language.ParseVersion(nodeVersion(f.t, f.cfg.Program))
	require.True(f.t, ok)
	return v.Before(language.Version{Major: major, Minor: minor})
}

// TestLinesOfOldNodeResourcesNameTheRunningCall: sockets, timers, queues and loggers that were made while loading, in
// the initializer or in an earlier call write for the call that runs.
func TestLinesOfOldNodeResourcesNameTheRunningCall(t *testing.T) {
	t.Parallel()
	source := `const net = require('net');
const jobs = {}, sockets = {}, loggers = {};
const echo = net.createServer((s) => s.pipe(s));
function make(where) {
  jobs[where] = [];
  setInterval(() => { while (jobs[where].length) jobs[where].shift()(); }, 1);
  return new Promise((done) => {
    const s = net.connect(echo.address().port, '127.0.0.1', done);
    s.waiting = [];
    s.on('data', (data) => { for (const _ of data) s.waiting.shift()(); });
    sockets[where] = s;
  });
}
const listening = new Promise((done) => echo.listen(0, '127.0.0.1', done)).then(() => make('load'));
exports.init = async (c, cb) => { await listening; loggers.init = c.getLogger(); await make('init'); };
exports.handler = async (e, c) => {
  if (e.n === 1) { loggers.call = c.getLogger(); await make('call'); }
  for (const where of Object.keys(sockets)) {
    await new Promise((done) => { sockets[where].waiting.push(() => { console.log('socket of', where, 'in', e.n); done(); }); sockets[where].write('x'); });
    await new Promise((done) => jobs[where].push(() => { console.log('timer of', where, 'in', e.n); done(); }));
    await new Promise((done) => jobs[where].push(() => { process.stderr.write('stderr of ' + where + ' in ' + e.n + '\n'); done(); }));
  }
  for (const where of Object.keys(loggers)) loggers[where].info('logger of', where, 'in', e.n);
  if (e.n === 3) { jobs.load.push(() => setTimeout(() => console.log('idle'), 20)); setTimeout(() => console.log('late'), 20); }
  return 'ok';
};`
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f := startWorker(t, map[string]string{"index.js": source}, withNode(node), withJSON(), withInitializer("index.init")).ready()
			require.NoError(t, f.initialize())
			ids := map[string]string{}
			for _, n := range []string{"1", "2", "3"} {
				inv := f.invocation()
				ids[n] = inv.RequestID
				_, err := f.call(inv, `{"n":`+n+`}`)
				require.NoError(t, err)
			}
			f.logHas("idle")
			f.logHas("late")
			lines := f.owners()
			for n, id := range ids {
				for _, line := range strings.Split("socket of load,timer of load,stderr of load,socket of init,timer of init,stderr of init,socket of call,timer of call,stderr of call,logger of init,logger of call", ",") {
					require.Contains(t, lines, line+" in "+n)
					require.Equal(t, id, lines[line+" in "+n], "%s in %s", line, n)
				}
			}
			require.Empty(t, lines["idle"], "a line of the load's timer while no call runs")
			if !f.olderThan(12, 17) {
				require.Equal(t, ids["3"], lines["late"], "a late line of a call is its own")
			}
		})
	}
}

// TestNodeLinesWithoutContextHaveNoCallAmongSeveral: what has no context belongs to no call while several run.
func TestNodeLinesWithoutContextHaveNoCallAmongSeveral(t *testing.T) {
	t.Parallel()
	source := `const jobs = [], loggers = [];
setInterval(() => { if (jobs.length === 2) while (jobs.length) jobs.shift()(); }, 1);
exports.init = async (c, cb) => { loggers.push(c.getLogger()); };
exports.handler = async (e, c) => {
  await new Promise((done) => jobs.push(() => { console.log('job', e.n); done(); }));
  loggers[0].info('logger', e.n);
};`
	f := startWorker(t, map[string]string{"index.js": source}, withJSON(), withConcurrency(2), withInitializer("index.init")).ready()
	require.NoError(t, f.initialize())
	var wg sync.WaitGroup
	ids := make([]string, 2)
	for n := range ids {
		inv := f.invocation()
		ids[n] = inv.RequestID
		wg.Go(func() {
			if _, err := f.call(inv, `{"n":`+itoa(n)+`}`); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f.sink.Close(time.Now().Add(5 * time.Second))
	lines := f.owners()
	for n, id := range ids {
		require.Contains(t, lines, "job "+itoa(n))
		require.Empty(t, lines["job "+itoa(n)])
		require.Equal(t, id, lines["logger "+itoa(n)], "the context says which call uses the logger")
	}
}

// TestNodeLinesNameTheirCallsAfterAPreloadPrints: what is loaded before the worker may use the console.
func TestNodeLinesNameTheirCallsAfterAPreloadPrints(t *testing.T) {
	t.Parallel()
	preload := filepath.Join(t.TempDir(), "preload.js")
	require.NoError(t, os.WriteFile(preload, []byte("console.log('before'); console.error('the worker');"), 0o600))
	source := `exports.handler = async (e, c) => { for (let i = 0; i < 3; i++) { console.log('step', e.n, c.getRequestID()); await new Promise((r) => setTimeout(r, 1)); } return e.n; }`
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f := startWorker(t, map[string]string{"index.js": source}, withNode(node), withJSON(), withConcurrency(8), withEnv("NODE_OPTIONS=--require "+preload)).ready()
			var wg sync.WaitGroup
			var want []string
			calls := 8
			if f.olderThan(12, 17) {
				calls = 1
			}
			for n := range calls {
				inv := f.invocation()
				want = append(want, "step "+itoa(n)+" "+inv.RequestID)
				wg.Go(func() {
					if _, err := f.call(inv, `{"n":`+itoa(n)+`}`); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			f.sink.Close(time.Now().Add(5 * time.Second))
			lines := f.owners()
			for _, line := range want {
				require.Contains(t, lines, line)
				require.Equal(t, strings.Fields(line)[2], lines[line])
			}
		})
	}
}

// TestNodeReplacedStdoutIsWrittenOutBeforeTheAnswer: a stream in the place of stdout is written out before the answer.
func TestNodeReplacedStdoutIsWrittenOutBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	slow := `const { Transform, Writable } = require('stream');
const before = process.stdout;
const slow = new Transform({ transform(chunk, encoding, done) { setTimeout(() => done(null, '> ' + chunk), 5); } });
`
	cases := map[string]string{
		"a transform":       slow + "slow.pipe(before); Object.defineProperty(process, 'stdout', { value: slow, configurable: true });",
		"a slow writable":   slow + "Object.defineProperty(process, 'stdout', { value: new Writable({ write(chunk, encoding, done) { setTimeout(() => { before.write('> ' + chunk); done(); }, 5); } }) });",
		"a file, by itself": slow + "const file = require('fs').createWriteStream('/dev/stdout'); const write = file.write; file.write = (chunk) => write.call(file, '> ' + chunk); Object.defineProperty(process, 'stdout', { value: file });",
	}
	for version, node := range nodes(t) {
		for name, source := range cases {
			t.Run(version+" "+name, func(t *testing.T) {
				t.Parallel()
				f := startWorker(t, map[string]string{"index.js": source + "\nconsole.log('loaded');\nexports.handler = async (e, c) => { process.stdout.write('line ' + e.n + '\\n'); console.log('logged', e.n); return e.n; };"}, withNode(node), withJSON()).ready()
				ids := map[string]string{}
				for _, n := range []string{"1", "2"} {
					inv := f.invocation()
					ids[n] = inv.RequestID
					r, err := f.call(inv, `{"n":`+n+`}`)
					require.NoError(t, err)
					require.Equal(t, n, string(r.Body))
				}
				f.sink.Close(time.Now().Add(5 * time.Second))
				lines := f.owners()
				for n, id := range ids {
					require.Contains(t, lines, "> line "+n, "%v", lines)
					require.Equal(t, id, lines["> line "+n])
					if !f.olderThan(12, 17) { // before, the console takes its stream when Node.js starts
						require.Equal(t, id, lines["> logged "+n])
					}
				}
			})
		}
	}
}

// TestUnreadNodeStreamDelaysOnlyOneCall: a stream that swallows output costs one call a moment, and the others nothing.
func TestUnreadNodeStreamDelaysOnlyOneCall(t *testing.T) {
	t.Parallel()
	source := `const { PassThrough } = require('stream');
Object.defineProperty(process, 'stdout', { value: new PassThrough({ highWaterMark: 1 }) });
exports.handler = async (e, c) => { process.stdout.write('swallowed'); return e; };`
	f := startWorker(t, map[string]string{"index.js": source}).ready()
	deadline := time.Now().Add(40 * time.Second)
	for range 1000 { // if each took that moment, the last ones would come too late
		inv := f.invocation()
		inv.Deadline = deadline
		_, err := f.call(inv, "1")
		require.NoError(t, err)
	}
	require.NotContains(t, f.out.String(), "swallowed")
}

// TestNodeStdoutCanBeEndedAndStaysOpen: what waits for the end of stdout sees one, again and again, and stdout stays
// open.
func TestNodeStdoutCanBeEndedAndStaysOpen(t *testing.T) {
	t.Parallel()
	handlers := []string{
		"async () => { if (parseInt(process.versions.node) < 14) return console.log('piped'); /* never ends in plain Node.js either */ await new Promise((done, fail) => stream.pipeline(from('piped'), process.stdout, (e) => e ? fail(e) : done())); }",
		"async () => { if (stream.promises) await stream.promises.pipeline(from('promised'), process.stdout); else console.log('promised'); }",
		"async () => { await new Promise((done) => { process.stdout.once('close', done); process.stdout.destroy(); }); console.log('destroyed'); }",
		"async () => { await new Promise((done) => process.stdout.end('ended\\n', done)); }",
		"async () => { if (stream.Writable.toWeb) await stream.Readable.toWeb(from('web')).pipeTo(stream.Writable.toWeb(process.stdout)); else console.log('web'); }",
		"async () => { process.stdout.unref(); process.stdout.ref(); process.stdout._handle.setBlocking(true); process.stderr._handle.unref(); console.log('handled'); }",
	}
	source := "const stream = require('stream');\nconst from = (text) => { const r = new stream.Readable({ read() {} }); r.push(text + '\\n'); r.push(null); return r; };\nconst handlers = [" +
		strings.Join(handlers, ",\n") + "];\nexports.handler = async (e, c) => handlers[e]();"
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f := startWorker(t, map[string]string{"index.js": source}, withNode(node)).ready()
			for range 3 {
				for i := range handlers {
					_, err := f.invoke(itoa(i))
					require.NoError(t, err, handlers[i])
				}
			}
			_ = f.ended()
			for _, word := range []string{"piped", "promised", "destroyed", "ended", "web", "handled"} {
				require.Equal(t, 3, strings.Count(f.out.String(), word+"\n"), "%s in\n%s", word, f.out)
			}
		})
	}
}
