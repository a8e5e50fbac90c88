package child

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestChildFolderIsForOne(t *testing.T) {
	a := newTestChild(t)
	a.dial().Close()
	b := newTestChild(t, inFolder(a.cfg.Folder))
	err := b.failure()
	require.ErrorContains(t, err, a.cfg.Folder+" for asynchronous calls is in use by another agent")
	require.False(t, b.Running())

	c := newTestChild(t, inFolder(a.cfg.Folder))
	a.kill() // the lock is the agent's, not only the process's
	require.ErrorContains(t, c.failure(), "in use by another agent")
	require.NoError(t, a.Stop(patient(t)))
	c.dial().Close()
}

// After the agent is killed, the folder is free only when the process is gone too.
func TestChildProcessHoldsTheLock(t *testing.T) {
	c := newTestChild(t)
	c.dial().Close()
	require.NoError(t, c.lock.Close()) // as the agent's end would
	c.lock = nil
	other, err := os.OpenFile(filepath.Join(c.cfg.Folder, "lock"), os.O_RDWR, 0)
	require.NoError(t, err)
	defer other.Close()
	free := func() bool { return unix.Flock(int(other.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }
	require.False(t, free())
	c.kill()
	eventually(t, free, "the lock is free")
}

// TestChildMakesItsFoldersPrivate: other users cannot reach the socket or the messages, whatever was there before.
func TestChildMakesItsFoldersPrivate(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.Chmod(folder, 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(folder, "run"), 0o755))
	c := newTestChild(t, inFolder(folder))
	c.stream(c.client())
	for _, inner := range []string{c.store(), filepath.Dir(c.socket)} {
		info, err := os.Stat(inner)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), inner)
		require.Equal(t, folder, filepath.Dir(inner))
	}
}

func TestLongFolderPathMovesTheSocketElsewhere(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	folder := filepath.Join(t.TempDir(), strings.Repeat("long", 40), strings.Repeat("path", 40))
	c := newTestChild(t, inFolder(folder))
	c.stream(c.client())
	require.NotContains(t, c.socket, folder)
	info, err := os.Stat(filepath.Dir(c.socket))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	require.NoError(t, os.RemoveAll(filepath.Dir(c.socket))) // as a job that tidies up temporary folders does
	c.stream(c.client())
	require.NoError(t, c.Stop(patient(t)))
	require.Empty(t, entries(t, temp))

	t.Setenv("TMPDIR", folder)
	require.ErrorContains(t, newTestChild(t, inFolder(folder)).failure(), "is too long for a socket, and so is")
	require.NotContains(t, strings.Join(entries(t, folder), " "), "gantry-")
}

func entries(t *testing.T, folder string) []string {
	t.Helper()
	all, err := os.ReadDir(folder)
	require.NoError(t, err)
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

func TestVolatileReportsFoldersOnATmpfs(t *testing.T) {
	temp := t.TempDir()
	for path, want := range map[string]bool{
		"/dev/shm": isVolatile(t, "/dev/shm"), "/dev/shm/missing/folder": isVolatile(t, "/dev/shm"), "/proc": false,
		temp: isVolatile(t, temp), filepath.Join(temp, "missing", "folder"): isVolatile(t, temp),
	} {
		got, err := Volatile(path)
		require.NoError(t, err)
		require.Equal(t, want, got, path)
	}
	if !isVolatile(t, "/dev/shm") {
		t.Log("NOT TESTED: /dev/shm is no tmpfs here")
	}
	link := filepath.Join(temp, "link")
	require.NoError(t, os.Symlink("/dev/shm", link))
	got, err := Volatile(link)
	require.NoError(t, err)
	require.Equal(t, isVolatile(t, "/dev/shm"), got)
	_, err = Volatile("\x00")
	require.Error(t, err)
}

// isVolatile asks the table of mounts.
func isVolatile(t *testing.T, folder string) bool {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	longest, kind := "", ""
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		inside := f[1] == "/" || folder == f[1] || strings.HasPrefix(folder, f[1]+"/")
		if inside && len(f[1]) >= len(longest) {
			longest, kind = f[1], f[2]
		}
	}
	return kind == "tmpfs" || kind == "ramfs"
}
