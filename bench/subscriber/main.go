// Command subscriber is the smallest subscriber of telemetry: it registers at 127.0.0.1:8081, subscribes to everything,
// and counts events without parsing them. GET /count answers the count.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

const addr = "127.0.0.1:8081"

func main() {
	if err := run(filepath.Base(os.Args[0]), os.Getenv("EXTENSION_API_ADDR")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(name, api string) error {
	ln, err := net.Listen("tcp4", addr) // before the registration: from then on calls may come
	if err != nil {
		return err
	}
	var count atomic.Int64
	server := &fasthttp.Server{MaxRequestBodySize: 16 << 20, Handler: func(ctx *fasthttp.RequestCtx) {
		switch string(ctx.Path()) {
		case "/telemetry":
			count.Add(int64(bytes.Count(ctx.Request.Body(), []byte(`{"name":"`))))
		case "/count":
			ctx.SetBodyString(strconv.FormatInt(count.Load(), 10))
		}
	}}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	err = post(
		api,
		"/extension/register",
		"",
		"FunctionGraph-Extension-Name",
		name,
		"FunctionGraph-Extension-Address",
		addr,
		"FunctionGraph-Extension-Events",
		"SHUTDOWN",
	)
	if err == nil {
		err = post(
			api,
			"/telemetry",
			`{"subscriber":{"protocol":"POST","uri":"http://`+addr+`/telemetry"},"types":["platform","function","extension"]}`,
		)
	}
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	return <-served
}

func post(api, path, body string, headers ...string) error {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI("http://" + api + path)
	req.Header.SetMethod(fasthttp.MethodPost)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	req.SetBodyString(body)
	if err := fasthttp.Do(req, resp); err != nil {
		return fmt.Errorf("POST %s: %w", path, err)
	}
	if resp.StatusCode() != fasthttp.StatusOK {
		return fmt.Errorf("POST %s: status %d: %s", path, resp.StatusCode(), resp.Body())
	}
	return nil
}
