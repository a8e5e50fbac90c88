#!/usr/bin/env bash
# nats-server 2.15.2: a full stream takes a message that replaces a larger one with one copy, and refuses it with three.
#
# Behaviour: a stream with max_msgs_per_subject 1 and discard new is filled to its limit of messages. A further message
# on a subject that has one replaces that one, so the stream does not grow. A server alone takes it. In a cluster of three
# with three replicas the same publish is refused with 503, error 10077, "maximum messages exceeded": the leader checks
# the limits before the message is replicated, and there a replacement counts as one message more.
#
# Output seen:
#   one copy, full: new subject: refused (10077), replacement: taken
#   three copies, full: new subject: refused (10077), replacement: refused (10077)
#
# One would have guessed: the number of replicas does not change which messages a stream takes.
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
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

// freePort is a port that nothing listens on.
func freePort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// start runs n servers; several form a cluster.
func start(folder string, n int) (address string) {
	var routes []*url.URL
	ports := make([]int, n)
	for i := range ports {
		ports[i] = freePort()
		routes = append(routes, &url.URL{Scheme: "nats", Host: fmt.Sprintf("127.0.0.1:%d", ports[i])})
	}
	for i := range n {
		o := &server.Options{
			ServerName: fmt.Sprint("s", i), Host: "127.0.0.1", Port: -1, JetStream: true, NoLog: true, NoSigs: true,
			StoreDir: filepath.Join(folder, fmt.Sprint(n, "-", i)),
		}
		if n > 1 {
			o.Cluster = server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: ports[i]}
			o.Routes = routes
		}
		s, err := server.NewServer(o)
		check(err)
		s.Start()
		if i == 0 {
			address = s.ClientURL()
		}
	}
	return address
}

// try fills a stream and returns what the server says to one more subject, and to a replacement.
func try(url string, replicas int) (more, replacement error) {
	conn, err := nats.Connect(url, nats.RetryOnFailedConnect(true))
	check(err)
	defer conn.Close()
	js, err := jetstream.New(conn)
	check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		attempt, end := context.WithTimeout(ctx, 3*time.Second)
		_, err = js.CreateOrUpdateStream(attempt, jetstream.StreamConfig{
			Name: "full", Subjects: []string{"full.*"}, Replicas: replicas, MaxMsgs: 5, MaxMsgsPerSubject: 1,
			Discard: jetstream.DiscardNew,
		})
		end()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			check(err)
		}
		time.Sleep(200 * time.Millisecond) // the cluster has no leader yet
	}
	for i := range 5 {
		_, err := js.Publish(ctx, fmt.Sprint("full.", i), make([]byte, 1000))
		check(err)
	}
	_, more = js.Publish(ctx, "full.more", nil)
	_, replacement = js.Publish(ctx, "full.0", nil)
	return more, replacement
}

func says(err error) string {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return "taken"
	case errors.As(err, &api):
		return fmt.Sprintf("refused (%d)", api.ErrorCode)
	}
	return err.Error()
}

func main() {
	more1, replacement1 := try(start(os.Args[1], 1), 1)
	fmt.Printf("one copy, full: new subject: %s, replacement: %s\n", says(more1), says(replacement1))
	more3, replacement3 := try(start(os.Args[1], 3), 3)
	fmt.Printf("three copies, full: new subject: %s, replacement: %s\n", says(more3), says(replacement3))
	const refused = "refused (10077)"
	if says(more1) != refused || replacement1 != nil || says(more3) != refused || says(replacement3) != refused {
		fmt.Println("the behaviour is another one")
		os.Exit(1)
	}
}
GO

export GOFLAGS=-mod=mod
go build -o finding . 2> build.log || { cat build.log >&2; exit 2; }
mkdir store
./finding "$folder/store"
