package settings

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

// InitName is the kernel's name for the program that is PID 1 here; empty if it cannot be read.
func InitName() string {
	name, err := os.ReadFile("/proc/1/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}

// remarkOnReach says that nothing outside can reach an agent that is in a container without being its PID 1: it takes
// itself for a program on a laptop then, and listens on loopback.
func (c *Config) remarkOnReach(f Facts) {
	inContainer := slices.Contains(containerInits, f.Init) || f.Direct && slices.Contains(shells, f.Init)
	if !inContainer || c.IsSet("GANTRY_ADDR") {
		return
	}
	where, trust := c.Addr, ""
	if c.Language.Undecided() { // another port, if it is a server
		where = "loopback"
	}
	if !c.Trust {
		trust = ", and GANTRY_TRUST_PLATFORM_HEADERS=true if only the platform reaches it"
	}
	c.ListenRemarks = append(
		c.ListenRemarks,
		fmt.Sprintf(
			"PID 1 of this container is %s, not this agent, so the function listener is on %s and nothing outside the container reaches it: set GANTRY_ADDR=:8000%s",
			f.Init,
			where,
			trust,
		),
	)
}
