package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// kept is the share of another build's figure that a change must reach.
const kept = 0.97

// compareBuilds compares two builds of the agent: throughput, latency and processor time with both servers alive, and
// starts in turn. It shows whether a change costs speed.
func (b *bench) compareBuilds(ctx context.Context) error {
	against, err := filepath.Abs(b.against)
	if err != nil {
		return err
	}
	builds := [2]string{against, b.bootstrap}
	event := func(code, language string) command {
		return func(program, addr, ops string) (args, env []string) {
			_, env = b.agent(addr, ops, none)
			return []string{program}, append(env, "PATH="+filepath.Dir(b.python)+":"+os.Getenv("PATH"),
				"RUNTIME_CODE_ROOT="+b.testdata(code), "GANTRY_RUNTIME="+language)
		}
	}
	for _, kind := range []struct {
		name    string
		command command
	}{
		{"nodejs", event("function", "nodejs")},
		{"python", event("python", "python")},
		{"http", b.httpFunction},
	} {
		if err := b.compareCalls(ctx, builds, kind.name, kind.command); err != nil {
			return err
		}
		if err := b.compareStarts(ctx, builds, kind.name, kind.command); err != nil {
			return err
		}
	}
	return nil
}

// command is the command line of a build of the agent around one function.
type command func(program, addr, ops string) (args, env []string)

func (b *bench) compareCalls(ctx context.Context, builds [2]string, name string, of command) error {
	var servers []*server
	for _, program := range builds {
		addr, ops := freeAddr(), freeAddr()
		args, env := of(program, addr, ops)
		s, err := b.up(ctx, "agent", addr, ops, pinned(pinServer, args), env)
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	addr := freeAddr()
	args, env := b.plain(addr)
	plain, err := b.up(ctx, "plain", addr, "", pinned(pinServer, args), env)
	if err != nil {
		return err
	}
	servers = append(servers, plain)
	for _, s := range servers {
		if _, err := b.wrk(ctx, s, few, pinLoad); err != nil { // a warm-up
			return err
		}
	}
	results := map[load][][]result{}
	for n := range b.rounds {
		progress("against, %s, round %d of %d", name, n+1, b.rounds)
		if err := b.round(ctx, servers, results); err != nil {
			return err
		}
	}
	b.againstRows(name, results)
	return b.stopAll()
}

// againstRows adds the rows of results, which are of the other build, of this one, and of the plain Node.js server.
func (b *bench) againstRows(name string, results map[load][][]result) {
	versus := func(base int, figure string, l load, pick func(result) float64, t target) {
		b.table.add(compare("against", name+": "+figure, column(results[l][base], pick), column(results[l][1], pick), t))
	}
	rate := func(r result) float64 { return r.perSecond }
	own := func(r result) float64 { return r.own }
	tree := func(r result) float64 { return r.tree }
	median := func(r result) float64 { return r.p50 }
	versus(0, "calls/s, 16 connections", few, rate, atLeast(kept))
	versus(0, "calls/s, 64 connections", many, rate, atLeast(kept))
	versus(0, "calls/s, 100 KB, 16 connections", large, rate, atLeast(kept))
	versus(0, "median µs, 1 connection", alone, median, atMost(1/kept))
	versus(0, "CPU µs per call, 16 connections", few, tree, atMost(1/kept))
	versus(0, "… of it the agent's own", few, own, target{})
	versus(0, "… of it the processes of the function", few, func(r result) float64 { return r.tree - r.own }, target{})
	versus(0, "CPU µs per call, 100 KB", large, tree, atMost(1/kept))
	versus(2, "calls/s, 16 connections, to plain Node.js", few, rate, target{})
	versus(2, "calls/s, 64 connections, to plain Node.js", many, rate, target{})
	versus(2, "calls/s, 100 KB, 16 connections, to plain Node.js", large, rate, target{})
	versus(2, "median µs, 1 connection, to plain Node.js", alone, median, target{})
	versus(2, "CPU µs per call, 16 connections, to plain Node.js", few, tree, target{})
	versus(2, "CPU µs per call, 64 connections, to plain Node.js", many, tree, target{})
	versus(2, "CPU µs per call, 1 connection, to plain Node.js", alone, tree, target{})
}

func (b *bench) compareStarts(ctx context.Context, builds [2]string, name string, of command) error {
	var samples [2][]float64
	progress("against, %s, %d starts each", name, b.starts)
	for range b.starts {
		for _, i := range rand.Perm(2) {
			addr, ops := freeAddr(), freeAddr()
			args, env := of(builds[i], addr, ops)
			began := time.Now()
			if _, err := b.up(ctx, "agent", addr, ops, args, env); err != nil {
				return fmt.Errorf("%s: %w", builds[i], err)
			}
			samples[i] = append(samples[i], millis(time.Since(began)))
			if err := b.stopAll(); err != nil {
				return err
			}
		}
	}
	b.table.add(
		compare("against", name+": ms to the first answer", samples[0], samples[1], atMost(1/kept)),
		compare("against", name+": … the fastest start of each", fastest(samples[0]), fastest(samples[1]), target{}))
	return nil
}
