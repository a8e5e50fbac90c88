// Command extension is the smallest extension: it counts the calls it is notified of. Its file name ends in its port,
// so that one binary under ten names is ten extensions. GET /count answers the count.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

func main() {
	if err := run(filepath.Base(os.Args[0]), os.Getenv("EXTENSION_API_ADDR")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(name, api string) error {
	addr := "127.0.0.1:" + strings.TrimPrefix(name, "extension")
	ln, err := net.Listen("tcp4", addr) // before the registration: from then on calls may come
	if err != nil {
		return err
	}
	if err := register(api, name, addr); err != nil {
		return errors.Join(err, ln.Close())
	}
	var count atomic.Int64
	server := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		switch path := string(ctx.Path()); {
		case path == "/extension/invoke" && ctx.IsPost():
			count.Add(1)
		case path == "/count" && ctx.IsGet():
			ctx.SetBodyString(strconv.FormatInt(count.Load(), 10))
		default:
			ctx.SetStatusCode(fasthttp.StatusNotFound)
		}
	}}
	return server.Serve(ln)
}

func register(api, name, addr string) error {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI("http://" + api + "/extension/register")
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.Set("FunctionGraph-Extension-Name", name)
	req.Header.Set("FunctionGraph-Extension-Address", addr)
	if err := fasthttp.Do(req, resp); err != nil {
		return fmt.Errorf("register %s: %w", name, err)
	}
	if resp.StatusCode() != fasthttp.StatusOK {
		return fmt.Errorf("register %s: status %d: %s", name, resp.StatusCode(), resp.Body())
	}
	return nil
}
