package main

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/valyala/fasthttp"
)

// apig compares the front in the place of API Gateway with the function listener, of one agent: the same function, the
// same body, which the front wraps in an event, and whose answer it unwraps.
func (b *bench) apig(ctx context.Context) error {
	addr, ops, front := freeAddr(), freeAddr(), freeAddr()
	args, env := b.agent(addr, ops, none)
	env = append(env, "RUNTIME_CODE_ROOT="+b.testdata("gateway"), "GANTRY_APIG_ADDR="+front)
	s, err := b.launch("agent", addr, ops, pinned(pinServer, args), env)
	if err != nil {
		return err
	}
	s.hello = true
	if err := s.answers(ctx, 1); err != nil {
		return err
	}
	status, body, err := fasthttp.Post(nil, "http://"+front+"/a", nil)
	if err != nil || status != fasthttp.StatusOK || string(body) != "Hello, POST" {
		return s.problem(fmt.Errorf("the front: %w, status %d: %.200s", err, status, body))
	}
	urls := [2]string{"http://" + addr + "/invoke", "http://" + front + "/users/7?a=b"}
	var results [2]map[load][]result
	results[0], results[1] = map[load][]result{}, map[load][]result{}
	for n := range b.rounds + 1 { // the first is a warm-up
		progress("apig, round %d of %d", n, b.rounds)
		for _, l := range []load{alone, few, many, large} {
			for _, i := range rand.Perm(len(urls)) {
				r, err := b.wrkAt(ctx, s, l, pinLoad, urls[i], nil)
				if err != nil {
					return err
				}
				if n > 0 {
					results[i][l] = append(results[i][l], r)
				}
			}
		}
	}
	add := func(figure string, l load, pick func(result) float64, t target) {
		b.table.add(compare("apig", figure, column(results[0][l], pick), column(results[1][l], pick), t))
	}
	rate := func(r result) float64 { return r.perSecond }
	add("calls/s, 16 connections, to /invoke", few, rate, atLeast(0.8))
	add("calls/s, 64 connections, to /invoke", many, rate, atLeast(0.8))
	add("calls/s, 100 KB, 16 connections, to /invoke", large, rate, target{})
	add("median µs, 1 connection, to /invoke", alone, func(r result) float64 { return r.p50 }, target{})
	add("CPU µs per call, 16 connections, to /invoke", few, func(r result) float64 { return r.tree }, target{})
	add("… of it the agent's own", few, func(r result) float64 { return r.own }, target{})
	return nil
}
