package language

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHeapLeavesRoomForTheMachine: three quarters of the memory limit, less where 64 MB would not be left.
func TestHeapLeavesRoomForTheMachine(t *testing.T) {
	t.Parallel()
	for memory, heap := range map[int]int{16: 8, 64: 16, 128: 64, 256: 192, 512: 384, 1024: 768, 4096: 3072} {
		require.Equal(t, heap, heapSize(memory), memory)
	}
}

// TestOptionsOfTheUserStandInPlaceOfOurs: by their kind, in each variable that a Java machine reads.
func TestOptionsOfTheUserStandInPlaceOfOurs(t *testing.T) {
	t.Parallel()
	of := func(env ...string) (options []string) {
		for _, o := range javaOptions(env) {
			if !o.beaten(userOptions(env)) {
				options = append(options, o.text)
			}
		}
		return options
	}
	require.Equal(t, []string{"-XX:+UseSerialGC", "-Dfile.encoding=UTF-8", "-Xmx384m"}, of("RUNTIME_MEMORY=512"))
	require.Equal(t, []string{"-XX:+UseSerialGC", "-Dfile.encoding=UTF-8"}, of("RUNTIME_MEMORY=512", "JAVA_TOOL_OPTIONS=-ea -Xmx1g"))
	require.Equal(t, []string{"-Dfile.encoding=UTF-8"},
		of("RUNTIME_MEMORY=512", "_JAVA_OPTIONS=-XX:+UseZGC", "JDK_JAVA_OPTIONS=-XX:MaxRAMPercentage=50"))
}

// TestWorkerInAnArchiveLiesBesideTheAgentOrWherePackagesHaveIt: the one beside it comes first.
func TestWorkerInAnArchiveLiesBesideTheAgentOrWherePackagesHaveIt(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	bin, lib := filepath.Join(top, "bin"), filepath.Join(top, "lib", "gantry")
	for _, folder := range []string{bin, lib} {
		require.NoError(t, os.MkdirAll(folder, 0o755))
	}
	_, err := java.archiveNear(bin)
	require.ErrorContains(t, err, "Java: the worker "+filepath.Join(bin, java.Archive)+" is not there")
	for _, folder := range []string{lib, bin} {
		file := filepath.Join(folder, java.Archive)
		require.NoError(t, os.WriteFile(file, nil, 0o644))
		found, err := java.archiveNear(bin)
		require.NoError(t, err)
		require.Equal(t, file, found)
	}
}
