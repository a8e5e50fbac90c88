#!/usr/bin/env bash
# nats-server 2.15.2 and nats.go 1.55.0: a wrong password over InProcessServer is no authorization error, and
# takes 10 s.
#
# Behaviour: nats.Connect with nats.InProcessServer and a wrong password returns after 10 s, with an error that is not
# nats.ErrAuthorization. The same server and password over TCP: nats.ErrAuthorization after some milliseconds. The two
# ends of an in-process connection are a net.Pipe, which has no buffer: the server writes its -ERR while the client
# still writes its CONNECT and PING, and neither reads.
#
# Output seen (times differ):
#   over TCP: nats: Authorization Violation after 0.0 s
#   in process: io: read/write on closed pipe after 10.0 s
#   in process, right password: <nil> after 0.0 s
#
# One would have guessed: the same error as over TCP, at once; or at most the client's timeout of 2 s.
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
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func main() {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, Username: "u", Password: "p", NoLog: true, NoSigs: true})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		os.Exit(2)
	}
	try := func(name string, options ...nats.Option) (error, time.Duration) {
		began := time.Now()
		_, err := nats.Connect(s.ClientURL(), options...)
		took := time.Since(began)
		fmt.Printf("%s: %v after %.1f s\n", name, err, took.Seconds())
		return err, took
	}
	tcp, _ := try("over TCP", nats.UserInfo("u", "wrong"))
	inside, took := try("in process", nats.UserInfo("u", "wrong"), nats.InProcessServer(s))
	right, _ := try("in process, right password", nats.UserInfo("u", "p"), nats.InProcessServer(s))
	if !errors.Is(tcp, nats.ErrAuthorization) || right != nil || inside == nil || errors.Is(inside, nats.ErrAuthorization) || took < 3*time.Second {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
GOFLAGS=-mod=mod go run .
