#!/bin/sh
# fasthttp: the client drops the question mark of an empty query, also with DisablePathNormalizing.
#
# Versions:  github.com/valyala/fasthttp 1.74.0, go 1.26.
# Behaviour: a client with DisablePathNormalizing sends //a/../b%2F?x= as it is, but /a? as /a: it takes the target apart
#            and writes it anew from path and query, where an empty query is none. What signs or caches by the target sees
#            another one behind a proxy that is built on it. net/http keeps the question mark (URL.ForceQuery).
# Seen:      sent "//a/../b%2F?x=" got "//a/../b%2F?x="   sent "/a?" got "/a"   by net/http: sent "/a?" got "/a?"
# Guessed:   with DisablePathNormalizing, whose purpose is that proxies pass the path on unchanged, the target of a request
#            reaches the server byte for byte.
#
# Exits with 0 if this still holds, 1 if it has changed, 77 without Go.
set -eu
command -v go >/dev/null || { echo "Go is needed"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >main.go <<'GO'
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/valyala/fasthttp"
)

func main() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	targets := make(chan string, 1)
	go func() { // notes the target of each request as it came
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			targets <- strings.Fields(line)[1]
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			conn.Close()
		}
	}()
	client := &fasthttp.Client{DisablePathNormalizing: true}
	changed := false
	for sent, want := range map[string]string{"//a/../b%2F?x=": "//a/../b%2F?x=", "/a?": "/a"} {
		req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		req.URI().DisablePathNormalizing = true
		req.SetRequestURI("http://" + ln.Addr().String() + sent)
		if err := client.Do(req, resp); err != nil {
			panic(err)
		}
		got := <-targets
		fmt.Printf("sent %q got %q\n", sent, got)
		changed = changed || got != want
	}
	resp, err := http.Get("http://" + ln.Addr().String() + "/a?")
	if err != nil {
		panic(err)
	}
	resp.Body.Close()
	got := <-targets
	fmt.Printf("by net/http: sent %q got %q\n", "/a?", got)
	if changed || got != "/a?" {
		os.Exit(1)
	}
}
GO
cat >go.mod <<'MOD'
module finding

go 1.26

require github.com/valyala/fasthttp v1.74.0
MOD
go mod tidy >/dev/null 2>&1
go run . || { echo "this has changed"; exit 1; }
