package language

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

var sources = struct {
	sync.Mutex
	files map[*Language]*os.File
}{files: map[*Language]*os.File{}}

// sourceFile puts the worker's source into memory that a child can open by descriptor: no disk is written. The file is
// made once and shared by all workers.
func sourceFile(l *Language) (*os.File, error) {
	sources.Lock()
	defer sources.Unlock()
	if f := sources.files[l]; f != nil {
		return f, nil
	}
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("gantry-"+l.Name, flags|unix.MFD_NOEXEC_SEAL) // some kernels require it
	if errors.Is(err, unix.EINVAL) {                                          // and older ones do not know it
		fd, err = unix.MemfdCreate("gantry-"+l.Name, flags)
	}
	if err != nil {
		return nil, fmt.Errorf("memory for the worker's source: %w", err)
	}
	f := os.NewFile(uintptr(fd), "worker source")
	if _, err := f.WriteString(l.Source); err != nil {
		return nil, fmt.Errorf("memory for the worker's source: %w", err)
	}
	if _, err := unix.FcntlInt(
		uintptr(fd),
		unix.F_ADD_SEALS,
		unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE,
	); err != nil {
		return nil, fmt.Errorf("memory for the worker's source: %w", err)
	}
	sources.files[l] = f
	return f, nil
}
