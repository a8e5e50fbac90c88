package main

import (
	"errors"
	"fmt"
	"gantry/process"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// refusedEvery is how often refused connections are logged.
const refusedEvery = time.Minute

// acceptPause lets descriptors become free again.
const acceptPause = 10 * time.Millisecond

// linger is how long an ended connection waits for the agent to hang up.
const linger = 500 * time.Millisecond

// door accepts only the agent's connections: a worker may run as the agent's user, and then neither the folder nor the
// socket's mode keeps it away.
type door struct {
	listener *net.UnixListener
	agent    int // process id
	connect  func() (net.Conn, error)
	log      *journal
	refusals limiter
	open     sync.WaitGroup // connections, and the loop that accepts them
}

// openDoor listens on path. A socket that a killed process left there is replaced; anything else is not touched.
func openDoor(path string, agent int, connect func() (net.Conn, error), log *journal) (*door, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("the socket of a former process cannot be removed: %w", err)
		}
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil { // the umask did this already, but for the execute bit
		_ = listener.Close()
		return nil, err
	}
	d := &door{
		listener: listener,
		agent:    agent,
		connect:  connect,
		log:      log,
		refusals: limiter{every: refusedEvery, burst: 1},
	}
	d.open.Go(d.accept)
	return d, nil
}

func (d *door) accept() {
	for {
		conn, err := d.listener.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			d.log.Warnf("a connection could not be accepted: %v", err)
			time.Sleep(acceptPause)
		default:
			d.admit(conn)
		}
	}
}

// admit closes a stranger's connection before it has read a byte.
func (d *door) admit(conn *net.UnixConn) {
	pid, err := process.PeerPID(conn)
	if err != nil || pid != d.agent {
		_ = conn.Close()
		ok, dropped := d.refusals.allow(time.Now())
		if dropped > 0 {
			d.log.Warnf("refused %d more connections", dropped)
		}
		if ok {
			d.log.Warnf("refused a connection of process %d: the socket is for the agent, process %d", pid, d.agent)
		}
		return
	}
	inside, err := d.connect()
	if err != nil { // the server is ending
		_ = conn.Close()
		return
	}
	d.open.Go(func() { splice(conn, inside) })
}

// close takes no more connections and removes the socket.
func (d *door) close() {
	if err := d.listener.Close(); err != nil {
		d.log.Warnf("the socket could not be closed: %v", err)
	}
}

// wait returns when all connections have ended, or after limit.
func (d *door) wait(limit time.Duration) {
	ended := make(chan struct{})
	go func() {
		d.open.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(limit): // the agent does not read; the end of the process ends it
	}
}

// splice copies bytes both ways until one side ends. The server may have sent its reason before its end, so the agent
// gets time to read it: closing at once would break what the agent is just writing.
func splice(outside *net.UnixConn, inside net.Conn) {
	var ways sync.WaitGroup
	ways.Go(func() {
		_, _ = io.Copy(inside, outside) // an error ends the connection as an end does
		_ = inside.Close()
		_, _ = io.Copy(io.Discard, outside)
	})
	ways.Go(func() {
		_, _ = io.Copy(outside, inside)
		_ = inside.Close()
		_ = outside.CloseWrite()
		_ = outside.SetReadDeadline(time.Now().Add(linger))
	})
	ways.Wait()
	_ = outside.Close()
}
