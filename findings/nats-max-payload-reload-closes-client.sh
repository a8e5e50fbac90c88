#!/usr/bin/env bash
# nats-server 2.15.2 and nats.go 1.55.0: after a reload that lowers max_payload, a client that never gives up is closed
# for good.
#
# Behaviour: a configuration reload that lowers max_payload is in force for connections that exist, but they get no INFO
# about it: Conn.MaxPayload still returns the old limit, and Publish takes a message between the two limits without an
# error. The server answers it with -ERR 'Maximum Payload Violation' and hangs up. For the client this is an error of
# the server that it does not know, so it closes the connection and never connects again, in spite of MaxReconnects(-1).
# A program without a ClosedHandler does not notice; every later call fails with "nats: connection closed".
#
# Output seen:
#   max_payload before the reload: 1048576
#   max_payload that the client knows after it: 1048576
#   publish of 70000 bytes with a limit of 65536: <nil>
#   handlers called: closed
#   status: CLOSED, last error: nats: Maximum Payload Violation
#   next publish: nats: connection closed
#
# One would have guessed: the server sends INFO with the new limit, as it does for other changes, and Publish returns
# nats.ErrMaxPayload; or at least that MaxReconnects(-1), "never give up", makes the client connect again after the
# server hung up.
#
# Needs Go 1.26 or later and its module proxy. Exits with 1 if the behaviour is another one.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > go.mod <<'MOD'
module finding

go 1.26.0

require (
	github.com/nats-io/nats-server/v2 v2.15.2
	github.com/nats-io/nats.go v1.55.0
)
MOD

cat > main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func options(limit int) *server.Options {
	check(os.WriteFile("server.conf", fmt.Appendf(nil, "listen: \"127.0.0.1:-1\"\nmax_payload: %d\n", limit), 0o600))
	o, err := server.ProcessConfigFile("server.conf")
	check(err)
	o.NoLog, o.NoSigs = true, true
	return o
}

func main() {
	s, err := server.NewServer(options(1 << 20))
	check(err)
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		check(fmt.Errorf("the server is not ready"))
	}
	var mu sync.Mutex
	var called []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		called = append(called, what)
	}
	closed := make(chan bool)
	c, err := nats.Connect(s.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
		nats.ReconnectHandler(func(*nats.Conn) { note("reconnected") }),
		nats.ClosedHandler(func(*nats.Conn) { note("closed"); close(closed) }))
	check(err)
	fmt.Println("max_payload before the reload:", c.MaxPayload())
	check(s.ReloadOptions(options(64 << 10)))
	check(c.Flush())
	known := c.MaxPayload()
	fmt.Println("max_payload that the client knows after it:", known)
	err = c.Publish("subject", make([]byte, 70_000))
	fmt.Println("publish of 70000 bytes with a limit of 65536:", err)
	_ = c.FlushTimeout(5 * time.Second) // it ends with the connection
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
	}
	again := c.Publish("subject", []byte("small"))
	mu.Lock()
	fmt.Println("handlers called:", strings.Join(called, ", "))
	mu.Unlock()
	fmt.Printf("status: %v, last error: %v\n", c.Status(), c.LastError())
	fmt.Println("next publish:", again)
	if known != 1<<20 || err != nil || !c.IsClosed() {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
GOFLAGS=-mod=mod go run .
