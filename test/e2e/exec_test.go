package e2e

import (
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// hangingExec holds every exec of a file, as storage does that does not answer, until the test ends.
func hangingExec(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY)
	if err != nil {
		t.Skip("fanotify cannot be used here: ", err)
	}
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, path); err != nil {
		_ = unix.Close(fd)
		t.Skip("fanotify cannot hold an exec here: ", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) }) // which lets the exec go on
}

// TestHangingWorkerExecBlocksNeitherProbesNorStop: calls are refused in time, probes answer, and the agent stops.
func TestHangingWorkerExecBlocksNeitherProbesNorStop(t *testing.T) {
	t.Parallel()
	for name, forced := range map[string]bool{"stop": false, "second signal": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := writeFiles(t, map[string]string{"bootstrap": loop})
			limit := 2 * time.Second
			r := start(t, dir, "GANTRY_RUNTIME=custom", "GANTRY_QUEUE_WAIT=1", "GANTRY_SHUTDOWN_TIMEOUT=2")
			require.Equal(t, 200, r.request("POST", r.url+"/init", "").status)
			hangingExec(t, filepath.Join(dir, "bootstrap"))
			pid, err := strconv.Atoi(r.worker())
			require.NoError(t, err)
			require.NoError(t, unix.Kill(pid, unix.SIGKILL))
			r.stderr.WaitFor(t, "worker ended")
			require.Equal(t, 429, r.invoke("{}").status)
			require.Equal(t, "init\n", r.ready().body)
			require.Equal(t, "1", r.metric(`gantry_instance_state{state="init"}`))
			r.signal(syscall.SIGHUP)
			r.stderr.WaitFor(t, "reload")
			if forced {
				require.Equal(t, 143, r.force())
				return
			}
			signalled := time.Now()
			r.signal(syscall.SIGTERM)
			require.Equal(t, 0, r.endsWithin(signalled, limit))
		})
	}
}

// TestAgentListensAndStopsWhileTheFirstExecHangs: the first worker never runs, and the agent listens and stops all
// the same.
func TestAgentListensAndStopsWhileTheFirstExecHangs(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"bootstrap": loop})
	hangingExec(t, filepath.Join(dir, "bootstrap"))
	r := start(t, dir, "GANTRY_RUNTIME=custom", "GANTRY_SHUTDOWN_TIMEOUT=2")
	require.Equal(t, "init\n", r.ready().body)
	signalled := time.Now()
	r.signal(syscall.SIGTERM)
	require.Equal(t, 0, r.endsWithin(signalled, 2*time.Second))
}
