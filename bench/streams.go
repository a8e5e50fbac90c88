package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

// streams compares a server that streams with the same one behind an agent without the platform's limits.
func (b *bench) streams(ctx context.Context) error {
	pair, err := b.streamServers(ctx)
	if err != nil {
		return err
	}
	var first, download [2][]float64
	for n := range b.rounds + 1 { // the first is a warm-up
		progress("streams, round %d of %d", n, b.rounds)
		for _, i := range rand.Perm(2) {
			ms, err := firstBytes(ctx, pair[i], b.calls)
			if err != nil {
				return err
			}
			mb, err := downloadRate(ctx, pair[i])
			if err != nil {
				return err
			}
			if n > 0 {
				first[i], download[i] = append(first[i], ms), append(download[i], mb)
			}
		}
	}
	later := compare("streams", "first byte, ms later than from the server itself", first[0], first[1], atMost(0.3))
	later.values, later.ratio = difference(first[0], first[1]), false
	const rate = "MB/s of a download of 100 MB, to the server itself"
	b.table.add(later, compare("streams", rate, download[0], download[1], atLeast(0.7)))
	return b.idleSockets(pair[1])
}

// streamServers are the server alone, and an agent with another one.
func (b *bench) streamServers(ctx context.Context) (pair [2]*server, err error) {
	addr := freeAddr()
	args := []string{b.node, b.testdata("stream.js"), port(addr)}
	if pair[0], err = b.up(ctx, "stream", addr, "", pinned(pinServer, args), nil); err != nil {
		return pair, err
	}
	addr, ops, upstream := freeAddr(), freeAddr(), freeAddr()
	_, env := b.agent(addr, ops, none)
	args = []string{
		b.bootstrap, "serve", "--runtime", "http", "--upstream", upstream, "--http-limits", "none", "--concurrency", "1000",
		"--", b.node, b.testdata("stream.js"), port(upstream),
	}
	pair[1], err = b.up(ctx, "agent", addr, ops, pinned(pinServer, args), env)
	return pair, err
}

// firstBytes is the median time to the first byte of a stream, in ms.
func firstBytes(ctx context.Context, s *server, times int) (float64, error) {
	var samples []float64
	for range times {
		began := time.Now()
		body, err := get(ctx, s, "/first")
		if err != nil {
			return 0, err
		}
		_, err = io.ReadFull(body, make([]byte, 1))
		samples = append(samples, millis(time.Since(began)))
		_, rest := io.Copy(io.Discard, body)
		if err := errors.Join(err, rest, body.Close()); err != nil {
			return 0, s.problem(err)
		}
	}
	return median(samples), nil
}

// downloadRate is in MB/s.
func downloadRate(ctx context.Context, s *server) (float64, error) {
	began := time.Now()
	body, err := get(ctx, s, "/download")
	if err != nil {
		return 0, err
	}
	n, err := io.CopyBuffer(io.Discard, onlyReader{body}, make([]byte, 256<<10))
	took := time.Since(began)
	if err := errors.Join(err, body.Close()); err != nil || n != 100<<20 {
		return 0, s.problem(fmt.Errorf("%d bytes: %w", n, err))
	}
	return 100 / took.Seconds(), nil
}

// onlyReader hides what io.Discard would use in place of the buffer.
type onlyReader struct{ io.Reader }

func get(ctx context.Context, s *server, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, s.problem(err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, s.problem(errors.Join(fmt.Errorf("status %d", resp.StatusCode), resp.Body.Close()))
	}
	return resp.Body, nil
}

// socketsRest is how long connections that do nothing get before their memory is read: fasthttp ends goroutines that
// have had nothing to do for ten seconds.
const socketsRest = 15 * time.Second

// idleSockets adds what an idle WebSocket costs the agent.
func (b *bench) idleSockets(agent *server) error {
	before, err := agent.residentMB()
	if err != nil {
		return err
	}
	for range b.sockets {
		conn, err := net.Dial("tcp4", agent.addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		if err != nil {
			return agent.problem(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			return agent.problem(fmt.Errorf("no upgrade: %w", err))
		}
		defer resp.Body.Close()
	}
	time.Sleep(socketsRest)
	after, err := agent.residentMB()
	b.table.add(&row{
		section: "streams", figure: fmt.Sprintf("KB of the agent for each of %d idle WebSockets", b.sockets),
		values: []float64{(after - before) * 1024 / float64(b.sockets)}, target: atMost(25), format: "%.1f",
	})
	return err
}
