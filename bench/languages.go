package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// candidate is one server of the languages section: a plain one, or the agent around a function.
type candidate struct {
	name string
	// plain is the command of a server that is no agent; its last argument will be the port.
	plain []string
	// code is the agent's code folder, runtime its language, concurrency its GANTRY_CONCURRENCY.
	code, runtime string
	concurrency   string
	hello         bool // the function answers with "Hello, "
}

// candidates builds the servers to compare.
func (b *bench) candidates(ctx context.Context) (map[string]*candidate, error) {
	folder := func(pkg, program string) (string, error) {
		built, err := b.build(ctx, pkg)
		if err != nil {
			return "", err
		}
		dir, err := b.folder(filepath.Base(pkg))
		if err != nil {
			return "", err
		}
		return dir, os.Rename(built, filepath.Join(dir, program))
	}
	bare, err := b.build(ctx, "bench/bare")
	if err != nil {
		return nil, err
	}
	function, err := folder("bench/function", "handler")
	if err != nil {
		return nil, err
	}
	custom, err := folder("bench/function", "bootstrap")
	if err != nil {
		return nil, err
	}
	sdk, err := folder("runtime/testdata/sdk", "handler")
	if err != nil {
		return nil, err
	}
	node := filepath.Join(b.root, "examples", "custom", "nodejs")
	all := map[string]*candidate{}
	for _, c := range []*candidate{
		{name: "http.server", plain: []string{b.python, b.testdata("plain.py")}},
		{name: "python", code: b.testdata("python"), runtime: "python", concurrency: "64"},
		{name: "python, async def", code: b.testdata("pythonloop"), runtime: "python", concurrency: "64"},
		{name: "python, one call at a time", code: b.testdata("python"), runtime: "python", concurrency: "1"},
		{name: "nodejs", code: b.testdata("function"), runtime: "nodejs", concurrency: "64"},
		{name: "fasthttp", plain: []string{bare}},
		{name: "go", code: function, runtime: "go", concurrency: "64"},
		{name: "sdk", code: sdk, runtime: "go", concurrency: "64"},
		{name: "custom go 1", code: custom, runtime: "custom", concurrency: "1"},
		{name: "custom go 64", code: custom, runtime: "custom", concurrency: "64"},
		{name: "custom nodejs 1", code: node, runtime: "custom", concurrency: "1", hello: true},
		{name: "custom nodejs 64", code: node, runtime: "custom", concurrency: "64", hello: true},
	} {
		all[c.name] = c
	}
	return all, nil
}

// command is the command line of a candidate.
func (b *bench) command(c *candidate, addr, ops string) (args, env []string) {
	path := "PATH=" + filepath.Dir(b.python) + ":" + os.Getenv("PATH") // not a script that looks for Python
	if c.plain != nil {
		_, port, _ := strings.Cut(addr, ":")
		return append(append([]string{}, c.plain...), port), []string{path}
	}
	_, env = b.agent(addr, ops, none)
	return []string{
		b.bootstrap,
	}, append(
		env,
		path,
		"RUNTIME_CODE_ROOT="+c.code,
		"GANTRY_RUNTIME="+c.runtime,
		"GANTRY_CONCURRENCY="+c.concurrency,
	)
}

// upCandidate starts one and waits for its first answer.
func (b *bench) upCandidate(ctx context.Context, c *candidate, pin bool) (*server, error) {
	addr, ops := freeAddr(), ""
	if c.plain == nil {
		ops = freeAddr()
	}
	args, env := b.command(c, addr, ops)
	if pin {
		args = pinned(pinServer, args)
	}
	s, err := b.launch(strings.ReplaceAll(c.name, " ", "-"), addr, ops, args, env)
	if err != nil {
		return nil, err
	}
	s.hello = c.hello
	return s, s.answers(ctx, 1)
}

// languages compares functions in each language with a server written by hand in that language.
func (b *bench) languages(ctx context.Context) error {
	all, err := b.candidates(ctx)
	if err != nil {
		return err
	}
	rates, costs := map[string][]float64{}, map[string][]float64{}
	servers := map[string]*server{}
	var names []string
	for name, c := range all {
		names = append(names, name)
		if servers[name], err = b.upCandidate(ctx, c, true); err != nil {
			return err
		}
	}
	for n := range b.rounds + 1 {
		progress("languages, round %d of %d", n, b.rounds)
		for _, i := range rand.Perm(len(names)) {
			r, err := b.wrk(ctx, servers[names[i]], few, pinLoad)
			if err != nil {
				return err
			}
			if n > 0 { // the first round warms up
				rates[names[i]] = append(rates[names[i]], r.perSecond)
				costs[names[i]] = append(costs[names[i]], r.tree)
			}
		}
	}
	compared := func(base, ours string, t target) {
		b.table.add(
			compare("languages", "calls/s, 16 connections, "+ours+" to "+base, rates[base], rates[ours], t),
			compare("languages", "… CPU µs per call", costs[base], costs[ours], target{}))
	}
	compared("http.server", "python", atLeast(2.2))
	compared("http.server", "python, async def", target{})
	compared("http.server", "python, one call at a time", target{})
	compared("nodejs", "python", atLeast(0.95))
	compared("fasthttp", "go", atLeast(0.5))
	compared("fasthttp", "sdk", target{})
	compared("custom go 1", "custom go 64", atLeast(2))
	compared("custom nodejs 1", "custom nodejs 64", atLeast(1.5))
	if err := b.stopAll(); err != nil {
		return err
	}
	return b.languageStarts(ctx, all)
}

// languageStarts measures from exec to the first answer.
func (b *bench) languageStarts(ctx context.Context, all map[string]*candidate) error {
	kinds := map[string]func() (float64, error){
		"python3 -c 0": func() (float64, error) { return ended(ctx, b.python, "-c", "0") },
		"node -e 0":    func() (float64, error) { return ended(ctx, b.node, "-e", "0") },
	}
	for _, name := range []string{"http.server", "python", "nodejs", "fasthttp", "go", "sdk", "custom go 1"} {
		kinds[name] = func() (float64, error) {
			began := time.Now()
			_, err := b.upCandidate(ctx, all[name], false)
			ms := millis(time.Since(began))
			if err == nil {
				err = b.stopAll()
			}
			return ms, err
		}
	}
	var names []string
	for name := range kinds {
		names = append(names, name)
	}
	samples := map[string][]float64{}
	progress("languages, %d starts each", b.starts)
	for range b.starts {
		for _, i := range rand.Perm(len(names)) {
			ms, err := kinds[names[i]]()
			if err != nil {
				return fmt.Errorf("%s: %w", names[i], err)
			}
			samples[names[i]] = append(samples[names[i]], ms)
		}
	}
	for _, c := range []struct {
		base, ours string
		target     target
	}{
		{"http.server", "python", atMost(0.6)},
		{"python3 -c 0", "python", atMost(1.25)},
		{"node -e 0", "nodejs", atMost(1.25)},
		{"fasthttp", "go", atMost(1.25)},
		{"fasthttp", "sdk", atMost(1.25)},
		{"fasthttp", "custom go 1", atMost(1.25)},
	} {
		b.table.add(
			compare("languages", "ms to the first answer, "+c.ours+" to "+c.base, samples[c.base], samples[c.ours], c.target),
			compare("languages", "… the fastest start of each", fastest(samples[c.base]), fastest(samples[c.ours]), target{}))
	}
	return nil
}

// findPython returns the interpreter behind the python3 in PATH, which may be a script that looks for it at every
// start.
func findPython(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "python3", "-c", "import sys; print(sys.executable)").Output()
	return strings.TrimSpace(string(out)), err
}
