package main

import (
	"context"
	"errors"
	"fmt"
	"gantry/async"
	"gantry/jetstream/child"
	"gantry/process"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/valyala/fasthttp"
	"go.uber.org/zap"
)

const (
	benchFunctions = "/v2/00000000000000000000000000000000/fgs/functions/"
	drainEnd       = 3 * time.Minute
)

// async measures what durable acceptance costs beside the bare store, and what a draining queue leaves to synchronous
// calls.
func (b *bench) async(ctx context.Context) error {
	program, err := b.build(ctx, "jetstream")
	if err != nil {
		return err
	}
	return errors.Join(b.accepts(ctx, program), b.draining(ctx, program))
}

// queued starts an agent with a queue of its own; code is the function's folder.
func (b *bench) queued(ctx context.Context, program, code string, env ...string) (s *server, api string, err error) {
	api = freeAddr()
	addr, ops := freeAddr(), freeAddr()
	args, agentEnv := b.agent(addr, ops, none)
	data, err := b.folder("queue")
	if err != nil {
		return nil, "", err
	}
	s, err = b.launch(
		"agent",
		addr,
		ops,
		args,
		append(append(agentEnv, "GANTRY_API_AUTH=none", "GANTRY_API_ADDR="+api, "GANTRY_ASYNC_PROGRAM="+program,
			"GANTRY_DATA_DIR="+data, "RUNTIME_CODE_ROOT="+code, "RUNTIME_FUNC_NAME=function"), env...),
	)
	if err != nil {
		return nil, "", err
	}
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, "", s.problem(err)
	}
	return s, "http://" + api + benchFunctions + "function/", conn.Close()
}

// accepts compares POST …/invocations-async with a bare client of a child of its own, on the same disk. The function is
// slow, so that hardly anything but the acceptance writes.
func (b *bench) accepts(ctx context.Context, program string) error {
	code, err := b.folder("slow")
	if err != nil {
		return err
	}
	bareFolder, err := b.folder("bare")
	if err != nil {
		return err
	}
	if err := os.WriteFile(
		filepath.Join(code, "index.js"),
		[]byte("exports.handler = (event, context) => new Promise(r => setTimeout(r, 60000));\n"),
		0o600,
	); err != nil {
		return err
	}
	s, api, err := b.queued(ctx, program, code, "GANTRY_CONCURRENCY=1", "RUNTIME_TIMEOUT=120", "GANTRY_SHUTDOWN_TIMEOUT=1")
	if err != nil {
		return err
	}
	sup := process.NewSupervisor(false)
	defer sup.Close()
	local := child.New(
		&child.Config{Program: program, Folder: bareFolder, MaxBytes: 1 << 30, Supervisor: sup, Log: zap.NewNop()},
	)
	defer func() {
		stop, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		_ = local.Stop(stop) // its data is not needed
	}()
	js, conn, err := bareStream(ctx, local)
	if err != nil {
		return err
	}
	defer conn.Close()
	var bare, ours []float64
	for n := range b.rounds {
		progress("async, accepts, round %d of %d", n+1, b.rounds)
		for _, i := range rand.Perm(2) {
			if i == 0 {
				rate, err := publish(ctx, js)
				if err != nil {
					return err
				}
				bare = append(bare, rate)
				continue
			}
			r, err := b.wrkAt(ctx, s, few, "", api+"invocations-async", nil)
			if err != nil {
				return err
			}
			ours = append(ours, r.perSecond)
		}
	}
	b.table.add(compare("async", "durable accepts/s, 16 connections, to a bare client", bare, ours, atLeast(0.7)))
	return s.stop()
}

func bareStream(ctx context.Context, local *child.Child) (jetstream.JetStream, *nats.Conn, error) {
	conn, err := async.Local(local)(ctx)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(conn)
	if err == nil {
		_, err = js.CreateStream(
			ctx,
			jetstream.StreamConfig{
				Name:      "bare",
				Subjects:  []string{"bare.*"},
				Retention: jetstream.WorkQueuePolicy,
				Discard:   jetstream.DiscardNew,
				MaxMsgs:   1 << 20,
			},
		)
	}
	return js, conn, err
}

