package main

import (
	"archive/tar"
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestArchiveIsOneFolderReadyToRun: programs, link, texts, with the modes, owners and times of the release.
func TestArchiveIsOneFolderReadyToRun(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		top := "gantry-1.2.3-linux-" + arch
		all := entries(t, unzipped(t, top+".tar.gz"))
		for name, mode := range map[string]int64{
			"gantry": 0o755, "gantry-jetstream": 0o755, javaWorker: 0o644, "README.md": 0o644, "LICENSE": 0o644, "THIRD-PARTY-LICENSES": 0o644,
			"docs/START.md": 0o644, "docs/adr/0001-two-socket-pairs.md": 0o644, "CHANGELOG.md": 0o644,
			"examples/nodejs/hello/index.js": 0o644, "examples/custom/shell/bootstrap": 0o755,
			"share/bash-completion/completions/gantry": 0o644, "share/zsh/site-functions/_gantry": 0o644,
			"share/fish/vendor_completions.d/gantry.fish": 0o644,
		} {
			require.Contains(t, all, top+"/"+name)
			require.Equal(t, mode, all[top+"/"+name].Mode, name)
			require.NotEmpty(t, all[top+"/"+name].data, name)
		}
		require.Equal(t, "gantry", all[top+"/bootstrap"].Linkname)
		require.Contains(t, string(all[top+"/share/bash-completion/completions/gantry"].data), "complete -F _gantry gantry")
		for name, e := range all {
			require.True(t, name == top+"/" || strings.HasPrefix(name, top+"/"), name)
			require.True(t, e.ModTime.Equal(at), name)
			require.Equal(t, []any{0, 0, "root", "root"}, []any{e.Uid, e.Gid, e.Uname, e.Gname}, name)
			if e.Typeflag == tar.TypeDir {
				require.Equal(t, int64(0o755), e.Mode, name)
			}
		}
		require.NotContains(t, strings.Join(slices.Collect(maps.Keys(all)), "\n"), "__pycache__")
	}
}

// TestLinksOfTheArchivesDocumentsLeadToItsFiles: what is a file of the repository only is a file of the archive, too.
func TestLinksOfTheArchivesDocumentsLeadToItsFiles(t *testing.T) {
	top := filepath.Join(extracted(t, "gantry-1.2.3-linux-amd64.tar.gz"), "gantry-1.2.3-linux-amd64")
	link, scheme := regexp.MustCompile(`\]\(([^)\s#]+)[^)\s]*\)`), regexp.MustCompile(`^[a-z]+:`)
	code := regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
	seen := 0
	require.NoError(t, filepath.WalkDir(top, func(name string, d os.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".md" {
			return err
		}
		text, err := os.ReadFile(name)
		for _, found := range link.FindAllStringSubmatch(code.ReplaceAllString(string(text), ""), -1) {
			if !scheme.MatchString(found[1]) {
				seen++
				_, err := os.Stat(filepath.Join(filepath.Dir(name), found[1]))
				assert.NoError(t, err, name)
			}
		}
		return err
	}))
	require.Greater(t, seen, 100)
}

// TestArchiveRunsTheFirstFunction: two commands from the archive to a result, without Go and without an install.
func TestArchiveRunsTheFirstFunction(t *testing.T) {
	top := filepath.Join(extracted(t, "gantry-1.2.3-linux-"+runtime.GOARCH+".tar.gz"), "gantry-1.2.3-linux-"+runtime.GOARCH)
	require.Contains(t, run(t, exec.Command(filepath.Join(top, "gantry"), "version")), "gantry 1.2.3 (0123abc, ")
	require.Contains(t, run(t, exec.Command(filepath.Join(top, "bootstrap"), "version")), "bootstrap 1.2.3 (0123abc, ")
	cmd := exec.Command("./gantry", "invoke", "--code", "examples/nodejs/hello", "--event", `{"name":"archive"}`)
	cmd.Dir = top
	require.Contains(t, run(t, cmd), "archive")
}

