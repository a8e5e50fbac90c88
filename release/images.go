package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// target is a target of the Dockerfile that becomes an image archive.
type target struct {
	stage    string
	name     string // of the image, as the Dockerfile's head proposes it
	base     string // the build argument that names the base; empty for a target without
	variable string // of make, for the base
}

var targets = []target{
	{stage: "binary", name: "gantry-binary"},
	{stage: "queue-binary", name: "gantry-queue-binary"},
	{stage: "go", name: "gantry-go"},
	{stage: "nodejs", name: "gantry", base: "NODE_IMAGE", variable: "NODE_BASE"},
	{stage: "python", name: "gantry-python", base: "PYTHON_IMAGE", variable: "PYTHON_BASE"},
	{stage: "php", name: "gantry-php", base: "PHP_IMAGE", variable: "PHP_BASE"},
}

// scratchPath is what BuildKit gives images without a base. Kubernetes adds none to an image with variables.
const scratchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// certificates is Debian's bundle, as in the Dockerfile; the bytes of the image "go" depend on it.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

// built is one image with its architecture.
type built struct {
	arch  string
	image v1.Image
}

// writeImages makes one archive for each target.
func (r *release) writeImages() error {
	for _, t := range targets {
		if t.base != "" && r.bases[t.stage] == "" {
			fmt.Fprintf(r.notes, "left out: the image %s, whose base is not here; %s=FILE names an archive of it, such as "+
				"skopeo copy --all docker://IMAGE oci-archive:FILE makes\n", t.stage, t.variable)
			continue
		}
		if err := r.writeImage(t); err != nil {
			return fmt.Errorf("image %s: %w", t.stage, err)
		}
	}
	return nil
}

func (r *release) writeImage(t target) error {
	values := map[string]string{"VERSION": r.version, "COMMIT": r.commit, "SOURCE": r.source}
	bases := map[string]v1.Image{}
	if t.base != "" {
		found, name, err := r.readBase(r.bases[t.stage])
		if err != nil {
			return fmt.Errorf("%s=%s: %w", t.variable, r.bases[t.stage], err)
		}
		bases, values[t.base] = found, name
	}
	d, err := readDockerfile(r.root, values)
	if err != nil {
		return err
	}
	recipe, err := d.recipe(t.stage)
	if err != nil {
		return err
	}
	var images []built
	for _, arch := range r.arches {
		base := bases[arch]
		if t.base == "" {
			if base, err = r.scratch(arch); err != nil {
				return err
			}
		} else if base == nil {
			fmt.Fprintf(r.notes, "left out: the image %s for %s, which its base does not have\n", t.stage, arch)
			continue
		}
		image, err := r.assemble(recipe, base, arch)
		if err != nil {
			return err
		}
		images = append(images, built{arch, image})
	}
	if len(images) == 0 {
		return fmt.Errorf("%s=%s has none of the architectures %s", t.variable, r.bases[t.stage],
			strings.Join(r.arches, ", "))
	}
	return r.writeLayout(t, images)
}

// scratch is an image without layers.
func (r *release) scratch(arch string) (v1.Image, error) {
	return mutate.ConfigFile(empty.Image, &v1.ConfigFile{
		OS: "linux", Architecture: arch, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Env: []string{scratchPath}, WorkingDir: "/"},
	})
}

// assemble adds the layers and the configuration of a recipe to a base. Manifest, configuration and layers have the
// media types of docker: OCI's configuration has no health check, and podman reads one only from docker's.
func (r *release) assemble(recipe *recipe, base v1.Image, arch string) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(base, types.DockerManifestSchema2), types.DockerConfigJSON)
	for _, name := range recipe.content {
		files, err := r.content(name, arch, image)
		if err != nil {
			return nil, err
		}
		layer, err := r.layer(files)
		if err != nil {
			return nil, err
		}
		image, err = mutate.Append(image, mutate.Addendum{
			Layer: layer, MediaType: types.DockerLayer,
			History: v1.History{Created: v1.Time{Time: r.time}, CreatedBy: "make release: " + name},
		})
		if err != nil {
			return nil, err
		}
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Config, config.Created = recipe.over(config.Config), v1.Time{Time: r.time}
	return mutate.ConfigFile(image, config)
}

