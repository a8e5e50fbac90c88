package gantry

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestFilesFormNoCycle: inside a package, a file may use those below it, and never one that uses it. An edge is the
// use of an identifier, method or field that another file declares.
func TestFilesFormNoCycle(t *testing.T) {
	for pkg := range ranks {
		for _, circle := range circles(fileEdges(t, pkg)) {
			t.Errorf("%s: these files use each other in a circle: %s", pkg, strings.Join(circle, " "))
		}
	}
}

// nowhere imports every package as an empty one: only what a package declares itself matters here.
type nowhere struct{}

func (nowhere) Import(path string) (*types.Package, error) {
	p := types.NewPackage(path, filepath.Base(path))
	p.MarkComplete()
	return p, nil
}

// fileEdges returns, for each file of a package, the other files whose declarations it uses.
func fileEdges(t *testing.T, pkg string) map[string]map[string]bool {
	t.Helper()
	fset := token.NewFileSet()
	entries, err := os.ReadDir(pkg)
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	edges := map[string]map[string]bool{}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "_test.go") || filepath.Ext(e.Name()) != ".go" {
			continue
		}
		if ok, err := build.Default.MatchFile(pkg, e.Name()); err != nil || !ok {
			continue // a file of another system
		}
		file, err := parser.ParseFile(fset, filepath.Join(pkg, e.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files, edges[e.Name()] = append(files, file), map[string]bool{}
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}}
	conf := types.Config{Importer: nowhere{}, Error: func(error) {}} // what the empty imports lack is an error each
	checked, _ := conf.Check(pkg, fset, files, info)
	nameOf := func(pos token.Pos) string { return filepath.Base(fset.Position(pos).Filename) }
	use := func(at token.Pos, o types.Object) {
		if o == nil || o.Pkg() != checked || !o.Pos().IsValid() {
			return
		}
		if v, ok := o.(*types.Var); (!ok || !v.IsField()) && o.Parent() != nil && o.Parent() != checked.Scope() {
			return // local to a function
		}
		if from, to := nameOf(at), nameOf(o.Pos()); from != to {
			edges[from][to] = true
		}
	}
	for id, o := range info.Uses {
		use(id.Pos(), o)
	}
	for sel, s := range info.Selections {
		use(sel.Sel.Pos(), s.Obj())
	}
	return edges
}

// circles returns the groups of files that can reach each other.
func circles(edges map[string]map[string]bool) (groups [][]string) {
	reach := func(from string) map[string]bool {
		seen, todo := map[string]bool{}, []string{from}
		for len(todo) > 0 {
			file := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for to := range edges[file] {
				if !seen[to] {
					seen[to], todo = true, append(todo, to)
				}
			}
		}
		return seen
	}
	reached := map[string]map[string]bool{}
	for file := range edges {
		reached[file] = reach(file)
	}
	grouped := map[string]bool{}
	for _, file := range slices.Sorted(maps.Keys(edges)) {
		if grouped[file] || !reached[file][file] {
			continue
		}
		var group []string
		for other := range reached[file] {
			if reached[other][file] {
				group, grouped[other] = append(group, other), true
			}
		}
		slices.Sort(group)
		groups = append(groups, group)
	}
	return groups
}
