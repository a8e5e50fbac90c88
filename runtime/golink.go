package runtime

import (
	"context"
	"gantry/fault"
	"gantry/logger"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	fncontext "gantry/context"
)

// goLink offers a Go program both transports: a function of package gantry/function takes up the frames, one of the
// platform's Go SDK listens for net/rpc. The first to do so decides.
type goLink struct {
	frames *frames
	rpc    *rpcLink
	chosen atomic.Pointer[Transport]
}

// framesVariable announces to a program that descriptors 3 and 4 carry frames, userDataVariable that the first of them
// has encrypted user variables.
const (
	framesVariable   = "GANTRY_FRAMES=1"
	userDataVariable = "GANTRY_FRAMES_USERDATA=1"
)

func newGoTransport(w *Worker) (offer, error) {
	rpc, err := newRPC(w)
	if err != nil {
		return offer{}, err
	}
	frames, ends, err := newFrames(w)
	if err != nil {
		return offer{}, err
	}
	g := &goLink{frames: frames, rpc: rpc}
	frames.takenUp = func() bool { return g.choose(frames) }
	rpc.takenUp = func() bool { return g.choose(rpc) }
	env := []string{framesVariable, "RUNTIME_API_ADDR=" + rpc.addr}
	if !w.cfg.Encrypted.Empty() {
		env = append(env, userDataVariable)
	}
	return offer{transport: g, files: ends, env: append(env, memoryLimit(w.cfg)...)}, nil
}

// memoryShare is the part of the function's memory, in per cent, that Go's collector keeps to if it can. The rest is
// for what it does not count: the program itself, threads, memory that the kernel keeps for it.
const memoryShare = 85

// memoryLimit returns GOMEMLIMIT for Go's collector, unless the user has set it: without a limit the heap would
// double, and the kernel would kill a process that holds mostly garbage.
func memoryLimit(cfg *Config) []string {
	const variable = "GOMEMLIMIT="
	isSet := func(kv string) bool { return strings.HasPrefix(kv, variable) }
	if cfg.Function.MemoryMB <= 0 || slices.ContainsFunc(cfg.Env, isSet) {
		return nil
	}
	return []string{variable + strconv.FormatInt(int64(cfg.Function.MemoryMB)<<20*memoryShare/100, 10)}
}

// choose reports whether t is the transport in use from now on.
func (g *goLink) choose(t Transport) bool {
	if !g.chosen.CompareAndSwap(nil, &t) {
		return *g.chosen.Load() == t
	}
	if t == Transport(g.frames) {
		g.rpc.end()
	} else {
		g.frames.drop()
	}
	return true
}

// used is the chosen transport; before the choice there are no calls, and either will do.
func (g *goLink) used() Transport {
	if t := g.chosen.Load(); t != nil {
		return *t
	}
	return g.frames
}

// Init implements Transport, and so do the next ones.
func (g *goLink) Init(ctx context.Context, inv *fncontext.Call, log *logger.Request) error {
	return g.used().Init(ctx, inv, log)
}

// Invoke goes to the chosen transport.
func (g *goLink) Invoke(ctx context.Context, inv *fncontext.Call, event []byte, log *logger.Request) (Result, error) {
	return g.used().Invoke(ctx, inv, event, log)
}

// PreStop goes to the chosen transport.
func (g *goLink) PreStop(ctx context.Context, inv *fncontext.Call, log *logger.Request) error {
	return g.used().PreStop(ctx, inv, log)
}

// Close goes to the chosen transport.
func (g *goLink) Close() error { return g.used().Close() }

func (g *goLink) serve() {
	go g.rpc.serve()
	g.frames.serve()
}

func (g *goLink) drain() {
	g.rpc.drain()
	g.frames.drain()
}

func (g *goLink) fail(death *fault.Error) {
	g.rpc.fail(death)
	g.frames.fail(death)
}

func (g *goLink) only() *logger.Request { return g.used().only() }

func (g *goLink) overdue() bool { return g.used().overdue() }

func (g *goLink) stacks(ctx context.Context) (string, error) { return g.used().stacks(ctx) }
