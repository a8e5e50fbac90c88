package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"
)

// stageLines are the instructions of a stage as they stand in the Dockerfile, continued lines joined.
func stageLines(t *testing.T, stage string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	inside := false
	for line := range strings.Lines(regexp.MustCompile(`\\\n\s*`).ReplaceAllString(string(text), "")) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "FROM ") {
			inside = strings.HasSuffix(line, " AS "+stage)
		} else if inside && line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	require.NotEmpty(t, lines, "no stage %s", stage)
	return lines
}

// requireConfiguration compares an image's configuration with the lines of its stage, read independently of the
// release's own parser. base are the variables of the base.
func requireConfiguration(t *testing.T, stage string, config v1.Config, base []string, values map[string]string) {
	t.Helper()
	wanted := v1.Config{Env: base, WorkingDir: "/"}
	list := func(text string) (all []string) {
		require.NoError(t, json.Unmarshal([]byte(text), &all))
		return all
	}
	for _, line := range stageLines(t, stage) {
		instruction, rest, _ := strings.Cut(line, " ")
		switch instruction {
		case "ENV":
			wanted.Env = append(slices.Clone(wanted.Env), strings.Fields(rest)...)
		case "EXPOSE":
			wanted.ExposedPorts = map[string]struct{}{rest + "/tcp": {}}
		case "USER":
			wanted.User = rest
		case "WORKDIR":
			wanted.WorkingDir = rest
		case "STOPSIGNAL":
			wanted.StopSignal = rest
		case "ENTRYPOINT":
			wanted.Entrypoint = list(rest)
		case "CMD":
			require.Equal(t, "[]", rest)
		case "LABEL":
			wanted.Labels = map[string]string{}
			for _, match := range regexp.MustCompile(`(\S+)="([^"]*)"`).FindAllStringSubmatch(rest, -1) {
				wanted.Labels[match[1]] = os.Expand(match[2], func(name string) string { return values[name] })
			}
		case "HEALTHCHECK":
			match := regexp.MustCompile(`^--interval=(\S+) --timeout=(\S+) --start-period=(\S+) --retries=(\d+) CMD (.*)$`).FindStringSubmatch(rest)
			require.NotNil(t, match, rest)
			h := &v1.HealthConfig{Test: append([]string{"CMD"}, list(match[5])...)}
			for i, to := range []*time.Duration{&h.Interval, &h.Timeout, &h.StartPeriod} {
				d, err := time.ParseDuration(match[i+1])
				require.NoError(t, err)
				*to = d
			}
			_, err := fmt.Sscan(match[4], &h.Retries)
			require.NoError(t, err)
			wanted.Healthcheck = h
		case "COPY", "RUN", "ARG":
		default:
			t.Errorf("the test does not know %s", line)
		}
	}
	require.Empty(t, config.Cmd)
	config.Cmd = nil
	require.Equal(t, wanted, config)
}

// opened unpacks an image archive and returns its images by architecture.
func opened(t *testing.T, path string) map[string]v1.Image {
	t.Helper()
	images := map[string]v1.Image{}
	folder := t.TempDir()
	require.NoError(t, unpack(path, folder))
	index, err := layout.ImageIndexFromPath(folder)
	require.NoError(t, err)
	_, err = collect(index, images)
	require.NoError(t, err)
	return images
}

// rootOf is an image's merged file system.
func rootOf(t *testing.T, image v1.Image) map[string]entry {
	t.Helper()
	merged := mutate.Extract(image)
	defer merged.Close()
	data, err := io.ReadAll(merged)
	require.NoError(t, err)
	all := map[string]entry{}
	for path, e := range entries(t, data) {
		all["/"+strings.Trim(path, "/")] = e
	}
	return all
}

func configOf(t *testing.T, image v1.Image) *v1.ConfigFile {
	t.Helper()
	config, err := image.ConfigFile()
	require.NoError(t, err)
	return config
}

var imageValues = map[string]string{"VERSION": version, "COMMIT": "0123abc", "SOURCE": "https://sources.test/gantry"}

