//go:build race

package socket

import (
	"errors"
	"syscall"
)

// The calls of package syscall show the race detector that what was written before a write is seen after the read of
// what it caused, also if that went through another process.

func receive(fd uintptr, p []byte) (int, syscall.Errno) { return outcome(syscall.Read(int(fd), p)) }

func send(fd uintptr, p []byte) (int, syscall.Errno) { return outcome(syscall.Write(int(fd), p)) }

func outcome(n int, err error) (int, syscall.Errno) {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return 0, errno
	}
	return n, 0
}
