package agent

import (
	"gantry/api"
	"gantry/process"
	"gantry/settings"
	"math"
	"runtime/debug"
)

const (
	// bodyShare is the part of the control group's memory that one listener may take for bodies: one in so many.
	bodyShare = 10
	// connectionShare is the part that its connections may take.
	connectionShare = 4
	// maxBodyMemory bounds the default, in bytes.
	maxBodyMemory = 256 << 20
	// ownMemory is what the agent needs beside bodies and answers, in bytes.
	ownMemory = 16 << 20
)

// boundMemory returns what the listeners may take, and makes the garbage collector work harder before the agent takes
// more than bodies and answers need, unless GOMEMLIMIT is set. Without a limit of the control group it collects as
// always.
func boundMemory(c *settings.Config) api.LimitsConfig {
	limit := process.FindCgroup("/").MemoryLimit()
	body := int64(c.BodyMemory) << 20
	if body == 0 {
		body = maxBodyMemory
		if limit > 0 {
			body = min(body, limit/bodyShare)
		}
	}
	if limit > 0 && debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(2*body + ownMemory)
	}
	return api.LimitsConfig{Workers: c.Workers, Body: body, Connections: limit / connectionShare}
}
