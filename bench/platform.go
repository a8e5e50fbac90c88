package main

import (
	"context"
	"errors"
	"fmt"
	"gantry/auth"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	benchAccess, benchSecret = "AKBENCH", "SKBENCH-0123456789abcdef"
	benchUsers               = `{"secret": "0123456789abcdef0123456789abcdef", "users": [{"name": "bench", "actions": ["invoke"], "keys": [{"access": "AKBENCH", "secret": "SKBENCH-0123456789abcdef"}]}]}`
	benchPath                = "/v2/00000000000000000000000000000000/fgs/functions/function/invocations"

	goodRate = 500
	badRate  = 10_000
)

// platform measures the cost of the platform API: for callers of the function listener, for its own callers, and for
// those during a flood of wrong signatures.
func (b *bench) platform(ctx context.Context) error {
	folder, err := b.folder("users")
	if err != nil {
		return err
	}
	users := filepath.Join(folder, "users.json")
	if err := os.WriteFile(users, []byte(benchUsers), 0o600); err != nil {
		return err
	}
	api := freeAddr()
	var pair [2]*server
	for i, extra := range [][]string{nil, {"GANTRY_API_ADDR=" + api, "GANTRY_API_USERS_FILE=" + users}} {
		addr, ops := freeAddr(), freeAddr()
		args, env := b.agent(addr, ops, none)
		var err error
		if pair[i], err = b.up(ctx, "agent", addr, ops, pinned(pinServer, args), append(env, extra...)); err != nil {
			return err
		}
		if err := b.warm(ctx, pair[i]); err != nil {
			return err
		}
	}
	if err := b.listeners(ctx, pair, api); err != nil {
		return err
	}
	return b.flood(ctx, pair[1], api)
}

// signed returns the headers of a call that is signed now, which is good for a quarter of an hour.
func signed(secret string) (map[string]string, error) {
	date, header, err := auth.Sign(
		&auth.Request{Method: fasthttp.MethodPost, Path: []byte(benchPath), Body: []byte(openEvent)},
		benchAccess,
		secret,
		time.Now(),
	)
	return map[string]string{"X-Sdk-Date": date, "Authorization": header}, err
}

// listeners compares listeners: function with function, then the platform API with function.
func (b *bench) listeners(ctx context.Context, pair [2]*server, api string) error {
	header, err := signed(benchSecret)
	if err != nil {
		return err
	}
	var rate, own [3][]float64
	for n := range b.rounds {
		progress("platform, round %d of %d", n+1, b.rounds)
		for _, i := range rand.Perm(3) {
			s := pair[min(i, 1)]
			url, h := "http://"+s.addr+"/invoke", map[string]string(nil)
			if i == 2 {
				url, h = "http://"+api+benchPath, header
			}
			r, err := b.wrkAt(ctx, s, few, pinLoad, url, h)
			if err != nil {
				return err
			}
			rate[i], own[i] = append(rate[i], r.perSecond), append(own[i], r.own)
		}
	}
	b.table.add(
		compare(
			"platform",
			"function listener, platform API off : on, calls/s, 16 connections",
			rate[0],
			rate[1],
			atLeast(0.97),
		),
		compare("platform", "function listener : signed platform API, calls/s, 16 connections", rate[1], rate[2], target{}),
		compare("platform", "… CPU µs per call, the agent's own", own[1], own[2], target{}),
	)
	return nil
}

// flood measures good calls alone and beside a flood of bad ones.
func (b *bench) flood(ctx context.Context, s *server, api string) error {
	good, err := signed(benchSecret)
	bad, badErr := signed("a wrong secret key")
	if err := errors.Join(err, badErr); err != nil {
		return err
	}
	calls := newOpenLoop(&server{addr: api})
	calls.url, calls.header = "http://"+api+benchPath, good
	guesses := newOpenLoop(&server{addr: api})
	guesses.url, guesses.header, guesses.status = calls.url, bad, fasthttp.StatusUnauthorized
	guesses.client.Dial = func(addr string) (net.Conn, error) {
		return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp4", addr)
	}
	progress("platform, %d signed calls a second for %s", goodRate, b.floodTime)
	quiet, err := calls.run(ctx, goodRate, b.floodTime)
	if err != nil {
		return s.problem(err)
	}
	progress("platform, the same beside %d bad signatures a second", badRate)
	ended := make(chan error, 1)
	var floodTook time.Duration
	go func() {
		began := time.Now()
		_, err := guesses.run(ctx, badRate, b.floodTime)
		floodTook = time.Since(began)
		ended <- err
	}()
	beside, err := calls.run(ctx, goodRate, b.floodTime)
	if err := errors.Join(err, <-ended); err != nil {
		return s.problem(fmt.Errorf("beside bad signatures: %w", err))
	}
	at := func(took []time.Duration, p int) []float64 { return []float64{micros(percentile(took, p))} }
	b.table.add(
		compare(
			"platform",
			"median µs of 500 signed calls/s, all answered: alone : beside 10,000 bad ones/s",
			at(quiet, 50),
			at(beside, 50),
			target{},
		),
		compare("platform", "p99 µs, the same", at(quiet, 99), at(beside, 99), target{}),
		&row{
			section: "platform",
			figure:  "bad ones refused per second",
			values:  []float64{badRate * b.floodTime.Seconds() / floodTook.Seconds()},
			format:  "%.0f",
		},
	)
	return nil
}
