package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// memoryGroup makes a control group with a memory limit, in bytes, or skips the test.
func memoryGroup(t *testing.T, limit int64) (dir string) {
	t.Helper()
	parent, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if _, err := os.Stat(filepath.Join(parent, file)); err != nil {
		parent, file = "/sys/fs/cgroup", "memory.max"
	}
	dir, err := os.MkdirTemp(parent, "gantry-test-")
	if err != nil {
		t.Skipf("no memory control group can be made: %v", err)
	}
	t.Cleanup(func() { // the kernel takes a moment after the last process
		require.Eventually(t, func() bool { return os.Remove(dir) == nil || os.IsNotExist(removeBelow(dir)) }, patience, 10*time.Millisecond)
	})
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(limit, 10)), 0o644); err != nil {
		t.Skipf("the memory of a control group cannot be limited: %v", err)
	}
	return dir
}

// removeBelow removes a group with the groups in it.
func removeBelow(dir string) error {
	below, err := filepath.Glob(filepath.Join(dir, "*", "cgroup.procs"))
	for _, procs := range below {
		_ = os.Remove(filepath.Dir(procs))
	}
	if err == nil {
		err = os.Remove(dir)
	}
	return err
}

// grouped starts an agent without the race detector, which needs many times the memory, in a control group.
func grouped(t *testing.T, group, source string, env ...string) *running {
	t.Helper()
	program := filepath.Join(t.TempDir(), "bootstrap")
	compile(t, "gantry/bootstrap", program)
	r := prepare(t, writeFiles(t, map[string]string{"index.js": source}), append([]string{"RUNTIME_FUNC_NAME=hello", "RUNTIME_MEMORY=128", "GANTRY_API_ADDR=127.0.0.1:0"}, env...)...)
	shell := exec.Command("sh", "-c", `echo $$ > "$1/cgroup.procs"; exec "$0" serve`, program, group)
	shell.Env, shell.Stdout, shell.Stderr = r.cmd.Env, r.cmd.Stdout, r.cmd.Stderr
	r.cmd = shell
	r.launch()
	r.findAddresses()
	return r
}

// resident returns a line of the agent's status in MB: VmRSS for now, VmHWM for the most so far.
func (r *running) resident(line string) int {
	r.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	require.NoError(r.t, err, "the agent is gone")
	_, rest, _ := strings.Cut(string(text), line+":")
	return atoi(r.t, rest) >> 10
}

// oomKills returns how often the kernel killed something in the group.
func oomKills(t *testing.T, group string) string {
	t.Helper()
	for _, name := range []string{"memory.oom_control", "memory.events"} {
		if text, err := os.ReadFile(filepath.Join(group, name)); err == nil {
			_, rest, _ := strings.Cut(string(text), "oom_kill ")
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

const echoLength = `exports.handler = async (event, context) => event.big ? 'x'.repeat(event.big) : String(event).length;`

// announce opens connections that announce 6 MiB each and send a part of it; they stay open until they are closed.
func announce(t *testing.T, addr, path string, n, part int) (all []net.Conn) {
	t.Helper()
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6291456\r\n\r\n", path)
	for range n {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.SetWriteDeadline(time.Now().Add(20*time.Millisecond))) // what is not read is not sent
		_, _ = conn.Write(append([]byte(head), strings.Repeat(" ", part)...))
		all = append(all, conn)
	}
	return all
}

// TestAnnouncedBodiesHarmNeitherAgentNorOtherCallers: two thousand connections that announce 6 MiB each cost an agent
// in a group of 256 MB neither its life nor other callers their time.
func TestAnnouncedBodiesHarmNeitherAgentNorOtherCallers(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users.json")
	writeUsers(t, users, apiUsers)
	const open = "GANTRY_API_AUTH=none"
	for _, c := range []struct {
		name, auth string
		platform   bool
		part       int
	}{
		{"function, a byte each", open, false, 1},
		{"function, 200 kB each", open, false, 200_000},
		{"platform API, a byte each", open, true, 1},
		{"platform API, 200 kB each", open, true, 200_000},
		{"platform API without credentials", "GANTRY_API_USERS_FILE=" + users, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			group := memoryGroup(t, 256<<20)
			r := grouped(t, group, echoLength, c.auth)
			require.Equal(t, 200, r.invoke(`{}`).status)
			addr, path := r.url, "/invoke"
			if c.platform {
				addr, path = r.api, invocations
			}
			before := r.resident("VmRSS")
			strangers := announce(t, strings.TrimPrefix(addr, "http://"), path, 2000, c.part)
			var longest time.Duration
			for range 10 {
				began := time.Now()
				require.Equal(t, 200, r.invoke(`{}`).status)
				longest = max(longest, time.Since(began))
			}
			require.Less(t, longest, 30*time.Second, "they do not wait for the strangers, who have a minute for a request")
			began := time.Now()
			require.Equal(t, 200, r.invoke(`"`+strings.Repeat("x", 6291454)+`"`).status)
			large := time.Since(began)
			peak := r.resident("VmHWM")
			require.LessOrEqual(t, peak, 96)
			require.Equal(t, "0", oomKills(t, group))
			for _, s := range strangers {
				_ = s.Close()
			}
			left := time.Now()
			require.Eventually(t, func() bool { return r.resident("VmRSS") <= 40 }, 30*time.Second, 100*time.Millisecond)
			t.Logf("agent: %d MB before, at most %d MB, %d MB %s after; a call at most %s, one of 6 MiB %s", before, peak, r.resident("VmRSS"), time.Since(left).Round(time.Second), longest, large)
		})
	}
}

// TestCallersWithTooManyLargeEventsWaitOrGet429: callers whose events together need more memory than there is wait,
// or get 429.
func TestCallersWithTooManyLargeEventsWaitOrGet429(t *testing.T) {
	group := memoryGroup(t, 256<<20)
	r := grouped(t, group, echoLength, "GANTRY_API_AUTH=none", "RUNTIME_TIMEOUT=60")
	event := `"` + strings.Repeat("x", 6291454) + `"`
	var mu sync.Mutex
	var all sync.WaitGroup
	statuses := map[int]int{}
	began := time.Now()
	for range 110 {
		all.Go(func() {
			a := r.try(event)
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
		})
	}
	all.Wait()
	peak := r.resident("VmHWM")
	t.Logf("110 callers with 6 MiB each: %v in %s, at most %d MB", statuses, time.Since(began).Round(time.Millisecond), peak)
	// A client that stalls is cut off, and one that stalls long enough does not see its 429.
	require.Equal(t, 110, statuses[200]+statuses[429]+statuses[0], "%v", statuses)
	require.Greater(t, statuses[200], 110/2)
	require.LessOrEqual(t, peak, 128)
	require.Equal(t, "0", oomKills(t, group))
}

// TestUnreadAnswersDoNotUseUpTheMemory: callers that never read their answers do not keep the memory of others.
func TestUnreadAnswersDoNotUseUpTheMemory(t *testing.T) {
	group := memoryGroup(t, 256<<20)
	r := grouped(t, group, echoLength, "GANTRY_API_AUTH=none", "RUNTIME_TIMEOUT=60")
	const ask = `{"big":6000000}`
	for range 150 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(4096))
		_, err = fmt.Fprintf(conn, "POST /invoke HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(ask), ask)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return r.try(`{}`).status == 200 }, patience, 10*time.Millisecond)
	peak := r.resident("VmHWM")
	t.Logf("150 callers that never read 6 MB: at most %d MB", peak)
	require.LessOrEqual(t, peak, 160)
	require.Equal(t, "0", oomKills(t, group))
}
