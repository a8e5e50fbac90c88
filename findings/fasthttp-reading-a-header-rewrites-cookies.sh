#!/bin/sh
# fasthttp: to go over the headers of a request changes the cookies that it is sent on with.
#
# Versions:  github.com/valyala/fasthttp 1.74.0, go 1.26.
# Behaviour: a RequestHeader keeps the Cookie header as it came, and CopyTo, Set, Del and Peek leave it so. All, which goes
#            over every header, takes it apart into cookies first, for good: what is written afterwards has the quotes of
#            values taken off, and no cookie whose value has a quote in its middle, as JSON has. A proxy that only looks
#            for a header by All sends other cookies on than it got; net/http's Header is the text that came.
# Seen:      before All: a="x y"; prefs={"c":1,"d":[2]}; z=1     after All: a=x y; z=1
# Guessed:   an iterator reads, and the header goes on as it came. Browsers send whatever cookies they were given, and JSON
#            in them is common.
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
	"os"
	"strings"

	"github.com/valyala/fasthttp"
)

const came = `a="x y"; prefs={"c":1,"d":[2]}; z=1`

// sent is the Cookie header that a request is sent on with after look has looked at it.
func sent(look func(h *fasthttp.RequestHeader)) string {
	var h fasthttp.RequestHeader
	text := "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + came + "\r\n\r\n"
	if err := h.Read(bufio.NewReader(strings.NewReader(text))); err != nil {
		panic(err)
	}
	look(&h)
	_, after, _ := strings.Cut(string(h.AppendBytes(nil)), "Cookie: ")
	value, _, _ := strings.Cut(after, "\r\n")
	return value
}

func main() {
	before := sent(func(h *fasthttp.RequestHeader) { h.Peek("Cookie"); h.Set("X-Other", "1"); h.Del("X-Other") })
	after := sent(func(h *fasthttp.RequestHeader) {
		for range h.All() {
		}
	})
	fmt.Println("before All:", before)
	fmt.Println("after All: ", after)
	if before != came || after != "a=x y; z=1" {
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
