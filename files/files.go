// Package files reads the files that settings name, with limits of size and time: such a file may be a pipe that
// nothing writes to, a device without an end, or on storage that does not answer.
package files

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Patience is how long a file may take at the start, and how long a hanging one goes unreported later.
const Patience = 10 * time.Second

// Again is how often a file that hangs is reported again.
const Again = time.Minute

// Read returns the contents of a file, or of a pipe whose writer ends in time, of at most limit bytes. It is for the
// start of a program: a read that hangs is given up after Patience, and its goroutine stays until the storage
// answers.
func Read(name string, limit int) ([]byte, error) {
	return Within(name, func() ([]byte, error) { return Load(name, limit) })
}

// Load is Read without a limit of time, for what Within and Watch call.
func Load(name string, limit int) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, limit)
}

// Within runs read, of the named file, and gives it up after Patience. Like Read, it is for the start of a program.
func Within[T any](name string, read func() (T, error)) (T, error) {
	return within(Patience, name, read)
}

func within[T any](patience time.Duration, name string, read func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		value, err := read()
		done <- answer{value, err}
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case a := <-done:
		return a.value, a.err
	case <-timer.C:
		var none T
		return none, fmt.Errorf(
			"%s could not be read within %s: its storage does not answer, or it is a pipe whose writer has not ended; want a regular file on storage that answers",
			name,
			patience,
		)
	}
}

// ReadRegular returns the contents of a regular file of at most limit bytes, and what the file system says of it. check
// may refuse the file by that, before it is read; nil refuses none. ReadRegular waits for no writer of a pipe, but for
// storage as long as that takes.
func ReadRegular(name string, limit int, check func(os.FileInfo) error) ([]byte, os.FileInfo, error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() { // opening a device can do things
		return nil, nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be another file by now
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", name)
	}
	if check != nil {
		if err := check(info); err != nil {
			return nil, nil, err
		}
	}
	text, err := readAll(f, limit)
	return text, info, err
}

func readAll(f *os.File, limit int) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(text) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", f.Name(), limit)
	}
	return text, nil
}

// Watch looks at a file again and again.
type Watch struct {
	// Interval is the time from one look to the next.
	Interval time.Duration
	// Look looks at the file, on a goroutine of its own, never twice at once. It may hang with the file's storage.
	Look func()
	// Hangs reports that a look has taken the given time so far, first after Patience, then every Again.
	Hangs func(since time.Duration)

	patience time.Duration // of tests; zero for Patience
}

// Run looks until ctx ends. It does not wait for a look that hangs.
func (w *Watch) Run(ctx context.Context) {
	ticker := time.NewTicker(w.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
		if ctx.Err() != nil { // both may be ready
			return
		}
		w.look(ctx)
	}
}

func (w *Watch) look(ctx context.Context) {
	start, done := time.Now(), make(chan struct{})
	go func() {
		defer close(done)
		w.Look()
	}()
	patience := Patience
	if w.patience > 0 {
		patience = w.patience
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-done:
			return
		case <-timer.C:
			w.Hangs(time.Since(start))
			timer.Reset(Again)
		}
	}
}
