package runtime

import (
	"slices"
	"strconv"
	"strings"
)

// framesVariable announces to a program that descriptors 3 and 4 carry frames, userDataVariable that the first of them
// has encrypted user variables.
const (
	framesVariable   = "GANTRY_FRAMES=1"
	userDataVariable = "GANTRY_FRAMES_USERDATA=1"
)

// newGoTransport offers a Go program both of its transports: a function of package gantry/function takes up the frames,
// one of the platform's Go SDK listens for net/rpc.
func newGoTransport(w *Worker) (offer, error) {
	rpc, err := newRPC(w)
	if err != nil {
		return offer{}, err
	}
	frames, ends, err := newFrames(w)
	if err != nil {
		return offer{}, err
	}
	g := &either{first: frames, second: rpc, dropFirst: frames.drop, dropSecond: rpc.end}
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
