package main

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"time"
)

// start measures how long programs take from exec to their first answer or to their end.
func (b *bench) start(ctx context.Context) error {
	size, err := os.Stat(b.bootstrap)
	if err != nil {
		return err
	}
	var rss []float64
	kinds := []func() (float64, error){
		func() (float64, error) { return b.startPlain(ctx) },
		func() (float64, error) { return b.startAgent(ctx, &rss) },
		func() (float64, error) { return ended(ctx, b.node, "-e", "0") },
		func() (float64, error) { return ended(ctx, b.empty) },
		func() (float64, error) { return ended(ctx, b.bootstrap, "version") },
		func() (float64, error) { return b.startHTTP(ctx) },
	}
	samples := make([][]float64, len(kinds))
	progress("start, %d times each", b.starts)
	for range b.starts {
		for _, i := range rand.Perm(len(kinds)) {
			ms, err := kinds[i]()
			if err != nil {
				return err
			}
			samples[i] = append(samples[i], ms)
		}
	}
	plain, agent, node, empty, version, http := samples[0], samples[1], samples[2], samples[3], samples[4], samples[5]
	b.table.add(
		compare("start", "ms to the first answer, to plain Node's", plain, agent, atMost(0.9)),
		compare("start", "ms to the first answer, to node -e 0", node, agent, atMost(1.25)),
		compare("start", "… the fastest start of each, to plain Node's", fastest(plain), fastest(agent), target{}),
		compare("start", "… the fastest start of each, to node -e 0", fastest(node), fastest(agent), target{}),
		compare("start", "ms to the first answer, HTTP function, to its server alone", plain, http, atMost(1.15)),
		compare("start", "… the fastest start of each", fastest(plain), fastest(http), target{}),
		&row{
			section: "start",
			figure:  "ms, bootstrap version less an empty main",
			base:    empty,
			ours:    version,
			values:  difference(empty, version),
			target:  atMost(4),
		},
		&row{section: "start", figure: "MB resident, idle agent", values: rss, target: atMost(10)},
		&row{section: "start", figure: "MB, binary", values: []float64{float64(size.Size()) / (1 << 20)}, target: atMost(10)},
	)
	return nil
}

// fastest is the sample that other work on the machine disturbed least.
func fastest(samples []float64) []float64 { return []float64{slices.Min(samples)} }

func difference(base, ours []float64) []float64 {
	var values []float64
	for i := range base {
		values = append(values, ours[i]-base[i])
	}
	return values
}

func (b *bench) startPlain(ctx context.Context) (float64, error) {
	addr := freeAddr()
	args, env := b.plain(addr)
	began := time.Now()
	if _, err := b.up(ctx, "plain", addr, "", args, env); err != nil {
		return 0, err
	}
	ms := millis(time.Since(began))
	return ms, b.stopAll()
}

// startAgent starts the agent as a container does, without an argument, and adds its memory after the answer to rss.
func (b *bench) startAgent(ctx context.Context, rss *[]float64) (float64, error) {
	addr, ops := freeAddr(), freeAddr()
	args, env := b.agent(addr, ops, none)
	began := time.Now()
	s, err := b.up(ctx, "agent", addr, ops, args[:1], env)
	if err != nil {
		return 0, err
	}
	ms := millis(time.Since(began))
	mb, err := s.residentMB()
	if err != nil {
		return 0, err
	}
	*rss = append(*rss, mb)
	return ms, b.stopAll()
}

// startHTTP starts an HTTP function around the plain server.
func (b *bench) startHTTP(ctx context.Context) (float64, error) {
	addr, ops := freeAddr(), freeAddr()
	args, env := b.httpFunction(b.bootstrap, addr, ops)
	began := time.Now()
	if _, err := b.up(ctx, "agent", addr, ops, args, env); err != nil {
		return 0, err
	}
	ms := millis(time.Since(began))
	return ms, b.stopAll()
}

// ended runs a program to its end.
func ended(ctx context.Context, args ...string) (float64, error) {
	began := time.Now()
	_, err := output(ctx, clean(args, nil))
	return millis(time.Since(began)), err
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