// publish is the bare client: as many publishers as wrk has connections, each waiting for the store's acknowledgement.
func publish(ctx context.Context, js jetstream.JetStream) (perSecond float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	var n atomic.Int64
	began := time.Now()
	err = together(few.connections, func(caller int) error {
		for ctx.Err() == nil {
			subject := fmt.Sprintf("bare.%d-%d", caller, n.Load())
			if _, err := js.Publish(context.WithoutCancel(ctx), subject, []byte(openEvent)); err != nil {
				return err
			}
			n.Add(1)
		}
		return nil
	})
	return float64(n.Load()) / time.Since(began).Seconds(), err
}

// together runs n callers and returns the first error of one of them.
func together(n int, call func(caller int) error) error {
	errs := make(chan error, n)
	var callers sync.WaitGroup
	for i := range n {
		callers.Go(func() {
			if err := call(i); err != nil {
				errs <- err
			}
		})
	}
	callers.Wait()
	close(errs)
	return <-errs
}

// drain compares synchronous calls alone with those beside a queue that is being processed.
func (b *bench) draining(ctx context.Context, program string) error {
	s, api, err := b.queued(ctx, program, b.testdata("function"))
	if err != nil {
		return err
	}
	if err := b.warm(ctx, s); err != nil {
		return err
	}
	var alone, beside, drained []float64
	for n := range max(b.rounds/2, 1) {
		progress("async, %d events, round %d of %d", b.drain, n+1, max(b.rounds/2, 1))
		r, err := b.wrk(ctx, s, many, "")
		if err != nil {
			return err
		}
		alone = append(alone, r.perSecond)
		if err := fill(ctx, api, b.drain); err != nil {
			return s.problem(err)
		}
		before, err := s.metrics()
		if err != nil {
			return err
		}
		if r, err = b.wrk(ctx, s, many, ""); err != nil {
			return err
		}
		after, err := s.metrics()
		if err != nil {
			return err
		}
		beside = append(beside, r.perSecond)
		drained = append(drained, after["gantry_async_succeeded_total"]-before["gantry_async_succeeded_total"])
		if err := s.worked(ctx); err != nil {
			return err
		}
	}
	b.table.add(
		compare("async", "synchronous calls/s, 64 connections: alone : beside a draining queue", alone, beside, atLeast(0.8)),
		&row{section: "async", figure: "… requests worked off meanwhile, per second", values: drained, format: "%.0f"},
	)
	return nil
}

// fill puts n events into the queue, 64 at once.
func fill(ctx context.Context, api string, n int) error {
	var left atomic.Int64
	left.Store(int64(n))
	errs := make(chan error, callers)
	var filling sync.WaitGroup
	for range callers {
		filling.Go(func() {
			for left.Add(-1) >= 0 && ctx.Err() == nil {
				req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
				req.SetRequestURI(api + "invocations-async")
				req.Header.SetMethod(fasthttp.MethodPost)
				req.SetBodyString(openEvent)
				err := fasthttp.Do(req, resp)
				if err == nil && resp.StatusCode() != fasthttp.StatusAccepted {
					err = fmt.Errorf("status %d: %.200s", resp.StatusCode(), resp.Body())
				}
				fasthttp.ReleaseRequest(req)
				fasthttp.ReleaseResponse(resp)
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	filling.Wait()
	close(errs)
	return <-errs
}

// worked waits until the queue is empty.
func (s *server) worked(ctx context.Context) error {
	for began := time.Now(); ; {
		m, err := s.metrics()
		if err != nil {
			return err
		}
		if m["gantry_async_accepted_total"] == m["gantry_async_succeeded_total"] {
			return nil
		}
		if time.Since(began) > drainEnd {
			return s.problem(
				fmt.Errorf("%g accepted, %g succeeded", m["gantry_async_accepted_total"], m["gantry_async_succeeded_total"]),
			)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}
