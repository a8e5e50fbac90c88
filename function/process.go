package function

import (
	"context"
	"errors"
	"fmt"
	"gantry/function/poll"
	"gantry/function/socket"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
)

// This file is where the package, which becomes a part of the user's program, reads the environment and ends the
// process.

// Descriptors that the agent hands over.
const (
	eventsFD  = 3
	answersFD = 4
)

// link is what the agent handed over; nil if it was not the agent that started this program.
var link = takeLink()

// agentLink is both sockets, or why they cannot be used.
type agentLink struct {
	events, answers net.Conn
	err             error
	// userData says that the agent's first frame has encrypted user variables.
	userData bool
}

// takeLink runs before main, as early as a package can: children that user code starts must not inherit the
// descriptors, and Hello reports this program's protocol to the agent.
func takeLink() *agentLink {
	const variable, userDataVariable = "GANTRY_FRAMES", "GANTRY_FRAMES_USERDATA"
	if os.Getenv(variable) != "1" {
		return nil
	}
	l := &agentLink{userData: os.Getenv(userDataVariable) == "1"}
	if err := errors.Join(os.Unsetenv(variable), os.Unsetenv(userDataVariable)); err != nil {
		l.err = err
		return l
	}
	var err error
	l.events, err = takeSocket(eventsFD)
	l.err = err
	l.answers, err = takeSocket(answersFD)
	if l.err = errors.Join(l.err, err); l.err == nil {
		_, l.err = l.answers.Write(hello())
	}
	return l
}

func takeSocket(fd int) (net.Conn, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFSOCK { // the descriptor is not the agent's: leave it alone
		return nil, fmt.Errorf("descriptor %d is no socket", fd)
	}
	syscall.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "agent")
	defer f.Close()
	return net.FileConn(f) // a copy, closed on exec too
}

// memoryShare is the part of the function's memory, in per cent, that the collector keeps to if it can, unless
// GOMEMLIMIT says otherwise. Else it lets the heap double, and the kernel kills the process with most of that being
// garbage.
const memoryShare = 85

// run serves until the process ends.
func run(f *function) {
	f.facts = newFacts(os.Getenv)
	if f.memoryMB > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(f.memoryMB) << 20 * memoryShare / 100)
	}
	addr := os.Getenv("RUNTIME_API_ADDR")
	switch {
	case link != nil:
		os.Exit(serveAgent(f, link))
	case addr != "":
		os.Exit(servePlatform(f, addr))
	}
	name := filepath.Base(os.Args[0])
	fmt.Fprintf(
		os.Stderr,
		"%s is a function; it is started by the agent: bootstrap serve --code %s --runtime go --handler %s\n"+
			"On the platform it is a custom runtime: name it bootstrap, and the platform sets RUNTIME_API_ADDR.\n",
		name,
		filepath.Dir(os.Args[0]),
		name,
	)
	os.Exit(2)
}

// serveAgent returns the exit code when the agent is gone.
func serveAgent(f *function, l *agentLink) int {
	if l.err != nil {
		fmt.Fprintln(os.Stderr, "GANTRY_FRAMES is set, so descriptors 3 and 4 should be the agent's sockets:", l.err)
		return 2
	}
	w := newWorker(f, socket.New(l.events), l.answers, func(err error) {
		fmt.Fprintln(os.Stderr, "the worker ends, the agent takes no more answers:", err)
		os.Exit(1)
	})
	if l.userData { // before the load: the initializer may be a part of it
		if err := w.takeUserData(); err != nil {
			fmt.Fprintln(os.Stderr, "the worker ends, it cannot read its encrypted user variables:", err)
			return 1
		}
	}
	go w.load()
	if err := w.serve(); !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "the worker ends, it cannot read its events:", err)
		return 1
	}
	return 0
}

// servePlatform returns the exit code after TERM, or after an initializer that failed.
func servePlatform(f *function, addr string) int {
	if f.pollers == 0 {
		f.pollers = 1
		if text := os.Getenv("GANTRY_CONCURRENCY"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				fmt.Fprintf(os.Stderr, "GANTRY_CONCURRENCY is %q; it must be a number from 1 on\n", text)
				return 2
			}
			f.pollers = n
		}
	}
	logs := &lines{w: os.Stdout}
	if x := prepare(f, logs); x != nil {
		fmt.Fprintln(os.Stderr, x.text())
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second TERM ends the process at once
	warn := func(text string) { fmt.Fprintln(os.Stderr, text) }
	var wg sync.WaitGroup
	for range f.pollers {
		p := newPoller(f, poll.New(addr), logs, warn)
		wg.Go(func() { p.run(ctx) })
	}
	wg.Wait()
	return 0
}
