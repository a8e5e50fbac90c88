package runtime

import (
	"gantry/fault"
	"gantry/process"
	"gantry/runtime/language"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ended stops a worker, with much more time than it needs, and returns how its process ended.
func (f *fixture) ended() string {
	f.t.Helper()
	f.Stop(time.Now().Add(time.Minute))
	f.sink.Close(time.Now().Add(5 * time.Second))
	return f.Death().Message
}

// TestNodeStopRunsExitHooksWhateverKeepsItAlive: an orderly stop runs exit hooks, whatever keeps the process alive.
func TestNodeStopRunsExitHooksWhateverKeepsItAlive(t *testing.T) {
	t.Parallel()
	const hook = "process.on('exit', () => console.log('exit hook'));\nexports.handler = async (e, c) => 'ok';\n"
	cases := map[string]struct{ source, lines string }{
		"nothing left to do": {"process.once('beforeExit', () => console.log('before exit'));", "before exit\nexit hook\n"},
		"work left":          {"exports.handler = async (e, c) => { setTimeout(() => console.log('work'), 20); };", "work\nexit hook\n"},
		"a timer":            {"setInterval(() => {}, 1);", "exit hook\n"},
		"a listener":         {"require('net').createServer().listen(0, '127.0.0.1');", "exit hook\n"},
		"handler of TERM":    {"process.once('SIGTERM', () => { console.log('term'); setTimeout(() => console.log('later'), 20); });", "term\nlater\nexit hook\n"},
		"handler that exits": {"setInterval(() => {}, 1); process.on('SIGTERM', () => { console.log('term'); process.exit(); });", "term\nexit hook\n"},
	}
	for version, node := range nodes(t) {
		for name, c := range cases {
			t.Run(version+" "+name, func(t *testing.T) {
				t.Parallel()
				f := startWorker(t, map[string]string{"index.js": hook + c.source}, withNode(node)).ready()
				_, err := f.invoke("{}")
				require.NoError(t, err)
				require.Contains(t, f.ended(), "exit code 0")
				require.Equal(t, c.lines, f.out.String())
			})
		}
	}
}

// TestNodeWritesCoverageAndCompileCacheAtItsEnd: what Node.js writes when it ends in order.
func TestNodeWritesCoverageAndCompileCacheAtItsEnd(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"NODE_V8_COVERAGE", "NODE_COMPILE_CACHE"} {
		for version, node := range nodes(t) {
			t.Run(version+" "+name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				f := startWorker(t, map[string]string{"index.js": "setInterval(() => {}, 1);\nexports.handler = async (e, c) => require('./part.js');", "part.js": "module.exports = process.versions.node;"}, withNode(node), withEnv(name+"="+dir)).ready()
				r, err := f.invoke("{}")
				require.NoError(t, err)
				if v, ok := language.ParseVersion(string(r.Body)); !ok || name == "NODE_COMPILE_CACHE" && v.Before(language.Version{Major: 22, Minor: 1}) || v.Before(language.Version{Major: 10, Minor: 12}) {
					t.Skip("this version writes none")
				}
				require.Contains(t, f.ended(), "exit code 0")
				files := 0
				require.NoError(t, filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
					if err == nil && !d.IsDir() {
						files++
					}
					return err
				}))
				require.Positive(t, files)
			})
		}
	}
}

// TestNodeThreadStillWritesItsLinesAtTheStop: the lines of a thread that has hardly started when the stop begins, as
// loggers have them.
func TestNodeThreadStillWritesItsLinesAtTheStop(t *testing.T) {
	t.Parallel()
	source := `const { Worker } = require('worker_threads');
const shared = new Int32Array(new SharedArrayBuffer(4));
const thread = new Worker("const { workerData } = require('worker_threads'); require('fs').writeSync(1, 'from the thread\\n'); Atomics.store(workerData, 0, 1); Atomics.notify(workerData, 0);", { eval: true, workerData: shared });
thread.unref();
process.on('exit', () => Atomics.wait(shared, 0, 0, 20000));
exports.handler = async (e, c) => 'ok';`
	f := startWorker(t, map[string]string{"index.js": source}).ready()
	require.Contains(t, f.ended(), "exit code 0")
	require.Contains(t, f.out.String(), "from the thread\n")
}

