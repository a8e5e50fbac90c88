package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // registers the format
	packagefiles "github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm" // registers the format
)

// summary is the one line that package managers show.
const summary = "Runs FunctionGraph functions and their extensions in any container"

// description is what package managers show of a package; its first line is a summary.
const description = summary + `
It loads a function for Node.js, Python, Java, PHP or Go unmodified, or runs
a custom runtime, and behaves as the cloud does: results, errors, headers,
log, limits.`

// documents is where a package keeps what is read, not run.
const documents = "usr/share/doc/gantry"

// packed are the files of a package. It has no script, and owns no folder that data is kept in: an upgrade or a removal
// cannot touch a queue. /usr/bin/bootstrap is not among them, as other programs have that name, and a package manager
// refuses a package whose file belongs to another one; the link in /usr/lib/gantry is what code folders and images are
// given.
func (r *release) packed(arch, format string) ([]file, error) {
	files := below("usr/bin", r.programs[arch])
	files = append(files,
		file{path: "usr/lib/gantry/bootstrap", link: "../../bin/gantry"},
		file{path: "usr/lib/gantry/" + javaWorker, mode: 0o644, data: r.java.data})
	files = append(files, below(documents, r.shared)...)
	texts := slices.Clone(r.texts)
	if format == "deb" {
		// Debian's own name, and the only document that images without documentation keep.
		both := slices.Concat(find(texts, "LICENSE").data, []byte("\n"), find(texts, licencesName).data)
		texts = []file{find(texts, "README.md"), {path: "copyright", mode: 0o644, data: both}}
	}
	files = append(files, below(documents, texts)...)
	for _, f := range below("usr", r.extras) {
		if within("usr/share/man", f.path) {
			data, err := zipped(f.data)
			if err != nil {
				return nil, err
			}
			f.path, f.data = f.path+".gz", data
		}
		if format == "deb" { // Debian's zsh does not look into the usual folder
			f.path = strings.Replace(f.path, "/zsh/site-functions/", "/zsh/vendor-completions/", 1)
		}
		files = append(files, f)
	}
	return withFolders(files), nil
}

// ours reports whether a package owns a folder: those that only this program uses.
func ours(folder string) bool { return within(documents, folder) || within("usr/lib/gantry", folder) }

// contents writes the files to the disk, where nfpm reads them.
func (r *release) contents(files []file, staging string) (contents packagefiles.Contents, err error) {
	for _, f := range files {
		c := &packagefiles.Content{
			Destination: "/" + f.path,
			FileInfo:    &packagefiles.ContentFileInfo{Owner: "root", Group: "root", Mode: f.mode.Perm(), MTime: r.time},
		}
		switch {
		case f.mode.IsDir():
			if !ours(f.path) {
				continue
			}
			c.Type = packagefiles.TypeDir
		case f.link != "":
			c.Type, c.Source = packagefiles.TypeSymlink, f.link
		default:
			c.Source = filepath.Join(staging, f.path)
			if err := os.MkdirAll(filepath.Dir(c.Source), 0o755); err != nil {
				return nil, err
			}
			if err := os.WriteFile(c.Source, f.data, fs.FileMode(0o600)); err != nil {
				return nil, err
			}
		}
		contents = append(contents, c)
	}
	return contents, nil
}

// writePackages makes a Debian and an RPM package for each architecture.
func (r *release) writePackages() error {
	for _, arch := range r.arches {
		for _, format := range []string{"deb", "rpm"} {
			files, err := r.packed(arch, format)
			if err != nil {
				return err
			}
			contents, err := r.contents(files, filepath.Join(r.work, format+"-"+arch))
			if err != nil {
				return err
			}
			if err := r.writePackage(arch, format, contents); err != nil {
				return fmt.Errorf("%s for %s: %w", format, arch, err)
			}
		}
	}
	return nil
}

// suggested are the packages with what runs the functions of other languages than Node.js, by the package's format.
var suggested = map[string][]string{
	"deb": {"python3", "default-jre-headless", "php-cli"},
	"rpm": {"python3", "java-headless", "php-cli"},
}

func (r *release) writePackage(arch, format string, contents packagefiles.Contents) error {
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "gantry", Arch: arch, Platform: "linux", Version: r.version, Release: "1", MTime: r.time,
		Section: "utils", Priority: "optional", Maintainer: "The Gantry contributors", Description: description,
		License: "Apache-2.0", Homepage: r.source, DisableGlobbing: true,
		Overridables: nfpm.Overridables{
			Contents:   contents,
			Recommends: []string{"nodejs"}, // most functions are for it
			Suggests:   suggested[format],
			RPM:        nfpm.RPM{Summary: summary, BuildHost: "localhost"},
		},
	})
	if err := nfpm.PrepareForPackager(info, format); err != nil {
		return err
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := packager.Package(info, &out); err != nil {
		return err
	}
	return r.write(packager.ConventionalFileName(info), out.Bytes())
}
