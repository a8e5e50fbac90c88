package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// readBase reads a base image: an OCI layout, or an archive in OCI's or docker's format. It returns the image for each
// architecture, and the name of the base: what the archive says, or the file's name.
func (r *release) readBase(from string) (map[string]v1.Image, string, error) {
	name := strings.TrimSuffix(filepath.Base(from), filepath.Ext(from))
	folder := from
	if info, err := os.Stat(from); err != nil {
		return nil, "", err
	} else if !info.IsDir() {
		if folder, err = os.MkdirTemp(r.work, "base-"); err != nil {
			return nil, "", err
		}
		if err := unpack(from, folder); err != nil {
			return nil, "", fmt.Errorf("not an uncompressed tar archive of an image: %w", err)
		}
	}
	images := map[string]v1.Image{}
	if _, err := os.Stat(filepath.Join(folder, "oci-layout")); err == nil {
		index, err := layout.ImageIndexFromPath(folder)
		if err != nil {
			return nil, "", err
		}
		named, err := collect(index, images)
		if named != "" {
			name = named
		}
		return images, name, err
	}
	manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(from) })
	if err != nil {
		return nil, "", fmt.Errorf("neither an OCI layout nor an archive of docker save: %w", err)
	}
	for _, d := range manifest {
		if len(d.RepoTags) > 0 {
			name = d.RepoTags[0]
		}
	}
	image, err := tarball.ImageFromPath(from, nil)
	if err != nil {
		return nil, "", err
	}
	return images, name, record(image, images)
}

// collect finds the images of an index, also in an index within it, and the name that an engine gave it.
func collect(index v1.ImageIndex, images map[string]v1.Image) (name string, err error) {
	manifest, err := index.IndexManifest()
	if err != nil {
		return "", err
	}
	for _, d := range manifest.Manifests {
		if full := d.Annotations["io.containerd.image.name"]; full != "" {
			name = full
		}
		switch {
		case d.MediaType.IsIndex():
			inner, err := index.ImageIndex(d.Digest)
			if err != nil {
				return "", err
			}
			if _, err := collect(inner, images); err != nil {
				return "", err
			}
		case d.MediaType.IsImage():
			image, err := index.Image(d.Digest)
			if err != nil {
				return "", err
			}
			if err := record(image, images); err != nil {
				return "", err
			}
		}
	}
	return name, nil
}

// record notes an image for Linux under its architecture.
func record(image v1.Image, images map[string]v1.Image) error {
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	if config.OS == "linux" {
		images[config.Architecture] = image
	}
	return nil
}

// unpack writes the regular files of a tar archive into a folder.
func unpack(from, folder string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	root, err := os.OpenRoot(folder) // no entry leaves it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for r := tar.NewReader(bufio.NewReader(in)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		name := path.Clean(h.Name)
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		out, err := root.Create(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, r)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
}

// isPlatformUser matches a line of /etc/passwd or /etc/group with the id of the platform's user.
var isPlatformUser = regexp.MustCompile(`(?m)^[^:]*:[^:]*:1003:`)

// userLayer is what the Dockerfile's RUN does on a base: the lines for user and group 1003 where they are missing, and
// the code folder.
func userLayer(base v1.Image) (files []file, err error) {
	wanted := map[string]string{"etc/group": groupLine, "etc/passwd": userLine}
	for _, folder := range []string{"opt", "opt/function", "opt/function/code"} {
		files = append(files, file{path: folder, mode: fs.ModeDir | 0o755})
	}
	merged := mutate.Extract(base)
	defer func() { err = errors.Join(err, merged.Close()) }()
	for r := tar.NewReader(merged); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		name := path.Clean(h.Name)
		line, found := wanted[name]
		if !found {
			continue
		}
		delete(wanted, name)
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		if isPlatformUser.Match(text) {
			continue
		}
		if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
			return nil, fmt.Errorf("/%s of the base does not end with a newline: a line would be joined to its last one", name)
		}
		files = append(files, file{path: name, mode: h.FileInfo().Mode().Perm(), data: append(text, line...)})
	}
	for name := range wanted {
		return nil, fmt.Errorf("the base has no /%s, so it is no image of a system", name)
	}
	return files, nil
}