// layer makes a layer, or returns the one that an earlier image has with the same files.
func (r *release) layer(files []file) (v1.Layer, error) {
	data, err := archive(files, r.time)
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256(data)
	if made, there := r.layers[key]; there {
		return made, nil
	}
	made, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}, tarball.WithMediaType(types.DockerLayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	if r.layers == nil {
		r.layers = map[[sha256.Size]byte]v1.Layer{}
	}
	r.layers[key] = made
	return made, nil
}

// content returns the files of one layer. The agent may be run but not read, as the Dockerfile explains.
func (r *release) content(name, arch string, below v1.Image) ([]file, error) {
	switch name {
	case "agent":
		return []file{{path: "bootstrap", mode: 0o711, data: find(r.programs[arch], "gantry").data}}, nil
	case "queue":
		return []file{{path: "gantry-jetstream", mode: 0o711, data: find(r.programs[arch], "gantry-jetstream").data}}, nil
	case "root":
		bundle, err := os.ReadFile(certificates)
		if err != nil {
			return nil, fmt.Errorf("the image go needs the package ca-certificates on the machine that builds: %w", err)
		}
		return withFolders([]file{
			{path: "etc/group", mode: 0o644, data: []byte(groupLine)},
			{path: "etc/passwd", mode: 0o644, data: []byte(userLine)},
			{path: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: bundle},
			{path: "opt/function/code", mode: fs.ModeDir | 0o755},
			{path: "tmp", mode: fs.ModeDir | fs.ModeSticky | 0o777},
		}), nil
	case "user":
		return userLayer(below)
	}
	return nil, fmt.Errorf("no layer is called %q", name)
}

// The lines that the Dockerfile writes.
const (
	groupLine = "function:x:1003:\n"
	userLine  = "function:x:1003:1003::/tmp:/usr/sbin/nologin\n"
)

// writeLayout writes the archive: an OCI layout with an index of the architectures, and docker's older manifest.json
// beside it, for engines that read only that. There each architecture has a tag of its own.
func (r *release) writeLayout(t target, images []built) error {
	index := mutate.IndexMediaType(empty.Index, types.DockerManifestList)
	var older []map[string]any
	for _, b := range images {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: b.image, Descriptor: v1.Descriptor{
			MediaType: types.DockerManifestSchema2, Platform: &v1.Platform{OS: "linux", Architecture: b.arch},
		}})
		manifest, err := b.image.Manifest()
		if err != nil {
			return err
		}
		var layers []string
		for _, l := range manifest.Layers {
			layers = append(layers, "blobs/sha256/"+l.Digest.Hex)
		}
		older = append(older, map[string]any{
			"Config": "blobs/sha256/" + manifest.Config.Digest.Hex, "Layers": layers,
			"RepoTags": []string{fmt.Sprintf("%s:%s-%s", t.name, r.version, b.arch)},
		})
	}
	folder := filepath.Join(r.work, "image-"+t.stage)
	to, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	err = to.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": r.version,
		"io.containerd.image.name":          "docker.io/library/" + t.name + ":" + r.version,
	}))
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(older)
	if err != nil {
		return err
	}
	if err := to.WriteFile("manifest.json", manifest, 0o644); err != nil {
		return err
	}
	files, err := readTree(folder, func(string) bool { return true })
	if err != nil {
		return err
	}
	for i := range files {
		files[i].mode = 0o644
	}
	data, err := archive(withFolders(files), r.time)
	if err != nil {
		return err
	}
	return r.write(fmt.Sprintf("gantry-%s-image-%s.tar", r.version, t.stage), data)
}
