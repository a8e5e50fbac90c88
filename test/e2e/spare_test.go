package e2e

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// spareFunctions answer with their process id, and with GANTRY_PARKED if that is in the environment; an event of "hang"
// passes the deadline, "exit" ends the process. SIGUSR2 has them print a line.
var spareFunctions = map[string]map[string]string{
	"Node.js": {"index.js": `process.on('SIGUSR2', () => console.log('signalled'));
console.log('loaded by ' + process.pid);
exports.handler = async (event, context) => {
  if (event === 'hang') for (;;);
  if (event === 'exit') process.exit(3);
  return { pid: process.pid, parked: process.env.GANTRY_PARKED || '', secret: context.getUserData('secret') };
};`},
	"Python": {"index.py": `import os, signal
signal.signal(signal.SIGUSR2, lambda *_: print('signalled', flush=True))
print('loaded by %d' % os.getpid(), flush=True)
def handler(event, context):
    while event == 'hang':
        pass
    if event == 'exit':
        os._exit(3)
    return {'pid': os.getpid(), 'parked': os.environ.get('GANTRY_PARKED', ''), 'secret': context.getUserData('secret')}
`},
	"PHP": {"index.php": `<?php
pcntl_async_signals(true);
pcntl_signal(SIGUSR2, function () { echo "signalled\n"; });
echo 'loaded by ' . getmypid() . "\n";
function handler($event, $context)
{
    while ($event === 'hang') {
    }
    if ($event === 'exit') {
        exit(3);
    }
    return ['pid' => getmypid(), 'parked' => getenv('GANTRY_PARKED') ?: '', 'secret' => $context->getUserData('secret')];
}
`},
}

// spares waits until as many spares wait as are wanted, and returns the children that are not the worker.
func (r *running) spares(worker, n int) []int {
	r.t.Helper()
	r.waitMetric("gantry_spare_interpreters", strconv.Itoa(n))
	wait(r.t, func() bool { return r.metric("gantry_spare_memory_bytes") != "0" }) // it may not have begun to run
	var found []int
	wait(r.t, func() bool { // a worker that was retired may be about to end
		found = slices.DeleteFunc(r.children(), func(pid int) bool { return pid == worker })
		return len(found) == n
	})
	return found
}

// TestSpareTakesTheNextCall: after a call that timed out and after an end of the process, the next call is answered by
// the interpreter that waited, which had not seen the code until then and has the encrypted variables.
func TestSpareTakesTheNextCall(t *testing.T) {
	t.Parallel()
	for name, files := range spareFunctions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "PHP" {
				needPHP(t)
			}
			r := start(t, writeFiles(t, files), "GANTRY_SPARE=1", "RUNTIME_TIMEOUT=3", `GANTRY_ENCRYPTED_USERDATA={"secret":"x"}`)
			worker := whoAnswers(r)
			for _, event := range []string{"hang", "exit", "hang"} {
				spares := r.spares(worker, 1)
				require.Len(t, spares, 1)
				require.NotContains(t, r.stdout.String(), "loaded by "+strconv.Itoa(spares[0]))
				require.NotEqual(t, 200, r.invoke(`"`+event+`"`).status)
				worker = whoAnswers(r)
				require.Equal(t, spares[0], worker)
				wait(t, func() bool { return strings.Contains(r.stdout.String(), "loaded by "+strconv.Itoa(worker)) })
			}
			last := r.spares(worker, 1)
			r.signal(syscall.SIGTERM)
			require.Equal(t, 0, r.wait())
			gone(t, last...)
		})
	}
}

// whoAnswers calls the function and returns its process id.
func whoAnswers(r *running) int {
	r.t.Helper()
	a := r.invoke("{}")
	require.Equal(r.t, 200, a.status, a.body)
	var said struct {
		PID            int
		Parked, Secret string
	}
	require.NoError(r.t, json.Unmarshal([]byte(a.body), &said))
	require.Empty(r.t, said.Parked)
	require.Equal(r.t, "x", said.Secret)
	return said.PID
}

// TestSparesFollowTheirInstance: a reload replaces them, one that ends is replaced, signals for the function do not end
// them, and a stop or the death of the agent leaves none behind.
func TestSparesFollowTheirInstance(t *testing.T) {
	t.Parallel()
	for name, files := range spareFunctions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "PHP" {
				needPHP(t)
			}
			r := start(t, writeFiles(t, files), "GANTRY_SPARE=2", `GANTRY_ENCRYPTED_USERDATA={"secret":"x"}`)
			worker := whoAnswers(r)
			before := r.spares(worker, 2)
			require.Len(t, before, 2)

			r.signal(syscall.SIGUSR2)
			r.stdout.WaitFor(t, "signalled")
			require.ElementsMatch(t, before, r.spares(worker, 2))

			r.signal(syscall.SIGHUP)
			gone(t, before...)
			var after []int
			wait(t, func() bool {
				a := r.try("{}")
				after = r.children()
				return a.status == 200 && r.metric("gantry_spare_interpreters") == "2" && len(after) == 3 && !slices.Contains(after, worker)
			})

			worker = whoAnswers(r)
			killed := slices.DeleteFunc(after, func(pid int) bool { return pid == worker })[0]
			require.NoError(t, syscall.Kill(killed, syscall.SIGKILL))
			wait(t, func() bool {
				return strings.Contains(r.stderr.String(), "a spare interpreter ended, another one follows")
			})
			gone(t, killed)
			r.spares(worker, 2)

			all := r.children()
			require.NoError(t, r.cmd.Process.Kill())
			<-r.ended
			gone(t, all...)
		})
	}
}

// gone waits until no process has one of the ids.
func gone(t *testing.T, pids ...int) {
	t.Helper()
	wait(t, func() bool {
		return !slices.ContainsFunc(pids, func(pid int) bool {
			_, err := os.Stat("/proc/" + strconv.Itoa(pid))
			return err == nil && state(pid) != "Z"
		})
	})
}
