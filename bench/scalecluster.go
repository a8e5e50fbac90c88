package main

import (
	"context"
	"errors"
	"fmt"
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
	servers []*exec.Cmd
	clients []string // addresses
	logs    []string
	conn    *nats.Conn
	js      jetstream.JetStream
}

// usage is what idle servers use.
type usage struct {
	memory    float64 // of the largest server, MB
	processor float64 // of all together, per cent of a core
}

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
	var own, routes []string
	for range scaleReplicas {
		c.clients = append(c.clients, freeAddr())
		own = append(own, freeAddr())
		routes = append(routes, "nats://"+own[len(own)-1])
	}
	for i := range scaleReplicas {
		name := "server" + strconv.Itoa(i+1)
		config := fmt.Sprintf(`server_name: %s
listen: %q
jetstream { store_dir: %q, sync_interval: always, max_file_store: 100TB }
cluster { name: bench, listen: %q, routes: [%s] }
`, name, c.clients[i], filepath.Join(folder, name), own[i], strings.Join(routes, ", "))
		if err := c.start(filepath.Join(folder, name+".conf"), config, program); err != nil {
			return nil, err
		}
	}
	return c, c.connect(ctx)
}

// start starts one server.
func (c *natsCluster) start(file, config, program string) error {
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	log, err := os.Create(file + ".log")
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(program, "-c", file)
	cmd.Env, cmd.Stdout, cmd.Stderr = []string{"PATH=" + os.Getenv("PATH")}, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	c.servers, c.logs = append(c.servers, cmd), append(c.logs, log.Name())
	return nil
}

func (c *natsCluster) url() string { return "nats://" + strings.Join(c.clients, ",nats://") }

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
		_, err := c.js.CreateOrUpdateStream(
			try,
			jetstream.StreamConfig{Name: "bare", Subjects: []string{"bare.*"}, Replicas: scaleReplicas},
		)
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

// idle measures the servers while nothing goes on.
func (c *natsCluster) idle(ctx context.Context) (u usage, err error) {
	if err := pause(ctx, scaleQuiet); err != nil {
		return u, err
	}
	before, err := c.processor()
	if err != nil {
		return u, err
	}
	began := time.Now()
	if err := pause(ctx, scaleIdle); err != nil {
		return u, err
	}
	after, err := c.processor()
	if err != nil {
		return u, err
	}
	u.processor = 100 * float64(after-before) / float64(time.Since(began))
	for _, s := range c.servers {
		mb, err := residentMB(s.Process.Pid)
		if err != nil {
			return u, err
		}
		u.memory = max(u.memory, mb)
	}
	return u, nil
}

func (c *natsCluster) processor() (all time.Duration, err error) {
	for _, s := range c.servers {
		used, err := cpuTime(s.Process.Pid)
		if err != nil {
			return 0, err
		}
		all += used
	}
	return all, nil
}

// stop kills the servers: their data is not needed.
func (c *natsCluster) stop() (err error) {
	if c.conn != nil {
		c.conn.Close()
	}
	for _, s := range c.servers {
		err = errors.Join(err, s.Process.Kill())
		_ = s.Wait() // it was killed
	}
	return err
}

// problem is what the servers wrote last.
func (c *natsCluster) problem() (err error) {
	for _, name := range c.logs {
		text, _ := os.ReadFile(name)
		err = errors.Join(err, fmt.Errorf("%s: %s", filepath.Base(name), text[max(0, len(text)-500):]))
	}
	return err
}