// TestImagesWithoutABaseEqualTheDockerfile: configuration, files, modes; one archive has both architectures.
func TestImagesWithoutABaseEqualTheDockerfile(t *testing.T) {
	bundle, err := os.ReadFile(certificates)
	require.NoError(t, err)
	for stage, files := range map[string]map[string]int64{
		"binary":       {"/bootstrap": 0o711},
		"queue-binary": {"/gantry-jetstream": 0o711},
		"go": {
			"/bootstrap": 0o711, "/etc": 0o755, "/etc/group": 0o644, "/etc/passwd": 0o644, "/etc/ssl": 0o755,
			"/etc/ssl/certs": 0o755, "/etc/ssl/certs/ca-certificates.crt": 0o644, "/opt": 0o755,
			"/opt/function": 0o755, "/opt/function/code": 0o755, "/tmp": 0o1777,
		},
	} {
		images := opened(t, filepath.Join(dist, "gantry-1.2.3-image-"+stage+".tar"))
		require.ElementsMatch(t, []string{"amd64", "arm64"}, slices.Collect(maps.Keys(images)))
		for arch, image := range images {
			config := configOf(t, image)
			require.Equal(t, "linux", config.OS)
			require.True(t, config.Created.Equal(at))
			requireConfiguration(t, stage, config.Config, []string{scratchPath}, imageValues)
			modes := map[string]int64{}
			for path, e := range rootOf(t, image) {
				modes[path] = e.Mode
				require.Equal(t, []int{0, 0}, []int{e.Uid, e.Gid}, path)
				switch path {
				case "/bootstrap", "/gantry-jetstream":
					name := strings.Replace(path[1:], "bootstrap", "gantry", 1)
					all := entries(t, unzipped(t, "gantry-1.2.3-linux-"+arch+".tar.gz"))
					require.Equal(t, digest(all["gantry-1.2.3-linux-"+arch+"/"+name].data), digest(e.data))
				case "/etc/passwd":
					require.Equal(t, "function:x:1003:1003::/tmp:/usr/sbin/nologin\n", string(e.data))
				case "/etc/group":
					require.Equal(t, "function:x:1003:\n", string(e.data))
				case "/etc/ssl/certs/ca-certificates.crt":
					require.Equal(t, digest(bundle), digest(e.data))
				}
			}
			if stage == "queue-binary" || stage == "binary" {
				delete(modes, "/")
			}
			require.Equal(t, files, modes, "%s for %s", stage, arch)
		}
	}
}

// TestImageArchiveIsReadByOlderEngines: docker load before version 25 reads manifest.json only.
func TestImageArchiveIsReadByOlderEngines(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		tag, err := name.NewTag("gantry-go:1.2.3-"+arch, name.WeakValidation)
		require.NoError(t, err)
		image, err := tarball.ImageFromPath(filepath.Join(dist, "gantry-1.2.3-image-go.tar"), &tag)
		require.NoError(t, err)
		config := configOf(t, image)
		require.Equal(t, arch, config.Architecture)
		require.Equal(t, []string{"CMD", "/bootstrap", "health"}, config.Config.Healthcheck.Test)
		require.Contains(t, rootOf(t, image), "/bootstrap")
	}
}

// TestImageRunsACustomRuntime: the image "go" as a root folder, with the platform's user, who may not read the agent.
func TestImageRunsACustomRuntime(t *testing.T) {
	needRoot(t)
	folder := t.TempDir()
	require.NoError(t, os.Chmod(folder, 0o755))
	image := opened(t, filepath.Join(dist, "gantry-1.2.3-image-go.tar"))[runtime.GOARCH]
	untar := exec.Command("tar", "-C", folder, "-xp")
	merged := mutate.Extract(image)
	defer merged.Close()
	untar.Stdin = merged
	run(t, untar)
	for _, name := range []string{"dev", "proc"} { // what every engine mounts
		require.NoError(t, os.Mkdir(filepath.Join(folder, name), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(folder, "dev/null"), nil, 0o666))
	program, err := os.ReadFile(filepath.Join(customRuntime(t, runtime.GOARCH, "bootstrap"), "bootstrap"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "opt/function/code/bootstrap"), program, 0o755))
	config := configOf(t, image).Config
	cmd := inRoot(folder, "1003:1003", append(slices.Clone(config.Entrypoint), "invoke", "--event", `{"name":"image"}`)...)
	cmd.Env = append(slices.Clone(config.Env), "PATH="+os.Getenv("PATH")) // the shell's own
	require.Contains(t, run(t, cmd), "Hello, image")
}

