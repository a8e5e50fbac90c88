package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What the section scale accounts for: this many functions have a configuration and one ended request, and this many of
// them have an agent.
const (
	knownFunctions = 10_000
	withAgents     = 200
)

// scaleLimit bounds a wait for something that takes far less.
const scaleLimit = 30 * time.Second

// scaleSizes are the flags of the section scale.
type scaleSizes struct {
	functions, agents int
	backlog           int
	fill              time.Duration
	steps             string
	kill              killSizes
}

func (z *scaleSizes) flags() {
	flag.IntVar(&z.functions, "functions", 100,
		"scale: functions that are made known, at least 1; with 10000 their cost is measured, otherwise accounted")
	flag.IntVar(&z.agents, "agents", withAgents,
		"scale: functions with an agent, at least 1; at most as many as are known, if these are measured")
	flag.IntVar(&z.backlog, "backlog", 1_000_000,
		fmt.Sprintf("scale: queued events of one function, 1 to %d", scaleMost))
	flag.DurationVar(&z.fill, "fill", 3*time.Minute,
		"scale: time to queue the events of -backlog; what is queued then is the backlog, and the table says how many")
	flag.StringVar(&z.steps, "scale-steps", "",
		"scale: steps to run, separated by commas: "+strings.Join(scaleStepNames(), ", ")+"; default: all")
	flag.IntVar(&z.kill.functions, "kill-functions", 50, "scale: functions of the kill rounds, at least 1")
	flag.IntVar(&z.kill.events, "kill-events", 10_000, "scale: events accepted during the kill rounds, at least 1")
	flag.DurationVar(&z.kill.length, "kill-time", 2*time.Minute, "scale: how long agents and servers are killed")
}

// shrink makes smallest of the sizes that no flag names.
func (z *scaleSizes) shrink() error {
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{
		"functions": "20", "agents": "10", "backlog": "5000",
		"kill-functions": "5", "kill-events": "500", "kill-time": "20s",
	} {
		if given[name] {
			continue
		}
		if err := flag.Set(name, value); err != nil {
			return err
		}
	}
	return nil
}

// check says which flag is wrong.
func (z *scaleSizes) check() error {
	if _, err := z.chosen(); err != nil {
		return err
	}
	switch {
	case z.functions < 1 || z.agents < 1:
		return fmt.Errorf("-functions %d -agents %d: want 1 or more", z.functions, z.agents)
	case z.backlog < 1 || z.backlog > scaleMost || z.fill <= 0:
		return fmt.Errorf("-backlog %d -fill %s: want 1 to %d, and a time", z.backlog, z.fill, scaleMost)
	case z.kill.functions < 1 || z.kill.events < 1 || z.kill.length < killTimeLeast:
		return fmt.Errorf(
			"-kill-functions %d -kill-events %d -kill-time %s: want 1 or more, and a time of at least %s",
			z.kill.functions, z.kill.events, z.kill.length, killTimeLeast,
		)
	}
	return nil
}

// The steps of the section, in their order. Each runs alone, too.
const (
	stepFunctions = "functions"
	stepAgents    = "agents"
	stepOpening   = "opening"
	stepList      = "list"
	stepAccepts   = "accepts"
	stepBacklog   = "backlog"
	stepKill      = "kill"
)

func scaleStepNames() []string {
	return []string{stepFunctions, stepAgents, stepOpening, stepList, stepAccepts, stepBacklog, stepKill}
}

// chosen are the steps to run.
func (z *scaleSizes) chosen() (map[string]bool, error) {
	chosen := map[string]bool{}
	for name := range strings.SplitSeq(z.steps, ",") {
		switch name = strings.TrimSpace(name); {
		case z.steps == "":
			for _, all := range scaleStepNames() {
				chosen[all] = true
			}
		case !slices.Contains(scaleStepNames(), name):
			return nil, fmt.Errorf("-scale-steps: no step %q; there are %s", name, strings.Join(scaleStepNames(), ", "))
		default:
			chosen[name] = true
		}
	}
	return chosen, nil
}

