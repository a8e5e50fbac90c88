package main

import (
	"archive/zip"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFunctionInJavaRunsFromTheArchiveAndThePackage: the example is compiled against the worker that came with the
// agent, and the agent finds it: beside itself, or where packages have it.
func TestFunctionInJavaRunsFromTheArchiveAndThePackage(t *testing.T) {
	t.Parallel()
	top := "gantry-1.2.3-linux-" + runtime.GOARCH
	archive := filepath.Join(extracted(t, top+".tar.gz"), top)
	code := t.TempDir()
	build := exec.Command(filepath.Join(archive, "examples", "java", "hello", "build.sh"), code)
	build.Env = []string{"PATH=" + os.Getenv("PATH")}
	run(t, build)
	deb := t.TempDir()
	run(t, exec.Command("dpkg-deb", "--extract", filepath.Join(dist, "gantry_1.2.3-1_"+runtime.GOARCH+".deb"), deb))
	for _, agent := range []string{filepath.Join(archive, "gantry"), filepath.Join(deb, "usr", "bin", "gantry")} {
		cmd := exec.Command(agent, "invoke", "--code", code, "--handler", "com.demo.Hello.handler", "--event", `{"name":"jar"}`)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
		require.Contains(t, run(t, cmd), "Hello, jar", agent)
	}
}

// TestWorkerForJavaNamesItsGson: without a version or a licence of Gson there is no release.
func TestWorkerForJavaNamesItsGson(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		fault string
	}{
		{map[string]string{gsonProperties: "artifactId=gson\nversion=2.10\n", gsonLicence: "terms"}, ""},
		{map[string]string{gsonProperties: "artifactId=gson\n", gsonLicence: "terms"}, gsonProperties + " names no version"},
		{map[string]string{gsonProperties: "version=2.10\n"}, gsonLicence},
		{map[string]string{gsonLicence: "terms"}, gsonProperties},
	} {
		var out bytes.Buffer
		archive := zip.NewWriter(&out)
		for name, text := range c.files {
			f, err := archive.Create(name)
			require.NoError(t, err)
			_, err = f.Write([]byte(text))
			require.NoError(t, err)
		}
		require.NoError(t, archive.Close())
		w := worker{file: file{path: javaWorker, data: out.Bytes()}}
		if err := w.readGson(); c.fault != "" {
			require.ErrorContains(t, err, c.fault)
			continue
		}
		require.Equal(t, []string{"2.10", "terms"}, []string{w.gson, w.licence})
	}
}
