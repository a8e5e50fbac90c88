package e2e

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFatalSignalsOfTheFunctionLeaveTheAgentRunning: a function that runs as the agent's user cannot end the agent
// with a signal that ends Go programs.
func TestFatalSignalsOfTheFunctionLeaveTheAgentRunning(t *testing.T) {
	r := function(t, `exports.handler = async (e, c) => { process.kill(process.ppid, e.signal); return 'sent'; };`)
	for _, sig := range []syscall.Signal{
		syscall.SIGQUIT, syscall.SIGILL, syscall.SIGTRAP, syscall.SIGABRT, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGSEGV,
		syscall.SIGSTKFLT, syscall.SIGSYS,
	} {
		a := r.invoke(`{"signal":` + itoa(int(sig)) + `}`)
		require.Equal(t, 200, a.status, "%s: %s", sig, a.body)
		r.stderr.WaitFor(t, sig.String())
	}
	require.Equal(t, 200, r.invoke(`{"signal":0}`).status)
	r.signal(syscall.SIGTERM)
	require.Zero(t, r.wait())
}

// TestWorkerInTheAgentsGroupIsKilledAtTimeout: a worker that has joined the agent's process group is killed at its
// timeout.
func TestWorkerInTheAgentsGroupIsKilledAtTimeout(t *testing.T) {
	t.Parallel()
	r := start(t, writeFiles(t, map[string]string{"index.py": `import os
def handler(event, context):
    os.setpgid(0, os.getpgid(os.getppid()))
    while True: pass
`}), "RUNTIME_TIMEOUT=1")
	for range 2 {
		worker := r.worker()
		require.Equal(t, 504, r.invoke(`{}`).status)
		require.Eventually(t, func() bool {
			_, err := os.Stat("/proc/" + worker)
			return os.IsNotExist(err)
		}, patience, 10*time.Millisecond, "worker %s goes on", worker)
	}
	r.signal(syscall.SIGTERM)
	require.Zero(t, r.wait())
}
