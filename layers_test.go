// Package gantry has no code: it holds the test of the architecture.
package gantry

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// ranks is the layer table of docs/ARCHITECTURE.md: a package imports only lower ranks; equals never import each other.
var ranks = map[string]int{
	"bootstrap": 6, "jetstream": 6,
	"agent":    5,
	"api":      4,
	"instance": 3, "extension/check": 3, "settings": 3,
	"runtime": 2, "extension": 2, "auth": 2, "async": 2, "runtime/golang": 2,
	"timer": 1, "telemetry": 1, "trigger": 1, "function": 1, "async/destination": 1, "jetstream/child": 1, "runtime/language": 1, "runtime/hang": 1, "trigger/apig": 1,
	"timer/zone": 0, "jetstream/control": 0, "expect": 0, "explain": 0, "junit": 0, "context": 0, "fault": 0, "files": 0, "logger": 0, "metrics": 0, "process": 0, "spelling": 0, "function/frame": 0, "function/poll": 0, "function/socket": 0, "function/internal/require": 0, "runtime/worker": 0,
}

// homes are the dangers with one home each: an import, or a call, and the packages that may have it.
var homes = []struct {
	imported, called string
	packages         []string
	why              string
}{
	{imported: "net/http", packages: []string{"function/poll", "function"}, why: "fasthttp serves and calls, but in what Go functions import"},
	{imported: "net/rpc", packages: []string{}, why: "it links templates and a web page; runtime has a client of its own"},
	{imported: "github.com/valyala/fasthttp", packages: []string{"api", "extension", "extension/check", "async", "async/destination", "bootstrap", "runtime"}, why: "only api serves; extension, async, destinations, the commands and the transport to the user's servers are clients"},
	{imported: "github.com/fasthttp/websocket", packages: []string{"runtime/hang"}, why: "only the client of the inspector needs it"},
	{imported: "github.com/nats-io/nats-server/v2/server", packages: []string{"jetstream"}, why: "the server is a process of its own"},
	{imported: "github.com/nats-io/nats.go", packages: []string{"async", "jetstream"}, why: "only async and the queue's child know NATS"},
	{imported: "github.com/nats-io/nats.go/jetstream", packages: []string{"async"}, why: "only async and the queue's child know NATS"},
	{imported: "os/exec", packages: []string{}, why: "only process starts children, and not with os/exec"},
	{called: "syscall.ForkExec", packages: []string{"process"}, why: "only process starts children"},
	{called: "syscall.StartProcess", packages: []string{}, why: "only process starts children, with ForkExec"},
	{called: "os.StartProcess", packages: []string{}, why: "only process starts children, with ForkExec"},
	{called: "syscall.Kill", packages: []string{}, why: "only process signals, with unix.Kill"},
	{called: "unix.Wait4", packages: []string{"process"}, why: "only process waits for children"},
	{called: "syscall.Wait4", packages: []string{}, why: "only process waits for children, with unix.Wait4"},
	{called: "unix.Tgkill", packages: []string{"process"}, why: "only process signals"},
	{called: "unix.Kill", packages: []string{"process"}, why: "only process signals"},
	{called: "os.Exit", packages: []string{"bootstrap", "jetstream", "function", "function/internal/require"}, why: "only a program ends its process"},
	{called: "os.Getenv", packages: []string{"bootstrap", "function"}, why: "only bootstrap reads the environment"},
	{called: "os.Environ", packages: []string{"bootstrap", "function"}, why: "only bootstrap reads the environment"},
	{called: "os.LookupEnv", packages: []string{"bootstrap", "function"}, why: "only bootstrap reads the environment"},
}

// TestPackagesImportOnlyLowerLayers parses the files itself: a cached answer of the go command once passed after a
// forbidden import was added.
func TestPackagesImportOnlyLowerLayers(t *testing.T) {
	seen := map[string]bool{}
	sourceFiles(t, func(pkg, path string, file *ast.File) {
		if _, known := ranks[pkg]; !known {
			t.Errorf("%s: package %s has no rank", path, pkg)
			return
		}
		seen[pkg] = true
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if sub, ours := strings.CutPrefix(imported, "gantry/"); ours && ranks[sub] >= ranks[pkg] {
				t.Errorf("%s: %s (rank %d) imports %s (rank %d)", path, pkg, ranks[pkg], sub, ranks[sub])
			}
			for _, h := range homes {
				if imported == h.imported && !contains(h.packages, pkg) {
					t.Errorf("%s imports %s: %s", path, imported, h.why)
				}
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok {
				for _, h := range homes {
					if x.Name+"."+sel.Sel.Name == h.called && !contains(h.packages, pkg) {
						t.Errorf("%s uses %s: %s", path, h.called, h.why)
					}
				}
			}
			return true
		})
	})
	for pkg := range ranks {
		if !seen[pkg] {
			t.Errorf("the table names %s, which does not exist", pkg)
		}
	}
}

// TestEveryPackageHasAComment: every package says what it is.
func TestEveryPackageHasAComment(t *testing.T) {
	has := map[string]bool{}
	sourceFiles(t, func(pkg, _ string, file *ast.File) { has[pkg] = has[pkg] || file.Doc != nil })
	for pkg, ok := range has {
		if !ok {
			t.Errorf("package %s has no comment", pkg)
		}
	}
}

// TestEverythingExportedHasAComment: everything exported is explained.
func TestEverythingExportedHasAComment(t *testing.T) {
	sourceFiles(t, func(_, path string, file *ast.File) {
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || receiverExported(d)) {
					t.Errorf("%s: %s has no comment", path, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if ts, ok := spec.(*ast.TypeSpec); ok && ts.Name.IsExported() && d.Doc == nil && ts.Doc == nil {
						t.Errorf("%s: type %s has no comment", path, ts.Name.Name)
					}
				}
			}
		}
	})
}

func receiverExported(d *ast.FuncDecl) bool {
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

// sourceFiles parses every file of the agent's packages, tests and side programs left out.
func sourceFiles(t *testing.T, visit func(pkg, path string, file *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case "examples", "bench", "test", "testdata", "docs", "bin", "release", "dist":
				return fs.SkipDir
			}
			if path != "." && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		visit(filepath.ToSlash(filepath.Dir(path)), path, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}

// rulesOfAsync are the files of async that decide what happens to a request. They know no NATS; what keeps requests
// lies above them (ADR 16).
var rulesOfAsync = []string{
	"attempt.go", "configuration.go", "counts.go", "outcomemessage.go", "record.go", "retry.go", "run.go",
}

func TestRulesOfAsyncKnowNoNATS(t *testing.T) {
	found := 0
	sourceFiles(t, func(pkg, path string, file *ast.File) {
		if pkg != "async" || !contains(rulesOfAsync, filepath.Base(path)) {
			return
		}
		found++
		for _, spec := range file.Imports {
			if strings.Contains(spec.Path.Value, "nats") {
				t.Errorf("%s imports %s: it belongs to the rules", path, spec.Path.Value)
			}
		}
	})
	if found != len(rulesOfAsync) {
		t.Errorf("%d of %d files were found", found, len(rulesOfAsync))
	}
}
