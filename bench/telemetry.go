package main

import (
	"context"
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
	lineSize = 80 // bytes of each printed line
)

// telemetry compares two agents: without a subscriber, and with one that takes everything; then it floods the log.
func (b *bench) telemetry(ctx context.Context) error {
	program, err := b.build(ctx, "bench/subscriber")
	if err != nil {
		return err
	}
	folder, err := b.folder("subscriber")
	if err != nil {
		return err
	}
	if err := os.Symlink(program, filepath.Join(folder, "extensionSubscriber")); err != nil {
		return err
	}
	if err := b.subscribed(ctx, folder); err != nil {
		return err
	}
	if err := b.stopAll(); err != nil {
		return err
	}
	return b.flooded(ctx, folder)
}

func (b *bench) subscribed(ctx context.Context, folder string) error {
	var pair [2]*server
	for i, dir := range []string{none, folder} {
		addr, ops := freeAddr(), freeAddr()
		args, env := b.agent(addr, ops, dir)
		var err error
		if pair[i], err = b.up(ctx, "agent", addr, ops, args, env); err != nil {
			return err
		}
	}
	var rate, cpu [2][]float64
	var lost []float64
	for n := range b.rounds + 1 { // the first is a warm-up
		progress("telemetry, round %d of %d", n, b.rounds)
		before, err := pair[1].settled(ctx)
		if err != nil {
			return err
		}
		for _, i := range rand.Perm(2) {
			r, err := b.wrk(ctx, pair[i], many, "")
			if err != nil {
				return err
			}
			if n > 0 {
				rate[i], cpu[i] = append(rate[i], r.perSecond), append(cpu[i], r.own)
			}
		}
		after, err := pair[1].settled(ctx)
		if err != nil {
			return err
		}
		if n > 0 {
			lost = append(lost, 100*(after.drops-before.drops)/(after.events-before.events))
		}
	}
	b.table.add(
		compare("telemetry", "calls/s with a subscriber, 64 connections", rate[0], rate[1], atLeast(0.7)),
		compare("telemetry", "agent's CPU µs per call, 64 connections", cpu[0], cpu[1], target{}),
		&row{section: "telemetry", figure: "% of events dropped, 64 connections", values: lost, format: "%.2f"},
	)
	return pair[1].counted()
}

// flooded measures how fast lines travel from the worker to the subscriber.
func (b *bench) flooded(ctx context.Context, folder string) error {
	addr, ops := freeAddr(), freeAddr()
	args, env := b.agent(addr, ops, folder)
	env = append(env, "RUNTIME_CODE_ROOT="+b.testdata("lines"), "RUNTIME_TIMEOUT=60")
	s, err := b.launch("agent", addr, ops, args, env)
	if err != nil {
		return err
	}
	if err := s.prints(ctx, 100); err != nil {
		return err
	}
	var perSecond, lost, resident []float64
	for n := range b.rounds {
		progress("telemetry, lines, round %d of %d", n+1, b.rounds)
		before, err := s.settled(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := s.prints(ctx, b.lines); err != nil {
			return err
		}
		after, err := s.settled(ctx)
		if err != nil {
			return err
		}
		took := time.Since(began)
		memory, err := s.residentMB()
		if err != nil {
			return err
		}
		perSecond = append(perSecond, (after.delivered-before.delivered)/took.Seconds())
		lost = append(lost, 100*(after.drops-before.drops)/(after.events-before.events))
		resident = append(resident, memory)
	}
	b.table.add(
		&row{
			section: "telemetry",
			figure:  "lines/s from the worker to the subscriber",
			values:  perSecond,
			target:  atLeast(300_000),
			format:  "%.0f",
		},
		&row{section: "telemetry", figure: "% of lines dropped", values: lost, format: "%.2f"},
		&row{section: "telemetry", figure: "agent's memory, MB", values: resident, target: atMost(40), format: "%.1f"},
	)
	return s.counted()
}

// prints has the function print lines, waiting for the agent if it is starting.
func (s *server) prints(ctx context.Context, lines int) error {
	body := fmt.Sprintf(`{"lines":%d,"size":%d}`, lines, lineSize)
	for began := time.Now(); ; {
		req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		req.SetRequestURI("http://" + s.addr + "/invoke")
		req.Header.SetMethod(fasthttp.MethodPost)
		req.SetBodyString(body)
		err := fasthttp.Do(req, resp)
		status, text := resp.StatusCode(), string(resp.Body())
		fasthttp.ReleaseRequest(req)
		fasthttp.ReleaseResponse(resp)
		switch {
		case err == nil && status == fasthttp.StatusOK && text == strconv.Itoa(lines):
			return nil
		case err == nil:
			return s.problem(fmt.Errorf("status %d: %s", status, text))
		case time.Since(began) > startLimit:
			return s.problem(err)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// tally is what became of an agent's telemetry events.
type tally struct{ events, delivered, drops float64 }

// settled waits until every telemetry event was delivered or dropped.
func (s *server) settled(ctx context.Context) (tally, error) {
	for began := time.Now(); ; {
		m, err := s.metrics()
		if err != nil {
			return tally{}, err
		}
		t := tally{
			m["gantry_telemetry_events_total"],
			m["gantry_telemetry_delivered_total"],
			m["gantry_telemetry_drops_total"],
		}
		if m["gantry_invocations_in_flight"] == 0 && t.events == t.delivered+t.drops {
			return t, nil
		}
		if time.Since(began) > drainLimit {
			return t, s.problem(fmt.Errorf("%g events, but %g delivered and %g dropped", t.events, t.delivered, t.drops))
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return t, err
		}
	}
}

// counted asks the subscriber whether it got what the agent says it delivered; reports of drops come on top.
func (s *server) counted() error {
	m, err := s.metrics()
	if err != nil {
		return err
	}
	_, body, err := fasthttp.Get(nil, "http://127.0.0.1:"+strconv.Itoa(firstPort)+"/count")
	if err != nil {
		return err
	}
	seen, err := strconv.ParseFloat(strings.TrimSpace(string(body)), 64)
	if delivered := m["gantry_telemetry_delivered_total"]; err == nil && seen < delivered {
		err = fmt.Errorf("the agent delivered %g events, the subscriber saw %g", delivered, seen)
	}
	return err
}
