// Command plot makes pages of the results of the benchmark: one HTML page that needs no other file, a drawing for each
// section, and the README's sentences about speed.
//
//	go run ./bench/plot [-in FILE] [-out FOLDER] [-readme FILE]
//
// Without flags it reads bench/results.json and writes docs/bench and README.md, from the folder of the module.
package main

import (
	"errors"
	"flag"
	"fmt"
	"gantry/bench/results"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	in := flag.String("in", "bench/results.json", "results to read")
	out := flag.String("out", "docs/bench", "folder of the page and the drawings")
	readme := flag.String("readme", "README.md", "README whose sentences about speed are written anew; empty: none")
	flag.Parse()
	err := fmt.Errorf("unexpected argument %q: there are only flags", flag.Arg(0))
	if flag.NArg() == 0 {
		err = write(*in, *out, *readme)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

// pageName is the page in the folder.
const pageName = "index.html"

// write makes everything before it writes anything.
func write(in, out, readme string) error {
	f, err := results.Read(in)
	if err != nil {
		return err
	}
	files, err := render(f)
	if err != nil {
		return err
	}
	var text string
	if readme != "" {
		if text, err = newReadme(f, readme); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := results.Replace(filepath.Join(out, name), files[name]); err != nil {
			return err
		}
	}
	if err := removeOld(out, files); err != nil || readme == "" {
		return err
	}
	return results.Replace(readme, []byte(text))
}

func newReadme(f *results.File, name string) (string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	sentences, err := speed(f)
	if err != nil {
		return "", err
	}
	changed, err := withSpeed(string(text), sentences)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return changed, nil
}

// render makes the files of the folder.
func render(f *results.File) (map[string][]byte, error) {
	if len(f.Sections) == 0 {
		return nil, errors.New("the results have no sections: run make bench")
	}
	files := map[string][]byte{}
	for _, s := range f.Sections {
		if strings.ContainsFunc(s.Name, func(r rune) bool { return r < 'a' || r > 'z' }) {
			return nil, fmt.Errorf("section %q: want a name of small letters, which becomes that of a file", s.Name)
		}
		if drawn := plot(s, true); drawn != "" {
			files[s.Name+".svg"] = []byte(made + drawn)
		}
	}
	var err error
	files[pageName], err = page(f)
	return files, err
}

// made marks the drawings that this program may remove.
const made = "<!-- Written by bench/plot from bench/results.json: do not edit. -->\n"

// removeOld removes drawings of sections that are no more.
func removeOld(folder string, files map[string][]byte) error {
	drawings, err := filepath.Glob(filepath.Join(folder, "*.svg"))
	if err != nil {
		return err
	}
	for _, name := range drawings {
		if _, current := files[filepath.Base(name)]; current {
			continue
		}
		text, err := os.ReadFile(name)
		if err == nil && strings.HasPrefix(string(text), made) {
			err = os.Remove(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
