package process

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MemoryLimit returns the memory limit that the agent's control group is under, its own or one of a group above, in
// bytes; 0 if there is none or it cannot be read.
func (t CgroupTree) MemoryLimit() int64 {
	switch t.Version {
	case 1:
		return limitOf(keyed(filepath.Join(t.Own, "memory.stat"), "hierarchical_memory_limit"))
	case 2:
		least := int64(0)
		for dir := t.Own; ; dir = filepath.Dir(dir) {
			text, err := os.ReadFile(filepath.Join(dir, "memory.max"))
			if err != nil { // the root has none
				return least
			}
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && (least == 0 || n < least) {
				least = n
			}
		}
	}
	return 0
}

// limitOf takes the kernel's largest number for no limit.
func limitOf(n int64) int64 {
	if n <= 0 || n > math.MaxInt64/2 {
		return 0
	}
	return n
}