// TestEveryLinkedModuleHasItsLicence: by what the programs themselves say they consist of.
func TestEveryLinkedModuleHasItsLicence(t *testing.T) {
	licences := string(readDist(t, licencesName))
	for _, arch := range []string{"amd64", "arm64"} {
		for path, version := range linkedModules(t, arch) {
			require.Regexp(t, regexp.MustCompile("(?m)^"+regexp.QuoteMeta(path+" "+version+": ")+"LICENSE"), licences)
		}
	}
	require.Regexp(t, `(?m)^Go go1\.\d+.*: LICENSE$`, licences)
	require.Contains(t, licences, "Copyright 2009 The Go Authors")
	require.Regexp(t, `(?m)^Gson [0-9.]+, in gantry-java\.jar: copyright\n\n.*\n.*Google Gson$`, licences)
	require.NotContains(t, licences, "gantry/", "ours is in LICENSE")
}

// linkedModules are the modules of others in the programs of an archive, with their versions.
func linkedModules(t *testing.T, arch string) map[string]string {
	t.Helper()
	top := "gantry-1.2.3-linux-" + arch
	all := entries(t, unzipped(t, top+".tar.gz"))
	found := map[string]string{}
	for _, name := range []string{"gantry", "gantry-jetstream"} {
		info, err := buildinfo.Read(bytes.NewReader(all[top+"/"+name].data))
		require.NoError(t, err)
		for _, m := range info.Deps {
			if !strings.HasPrefix(m.Path, "gantry/") {
				require.Nil(t, m.Replace)
				found[m.Path] = m.Version
			}
		}
	}
	require.Greater(t, len(found), 10)
	return found
}

// TestBillListsModulesWorkersAndPrograms: with hashes that can be checked against go.sum, the sources and the archives.
func TestBillListsModulesWorkersAndPrograms(t *testing.T) {
	var bill struct {
		BOMFormat, SpecVersion string
		Metadata               struct{ Timestamp string }
		Components             []struct {
			Type, Group, Name, Version, Purl string
			Hashes                           []struct{ Alg, Content string }
			Properties                       []struct{ Name, Value string }
		}
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	require.NoError(t, json.Unmarshal(readDist(t, "gantry-1.2.3.cdx.json"), &bill))
	require.Equal(t, "CycloneDX", bill.BOMFormat)
	require.Equal(t, "2023-11-14T22:13:20Z", bill.Metadata.Timestamp)
	modules, files, programs, gson := map[string]string{}, map[string]string{}, map[string]string{}, ""
	for _, c := range bill.Components {
		switch c.Type {
		case "library":
			switch {
			case c.Group == "com.google.code.gson":
				gson = c.Purl
			case c.Name != "std":
				modules[c.Name] = c.Version
				require.Equal(t, "pkg:golang/"+c.Name+"@"+c.Version, c.Purl)
				require.Len(t, c.Hashes, 1, c.Name)
				require.Len(t, c.Hashes[0].Content, 64, c.Name)
			}
		case "file":
			files[c.Name] = c.Hashes[0].Content
		case "application":
			for _, p := range c.Properties {
				programs[c.Name+" "+p.Name] = p.Value
			}
		}
	}
	linked := linkedModules(t, "amd64")
	maps.Copy(linked, linkedModules(t, "arm64"))
	require.Equal(t, linked, modules)
	for _, name := range []string{"runtime/worker/nodejs/worker.js", "runtime/worker/python/worker.py"} {
		source, err := os.ReadFile(filepath.Join("..", name))
		require.NoError(t, err)
		require.Equal(t, digest(source), files[name])
	}
	require.Regexp(t, `^pkg:maven/com\.google\.code\.gson/gson@\d+\.\d+`, gson)
	all := entries(t, unzipped(t, "gantry-1.2.3-linux-arm64.tar.gz"))
	require.Equal(t, digest(all["gantry-1.2.3-linux-arm64/"+javaWorker].data), files[javaWorker])
	for _, name := range []string{"gantry", "gantry-jetstream"} {
		require.Equal(t, digest(all["gantry-1.2.3-linux-arm64/"+name].data), programs[name+" gantry:sha256:linux-arm64"])
	}
	for _, d := range bill.Dependencies {
		nats := slices.ContainsFunc(d.DependsOn, func(ref string) bool { return strings.Contains(ref, "nats-server") })
		require.Equal(t, d.Ref == "gantry-jetstream", nats, "%s: only the queue's program has the server", d.Ref)
		require.Equal(t, d.Ref == javaWorker, slices.Contains(d.DependsOn, gson), d.Ref)
	}
}
