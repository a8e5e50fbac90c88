package main

import (
	"context"
	"strings"
)

// http compares an HTTP function with its server called directly, and with Go's own reverse proxy before the same
// server. The server and what stands before it share one CPU, as in a container.
func (b *bench) http(ctx context.Context) error {
	servers, err := b.httpServers(ctx)
	if err != nil {
		return err
	}
	for _, s := range servers {
		if err := b.warm(ctx, s); err != nil {
			return err
		}
	}
	results := map[load][][]result{}
	for n := range b.rounds {
		progress("http, round %d of %d", n+1, b.rounds)
		if err := b.round(ctx, servers, results); err != nil {
			return err
		}
	}
	b.httpRows(results)
	return nil
}

// httpServers are the plain server, the reverse proxy before another one, and the agent with a third.
func (b *bench) httpServers(ctx context.Context) ([]*server, error) {
	proxy, err := b.build(ctx, "bench/reverseproxy")
	if err != nil {
		return nil, err
	}
	direct, behind, before, ours := freeAddr(), freeAddr(), freeAddr(), freeAddr()
	port := func(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
	args, env := b.plain(direct)
	plain, err := b.up(ctx, "plain", direct, "", pinned(pinServer, args), env)
	if err != nil {
		return nil, err
	}
	args, env = b.plain(behind)
	if _, err := b.up(ctx, "behind", behind, "", pinned(pinServer, args), env); err != nil {
		return nil, err
	}
	args = []string{proxy, port(before), port(behind)}
	reverse, err := b.up(ctx, "reverseproxy", before, "", pinned(pinServer, args), nil)
	if err != nil {
		return nil, err
	}
	ops, upstream := freeAddr(), freeAddr()
	_, env = b.agent(ours, ops, none)
	args = []string{b.bootstrap, "serve", "--runtime", "http", "--upstream", upstream, "--"}
	args = append(args, b.node, b.testdata("plain.js"), port(upstream))
	agent, err := b.up(ctx, "agent", ours, ops, pinned(pinServer, args), env)
	return []*server{plain, reverse, agent}, err
}

func (b *bench) httpRows(results map[load][][]result) {
	rate := func(r result) float64 { return r.perSecond }
	add := func(figure string, l load, base int, pick func(result) float64, t target) {
		three := results[l]
		b.table.add(compare("http", figure, column(three[base], pick), column(three[2], pick), t))
	}
	const direct, proxy = 0, 1
	median := func(r result) float64 { return r.p50 }
	cpu := func(r result) float64 { return r.tree }
	add("calls/s, 16 connections, to the server itself", few, direct, rate, atLeast(0.5))
	add("calls/s, 64 connections, to the server itself", many, direct, rate, atLeast(0.5))
	add("calls/s, 100 KB, 16 connections, to the server itself", large, direct, rate, target{})
	add("median µs, 1 connection, to the server itself", alone, direct, median, target{})
	add("calls/s, 16 connections, to Go's ReverseProxy", few, proxy, rate, atLeast(1.5))
	add("calls/s, 64 connections, to Go's ReverseProxy", many, proxy, rate, atLeast(1.5))
	add("CPU µs per call, 16 connections, to the server itself", few, direct, cpu, target{})
}