// baseImage is a small system for an architecture.
func baseImage(t *testing.T, arch, passwd string) v1.Image {
	t.Helper()
	data, err := archive([]file{
		{path: "etc/passwd", mode: 0o644, data: []byte(passwd)},
		{path: "etc/group", mode: 0o600, data: []byte("root:x:0:\n")},
		{path: "usr/bin/node", mode: 0o755, data: []byte("node")},
	}, at)
	require.NoError(t, err)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	require.NoError(t, err)
	image, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: arch, Config: v1.Config{
		Env: []string{"PATH=/usr/bin", "NODE_VERSION=20"}, Cmd: []string{"node"}, Entrypoint: []string{"entry.sh"}, WorkingDir: "/",
	}})
	require.NoError(t, err)
	image, err = mutate.AppendLayers(image, layer)
	require.NoError(t, err)
	return image
}

// onBase makes the image nodejs on a base and returns the images, what was said, and the error.
func onBase(t *testing.T, from string) (map[string]v1.Image, string, error) {
	t.Helper()
	r := newRelease("..", t.TempDir())
	said := &bytes.Buffer{}
	r.work, r.notes, r.bases["nodejs"] = t.TempDir(), said, from
	r.programs = map[string][]file{}
	for _, arch := range r.arches {
		r.programs[arch] = []file{{path: "gantry", mode: 0o755, data: []byte("agent for " + arch)}}
	}
	if err := r.writeImage(targets[slices.IndexFunc(targets, func(t target) bool { return t.stage == "nodejs" })]); err != nil {
		return nil, said.String(), err
	}
	return opened(t, filepath.Join(r.out, "gantry-1.2.3-image-nodejs.tar")), said.String(), nil
}

// TestImageOnABaseEqualsTheDockerfile: from an OCI layout, from its archive, and from an archive of docker save.
func TestImageOnABaseEqualsTheDockerfile(t *testing.T) {
	const root = "root:x:0:0::/root:/bin/sh\n"
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: baseImage(t, "amd64", root)}, mutate.IndexAddendum{Add: baseImage(t, "arm64", root)})
	folder := filepath.Join(t.TempDir(), "layout")
	to, err := layout.Write(folder, empty.Index)
	require.NoError(t, err)
	require.NoError(t, to.AppendIndex(index, layout.WithAnnotations(map[string]string{"io.containerd.image.name": "node:20-test"})))
	inArchive := filepath.Join(t.TempDir(), "base.tar")
	run(t, exec.Command("tar", "-C", folder, "-cf", inArchive, "."))
	saved := filepath.Join(t.TempDir(), "saved.tar")
	tag, err := name.NewTag("node:20-test", name.WeakValidation)
	require.NoError(t, err)
	require.NoError(t, tarball.WriteToFile(saved, tag, baseImage(t, "arm64", root)))

	for _, from := range []string{folder, inArchive, saved} {
		images, said, err := onBase(t, from)
		require.NoError(t, err)
		if from == saved {
			require.Contains(t, said, "left out: the image nodejs for amd64, which its base does not have")
			require.Len(t, images, 1)
		} else {
			require.Empty(t, said)
			require.Len(t, images, 2)
		}
		for arch, image := range images {
			values := maps.Clone(imageValues)
			values["NODE_IMAGE"] = "node:20-test"
			if from == saved {
				values["NODE_IMAGE"] = configOf(t, image).Config.Labels["org.opencontainers.image.base.name"]
				require.Contains(t, values["NODE_IMAGE"], "node:20-test")
			}
			requireConfiguration(t, "nodejs", configOf(t, image).Config, []string{"PATH=/usr/bin", "NODE_VERSION=20"}, values)
			all := rootOf(t, image)
			require.Equal(t, "agent for "+arch, string(all["/bootstrap"].data))
			require.Equal(t, int64(0o711), all["/bootstrap"].Mode)
			require.Equal(t, root+userLine, string(all["/etc/passwd"].data))
			require.Equal(t, "root:x:0:\n"+groupLine, string(all["/etc/group"].data))
			require.Equal(t, int64(0o600), all["/etc/group"].Mode, "the base's own mode")
			require.Equal(t, byte(tar.TypeDir), all["/opt/function/code"].Typeflag)
			require.Equal(t, "node", string(all["/usr/bin/node"].data))
		}
	}
}

