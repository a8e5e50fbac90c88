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
	if len(names) == 0 {
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

// Protect makes the agent non-dumpable: no other process may read its memory or environment, nor attach to it.
func Protect() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
