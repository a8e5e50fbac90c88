package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// program is one of the two binaries: its name and the package it is built from.
type program struct{ name, pkg string }

var programs = []program{{"gantry", "./bootstrap"}, {"gantry-jetstream", "./jetstream"}}

// fixed are variables of the go command that change its output. The builder's own values would give other bytes.
var fixed = []string{
	"CGO_ENABLED=0", "GOOS=linux", "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOWORK=off",
	"GOEXPERIMENT=", "GOFIPS140=off",
}

// golang runs the go command in the checkout, for an architecture, and returns what it printed.
func (r *release) golang(arch string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = r.root
	cmd.Env = append(append(os.Environ(), fixed...), "GOARCH="+arch)
	return output(cmd)
}

// output runs a command; its error has what the command printed about it.
func output(cmd *exec.Cmd) ([]byte, error) {
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, exit.Stderr)
	}
	return out, err
}

// build compiles both programs for every architecture, as the Makefile and the Dockerfile do.
func (r *release) build() error {
	r.programs = map[string][]file{}
	for _, arch := range r.arches {
		for _, p := range programs {
			to := filepath.Join(r.work, arch, p.name)
			flags := "-s -w -X main.version=" + r.version + " -X main.commit=" + r.commit
			_, err := r.golang(arch, "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", to, p.pkg)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(to)
			if err != nil {
				return err
			}
			r.programs[arch] = append(r.programs[arch], file{path: p.name, mode: 0o755, data: data})
		}
	}
	var err error
	r.modules, err = r.linked()
	return err
}

// native is the path of the agent for the machine that builds, under the name gantry.
func (r *release) native() (string, error) {
	path := filepath.Join(r.work, runtime.GOARCH, programs[0].name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("built on %s, which is none of the release's architectures: %w", runtime.GOARCH, err)
	}
	return path, nil
}

// pkg is what "go list" says about one package.
type pkg struct {
	ImportPath, Dir string
	Standard        bool
	EmbedFiles      []string
	Module          *module
}

// module is a Go module that has packages in the programs.
type module struct {
	Path, Version, Dir, Sum string
	Replace                 *module
	packages                []string // folders of the linked packages
	users                   map[string]bool
}

// modules are what the programs consist of.
type modules struct {
	golang   string // the version of Go
	goroot   string
	foreign  []*module // sorted by path
	embedded []file    // files of ours in the programs, such as the sources of the workers
}

// linked asks for the packages of both programs, for every architecture.
func (r *release) linked() (*modules, error) {
	found := &modules{}
	seen := map[string]*module{}
	embedded := map[string]bool{}
	for _, arch := range r.arches {
		for _, p := range programs {
			out, err := r.golang(arch, "list", "-deps", "-json=ImportPath,Dir,Standard,EmbedFiles,Module", p.pkg)
			if err != nil {
				return nil, err
			}
			for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
				var listed pkg
				if err := decoder.Decode(&listed); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					return nil, err
				}
				if err := r.add(found, seen, embedded, &listed, p.name); err != nil {
					return nil, err
				}
			}
		}
	}
	out, err := r.golang(r.arches[0], "env", "GOVERSION", "GOROOT")
	if err != nil {
		return nil, err
	}
	found.golang, found.goroot, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	sortModules(found)
	return found, nil
}

// add records one package of a program.
func (r *release) add(all *modules, seen map[string]*module, embedded map[string]bool, p *pkg, user string) error {
	if p.Standard || p.Module == nil {
		return nil
	}
	if within("gantry", p.Module.Path) {
		for _, name := range p.EmbedFiles {
			path := filepath.Join(p.Dir, name)
			if embedded[path] {
				continue
			}
			embedded[path] = true
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			relative, err := filepath.Rel(r.root, path)
			if err != nil {
				return err
			}
			all.embedded = append(all.embedded, file{path: filepath.ToSlash(relative), data: data})
		}
		return nil
	}
	if p.Module.Replace != nil {
		return fmt.Errorf("module %s is replaced by %s: its licence would be another one's", p.Module.Path, p.Module.Replace.Path)
	}
	m := seen[p.Module.Path]
	if m == nil {
		m = p.Module
		m.users = map[string]bool{}
		seen[m.Path] = m
		all.foreign = append(all.foreign, m)
	}
	m.packages = append(m.packages, p.Dir)
	m.users[user] = true
	return nil
}
