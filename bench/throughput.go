package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// load is what wrk does for one run.
type load struct {
	connections, size int
}

var (
	alone = load{1, 1}
	few   = load{16, 1}
	many  = load{64, 1}
	large = load{16, 100 << 10}
)

// runTime is the length of one wrk run.
const runTime = time.Second

// result is one run of wrk against one server.
type result struct {
	calls     int
	perSecond float64
	p50, p99  float64 // µs
	own, tree float64 // processor time per call, µs
}

// throughput compares the agent with the plain server and with functions-framework, each of them as in a container with
// one CPU.
func (b *bench) throughput(ctx context.Context) error {
	if runtime.NumCPU() < 2 {
		return errors.New("two CPUs are needed, one for the servers and one for the load")
	}
	addr, ops := freeAddr(), freeAddr()
	args, env := b.plain(addr)
	base, err := b.up(ctx, "plain", addr, "", pinned(pinServer, args), env)
	if err != nil {
		return err
	}
	addr = freeAddr()
	args, env = b.agent(addr, ops, none)
	ours, err := b.up(ctx, "agent", addr, ops, pinned(pinServer, args), env)
	if err != nil {
		return err
	}
	servers := []*server{base, ours}
	if b.framework.folder != "" {
		peer, err := b.upFramework(ctx)
		if err != nil {
			return err
		}
		servers = append(servers, peer)
	}
	for _, s := range servers {
		if err := b.warm(ctx, s); err != nil {
			return err
		}
	}
	results := map[load][][]result{}
	for n := range b.rounds {
		progress("throughput, round %d of %d", n+1, b.rounds)
		if err := b.round(ctx, servers, results); err != nil {
			return err
		}
	}
	return b.throughputRows(ours, results)
}

// warm lets a server compile its hot paths, and checks a large answer byte by byte.
func (b *bench) warm(ctx context.Context, s *server) error {
	if err := s.answers(ctx, large.size); err != nil {
		return err
	}
	for _, l := range []load{few, large} {
		if _, err := b.wrk(ctx, s, l, pinLoad); err != nil {
			return err
		}
	}
	return nil
}

// round runs all loads in shuffled order; the servers follow each other, in shuffled order too. results has what came
// of each load, by server.
func (b *bench) round(ctx context.Context, servers []*server, results map[load][][]result) error {
	loads := []load{alone, few, many, large}
	rand.Shuffle(len(loads), func(i, k int) { loads[i], loads[k] = loads[k], loads[i] })
	for _, l := range loads {
		if results[l] == nil {
			results[l] = make([][]result, len(servers))
		}
		for _, i := range rand.Perm(len(servers)) {
			r, err := b.wrk(ctx, servers[i], l, pinLoad)
			if err != nil {
				return err
			}
			results[l][i] = append(results[l][i], r)
		}
	}
	return nil
}

func (b *bench) throughputRows(ours *server, results map[load][][]result) error {
	versus := func(base int, figure string, l load, pick func(result) float64, t target) {
		all := results[l]
		b.table.add(compare("throughput", figure, column(all[base], pick), column(all[1], pick), t))
	}
	add := func(figure string, l load, pick func(result) float64, t target) { versus(0, figure, l, pick, t) }
	rate := func(r result) float64 { return r.perSecond }
	tree := func(r result) float64 { return r.tree }
	add("calls/s, 16 connections", few, rate, atLeast(0.95))
	add("calls/s, 64 connections", many, rate, atLeast(1.2))
	add("calls/s, 100 KB, 16 connections", large, rate, atLeast(0.95))
	add("median µs, 1 connection", alone, func(r result) float64 { return r.p50 }, atMost(1.7))
	add("CPU µs per call, 16 connections", few, tree, atMost(1.25))
	add("… of it the agent's own", few, func(r result) float64 { return r.own }, target{})
	add("CPU µs per call, 1 connection", alone, tree, target{})
	add("CPU µs per call, 64 connections", many, tree, target{})
	add("CPU µs per call, 100 KB", large, tree, target{})
	add("p99 µs, 16 connections", few, func(r result) float64 { return r.p99 }, target{})
	if b.framework.folder == "" {
		b.table.add(b.withoutFramework("throughput"))
	} else {
		versus(2, "calls/s, 16 connections, to functions-framework", few, rate, target{})
		versus(2, "calls/s, 64 connections, to functions-framework", many, rate, target{})
		versus(2, "calls/s, 100 KB, 16 connections, to functions-framework", large, rate, target{})
		versus(2, "median µs, 1 connection, to functions-framework", alone, func(r result) float64 { return r.p50 }, target{})
		versus(2, "CPU µs per call, 16 connections, to functions-framework", few, tree, target{})
	}
	rss, err := ours.residentMB()
	b.table.add(&row{section: "throughput", figure: "MB resident, agent after load", values: []float64{rss}})
	return err
}

