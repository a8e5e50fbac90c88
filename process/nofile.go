package process

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// nofile is the limit of descriptors that this process was started with, if Go has raised it since, and what it was
// raised to.
var nofile = sync.OnceValue(func() (limits struct{ started, raised *unix.Rlimit }) {
	var raised, started unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &raised) != nil {
		return limits
	}
	// Package syscall keeps the first limit and shows it in one way only: it restores it before Exec. An exec of
	// nothing always fails.
	_ = syscall.Exec("", []string{""}, nil)
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &started) != nil || started == raised {
		return limits
	}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) != nil {
		return limits
	}
	limits.started, limits.raised = &started, &raised
	return limits
})

// childNofile returns the limit of descriptors for a child: the one this process was started with, unless it was
// changed from outside. Programs that use select rely on a low one.
func childNofile() *unix.Rlimit {
	var now unix.Rlimit
	limits := nofile()
	if limits.started == nil || unix.Getrlimit(unix.RLIMIT_NOFILE, &now) != nil || now != *limits.raised {
		return nil
	}
	return limits.started
}
