package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
)

// scaleFew is how many functions are known before the servers are first measured: what exists once for all functions
// belongs to the base, and not to the cost of a function.
const scaleFew = 8

// makeKnown makes functions known and closes each, until there are n.
func (s *scaleRun) makeKnown(ctx context.Context, n int) error {
	var failed, done atomic.Int64
	first := s.made
	err := each(n-first, func(i int) error {
		f := newScaled(s.cluster, knownName(first+i), &s.gate)
		tries, err := f.insist(ctx)
		failed.Add(int64(tries))
		if err == nil {
			err = f.know(ctx)
		}
		f.close()
		if now := done.Add(1); now%max(int64(n)/10, 20) == 0 {
			progress("scale, %d of %d functions known", int64(first)+now, n)
		}
		return err
	})
	if err != nil {
		return err
	}
	if failed.Load() > 0 {
		progress("scale, %d openings failed and were tried again", failed.Load())
	}
	s.made = n
	return nil
}

// know makes all functions known: what is left is what functions without agents cost.
func (s *scaleRun) know(ctx context.Context) (err error) {
	if err := s.makeKnown(ctx, s.sizes.functions); err != nil {
		return err
	}
	progress("scale, idle servers with %d functions known", s.made)
	if s.known, err = s.cluster.idle(ctx, &s.scaling); err != nil {
		return err
	}
	if !s.chosen[stepAgents] {
		s.account(s.known, 0)
	}
	return nil
}

// agents opens some of the functions again, and accounts for all.
func (s *scaleRun) agents(ctx context.Context) error {
	if err := s.openAgents(ctx); err != nil {
		return err
	}
	progress("scale, idle servers with %d agents", len(s.open))
	with, err := s.cluster.idle(ctx, &s.scaling)
	if err != nil {
		return err
	}
	s.account(with, len(s.open))
	return nil
}

// openAgents opens agents, unless that has been done: of known functions, if there are any.
func (s *scaleRun) openAgents(ctx context.Context) error {
	if len(s.open) > 0 {
		return nil
	}
	n := s.sizes.agents
	if s.chosen[stepFunctions] {
		n = min(n, s.made)
	}
	for i := range n {
		s.open = append(s.open, newScaled(s.cluster, knownName(i), &s.gate))
	}
	progress("scale, %d agents", n)
	return each(n, func(i int) error {
		_, err := s.open[i].insist(ctx)
		return err
	})
}

func (s *scaleRun) closeAgents() {
	s.gate.release()
	closeAll(s.open)
	s.open = nil
}

// account makes the rows of what servers use that have functions and agents, or only one of them.
func (s *scaleRun) account(with usage, agents int) {
	memory := &cost{s.empty.memory, s.known.memory, with.memory, s.few, s.made, agents}
	processor := &cost{s.empty.processor, s.known.processor, with.processor, s.few, s.made, agents}
	there := fmt.Sprintf("with %d functions known and %d agents", s.made, agents)
	if memory.whole() {
		s.table.add(memory.row("memory of the largest server, MB", "%.0f", atMost(400)))
	}
	s.table.add(
		scaleValue("memory of each of the three servers "+there+", MB", "%.0f", target{}, with.servers...),
		scaleValue(fmt.Sprintf("… base, with %d functions known, MB", s.few), "%.0f", target{}, s.empty.servers...),
	)
	s.table.add(memory.rows("MB of the largest server", "%.3f")...)
	if processor.whole() {
		s.table.add(processor.row("processor of the three servers, idle, % of a core", "%.1f", atMost(15)))
	}
	s.table.add(
		with.processor.row("processor of the three servers, idle, "+there+", % of a core", "%.2f", target{}),
		s.empty.processor.row(fmt.Sprintf("… base, with %d functions known, %%", s.few), "%.2f", target{}),
	)
	s.table.add(processor.rows("% of a core", "%.4f")...)
}

// openings times the opening of queues one at a time: of new functions, and of the same ones again.
func (s *scaleRun) openings(ctx context.Context) error {
	var ms [2][]float64
	for again := range ms {
		for i := range s.scaling.openings {
			if i%20 == 0 {
				progress("scale, opening %d of %d", again*s.scaling.openings+i+1, len(ms)*s.scaling.openings)
			}
			f := newScaled(s.cluster, fmt.Sprintf("opening%d", i), &s.gate)
			took, err := f.start(ctx)
			f.close()
			if err != nil {
				return err
			}
			ms[again] = append(ms[again], millis(took))
		}
		slices.Sort(ms[again])
	}
	for i, what := range []string{"a new function's queue", "a known function's queue"} {
		s.table.add(
			scaleValue(
				fmt.Sprintf("opening %s among %d, p99 of %d, ms", what, s.made, len(ms[i])), "%.0f", atMost(100),
				percentile(ms[i], 99),
			),
			scaleValue("… all, ms", "%.0f", target{}, ms[i]...),
		)
	}
	return nil
}
