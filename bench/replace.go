package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/valyala/fasthttp"
)

// replace measures how long the call after one that passed its deadline takes: a new worker loads the code for it. With
// a spare interpreter that is all; without one, the interpreter starts too.
func (b *bench) replace(ctx context.Context) error {
	kinds := make([]*server, 2)
	for spares := range kinds {
		addr, ops := freeAddr(), freeAddr()
		args, env := b.agent(addr, ops, none)
		env = append(env, fmt.Sprintf("GANTRY_SPARE=%d", spares), "RUNTIME_TIMEOUT=500ms",
			"RUNTIME_CODE_ROOT="+b.testdata("hang"))
		s, err := b.up(ctx, fmt.Sprintf("spare-%d", spares), addr, ops, args, env)
		if err != nil {
			return err
		}
		kinds[spares] = s
	}
	samples := make([][]float64, 3)
	progress("replace, %d times each", b.starts)
	for range b.starts {
		for _, i := range rand.Perm(len(samples)) {
			var ms float64
			var err error
			if i == len(kinds) {
				ms, err = ended(ctx, b.node, "-e", "0")
			} else {
				ms, err = kinds[i].replaced(ctx, i)
			}
			if err != nil {
				return err
			}
			samples[i] = append(samples[i], ms)
		}
	}
	without, with, node := samples[0], samples[1], samples[2]
	b.table.add(
		compare("replace", "ms to the next answer after a deadline, to node -e 0", node, without, target{}),
		compare("replace", "… with GANTRY_SPARE=1", node, with, atMost(0.5)),
	)
	return nil
}

// replaced has a call pass its deadline, and returns how many milliseconds the next one takes. The spares are there
// before.
func (s *server) replaced(ctx context.Context, spares int) (float64, error) {
	for began := time.Now(); ; {
		m, err := s.metrics()
		if err != nil {
			return 0, err
		}
		if int(m["gantry_spare_interpreters"]) == spares {
			break
		}
		if time.Since(began) > startLimit {
			return 0, s.problem(fmt.Errorf("has %g spare interpreters after %s", m["gantry_spare_interpreters"], startLimit))
		}
		nap(10 * time.Millisecond)
	}
	nap(100 * time.Millisecond) // a spare counts once it is started: it is ready then
	var request fasthttp.Request
	var answer fasthttp.Response
	request.SetRequestURI("http://" + s.addr + "/invoke")
	request.Header.SetMethod(fasthttp.MethodPost)
	request.SetBodyString("{}")
	if err := fasthttp.DoTimeout(&request, &answer, startLimit); err != nil {
		return 0, s.problem(err)
	}
	if status := answer.StatusCode(); status != fasthttp.StatusGatewayTimeout {
		return 0, s.problem(fmt.Errorf("status %d, want a deadline that passes", status))
	}
	began := time.Now()
	err := s.answers(ctx, 1)
	return millis(time.Since(began)), err
}