func column(results []result, pick func(result) float64) []float64 {
	var samples []float64
	for _, r := range results {
		samples = append(samples, pick(r))
	}
	return samples
}

// wrk runs one load; cpu is where wrk is pinned to, empty for anywhere. An answer that is not 2xx is an error.
func (b *bench) wrk(ctx context.Context, s *server, l load, cpu string) (result, error) {
	return b.wrkAt(ctx, s, l, cpu, "http://"+s.addr+"/invoke", nil)
}

// wrkAt is wrk for another address of the server, with further headers.
func (b *bench) wrkAt(
	ctx context.Context,
	s *server,
	l load,
	cpu, url string,
	header map[string]string,
) (result, error) {
	args := []string{
		"wrk", "-t1", "-c" + strconv.Itoa(l.connections), "--timeout", seconds(starved * runTime),
		"-s", b.testdata("invoke.lua"),
	}
	for name, value := range header {
		args = append(args, "-H", name+": "+value)
	}
	args = append(args, url, "--", strconv.Itoa(l.size))
	var r result
	for length := runTime; length <= starved*runTime; length *= 2 {
		run := slices.Insert(slices.Clone(args), 1, "-d"+seconds(length))
		if cpu != "" {
			run = pinned(cpu, run)
		}
		var err error
		if r, err = s.under(ctx, run); err != nil || r.calls > 0 {
			return r, err
		}
	}
	return r, s.problem(fmt.Errorf("no call ended within %s", starved*runTime))
}

// seconds is a time as wrk takes it.
func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// starved is how many times as long as usual the last run of wrk takes if none before it ended a call, because other
// programs have the processors. Each is twice as long as the one before, as a call may take longer than a run.
const starved = 16

// under runs wrk, and measures the server meanwhile.
func (s *server) under(ctx context.Context, wrk []string) (result, error) {
	ownBefore, treeBefore, err := s.cpu()
	if err != nil {
		return result{}, s.problem(err)
	}
	out, err := output(ctx, clean(wrk, nil))
	if err != nil {
		return result{}, err
	}
	own, tree, err := s.cpu()
	if err != nil {
		return result{}, s.problem(err)
	}
	var r result
	var micros float64
	var bad, broken int
	_, line, _ := strings.Cut(out, "\nresult ")
	if _, err := fmt.Sscan(line, &r.calls, &micros, &r.p50, &r.p99, &bad, &broken); err != nil {
		return result{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	if bad+broken > 0 {
		return result{}, s.problem(
			fmt.Errorf("%d calls, %d answers that are not 2xx, %d broken connections", r.calls, bad, broken),
		)
	}
	r.perSecond = float64(r.calls) / micros * 1e6
	r.own = float64((own - ownBefore).Microseconds()) / float64(r.calls)
	r.tree = float64((tree - treeBefore).Microseconds()) / float64(r.calls)
	return r, nil
}

// output runs a command to its end, or until ctx ends.
func output(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Start(); err != nil {
		return "", err
	}
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, text.String())
	}
	return text.String(), nil
}
