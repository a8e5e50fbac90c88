package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	seats     = 10
	firstPort = 8081

	openRate = 1000
	// drainLimit is how long buffered notifications may take to arrive.
	drainLimit = 10 * time.Second
)

// extensions compares two agents: without and with ten extensions.
func (b *bench) extensions(ctx context.Context) error {
	folder, err := b.extensionFolder()
	if err != nil {
		return err
	}
	var pair [2]*server
	for i, dir := range []string{none, folder} {
		addr, ops := freeAddr(), freeAddr()
		args, env := b.agent(addr, ops, dir)
		if pair[i], err = b.up(ctx, "agent", addr, ops, args, env); err != nil {
			return err
		}
	}
	for i, want := range []float64{0, seats} {
		m, err := pair[i].metrics()
		if err != nil {
			return err
		}
		if n := m["gantry_extensions_registered"]; n != want {
			return pair[i].problem(fmt.Errorf("%g extensions registered, want %g", n, want))
		}
	}
	if err := b.openLoops(ctx, pair); err != nil {
		return err
	}
	return b.closedLoops(ctx, pair)
}

// extensionFolder holds one binary under ten names.
func (b *bench) extensionFolder() (string, error) {
	folder, err := b.folder("extensions")
	if err != nil {
		return "", err
	}
	for i := range seats {
		if err := os.Symlink(b.extension, filepath.Join(folder, "extension"+strconv.Itoa(firstPort+i))); err != nil {
			return "", err
		}
	}
	return folder, nil
}

// openLoops measures latencies at a rate that leaves the machine idle time.
func (b *bench) openLoops(ctx context.Context, pair [2]*server) error {
	loops := [2]*openLoop{newOpenLoop(pair[0]), newOpenLoop(pair[1])}
	var p50, p99, cpu [2][]float64
	var lost []float64
	for n := range b.rounds + 1 { // the first is a warm-up
		progress("extensions, open loop, round %d of %d", n, b.rounds)
		before, err := pair[1].drained(ctx)
		if err != nil {
			return err
		}
		for _, i := range rand.Perm(2) {
			ownBefore, _, cpuErr := pair[i].cpu()
			took, err := loops[i].run(ctx, openRate, b.openTime)
			own, _, cpuErr2 := pair[i].cpu()
			if err := errors.Join(err, cpuErr, cpuErr2); err != nil {
				return pair[i].problem(err)
			}
			if n == 0 {
				continue
			}
			p50[i] = append(p50[i], micros(percentile(took, 50)))
			p99[i] = append(p99[i], micros(percentile(took, 99)))
			cpu[i] = append(cpu[i], micros(own-ownBefore)/float64(len(took)))
		}
		after, err := pair[1].drained(ctx)
		if err != nil {
			return err
		}
		if n > 0 {
			lost = append(lost, after.drops-before.drops+after.failures-before.failures)
		}
	}
	b.table.add(
		compare("extensions", "median µs, 1,000 calls/s", p50[0], p50[1], atMost(1.3)),
		compare("extensions", "p99 µs, 1,000 calls/s", p99[0], p99[1], atMost(2)),
		&row{
			section: "extensions",
			figure:  "notifications lost, 1,000 calls/s",
			values:  lost,
			target:  atMost(0),
			format:  "%.0f",
		},
		compare("extensions", "agent's CPU µs per call, 1,000 calls/s", cpu[0], cpu[1], target{}),
	)
	return nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// closedLoops measures the throughput when the extensions cannot keep up, and checks that every notification is
// counted.
func (b *bench) closedLoops(ctx context.Context, pair [2]*server) error {
	var rate [2][]float64
	var dropped, accounted []float64
	for n := range b.rounds {
		progress("extensions, closed loop, round %d of %d", n+1, b.rounds)
		before, err := pair[1].drained(ctx)
		if err != nil {
			return err
		}
		for _, i := range rand.Perm(2) {
			r, err := b.wrk(ctx, pair[i], few, "")
			if err != nil {
				return err
			}
			rate[i] = append(rate[i], r.perSecond)
			if _, err := pair[1].drained(ctx); err != nil {
				return err
			}
		}
		after, err := pair[1].drained(ctx)
		if err != nil {
			return err
		}
		notified := seats * (after.calls - before.calls)
		dropped = append(dropped, 100*(after.drops-before.drops)/notified)
		accounted = append(accounted, (after.notifications-before.notifications+after.drops-before.drops)/notified)
	}
	b.table.add(
		compare("extensions", "calls/s, closed loop, 16 connections", rate[0], rate[1], target{}),
		&row{section: "extensions", figure: "% of notifications dropped, closed loop", values: dropped, format: "%.1f"},
		&row{
			section: "extensions",
			figure:  "notifications + drops per 10 × calls",
			values:  accounted,
			target:  atLeast(1),
			format:  "%.4f",
		},
	)
	return received(pair[1])
}

// counts are an agent's counters, over all extensions.
type counts struct{ calls, notifications, failures, drops float64 }

// drained waits until every notification was sent or dropped. That this happens is part of what is measured.
func (s *server) drained(ctx context.Context) (counts, error) {
	for began := time.Now(); ; {
		m, err := s.metrics()
		if err != nil {
			return counts{}, err
		}
		c := counts{
			m["gantry_invocations_total"],
			m["gantry_notifications_total"],
			m["gantry_notification_failures_total"],
			m["gantry_notification_drops_total"],
		}
		if m["gantry_invocations_in_flight"] == 0 && c.notifications+c.drops == seats*c.calls {
			return c, nil
		}
		if time.Since(began) > drainLimit {
			return c, s.problem(fmt.Errorf("%g calls, but %g notifications and %g drops", c.calls, c.notifications, c.drops))
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return c, err
		}
	}
}

// received checks that the extensions got the notifications that the agent counted as sent.
func received(s *server) error {
	m, err := s.metrics()
	if err != nil {
		return err
	}
	sent, seen := m["gantry_notifications_total"]-m["gantry_notification_failures_total"], 0.0
	for i := range seats {
		_, body, err := fasthttp.Get(nil, fmt.Sprintf("http://127.0.0.1:%d/count", firstPort+i))
		if err != nil {
			return err
		}
		n, err := strconv.ParseFloat(string(body), 64)
		if err != nil {
			return err
		}
		seen += n
	}
	if seen < sent {
		return fmt.Errorf("the agent sent %g notifications, the extensions saw %g", sent, seen)
	}
	return nil
}

// metrics reads the agent's metrics; series that differ in labels only are added up.
func (s *server) metrics() (map[string]float64, error) {
	status, body, err := fasthttp.Get(nil, "http://"+s.ops+"/metrics")
	if err != nil || status != fasthttp.StatusOK {
		return nil, s.problem(errors.Join(err, fmt.Errorf("metrics: status %d", status)))
	}
	sums := map[string]float64{}
	for line := range strings.Lines(string(body)) {
		fields := strings.Fields(line)
		if len(fields) != 2 || fields[0] == "#" {
			continue
		}
		name, _, _ := strings.Cut(fields[0], "{")
		if v, err := strconv.ParseFloat(fields[1], 64); err == nil {
			sums[name] += v
		}
	}
	return sums, nil
}
