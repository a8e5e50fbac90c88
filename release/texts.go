package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// licencesName is the file with the licences of everything that is linked into the programs.
const licencesName = "THIRD-PARTY-LICENSES"

func sortModules(m *modules) {
	slices.SortFunc(m.foreign, func(a, b *module) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(m.embedded, func(a, b file) int { return cmp.Compare(a.path, b.path) })
}

// isLicence matches the names of files that a module states its terms in.
var isLicence = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([-_.].*)?$`)

// collectTexts reads our README and licence, and makes the file with those of others.
func (r *release) collectTexts() error {
	for _, name := range []string{"README.md", "LICENSE"} {
		data, err := os.ReadFile(filepath.Join(r.root, name))
		if err != nil {
			return err
		}
		r.texts = append(r.texts, file{path: name, mode: 0o644, data: data})
	}
	data, err := licences(r.modules, &r.java)
	if err != nil {
		return err
	}
	r.texts = append(r.texts, file{path: licencesName, mode: 0o644, data: data})
	return r.write(licencesName, data)
}

// licences joins the licence files of all linked modules, of Go and of Gson. The same text stands there once, below the
// names of all that have it.
func licences(m *modules, java *worker) ([]byte, error) {
	var order []string
	names := map[string][]string{}
	add := func(name, text string) {
		text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
		if names[text] == nil {
			order = append(order, text)
		}
		names[text] = append(names[text], name)
	}
	record := func(name, path string) error {
		data, err := os.ReadFile(path)
		if err == nil {
			add(name, string(data))
		}
		return err
	}
	if err := record("Go "+m.golang+": LICENSE", filepath.Join(m.goroot, "LICENSE")); err != nil {
		return nil, err
	}
	for _, mod := range m.foreign {
		paths, err := mod.licences()
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			if err := record(fmt.Sprintf("%s %s: %s", mod.Path, mod.Version, p), filepath.Join(mod.Dir, p)); err != nil {
				return nil, err
			}
		}
	}
	add(java.title(), java.licence)
	var out bytes.Buffer
	fmt.Fprintf(&out, "The programs of this release contain the Go standard library and %d modules, and %s contains Gson.\n"+
		"Their licences follow; the text of Apache-2.0 is also in LICENSE.\n", len(m.foreign), java.path)
	for _, text := range order {
		fmt.Fprintf(&out, "\n%s\n%s\n\n%s\n", strings.Repeat("=", 120), strings.Join(names[text], "\n"), text)
	}
	return out.Bytes(), nil
}

// licences returns the licence files of a module: in its top folder, and in the folders from there to the packages
// that are linked, which may hold code of others. A module without any stops the release.
func (m *module) licences() ([]string, error) {
	folders := map[string]bool{}
	for _, dir := range m.packages {
		relative, err := filepath.Rel(m.Dir, dir)
		if err != nil {
			return nil, err
		}
		for ; ; relative = filepath.Dir(relative) {
			folders[relative] = true
			if relative == "." {
				break
			}
		}
	}
	var found []string
	for folder := range folders {
		entries, err := os.ReadDir(filepath.Join(m.Dir, folder))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.Type().IsRegular() && isLicence.MatchString(e.Name()) && filepath.Ext(e.Name()) != ".go" {
				found = append(found, filepath.Join(folder, e.Name()))
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("module %s %s has no licence file: it may not be given to others", m.Path, m.Version)
	}
	slices.Sort(found)
	return found, nil
}

// extra is a set of files that gantry itself prints or writes, and that are packed with it. To add one, add a row.
type extra struct {
	// path is relative to a prefix such as /usr; for a command that writes several files it is their folder.
	path string
	// args are gantry's; "DIR" stands for a temporary folder that it fills.
	args []string
}

// extras are packed into the archives and packages. A command that this version of gantry lacks is left out, and a line
// says so.
var extras = []extra{
	{"share/bash-completion/completions/gantry", []string{"completion", "bash"}},
	{"share/zsh/site-functions/_gantry", []string{"completion", "zsh"}},
	{"share/fish/vendor_completions.d/gantry.fish", []string{"completion", "fish"}},
	{"share/man/man1", []string{"man", "DIR"}},
}

// collectExtras runs the gantry of this machine once for each row.
func (r *release) collectExtras() error {
	gantry, err := r.native()
	if err != nil {
		return err
	}
	for _, e := range extras {
		files, err := e.make(gantry, r.work)
		if err != nil {
			return err
		}
		if files == nil {
			fmt.Fprintf(r.notes, "left out: %s, as this gantry has no command %q\n", e.path, e.args[0])
		}
		r.extras = append(r.extras, files...)
	}
	return nil
}

// make runs the command of a row. It returns nothing where gantry has no such command.
func (e *extra) make(gantry, work string) ([]file, error) {
	folder, err := os.MkdirTemp(work, "extra-")
	if err != nil {
		return nil, err
	}
	args := slices.Clone(e.args)
	several := false
	for i := range args {
		if args[i] == "DIR" {
			args[i], several = folder, true
		}
	}
	out, err := output(exec.Command(gantry, args...))
	if err != nil && strings.Contains(err.Error(), "unknown command") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !several {
		return []file{{path: e.path, mode: 0o644, data: out}}, nil
	}
	files, err := readTree(folder, func(string) bool { return true })
	if err == nil && len(files) == 0 {
		err = errors.New(strings.Join(e.args, " ") + " wrote nothing")
	}
	return below(e.path, files), err
}

// What a release has beside the programs and their texts: the documents and examples, the Go module that functions use,
// and files that the documents lead to.
var (
	sharedFolders = []string{"docs", "examples", "function"}
	sharedFiles   = []string{
		"CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "Dockerfile", "bench/README.md", "changelog/README.md",
		"test/http/testdata/adapters/aws.js",
	}
)

// collectShared reads these files: what git knows of the folders, without what runs have left there, and without tests.
func (r *release) collectShared() error {
	cmd := exec.Command("git", append([]string{"ls-files", "-z"}, sharedFolders...)...)
	cmd.Dir = r.root
	out, err := output(cmd)
	if err != nil {
		return fmt.Errorf("a release is built from a git checkout: %w", err)
	}
	known := map[string]bool{}
	for name := range strings.SplitSeq(string(out), "\x00") {
		known[name] = !strings.HasSuffix(name, "_test.go") && !strings.Contains(name, "/testdata/")
	}
	for _, top := range sharedFolders {
		files, err := readTree(filepath.Join(r.root, top), func(p string) bool { return known[path.Join(top, p)] })
		if err != nil {
			return err
		}
		r.shared = append(r.shared, below(top, files)...)
	}
	for _, name := range sharedFiles {
		data, err := os.ReadFile(filepath.Join(r.root, name))
		if err != nil {
			return err
		}
		r.shared = append(r.shared, file{path: name, mode: 0o644, data: data})
	}
	return nil
}
