package process

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMemoryLimitIsReadFromTheControlGroup(t *testing.T) {
	root := t.TempDir()
	put := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	put("one/memory.stat", "cache 0\nhierarchical_memory_limit 268435456\nhierarchical_memsw_limit 9223372036854771712\n")
	put("free/memory.stat", "hierarchical_memory_limit 9223372036854771712\n")
	put("a/memory.max", "536870912\n")
	put("a/b/memory.max", "max\n")
	put("a/b/c/memory.max", "1073741824\n")
	put("d/memory.max", "max\n")
	for _, c := range []struct {
		version int
		group   string
		limit   int64
	}{
		{1, "one", 256 << 20},
		{1, "free", 0},
		{1, "gone", 0},
		{2, "a", 512 << 20},
		{2, "a/b", 512 << 20},
		{2, "a/b/c", 512 << 20},
		{2, "d", 0},
		{2, "gone", 0},
		{0, "a", 0},
	} {
		require.Equal(t, c.limit, CgroupTree{Version: c.version, Own: filepath.Join(root, c.group)}.MemoryLimit(), "%+v", c)
	}
}
