#!/usr/bin/env bash
# nats-server 2.15.2: a stream whose max_consumers is -1, unlimited, takes a thousand consumers.
#
# Behaviour: a stream is made without a limit of consumers, and its info says max_consumers: -1. The 1,001st consumer is
# refused with 400, error 10026, "maximum consumers limit reached": the server has a default of its own for streams and
# accounts without a limit, which neither the stream's info nor the account's shows. The same stream with a limit of
# 2,000 takes more than a thousand.
#
# Output seen:
#   max_consumers -1: 1000 made, then: nats: API error: code=400 err_code=10026 description=maximum consumers limit reached
#   account's limit of consumers: -1
#   max_consumers 2000: 1100 made, then: <nil>
#
# One would have guessed: -1 means unlimited, as it does for messages and bytes and in the documentation of streams; or
# the info shows the limit in force.
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
	"os"
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

func main() {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: os.Args[1], NoLog: true, NoSigs: true,
	})
	check(err)
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		check(errors.New("the server does not start"))
	}
	conn, err := nats.Connect(s.ClientURL())
	check(err)
	js, err := jetstream.New(conn)
	check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	// try makes up to 1,100 consumers of a stream, and returns how many the server took and its refusal.
	try := func(name string, limit int) (shown, made int, refusal error) {
		stream, err := js.CreateStream(ctx, jetstream.StreamConfig{
			Name: name, Subjects: []string{name + ".*"}, Storage: jetstream.MemoryStorage, MaxConsumers: limit,
		})
		check(err)
		for made < 1100 {
			_, refusal = js.CreateConsumer(ctx, name, jetstream.ConsumerConfig{
				Durable: fmt.Sprint("c", made), FilterSubject: fmt.Sprint(name, ".", made), AckPolicy: jetstream.AckExplicitPolicy,
			})
			if refusal != nil {
				break
			}
			made++
		}
		return stream.CachedInfo().Config.MaxConsumers, made, refusal
	}

	shown, made, refusal := try("unlimited", -1)
	fmt.Printf("max_consumers %d: %d made, then: %v\n", shown, made, refusal)
	account, err := js.AccountInfo(ctx)
	check(err)
	fmt.Println("account's limit of consumers:", account.Limits.MaxConsumers)
	limited, more, other := try("limited", 2000)
	fmt.Printf("max_consumers %d: %d made, then: %v\n", limited, more, other)

	var api *jetstream.APIError
	if shown != -1 || made != 1000 || !errors.As(refusal, &api) || api.ErrorCode != 10026 ||
		account.Limits.MaxConsumers != -1 || more != 1100 || other != nil {
		fmt.Println("the behaviour is another one")
		os.Exit(1)
	}
}
GO

export GOFLAGS=-mod=mod
go build -o finding . 2> build.log || { cat build.log >&2; exit 2; }
mkdir store
./finding "$folder/store"