// TestBusyNodeWorkerGetsTermLongBeforeKill: one that cannot read Bye gets TERM, long before KILL.
func TestBusyNodeWorkerGetsTermLongBeforeKill(t *testing.T) {
	t.Parallel()
	f := startWorker(t, map[string]string{"index.js": "exports.handler = (e, c) => { for (;;); }"}).ready()
	f.timesOut(300*time.Millisecond, "")
	f.Stop(time.Now().Add(10 * time.Second))
	require.Contains(t, f.Death().Message, unix.SignalName(unix.SIGTERM))
}

// TestSecondNodeStopBringsItsDeadlineButNoTerm: the second stop brings its earlier deadline, and no second TERM,
// which would end the handler of the first.
func TestSecondNodeStopBringsItsDeadlineButNoTerm(t *testing.T) {
	t.Parallel()
	source := "process.once('SIGTERM', () => { console.log('term'); setInterval(() => {}, 1000); });\nexports.handler = async (e, c) => 'ok';"
	f := startWorker(t, map[string]string{"index.js": source}).ready()
	done := make(chan struct{})
	go func() {
		f.Stop(time.Now().Add(2 * time.Minute))
		close(done)
	}()
	f.logHas("term\n")
	f.Stop(time.Now().Add(500 * time.Millisecond))
	<-done
	require.Contains(t, f.Death().Message, unix.SignalName(unix.SIGKILL))
}

// TestNodeEndsWhenTheStreamOfCallsCloses: the end of the stream of calls ends the process, whatever keeps it alive.
func TestNodeEndsWhenTheStreamOfCallsCloses(t *testing.T) {
	t.Parallel()
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f := startWorker(t, map[string]string{"index.js": "setInterval(() => {}, 1000);\nexports.handler = async (e, c) => 'ok';"}, withNode(node)).ready()
			_, err := f.invoke("{}")
			require.NoError(t, err)
			require.NoError(t, f.transport.(*frames).events.conn.Close())
			select {
			case <-f.Gone():
				require.Contains(t, f.Death().Message, "exit code 0")
			case <-time.After(30 * time.Second):
				t.Fatal("the worker is still there")
			}
		})
	}
}

// TestTermDoesNotCutNodeExitHooksOff: TERM, which follows Bye after a while, does not cut them off.
func TestTermDoesNotCutNodeExitHooksOff(t *testing.T) {
	t.Parallel()
	source := `const fs = require('fs');
process.on('exit', () => { console.log('begin'); while (!fs.existsSync(process.env.RUNTIME_CODE_ROOT + '/go')); console.log('end'); });
exports.handler = async (e, c) => 'ok';`
	for version, node := range nodes(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f := startWorker(t, map[string]string{"index.js": source}, withNode(node)).ready()
			done := make(chan string)
			go func() { done <- f.ended() }()
			f.logHas("begin\n")
			require.NoError(t, f.Signal(unix.SIGTERM))
			require.NoError(t, os.WriteFile(filepath.Join(f.cfg.Function.CodeRoot, "go"), nil, 0o600))
			require.Contains(t, <-done, "exit code 0")
			require.Equal(t, "begin\nend\n", f.out.String())
		})
	}
}

// TestCallOfAnAbandonedWorkerIsToldOfTheStop: the agent itself killed the process, so nothing is said of another killer.
func TestCallOfAnAbandonedWorkerIsToldOfTheStop(t *testing.T) {
	t.Parallel()
	own := process.NewSupervisor(false)
	t.Cleanup(own.Close) // after the worker's end
	f := startWorker(t, map[string]string{
		"index.js": "exports.handler = (event, context, callback) => { console.log('begun') }",
	}, func(c *Config) { c.Supervisor = own }).ready()
	failed := make(chan error, 1)
	go func() {
		_, err := f.invoke("{}")
		failed <- err
	}()
	f.logHas("begun")
	own.KillAll()
	var e *fault.Error
	require.ErrorAs(t, <-failed, &e)
	require.Equal(t, fault.Unavailable, e.Kind)
	require.Equal(t, "the instance stopped before the call was answered", e.Message)
	require.Empty(t, e.Hint)
}