// TestImageKeepsAUser1003OfItsBase: as the Dockerfile's RUN does.
func TestImageKeepsAUser1003OfItsBase(t *testing.T) {
	const users = "root:x:0:0::/root:/bin/sh\nmine:x:1003:1003::/home/mine:/bin/sh\n"
	saved := filepath.Join(t.TempDir(), "base.tar")
	tag, err := name.NewTag("mine:1", name.WeakValidation)
	require.NoError(t, err)
	require.NoError(t, tarball.WriteToFile(saved, tag, baseImage(t, "amd64", users)))
	images, _, err := onBase(t, saved)
	require.NoError(t, err)
	require.Equal(t, users, string(rootOf(t, images["amd64"])["/etc/passwd"].data))
}

// TestBadBaseIsNamedWithItsVariable: a missing file, one that is no archive, and one for another architecture.
func TestBadBaseIsNamedWithItsVariable(t *testing.T) {
	folder := t.TempDir()
	text := filepath.Join(folder, "text")
	require.NoError(t, os.WriteFile(text, bytes.Repeat([]byte("no archive\n"), 100), 0o600))
	other := filepath.Join(folder, "other.tar")
	tag, err := name.NewTag("other:1", name.WeakValidation)
	require.NoError(t, err)
	require.NoError(t, tarball.WriteToFile(other, tag, baseImage(t, "riscv64", "root:x:0:0::/root:/bin/sh\n")))
	for from, wanted := range map[string]string{
		filepath.Join(folder, "missing"): "no such file",
		text:                             "not an uncompressed tar archive of an image",
		folder:                           "neither an OCI layout nor an archive of docker save",
		other:                            "has none of the architectures amd64, arm64",
	} {
		_, _, err := onBase(t, from)
		require.ErrorContains(t, err, wanted)
		require.ErrorContains(t, err, "NODE_BASE="+from)
	}
}

// TestImagesLeftOutAreSaid: without their bases, each with the variable that adds it.
func TestImagesLeftOutAreSaid(t *testing.T) {
	for stage, variable := range map[string]string{"nodejs": "NODE_BASE=FILE", "python": "PYTHON_BASE=FILE", "php": "PHP_BASE=FILE"} {
		require.Regexp(t, "(?m)^left out: the image "+stage+", whose base is not here; "+variable+" names an archive of it", notes.String())
	}
}

// TestDockerfileWithoutACounterpartIsRefused: a change there must not be missing in the archives.
func TestDockerfileWithoutACounterpartIsRefused(t *testing.T) {
	text, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	for _, change := range []struct{ old, new, wanted string }{
		{"chmod 0711 /bootstrap", "chmod 0755 /bootstrap", "a RUN that has no counterpart here: chmod 0755 /bootstrap"},
		{"COPY --from=root /root-folder/ /", "COPY --from=root /root-folder/etc /etc", "a COPY that has no counterpart here: COPY"},
		{"STOPSIGNAL SIGTERM", "VOLUME /data", "an instruction that has no counterpart here: VOLUME"},
		{"AS go\n", "AS golang\n", `the Dockerfile has no stage "go"`},
	} {
		folder := t.TempDir()
		require.Contains(t, string(text), change.old)
		changed := strings.ReplaceAll(string(text), change.old, change.new)
		require.NoError(t, os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte(changed), 0o600))
		d, err := readDockerfile(folder, imageValues)
		if err == nil {
			_, err = d.recipe("go")
		}
		require.ErrorContains(t, err, change.wanted)
	}
}
