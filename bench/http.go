package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// http compares an HTTP function with its server called directly, with Go's own reverse proxy and nginx before the same
// server, and with an HTTP function of functions-framework. The server and what stands before it share one CPU, as in a
// container.
func (b *bench) http(ctx context.Context) error {
	servers, err := b.httpServers(ctx)
	if err != nil {
		return err
	}
	for _, s := range servers {
		if err := b.warm(ctx, s); err != nil {
			return err
		}
	}
	results := map[load][][]result{}
	for n := range b.rounds {
		progress("http, round %d of %d", n+1, b.rounds)
		if err := b.round(ctx, servers, results); err != nil {
			return err
		}
	}
	named := map[string]int{}
	for i, s := range servers {
		named[s.name] = i
	}
	b.httpRows(named, results)
	return nil
}

// httpServers are the plain server, the agent with another one, one more behind each proxy, and the framework. The
// last two may be missing: nginx and the framework.
func (b *bench) httpServers(ctx context.Context) ([]*server, error) {
	proxy, err := b.build(ctx, "bench/reverseproxy")
	if err != nil {
		return nil, err
	}
	plain, err := b.upPlain(ctx)
	if err != nil {
		return nil, err
	}
	addr, ops := freeAddr(), freeAddr()
	args, env := b.httpFunction(b.bootstrap, addr, ops)
	agent, err := b.up(ctx, "agent", addr, ops, pinned(pinServer, args), env)
	if err != nil {
		return nil, err
	}
	before, err := b.upProxy(ctx, "reverseproxy", func(addr, behind string) ([]string, error) {
		return []string{proxy, port(addr), port(behind)}, nil
	})
	if err != nil {
		return nil, err
	}
	servers := []*server{plain, agent, before}
	if program := findNginx(); program != "" {
		before, err := b.upNginx(ctx, program)
		if err != nil {
			return nil, err
		}
		servers = append(servers, before)
	}
	if b.framework.folder == "" {
		return servers, nil
	}
	peer, err := b.upFramework(ctx)
	return append(servers, peer), err
}

func (b *bench) upNginx(ctx context.Context, program string) (*server, error) {
	return b.upProxy(ctx, "nginx", func(addr, behind string) ([]string, error) {
		folder, err := b.nginxFolder(addr, behind)
		return []string{program, "-p", folder, "-c", "nginx.conf", "-e", "stderr"}, err
	})
}

// httpFunction is the command of an agent whose function is the plain server.
func (b *bench) httpFunction(bootstrap, addr, ops string) (args, env []string) {
	_, env = b.agent(addr, ops, none)
	upstream := freeAddr()
	return []string{
		bootstrap, "serve", "--runtime", "http", "--upstream", upstream, "--", b.node, b.testdata("plain.js"), port(upstream),
	}, env
}

// upPlain starts a plain server where the other servers run.
func (b *bench) upPlain(ctx context.Context) (*server, error) {
	addr := freeAddr()
	args, env := b.plain(addr)
	return b.up(ctx, "plain", addr, "", pinned(pinServer, args), env)
}

// upProxy starts a plain server and a proxy before it, whose command gets the addresses of both.
func (b *bench) upProxy(
	ctx context.Context, name string, command func(addr, behind string) ([]string, error),
) (*server, error) {
	behind, err := b.upPlain(ctx)
	if err != nil {
		return nil, err
	}
	addr := freeAddr()
	args, err := command(addr, behind.addr)
	if err != nil {
		return nil, err
	}
	return b.up(ctx, name, addr, "", pinned(pinServer, args), nil)
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// findNginx returns the program, which is not in the PATH of every user; empty if there is none.
func findNginx() string {
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if program, err := exec.LookPath(name); err == nil {
			return program
		}
	}
	return ""
}

// nginxFolder makes a folder with nginx's configuration.
func (b *bench) nginxFolder(addr, behind string) (string, error) {
	folder, err := b.folder("nginx")
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(b.testdata("nginx.conf"))
	if err != nil {
		return "", err
	}
	config := strings.NewReplacer("ADDR", addr, "BEHIND", behind).Replace(string(text))
	return folder, os.WriteFile(filepath.Join(folder, "nginx.conf"), []byte(config), 0o600)
}

// httpRows compares the agent with every other server; named are the places of the servers.
func (b *bench) httpRows(named map[string]int, results map[load][][]result) {
	add := func(figure string, l load, base string, pick func(result) float64, t target) {
		all := results[l]
		b.table.add(compare("http", figure, column(all[named[base]], pick), column(all[named["agent"]], pick), t))
	}
	rate := func(r result) float64 { return r.perSecond }
	median := func(r result) float64 { return r.p50 }
	cpu := func(r result) float64 { return r.tree }
	add("calls/s, 16 connections, to the server itself", few, "plain", rate, atLeast(0.5))
	add("calls/s, 64 connections, to the server itself", many, "plain", rate, atLeast(0.5))
	add("calls/s, 100 KB, 16 connections, to the server itself", large, "plain", rate, target{})
	add("median µs, 1 connection, to the server itself", alone, "plain", median, target{})
	add("CPU µs per call, 16 connections, to the server itself", few, "plain", cpu, target{})
	add("calls/s, 16 connections, to Go's ReverseProxy", few, "reverseproxy", rate, atLeast(1.5))
	add("calls/s, 64 connections, to Go's ReverseProxy", many, "reverseproxy", rate, atLeast(1.5))
	if _, there := named["nginx"]; there {
		add("calls/s, 16 connections, to nginx", few, "nginx", rate, atLeast(0.7))
		add("calls/s, 64 connections, to nginx", many, "nginx", rate, atLeast(0.7))
		add("calls/s, 100 KB, 16 connections, to nginx", large, "nginx", rate, target{})
	} else {
		b.table.add(&row{section: "http", figure: "nginx is not installed: NOT compared with it"})
	}
	if b.framework.folder == "" {
		b.table.add(b.withoutFramework("http"))
		return
	}
	const peer = "functions-framework"
	add("calls/s, 16 connections, to functions-framework", few, peer, rate, target{})
	add("calls/s, 64 connections, to functions-framework", many, peer, rate, target{})
	add("calls/s, 100 KB, 16 connections, to functions-framework", large, peer, rate, target{})
	add("median µs, 1 connection, to functions-framework", alone, peer, median, target{})
	add("CPU µs per call, 16 connections, to functions-framework", few, peer, cpu, target{})
}
