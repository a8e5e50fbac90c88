package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// javaWorker is the file of the worker in Java, beside the program under test.
const javaWorker = "gantry-java.jar"

// buildJavaWorker builds it once for all tests. It fails without a JDK and Gson.
var buildJavaWorker = sync.OnceValue(func() error {
	out, err := exec.Command(root+"/runtime/worker/java/build.sh", filepath.Join(programs, javaWorker)).CombinedOutput()
	if err != nil {
		return &buildError{err, string(out)}
	}
	return nil
})

type buildError struct {
	err  error
	said string
}

func (e *buildError) Error() string { return e.err.Error() + ": " + e.said }

// needJava skips a test where there is no JDK or no Gson; anything else that keeps the worker from being built is an
// error.
func needJava(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"java", "javac", "jar"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s: install openjdk-17-jdk-headless", tool)
		}
	}
	if _, err := os.Stat("/usr/share/java/gson.jar"); err != nil {
		t.Skip("no Gson: install libgoogle-gson-java")
	}
	require.NoError(t, buildJavaWorker())
}

// compileJava compiles all sources of a folder for Java 8, against the interfaces of the worker and more.
func compileJava(t *testing.T, sources, to string, more ...string) {
	t.Helper()
	var files []string
	require.NoError(t, filepath.WalkDir(sources, func(path string, _ os.DirEntry, err error) error {
		if filepath.Ext(path) == ".java" {
			files = append(files, path)
		}
		return err
	}))
	path := filepath.Join(programs, javaWorker)
	for _, jar := range more {
		path += ":" + jar
	}
	args := []string{"--release", "8", "-Xlint:-options", "-cp", path, "-d", to}
	out, err := exec.Command("javac", append(args, files...)...).CombinedOutput()
	require.NoError(t, err, string(out))
}

// jarOf packs a folder into a jar.
func jarOf(t *testing.T, folder, to string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
	out, err := exec.Command("jar", "cf", to, "-C", folder, ".").CombinedOutput()
	require.NoError(t, err, string(out))
}

// javaFunction is a code folder with one jar, made of sources by their paths.
func javaFunction(t *testing.T, sources map[string]string) string {
	t.Helper()
	needJava(t)
	dir, classes := t.TempDir(), t.TempDir()
	compileJava(t, writeFiles(t, sources), classes)
	jarOf(t, classes, filepath.Join(dir, "app.jar"))
	return dir
}
