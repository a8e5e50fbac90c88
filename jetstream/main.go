// Command gantry-jetstream keeps the queue of asynchronous requests: a NATS JetStream server on a Unix socket. The
// agent starts it as a child at the first need, so that functions without such requests neither load nor start the
// server.
package main

import (
	"fmt"
	"gantry/process"
	"os"
	"os/signal"
	goruntime "runtime"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"
)

// Set by the linker (Makefile).
var (
	version = "0.1.0-dev"
	commit  = "unknown"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1 // the store cannot be opened, cannot be written any more, or is gone
	exitUsage = 2 // not started by the agent
)

// settle is how long the last answers may take to leave at the end.
const settle = time.Second

const usage = "gantry-jetstream is the queue of asynchronous calls; the agent starts it by itself when it lies beside bootstrap"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program without the process: it returns the exit code.
func run(args []string, stdout, stderr *os.File) int {
	if len(args) == 1 && args[0] == "version" {
		fmt.Fprintf(
			stdout,
			"gantry-jetstream %s (%s, %s, %s/%s)\n",
			version,
			commit,
			goruntime.Version(),
			goruntime.GOOS,
			goruntime.GOARCH,
		)
		return exitOK
	}
	agent, ok := openAgentLink()
	if len(args) > 0 || !ok {
		fmt.Fprintln(stderr, usage)
		return exitUsage
	}
	// Before the password is in memory.
	if err := process.Protect(); err != nil {
		agent.answer(fmt.Errorf("the process cannot be protected: %w", err))
		return exitError
	}
	return serve(agent, newJournal(stderr))
}

// serve runs the server until the agent ends it or is gone, or the store cannot be written any more or is gone.
func serve(agent *agentLink, log *journal) int {
	unix.Umask(0o077)
	signal.Ignore(unix.SIGPIPE) // when the agent is gone stderr is too, and that must not cut the end short
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)

	c, err := agent.config()
	if err != nil {
		agent.answer(err)
		return exitError
	}
	log.debug = c.Debug
	store, err := openStore(c, log)
	if err != nil {
		agent.answer(err)
		return exitError
	}
	door, err := openDoor(c.Socket, agent.pid, store.InProcessConn, log)
	agent.answer(err)
	if err != nil {
		end(nil, store)
		return exitError
	}

	code := exitOK
	select {
	case lost := <-newWatch(store, c.Store).gone():
		// Not an ordinary end: nothing of it may get into what lies there now.
		log.Errorf("the store %s was removed or replaced while it was in use; lost with it: %s", c.Store, lost)
		return exitError
	case <-term:
	case <-agent.gone():
	case <-log.broken:
		log.Errorf("the store could not be written, and the server does not recover from that while it runs: ending")
		code = exitError
	}
	end(door, store)
	return code
}

// end is the order of the end: no new connections, what is stored is complete, the last answers leave.
func end(door *door, store *server.Server) {
	if door != nil {
		door.close()
	}
	store.Shutdown()
	store.WaitForShutdown()
	if door != nil {
		door.wait(settle)
	}
}
