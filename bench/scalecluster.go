package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsCluster is three servers of NATS on this machine. Each write is synced, as in the child. max_file_store is only
// declared: each stream with a limit of bytes reserves it there, used or not.
type natsCluster struct {
	servers []*natsServer
	conn    *nats.Conn
	js      jetstream.JetStream
}

// natsServer is one of them.
type natsServer struct {
	name, addr      string
	monitoring      string // address
	program, config string // files
	log             string
	cmd             *exec.Cmd // nil while it does not run
}

// bareSubject is what the bare client publishes to; it is as long as a subject of events with a request id is today.
const bareSubject = "bare-0123456789abcdef.event."

// startCluster builds the server of the version in go.mod, starts three, and waits until they are a cluster.
func (b *bench) startCluster(ctx context.Context) (_ *natsCluster, err error) {
	folder, err := b.folder("nats")
	if err != nil {
		return nil, err
	}
	program, err := b.buildPackage(ctx, "github.com/nats-io/nats-server/v2", "nats-server")
	if err != nil {
		return nil, err
	}
	c := &natsCluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.problem(), c.stop())
		}
	}()
	addrs := distinctAddrs(3 * scaleReplicas)
	own := addrs[:scaleReplicas]
	for i := range scaleReplicas {
		name := "server" + strconv.Itoa(i+1)
		s := &natsServer{
			name: name, addr: addrs[scaleReplicas+i], monitoring: addrs[2*scaleReplicas+i],
			program: program, config: filepath.Join(folder, name+".conf"), log: filepath.Join(folder, name+".log"),
		}
		config := fmt.Sprintf(`server_name: %s
listen: %q
http: %q
jetstream { store_dir: %q, sync_interval: always, max_file_store: 100TB }
cluster { name: bench, listen: %q, routes: [%s] }
`, name, s.addr, s.monitoring, filepath.Join(folder, name), own[i], "nats://"+strings.Join(own, ", nats://"))
		if err := os.WriteFile(s.config, []byte(config), 0o600); err != nil {
			return nil, err
		}
		if err := s.start(); err != nil {
			return nil, err
		}
		c.servers = append(c.servers, s)
	}
	return c, c.connect(ctx)
}

// distinctAddrs returns addresses that have no listener yet.
func distinctAddrs(n int) []string {
	var addrs []string
	for seen := map[string]bool{}; len(addrs) < n; {
		if addr := freeAddr(); !seen[addr] {
			seen[addr] = true
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// start starts the server, on what it has stored.
func (s *natsServer) start() error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.program, "-c", s.config)
	cmd.Env, cmd.Stdout, cmd.Stderr = []string{"PATH=" + os.Getenv("PATH")}, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd = cmd
	return nil
}

// kill ends the server as a loss of the machine would, but for what the kernel has not written yet.
func (s *natsServer) kill() error {
	if s.cmd == nil {
		return nil
	}
	err := s.cmd.Process.Kill()
	_ = s.cmd.Wait() // it was killed
	s.cmd = nil
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// healthy waits until the server says that its streams and consumers are up to date.
func (s *natsServer) healthy(ctx context.Context, limit time.Duration) error {
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	for began := time.Now(); ; {
		status := "no answer"
		resp, err := client.Get("http://" + s.monitoring + "/healthz")
		if err == nil {
			status = resp.Status
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Since(began) > limit {
			return fmt.Errorf("%s is not healthy after %s: %s", s.name, limit, status)
		}
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return err
		}
	}
}

func (c *natsCluster) url() string {
	var urls []string
	for _, s := range c.servers {
		urls = append(urls, "nats://"+s.addr)
	}
	return strings.Join(urls, ",")
}

// connect opens the bench's own connection, once the servers take a stream with a copy on each.
func (c *natsCluster) connect(ctx context.Context) (err error) {
	c.conn, err = nats.Connect(
		c.url(), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
	)
	if err != nil {
		return err
	}
	if c.js, err = jetstream.New(c.conn); err != nil {
		return err
	}
	for began := time.Now(); ; {
		try, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := c.js.CreateOrUpdateStream(try, jetstream.StreamConfig{
			Name: "bare", Subjects: []string{bareSubject + "*"}, Storage: jetstream.FileStorage, Replicas: scaleReplicas,
		})
		cancel()
		if err == nil {
			return nil
		}
		if time.Since(began) > scaleLimit {
			return fmt.Errorf("the servers are no cluster: %w", err)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// bareClients publish without Gantry, each with a connection of its own.
type bareClients []jetstream.JetStream

// clients connects so many bare clients. Those that it connected have to be closed, also after an error.
func (c *natsCluster) clients(n int) (clients bareClients, err error) {
	for range n {
		conn, err := nats.Connect(c.url())
		if err != nil {
			return clients, err
		}
		client, err := jetstream.New(conn)
		if err != nil {
			conn.Close()
			return clients, err
		}
		clients = append(clients, client)
	}
	return clients, nil
}

func (b bareClients) close() {
	for _, client := range b {
		client.Conn().Close()
	}
}

// leader is the server that leads a stream of functions, and the stream; of many streams, one of the first.
func (c *natsCluster) leader(ctx context.Context, choose func(n int) int) (*natsServer, string, error) {
	const most = 256
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	list := c.js.ListStreams(ctx)
	var streams []*jetstream.StreamInfo
	for info := range list.Info() {
		if info.Config.Name != "bare" && info.Cluster != nil && info.Cluster.Leader != "" {
			streams = append(streams, info)
		}
		if len(streams) == most {
			cancel() // which ends the listing
			break
		}
	}
	if len(streams) == 0 {
		return nil, "", errors.Join(errors.New("no stream has a leader"), list.Err())
	}
	stream := streams[choose(len(streams))]
	for _, s := range c.servers {
		if s.name == stream.Cluster.Leader {
			return s, stream.Config.Name, nil
		}
	}
	return nil, "", fmt.Errorf("the stream %s is led by %q", stream.Config.Name, stream.Cluster.Leader)
}

// stop kills the servers: their data is not needed.
func (c *natsCluster) stop() (err error) {
	if c.conn != nil {
		c.conn.Close()
	}
	for _, s := range c.servers {
		err = errors.Join(err, s.kill())
	}
	return err
}

// problem is what the servers wrote last.
func (c *natsCluster) problem() (err error) {
	for _, s := range c.servers {
		text, _ := os.ReadFile(s.log)
		err = errors.Join(err, fmt.Errorf("%s: %s", filepath.Base(s.log), text[max(0, len(text)-500):]))
	}
	return err
}
