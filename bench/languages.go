package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// candidate is one server of the languages section: a plain one, or the agent around a function.
type candidate struct {
	name string
	// plain is the command of a server that is no agent; portOf in it stands for the port.
	plain []string
	// code is the agent's code folder, runtime its language, concurrency its GANTRY_CONCURRENCY, if not 64.
	code, runtime string
	concurrency   string
	env           []string // further settings of the agent
	hello         bool     // the function answers with "Hello, "
	warmups       int      // seconds of load before it is measured, on the full budget; at least 1
}

const portOf = "PORT"

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
	return byName(
		&candidate{name: "http.server", plain: []string{b.python, b.testdata("plain.py"), portOf}},
		&candidate{name: "python", code: b.testdata("python"), runtime: "python"},
		&candidate{name: "python, async def", code: b.testdata("pythonloop"), runtime: "python"},
		&candidate{name: "python, one call at a time", code: b.testdata("python"), runtime: "python", concurrency: "1"},
		&candidate{name: "nodejs", code: b.testdata("function"), runtime: "nodejs"},
		&candidate{name: "fasthttp", plain: []string{bare, portOf}},
		&candidate{name: "go", code: function, runtime: "go"},
		&candidate{name: "sdk", code: sdk, runtime: "go"},
		&candidate{name: "custom go 1", code: custom, runtime: "custom", concurrency: "1"},
		&candidate{name: "custom go 64", code: custom, runtime: "custom"},
		&candidate{name: "custom nodejs 1", code: node, runtime: "custom", concurrency: "1", hello: true},
		&candidate{name: "custom nodejs 64", code: node, runtime: "custom", hello: true},
	), nil
}

// byName indexes candidates.
func byName(candidates ...*candidate) map[string]*candidate {
	all := map[string]*candidate{}
	for _, c := range candidates {
		all[c.name] = c
	}
	return all
}

// command is the command line of a candidate.
func (b *bench) command(c *candidate, addr, ops string) (args, env []string) {
	path := "PATH=" + filepath.Dir(b.python) + ":" + os.Getenv("PATH") // not a script that looks for Python
	if c.plain != nil {
		for _, arg := range c.plain {
			args = append(args, strings.ReplaceAll(arg, portOf, port(addr)))
		}
		return args, []string{path}
	}
	_, env = b.agent(addr, ops, none)
	env = append(env, path, "RUNTIME_CODE_ROOT="+c.code, "GANTRY_RUNTIME="+c.runtime)
	if c.concurrency != "" {
		env = append(env, "GANTRY_CONCURRENCY="+c.concurrency)
	}
	return []string{b.bootstrap}, append(env, c.env...)
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

// pair is a comparison of two candidates, or of a candidate with a command that ends.
type pair struct {
	base, ours string
	target     target
}

// languages compares functions in each language with a server written by hand in that language.
func (b *bench) languages(ctx context.Context) error {
	all, err := b.candidates(ctx)
	if err != nil {
		return err
	}
	err = b.rates(ctx, "languages", all, []pair{
		{"http.server", "python", atLeast(2.2)},
		{"http.server", "python, async def", target{}},
		{"http.server", "python, one call at a time", target{}},
		{"nodejs", "python", atLeast(0.95)},
		{"fasthttp", "go", atLeast(0.5)},
		{"fasthttp", "sdk", target{}},
		{"custom go 1", "custom go 64", atLeast(2)},
		{"custom nodejs 1", "custom nodejs 64", atLeast(1.5)},
	})
	if err != nil {
		return err
	}
	ends := map[string][]string{"python3 -c 0": {b.python, "-c", "0"}, "node -e 0": {b.node, "-e", "0"}}
	return b.firstAnswers(ctx, "languages", all, ends, []pair{
		{"http.server", "python", atMost(0.6)},
		{"python3 -c 0", "python", atMost(1.25)},
		{"node -e 0", "nodejs", atMost(1.25)},
		{"fasthttp", "go", atMost(1.25)},
		{"fasthttp", "sdk", atMost(1.25)},
		{"fasthttp", "custom go 1", atMost(1.25)},
	})
}

// rates measures calls per second of all candidates with 16 connections, and stops them.
func (b *bench) rates(ctx context.Context, section string, all map[string]*candidate, pairs []pair) error {
	rates, costs := map[string][]float64{}, map[string][]float64{}
	servers := map[string]*server{}
	names := slices.Sorted(maps.Keys(all))
	for _, name := range names {
		var err error
		if servers[name], err = b.upCandidate(ctx, all[name], true); err != nil {
			return err
		}
	}
	for _, name := range names {
		for range min(max(1, all[name].warmups), b.warmups) {
			if _, err := b.wrk(ctx, servers[name], few, pinLoad); err != nil {
				return err
			}
		}
	}
	for n := range b.rounds {
		progress("%s, round %d of %d", section, n+1, b.rounds)
		for _, i := range rand.Perm(len(names)) {
			r, err := b.wrk(ctx, servers[names[i]], few, pinLoad)
			if err != nil {
				return err
			}
			rates[names[i]] = append(rates[names[i]], r.perSecond)
			costs[names[i]] = append(costs[names[i]], r.tree)
		}
	}
	for _, p := range pairs {
		figure := "calls/s, 16 connections, " + p.ours + " to " + p.base
		b.table.add(
			compare(section, figure, rates[p.base], rates[p.ours], p.target),
			compare(section, "… CPU µs per call", costs[p.base], costs[p.ours], target{}))
	}
	return b.stopAll()
}

// firstAnswers measures from exec to the first answer of candidates, and to the end of the commands in ends.
func (b *bench) firstAnswers(
	ctx context.Context,
	section string,
	all map[string]*candidate,
	ends map[string][]string,
	pairs []pair,
) error {
	kinds := map[string]func() (float64, error){}
	for _, p := range pairs {
		for _, name := range []string{p.base, p.ours} {
			kinds[name] = func() (float64, error) {
				if args := ends[name]; args != nil {
					return ended(ctx, args...)
				}
				return b.firstAnswer(ctx, all[name])
			}
		}
	}
	names := slices.Sorted(maps.Keys(kinds))
	samples := map[string][]float64{}
	progress("%s, %d starts each", section, b.starts)
	for range b.starts {
		for _, i := range rand.Perm(len(names)) {
			ms, err := kinds[names[i]]()
			if err != nil {
				return fmt.Errorf("%s: %w", names[i], err)
			}
			samples[names[i]] = append(samples[names[i]], ms)
		}
	}
	for _, p := range pairs {
		base, ours := samples[p.base], samples[p.ours]
		b.table.add(
			compare(section, "ms to the first answer, "+p.ours+" to "+p.base, base, ours, p.target),
			compare(section, "… the fastest start of each", fastest(base), fastest(ours), target{}))
	}
	return nil
}

// firstAnswer is the time from exec to the first answer, in ms.
func (b *bench) firstAnswer(ctx context.Context, c *candidate) (float64, error) {
	began := time.Now()
	_, err := b.upCandidate(ctx, c, false)
	ms := millis(time.Since(began))
	if err == nil {
		err = b.stopAll()
	}
	return ms, err
}

// findPython returns the interpreter behind the python3 in PATH, which may be a script that looks for it at every
// start.
func findPython(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "python3", "-c", "import sys; print(sys.executable)").Output()
	return strings.TrimSpace(string(out)), err
}
