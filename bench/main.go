// Command bench compares the agent with plain servers and prints ratios.
//
//	go run ./bench [-rounds N] [-quick] [-only SECTION,SECTION] [-json FILE] [-bootstrap FILE] [-against FILE]
//	    [-functions N] [-agents N] [-scale-steps STEP,STEP] [-backlog N] [-fill DURATION] [-kill-functions N]
//	    [-kill-events N] [-kill-time DURATION] [-keep]
//
// How to read the table. Every line compares two servers that were alive at the same time and were measured one right
// after the other, in shuffled order, once per round. "base" and "gantry" are the medians over all rounds; min, median
// and max are those of the rounds' own ratios gantry/base, so that a machine that drifts drifts for both. Only ratios
// of one run mean anything; the base column of another day is another machine. The verdict compares the median with the
// target. A MISS is a figure, not a failure: the program exits with 1 only when something went wrong, such as an answer
// that is not 200 or a notification that was neither sent nor counted as dropped. A line without a target is there to
// explain the others. Lines that are no ratios say their unit. Where others (programs or virtual machines) use more
// than a few per cent of the machine, latencies and rates say little; CPU time per call suffers least.
//
// The sections:
//
//   - throughput: a plain Node http server, the agent, and Google's functions-framework, around the same handler, all
//     pinned to CPU 0, wrk on CPU 1.
//   - http: an HTTP function, its server alone, that server behind Go's reverse proxy and behind nginx, and an HTTP
//     function of functions-framework.
//   - streams: a server that streams, alone and as an HTTP function without the platform's limits.
//   - apig: the front in the place of API Gateway, and the function listener, of one agent.
//   - languages: functions in Python and Go and custom runtimes, each with a server written by hand or with another way
//     of its own.
//   - java, php: functions in Java and PHP, each beside the server that comes with the language, around the same
//     handler.
//   - extensions: two agents, one of them with ten extensions; nothing is pinned. First an open loop of 1,000 calls a
//     second, measured from the moment each call was due, then a closed loop that floods the extensions' buffers.
//   - telemetry: two agents, one of them with a subscriber of all telemetry; then a function that prints many lines.
//   - platform: the platform API beside the function listener, and signed calls beside badly signed ones.
//   - async: durable acceptance beside a bare client of the store, and synchronous calls beside a queue that drains.
//   - start: from exec to the first answer, or to the end of the process.
//   - scale: what functions cost three servers that keep the queues of all, and whether these lose requests while they
//     are killed. It runs only if -only names it; -functions and -agents say how many are measured, the rest is
//     accounted; -scale-steps chooses rows. "bench -scale-agent FILE" is the agent of its kill rounds.
//
// Everything measured runs with PATH as its whole environment and its output in /dev/null. With the right to make one,
// the program enters a network namespace of its own first, as the ports of extensions are fixed.
//
// With -quick each section runs once on the smallest budget: this shows that the sections work, not how fast anything
// is.
//
// The table is also written as JSON, to bench/results.json unless -json names another file. Sections that were run
// alone replace those of the same name; each has the facts of its own run. What measures no figures of this tree
// (-quick, -bootstrap, -against) writes only to a file that -json names.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"gantry/bench/results"
	"gantry/test/harness"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == scaleAgentFlag {
		runScaleAgent(os.Args[2])
		return
	}
	b := &bench{}
	only := flag.String(
		"only",
		"",
		"sections to run, separated by commas: "+strings.Join(sectionNames(), ", ")+"; default: all",
	)
	flag.IntVar(&b.rounds, "rounds", 7, "rounds of each comparison, at least 1")
	b.sizes.flags()
	quick := flag.Bool(
		"quick",
		false,
		"run each section once on the smallest budget: shows that it works, not how fast anything is",
	)
	flag.StringVar(&b.bootstrap, "bootstrap", "", "measure this binary instead of building one")
	flag.StringVar(
		&b.against,
		"against",
		"",
		"compare with this other build of the agent, and nothing else, in place of the sections",
	)
	flag.StringVar(
		&b.json,
		"json",
		"",
		`write the results to this file, or "none"; default: bench/results.json, for figures of this tree`,
	)
	flag.BoolVar(&b.keep, "keep", false, "leave the folder of the run, with the logs of servers and agents, and name it")
	flag.Parse()
	b.budget, b.given = full, b.bootstrap != ""
	if *quick {
		b.budget, b.rounds = smallest, 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	chosen, err := b.choice(*only, *quick)
	if err == nil {
		err = provideFramework(ctx, chosen) // needs the network that the next line leaves
	}
	if err == nil {
		harness.OwnNetwork("bench")
		err = b.run(ctx, chosen, *quick)
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// section is one part of the benchmark; it appends its rows to the table.
type section struct {
	name string
	run  func(*bench, context.Context) error
}

func sections() []section {
	return []section{
		{"throughput", (*bench).throughput},
		{"http", (*bench).http},
		{"streams", (*bench).streams},
		{"apig", (*bench).apig},
		{"languages", (*bench).languages},
		{"java", (*bench).java},
		{"php", (*bench).php},
		{"extensions", (*bench).extensions},
		{"telemetry", (*bench).telemetry},
		{"platform", (*bench).platform},
		{"async", (*bench).async},
		{"start", (*bench).start},
		{"replace", (*bench).replace},
		{scaleSection, (*bench).scale},
	}
}

// scaleSection runs only if -only names it: it takes minutes, by its number of functions.
const scaleSection = "scale"

// budget is how much each section measures.
type budget struct {
	starts    int           // of each program
	warmups   int           // at most, in seconds
	openTime  time.Duration // of one run at a fixed rate
	floodTime time.Duration // of the calls beside a flood of bad signatures
	drain     int           // asynchronous events to process
	lines     int           // printed in one call
	calls     int           // for the first bytes of streams, in one round
	sockets   int           // open at once
	scaling   scaleBudget
}

var (
	full = budget{
		starts: 20, warmups: 15, openTime: 2 * time.Second, floodTime: 10 * time.Second, drain: 10_000, lines: 300_000,
		calls: 200, sockets: 500, scaling: fullScale,
	}
	smallest = budget{
		starts: 2, warmups: 1, openTime: 200 * time.Millisecond, floodTime: time.Second, drain: 500, lines: 10_000,
		calls: 10, sockets: 20, scaling: smallestScale,
	}
)

func sectionNames() []string {
	var names []string
	for _, s := range sections() {
		names = append(names, s.name)
	}
	return names
}

// bench is one run.
type bench struct {
	budget
	rounds                  int
	sizes                   scaleSizes
	keep                    bool   // the temporary folder
	root, work              string // the module, a temporary folder
	node, python, bootstrap string // programs
	against                 string // another build of the agent, or empty
	extension, empty        string
	given                   bool   // bootstrap was named, and is not of this tree
	json                    string // the file of results, or empty
	framework               framework
	running                 []*server
	table                   table
	measured                []*results.Section
}

// choice is what the flags ask for.
func (b *bench) choice(only string, quick bool) ([]section, error) {
	if quick {
		if err := b.sizes.shrink(); err != nil {
			return nil, err
		}
	}
	if b.rounds < 1 {
		return nil, fmt.Errorf("-rounds %d: want 1 or more", b.rounds)
	}
	if err := b.sizes.check(); err != nil {
		return nil, err
	}
	chosen, err := choose(only)
	if b.against != "" {
		chosen = []section{{"against", (*bench).compareBuilds}}
	}
	return chosen, err
}

// run measures the chosen sections, and prints and writes what it has, also when a later one failed.
func (b *bench) run(ctx context.Context, chosen []section, quick bool) (err error) {
	b.framework, err = installed()
	defer func() { err = errors.Join(err, os.RemoveAll(b.framework.folder)) }()
	if err != nil {
		return err
	}
	if b.work, err = os.MkdirTemp("", "gantry-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stopAll(), b.removeWork()) }()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if name := b.resultsFile(quick); name != "" {
		earlier, unreadable := readEarlier(name)
		if unreadable != nil {
			return unreadable
		}
		defer func() { err = errors.Join(err, b.write(name, earlier)) }()
	}
	facts := b.facts(ctx, quick)
	defer func() { b.table.print(os.Stdout) }()
	for _, s := range chosen {
		if err := b.measure(ctx, s, facts); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// removeWork removes the temporary folder, unless it is to be kept.
func (b *bench) removeWork() error {
	if b.keep {
		progress("the folder of the run is %s", b.work)
		return nil
	}
	return os.RemoveAll(b.work)
}

// measure runs one section.
func (b *bench) measure(ctx context.Context, s section, facts results.Run) error {
	before, first := readMachine(), len(b.table)
	if err := errors.Join(s.run(b, ctx), b.stopAll()); err != nil {
		return err
	}
	others := readMachine().others(before)
	b.measured = append(b.measured, b.table[first:].record(s.name, facts, others))
	b.table.add(&row{
		section: s.name, figure: "% of the machine used by others", values: []float64{others}, format: "%.0f",
	})
	return nil
}

func choose(only string) ([]section, error) {
	if only == "" {
		return slices.DeleteFunc(sections(), func(s section) bool { return s.name == scaleSection }), nil
	}
	var chosen []section
	for name := range strings.SplitSeq(only, ",") {
		i := slices.Index(sectionNames(), strings.TrimSpace(name))
		if i < 0 {
			return nil, fmt.Errorf("no section %q; there are %s", name, strings.Join(sectionNames(), ", "))
		}
		chosen = append(chosen, sections()[i])
	}
	return chosen, nil
}

// prepare finds the programs and builds those of ours.
func (b *bench) prepare(ctx context.Context) error {
	for _, tool := range []string{"node", "python3", "wrk", "taskset", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	b.node, _ = exec.LookPath("node") // found above
	var err error
	if b.python, err = findPython(ctx); err != nil {
		return err
	}
	module, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil || !filepath.IsAbs(string(module)) || strings.HasPrefix(string(module), os.DevNull) {
		return errors.Join(errors.New("run this inside the module"), err)
	}
	b.root = filepath.Dir(strings.TrimSpace(string(module)))
	if b.bootstrap == "" {
		if b.bootstrap, err = b.build(ctx, "bootstrap"); err != nil {
			return err
		}
	}
	if b.extension, err = b.build(ctx, "bench/extension"); err != nil {
		return err
	}
	b.empty, err = b.build(ctx, "bench/testdata/empty")
	return err
}

// folder makes a folder for one use; sections share names, such as "bare".
func (b *bench) folder(name string) (string, error) { return os.MkdirTemp(b.work, name+"-") }

// build compiles a program of this module as it is released; it keeps its base name, in a folder of its own.
func (b *bench) build(ctx context.Context, dir string) (string, error) {
	return b.buildPackage(ctx, "./"+dir, filepath.Base(dir))
}

// buildPackage is build for any package that go.mod has, under a name.
func (b *bench) buildPackage(ctx context.Context, pkg, name string) (string, error) {
	folder, err := b.folder("build")
	if err != nil {
		return "", err
	}
	out := filepath.Join(folder, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Dir, cmd.Env = b.root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", pkg, err, text)
	}
	return out, nil
}

func (b *bench) testdata(name string) string { return filepath.Join(b.root, "bench", "testdata", name) }

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "# "+format+"\n", args...) }

// pause waits for d; the error is that of an interruption.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
