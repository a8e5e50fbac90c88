package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// containerInits are programs that are PID 1 of containers and of nothing else, by the names the kernel keeps (15
// bytes): those of docker run --init, podman run --init, the pause container of Kubernetes, and what images use as
// their own. A shell is one when it has started the agent itself.
var (
	containerInits = []string{
		"tini",
		"tini-static",
		"docker-init",
		"podman-init",
		"catatonit",
		"dumb-init",
		"pause",
		"s6-svscan",
		"runsvdir",
	}
	shells = []string{"sh", "bash", "dash", "ash", "busybox"}
)

// initName is the kernel's name for the program that is PID 1 here; empty if it cannot be read.
func initName() string {
	name, err := os.ReadFile("/proc/1/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}

// remarkOnReach says that nothing outside can reach an agent that is in a container without being its PID 1: it takes
// itself for a program on a laptop then, and listens on loopback.
func (c *config) remarkOnReach(f facts) {
	inContainer := slices.Contains(containerInits, f.init) || f.direct && slices.Contains(shells, f.init)
	if !inContainer || c.addrSet {
		return
	}
	trust := ""
	if !c.trust {
		trust = ", and GANTRY_TRUST_PLATFORM_HEADERS=true if only the platform reaches it"
	}
	c.listenRemarks = append(
		c.listenRemarks,
		fmt.Sprintf(
			"PID 1 of this container is %s, not this agent, so the function listener is on %s and nothing outside the container reaches it: set GANTRY_ADDR=:8000%s",
			f.init,
			c.addr,
			trust,
		),
	)
}
