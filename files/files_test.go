package files

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

func fifo(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, unix.Mkfifo(name, 0o600))
	return name
}

func TestReadTakesFilesWithinTheSizeLimit(t *testing.T) {
	text, err := Read(write(t, "four"), 4)
	require.NoError(t, err)
	require.Equal(t, "four", string(text))
	_, err = Read(write(t, "fives"), 4)
	require.ErrorContains(t, err, "has more than 4 bytes")
	_, err = Read("/dev/zero", 1<<20)
	require.ErrorContains(t, err, "/dev/zero has more than 1048576 bytes")
	_, err = Read(filepath.Join(t.TempDir(), "none"), 1)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestReadTakesAPipeLikeAFile: a pipe is as good as a file, as in a shell's <(command).
func TestReadTakesAPipeLikeAFile(t *testing.T) {
	name := fifo(t)
	go func() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return // the reader then fails the test
		}
		_, _ = f.WriteString("late")
		_ = f.Close()
	}()
	text, err := Read(name, 4)
	require.NoError(t, err)
	require.Equal(t, "late", string(text))
}

// TestReadThatHangsEndsWithinItsLimit: a pipe that nothing writes to stands for storage that does not answer.
func TestReadThatHangsEndsWithinItsLimit(t *testing.T) {
	name := fifo(t)
	_, err := within(time.Millisecond, name, func() ([]byte, error) { return os.ReadFile(name) })
	require.ErrorContains(t, err, name+" could not be read within 1ms: its storage does not answer")
	f, err := os.OpenFile(name, os.O_WRONLY, 0) // lets the reader end
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestReadRegularRefusesWhatIsNoRegularFile(t *testing.T) {
	name := write(t, "four")
	text, info, err := ReadRegular(name, 4, nil)
	require.NoError(t, err)
	require.Equal(t, "four", string(text))
	require.EqualValues(t, 4, info.Size())
	_, _, err = ReadRegular(name, 3, nil)
	require.ErrorContains(t, err, "has more than 3 bytes")
	refusal := errors.New("refused")
	_, _, err = ReadRegular(name, 4, func(os.FileInfo) error { return refusal })
	require.ErrorIs(t, err, refusal)
	for _, other := range []string{fifo(t), "/dev/zero", filepath.Dir(name)} {
		_, _, err = ReadRegular(other, 4, nil)
		require.ErrorContains(t, err, other+" is not a regular file")
	}
	_, _, err = ReadRegular(name+".none", 4, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestWatchReportsAHangingLookAndGoesOn: a look that hangs is reported, is not joined by a second one, and when it
// has ended the looks go on.
func TestWatchReportsAHangingLookAndGoesOn(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var looks, hangs atomic.Int64
	var busy atomic.Bool
	released := make(chan struct{})
	w := &Watch{Interval: time.Millisecond, patience: time.Millisecond, Look: func() {
		if !busy.CompareAndSwap(false, true) {
			t.Error("two looks at once")
		}
		defer busy.Store(false)
		if looks.Add(1) == 2 {
			<-released
		}
	}, Hangs: func(since time.Duration) {
		if since >= time.Millisecond && busy.Load() {
			hangs.Add(1)
		}
	}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx)
	}()
	require.Eventually(t, func() bool { return hangs.Load() > 0 }, 10*time.Second, time.Millisecond)
	require.EqualValues(t, 2, looks.Load())
	close(released)
	require.Eventually(t, func() bool { return looks.Load() > 4 }, 10*time.Second, time.Millisecond)
	cancel()
	<-ended
}

// TestWatchEndsWithoutWaitingForALook: the end of a watch does not wait for a look that hangs.
func TestWatchEndsWithoutWaitingForALook(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	looking, released := make(chan struct{}), make(chan struct{})
	defer close(released)
	w := &Watch{Interval: time.Millisecond, Look: func() { close(looking); <-released }, Hangs: func(time.Duration) {}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx)
	}()
	<-looking
	cancel()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the watch waits for a look that hangs")
	}
}
