package process

import (
	"bytes"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// HideEnvironment overwrites, in the memory that /proc shows, the values of these environment variables. It must run
// before Protect; without names it does nothing.
func HideEnvironment(names []string) error {
	if len(names) == 0 || protected() {
		return nil
	}
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return err
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 49 {
		return fmt.Errorf("/proc/self/stat has only %d fields", len(fields))
	}
	start, end := number(fields[47]), number(fields[48]) // env_start, env_end
	mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	block := make([]byte, end-start)
	if _, err := mem.ReadAt(block, start); err != nil {
		return err
	}
	offset := start
	for kv := range bytes.SplitSeq(block, []byte{0}) {
		if name, value, ok := bytes.Cut(kv, []byte("=")); ok && slices.Contains(names, string(name)) {
			if _, err := mem.WriteAt(make([]byte, len(value)), offset+int64(len(name))+1); err != nil {
				return err
			}
		}
		offset += int64(len(kv)) + 1
	}
	return nil
}

// protected reports whether the kernel has made the process non-dumpable before its first instruction, which it does
// when the user may run the program's file but not read it (mode 0711, as in the image). Nothing was ever visible then,
// and /proc/self/mem is closed to the process itself.
func protected() bool {
	const dumpable = 1
	state, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	return err == nil && state != dumpable
}

// Protect makes the agent non-dumpable: no other process may read its memory or environment, nor attach to it.
func Protect() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
