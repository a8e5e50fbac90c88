package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// openLoop calls a server at a fixed rate, however long the answers take.
type openLoop struct {
	client *fasthttp.HostClient
	url    string
	header map[string]string
	status int // of every answer
}

// openEvent is the body of every call.
const openEvent = `{"name":"x"}`

// callers is how many calls can be under way; those that find all busy are sent late, and their wait counts.
const callers = 64

func newOpenLoop(s *server) *openLoop {
	return &openLoop{
		url:    "http://" + s.addr + "/invoke",
		status: fasthttp.StatusOK,
		client: &fasthttp.HostClient{
			Addr:                s.addr,
			MaxConns:            callers,
			MaxIdleConnDuration: time.Minute,
			ReadTimeout:         10 * time.Second,
		},
	}
}

// run makes calls for d, and returns what each took, sorted, counted from the moment it was due: the wait for an
// earlier call counts.
func (o *openLoop) run(ctx context.Context, rate int, d time.Duration) ([]time.Duration, error) {
	took := make([]time.Duration, int(d.Seconds()*float64(rate)))
	every := time.Second / time.Duration(rate)
	began := time.Now().Add(5 * time.Millisecond)
	due := func(i int) time.Time { return began.Add(time.Duration(i) * every) }
	next := make(chan int, len(took)) // never blocks the clock
	errs := make(chan error, callers)
	var calling sync.WaitGroup
	for range callers {
		calling.Go(func() { errs <- o.call(next, due, took) })
	}
	err := tick(ctx, len(took), due, next)
	close(next)
	calling.Wait()
	close(errs)
	for callErr := range errs {
		if err == nil {
			err = callErr
		}
	}
	slices.Sort(took)
	return took, err
}

// tick hands out the calls when they are due.
func tick(ctx context.Context, n int, due func(int) time.Time, next chan<- int) error {
	runtime.LockOSThread() // so that a sleep in the kernel does not block other goroutines
	defer runtime.UnlockOSThread()
	for i := range n {
		for wait := time.Until(due(i)); wait > 0; wait = time.Until(due(i)) {
			nap(wait)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		next <- i
	}
	return nil
}

// call is one caller. After an error it only empties the channel.
func (o *openLoop) call(next <-chan int, due func(int) time.Time, took []time.Duration) (err error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI(o.url)
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.SetContentType("application/json")
	req.SetBodyString(openEvent)
	for name, value := range o.header {
		req.Header.Set(name, value)
	}
	for i := range next {
		if err != nil {
			continue
		}
		if err = o.client.Do(req, resp); err == nil && resp.StatusCode() != o.status {
			err = fmt.Errorf("open loop: status %d: %.200s", resp.StatusCode(), resp.Body())
		}
		took[i] = time.Since(due(i))
	}
	return err
}