// scaleBudget is how much the section measures.
type scaleBudget struct {
	quiet    time.Duration // after a change, before the servers count as idle: elections, snapshots
	windows  int           // of measuring idle servers, at least 2
	window   time.Duration
	openings int           // one at a time
	listings int           // of one function's records
	starts   int           // fresh functions whose first event is timed
	accepts  time.Duration // of one run of 16 callers
	linger   time.Duration // after the last outcome of the kill rounds: a lease that was lost ends meanwhile
}

var (
	fullScale = scaleBudget{
		quiet: 30 * time.Second, windows: 12, window: 5 * time.Second, openings: 100, listings: 50, starts: 20,
		accepts: 3 * time.Second, linger: 35 * time.Second,
	}
	smallestScale = scaleBudget{
		quiet: 2 * time.Second, windows: 3, window: time.Second, openings: 5, listings: 5, starts: 3,
		accepts: 500 * time.Millisecond, linger: 3 * time.Second,
	}
)

// scaleRun is one run of the section.
type scaleRun struct {
	*bench
	cluster *natsCluster
	chosen  map[string]bool
	gate    gate      // of the open functions
	open    []*scaled // functions with agents
	made    int       // functions that were made known
	few     int       // of these, before the servers were first measured
	empty   usage     // servers with these few
	known   usage     // with those made known
	first   starts    // on servers without functions
}

// scale measures what functions cost three servers that keep the queues of all.
func (b *bench) scale(ctx context.Context) (err error) {
	chosen, err := b.sizes.chosen()
	if err != nil {
		return err
	}
	c, err := b.startCluster(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	s := &scaleRun{bench: b, cluster: c, chosen: chosen}
	defer s.closeAgents()
	if err := s.base(ctx); err != nil {
		return errors.Join(err, c.problem())
	}
	steps := map[string]func(context.Context) error{
		stepFunctions: s.know, stepAgents: s.agents, stepOpening: s.openings, stepList: s.list, stepAccepts: s.accept,
		stepBacklog: s.beside, stepKill: s.kill,
	}
	for _, name := range scaleStepNames() {
		if !chosen[name] {
			continue
		}
		began := time.Now()
		if err := steps[name](ctx); err != nil {
			return fmt.Errorf("step %s: %w", name, errors.Join(err, c.problem()))
		}
		progress("scale, step %s took %s", name, time.Since(began).Round(time.Second))
	}
	return nil
}

// base looks at servers with hardly anything: how soon the first events of functions start, and what the servers use.
func (s *scaleRun) base(ctx context.Context) (err error) {
	if s.chosen[stepBacklog] {
		progress("scale, first events on servers without functions")
		if err := pause(ctx, s.scaling.quiet); err != nil { // the first seconds of a cluster are slower
			return err
		}
		if s.first, err = s.timeStarts(ctx, "base"); err != nil {
			return err
		}
	}
	if s.chosen[stepFunctions] || s.chosen[stepAgents] {
		s.few = min(scaleFew, s.sizes.functions/2)
		if err := s.makeKnown(ctx, s.few); err != nil {
			return err
		}
		progress("scale, idle servers with %d functions known", s.few)
		s.empty, err = s.cluster.idle(ctx, &s.scaling)
		s.known = s.empty
	}
	return err
}

// scaleValue is a row of one or more values in the unit that the figure names.
func scaleValue(figure, format string, t target, values ...float64) *row {
	return &row{section: scaleSection, figure: figure, values: values, target: t, format: format}
}

// scaleRatio is the ratio of the medians of samples, and below it what was measured.
func (s *scaleRun) scaleRatio(figure string, base, ours []float64, t target) {
	s.table.add(&row{
		section: scaleSection, figure: figure, base: base, ours: ours,
		values: []float64{median(ours) / median(base)}, target: t, ratio: true,
	})
}
