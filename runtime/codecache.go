package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// CodeCache is what a worker made of its code cache.
type CodeCache struct {
	// Refused says why the cache is of no use; empty if it is used.
	Refused string `json:"refused"`
	// Files is how many files the cache has. Hits of the files that were loaded came out of it, Misses did not.
	Files  int `json:"files"`
	Hits   int `json:"hits"`
	Misses int `json:"misses"`
	// LeftOut is how many files a cache that was written does not have because they may use import(), which code out of
	// a cache does not have in this version of the interpreter; FirstLeftOut is one of them.
	LeftOut      int    `json:"leftOut"`
	FirstLeftOut string `json:"firstLeftOut"`
	// Present is how many files of a cache that was written have byte code in __pycache__ too, which Python uses first.
	Present int `json:"present"`
	// Bytes is the size of a cache that was written.
	Bytes int64 `json:"bytes"`
}

// openCodeCache opens a cache. Loading it is loading code: only root and the agent's user may have written it.
func openCodeCache(name string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK // a pipe would be waited for
	fd, err := unix.Open(name, flags, 0)
	if errors.Is(err, unix.ENOTDIR) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	var stat unix.Stat_t
	if err = unix.Fstat(fd, &stat); err == nil {
		err = trusted(&stat, os.Geteuid())
	}
	if err != nil {
		_ = file.Close() // it was only looked at
		return nil, err
	}
	return file, nil
}

// trusted reports whether nothing but root and this user can have written a file.
func trusted(stat *unix.Stat_t, user int) error {
	switch {
	case stat.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("it is no regular file")
	case stat.Uid != 0 && int(stat.Uid) != user:
		return fmt.Errorf("user %d owns it, want root or user %d, the agent's", stat.Uid, user)
	case stat.Mode&0o022 != 0:
		return fmt.Errorf("users other than its owner may write it (mode %04o), want mode 0644", stat.Mode&0o7777)
	}
	return nil
}
