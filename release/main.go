// Command release builds everything that users install, into one folder: archives, Debian and RPM packages, an npm
// package, image archives, licences, a bill of materials and checksums. The same sources, Go version and time make the
// same bytes, wherever the checkout lies. "make release" starts it.
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// release is what all parts of one release share.
type release struct {
	root    string    // the checkout
	out     string    // where the files go
	work    string    // a temporary folder
	version string    // without a leading v
	commit  string    // as the program shows it
	source  string    // where the sources are published; may be empty
	time    time.Time // of every file in every archive
	arches  []string  // GOARCH
	bases   map[string]string
	notes   io.Writer // one line for what was left out

	programs map[string][]file // for each GOARCH, by build
	modules  *modules          // what is linked into the programs
	java     worker            // of functions in Java
	texts    []file            // README and licences
	extras   []file            // completion and manual pages
	shared   []file            // documents and examples

	layers map[[sha256.Size]byte]v1.Layer // by the hash of their tar archive
}

// step is a part of the release; each writes its own files into out.
type step struct {
	name string
	run  func(*release) error
}

// steps are in the order in which they need each other's results.
var steps = []step{
	{"programs", (*release).build},
	{"worker for Java", (*release).buildJava},
	{"licences", (*release).collectTexts},
	{"completion and manual pages", (*release).collectExtras},
	{"documents and examples", (*release).collectShared},
	{"archives", (*release).writeArchives},
	{"packages", (*release).writePackages},
	{"npm package", (*release).writeNPM},
	{"images", (*release).writeImages},
	{"bill of materials", (*release).writeBill},
	{"checksums", (*release).writeSums},
}

func main() {
	r := &release{notes: os.Stderr, arches: []string{"amd64", "arm64"}, bases: map[string]string{}}
	flag.StringVar(&r.root, "root", ".", "the checkout")
	flag.StringVar(&r.out, "out", "dist", "the folder to fill; what an earlier release left there is removed")
	flag.StringVar(&r.version, "version", "", "the version, such as 1.2.3")
	flag.StringVar(&r.commit, "commit", "unknown", "the commit, as the program shows it")
	flag.StringVar(&r.source, "source", "", "where the sources are published, for the labels of images")
	node := flag.String("node-base", "", "the base of the image nodejs: an OCI or docker archive, or an OCI layout")
	python := flag.String("python-base", "", "the same for the image python")
	php := flag.String("php-base", "", "the same for the image php")
	flag.Parse()
	r.bases["nodejs"], r.bases["python"], r.bases["php"] = *node, *python, *php
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err == nil {
		r.time = time.Unix(seconds, 0).UTC()
		err = r.make()
	} else {
		err = fmt.Errorf("SOURCE_DATE_EPOCH is %q, want the time of the release in seconds since 1970",
			os.Getenv("SOURCE_DATE_EPOCH"))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		os.Exit(1)
	}
}

// make runs all steps in a folder beside out, which takes out's place at the end: out never holds half a release.
func (r *release) make() (err error) {
	if r.version == "" {
		return errors.New("-version is missing, such as 1.2.3")
	}
	for _, path := range []*string{&r.root, &r.out} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	if err := mayReplace(r.out); err != nil {
		return err
	}
	final := r.out
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return err
	}
	r.work, err = os.MkdirTemp(filepath.Dir(final), ".release-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.work)) }()
	r.out = filepath.Join(r.work, "dist")
	if err := os.Mkdir(r.out, 0o755); err != nil {
		return err
	}
	for _, s := range steps {
		if err := s.run(r); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if err := os.RemoveAll(final); err != nil {
		return err
	}
	return os.Rename(r.out, final)
}

// mayReplace refuses a folder with anything in it but an earlier release: everything there is removed.
func mayReplace(folder string) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	isSums := func(e os.DirEntry) bool { return e.Name() == sumsName }
	if len(entries) > 0 && !slices.ContainsFunc(entries, isSums) {
		return fmt.Errorf("%s is not empty and has no %s, so it is no earlier release: choose another folder with DIST=",
			folder, sumsName)
	}
	return nil
}

// write puts one file into the release.
func (r *release) write(name string, data []byte) error {
	return os.WriteFile(filepath.Join(r.out, name), data, 0o644)
}
