package agent

import (
	"cmp"
	"errors"
	"fmt"
	"gantry/async"
	"gantry/auth"
	fncontext "gantry/context"
	"gantry/fault"
	"gantry/instance"
	"gantry/jetstream/child"
	"gantry/settings"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"
)

// storeLimit is none: the queues have limits of their own, and a store that takes no records any more would have
// requests run again.
const storeLimit = 1 << 50

// queueProgram is the child's file, which lies beside the agent's.
const queueProgram = "gantry-jetstream"

// openQueue prepares asynchronous invocation; nothing is started before the first need, but for what was left in the
// queue.
func (in *agent) openQueue() *queue {
	c, q := &in.cfg.Async, &queue{log: in.log}
	c.Program = cmp.Or(c.Program, programBeside(queueProgram))
	var connect async.Connector
	left := true // a cluster may hold something
	if c.NATSURL != "" {
		cluster := &async.Cluster{
			URL: c.NATSURL, Credentials: c.NATSCredentials, CA: c.NATSCA, Certificate: c.NATSCertificate, Key: c.NATSKey,
			TLSFirst: c.NATSTLSFirst,
		}
		connect = cluster.Connect
	} else {
		if q.why = noStore(in.cfg); q.why != "" {
			in.log.Info("no asynchronous invocation", zap.String("reason", q.why))
			return q
		}
		q.child = child.New(&child.Config{
			Program:    c.Program,
			Folder:     c.DataDir,
			MaxBytes:   storeLimit,
			Env:        in.cfg.Inherited(settings.BaseEnv),
			Supervisor: in.supervisor,
			Log:        in.log,
		})
		connect = async.Local(q.child)
		_, err := os.Stat(filepath.Join(c.DataDir, "store"))
		left = err == nil
	}
	q.Queue = async.New(&async.Config{
		Function:       &in.cfg.Function,
		Connect:        connect,
		Alone:          q.child != nil,
		Replicas:       c.Replicas,
		Shards:         c.Shards,
		ShardBytes:     int64(c.ShardBytes),
		MaxEvents:      int64(c.MaxEvents),
		MaxBytes:       int64(c.MaxBytes),
		MaxRecordBytes: int64(c.MaxRecordBytes),
		Domain:         c.NATSDomain,
		Parallel:       in.cfg.Concurrency*in.cfg.Workers + 1,
		Retention:      c.Retention,
		UserDelay:      c.RetryDelay,
		Folder:         c.DataDir,
		Endpoints:      in.endpoints,
		Sign:           sign,
		Invoke:         in.invokeQueued,
		Cancel:         in.instance.Cancel,
		Credentials:    fncontext.NewCredentials(in.cfg.Secrets),
		Log:            in.log,
	})
	in.queueGauges(q.Queue)
	if left || len(in.cfg.Timers) > 0 {
		go in.startQueue(q.Queue)
	}
	return q
}

// Pauses between tries to open the queue at the start.
const (
	startPause    = time.Second
	maxStartPause = time.Minute
)

// startQueue opens the queue for what was left in it, and retries until that works or the instance stops: there may be
// no later request that opens it.
func (in *agent) startQueue(q *async.Queue) {
	base := in.instance.Base()
	for pause := startPause; ; pause = min(2*pause, maxStartPause) {
		err := q.Start(base)
		if err == nil || base.Err() != nil {
			return
		}
		in.log.Warn(
			"the queue cannot be opened and is tried again; its events wait",
			zap.Duration("next_try", pause),
			zap.Error(err),
		)
		select {
		case <-time.After(pause):
		case <-base.Done():
			return
		}
	}
}

func (in *agent) queueGauges(q *async.Queue) {
	for _, name := range async.CountNames() {
		in.metrics.Counter(
			"gantry_async_"+name+"_total",
			async.CountHelp(name),
			func() float64 { return float64(q.Counts()[name]) },
		)
	}
	in.metrics.Gauge(
		"gantry_async_queue_length",
		"Events in the queue, those under way included.",
		func() float64 { n, _ := q.Depth(); return float64(n) },
	)
	in.metrics.Gauge(
		"gantry_async_oldest_seconds",
		"Age of the oldest event in the queue.",
		func() float64 { _, age := q.Depth(); return age.Seconds() },
	)
}

// noStore says why events could not be kept here, or nothing.
func noStore(cfg *settings.Config) string {
	c := &cfg.Async
	if _, err := os.Stat(cmp.Or(c.Program, programBeside(queueProgram))); err != nil {
		return fmt.Sprintf(
			"the queue's program is missing: put %s beside bootstrap, or set GANTRY_ASYNC_PROGRAM or GANTRY_NATS_URL (%v)",
			queueProgram,
			err,
		)
	}
	if cfg.DataDirNamed {
		return ""
	}
	if volatile, err := child.Volatile(c.DataDir); err == nil && volatile {
		return fmt.Sprintf(
			"the data folder %s lies in memory (tmpfs) and would not survive a restart; set GANTRY_DATA_DIR to a folder on a disk, or to this one to accept that",
			c.DataDir,
		)
	}
	return ""
}

// sign signs a request to a destination.
func sign(method, path string, body []byte, access, secret string) (date, authorization string, err error) {
	return auth.Sign(&auth.Request{Method: method, Path: []byte(path), Body: body}, access, secret, time.Now())
}

// invokeQueued runs one request out of the queue.
func (in *agent) invokeQueued(inv *fncontext.Invocation, started func() error, event []byte) ([]byte, *fault.Error) {
	base := in.instance.Base()
	lease, err := in.instance.Admit(base, inv)
	switch {
	case errors.Is(err, instance.ErrInFlight):
		return nil, &fault.Error{
			Kind:    fault.Internal,
			Type:    fault.TypeInternal,
			Code:    fault.CodeInternal,
			Message: "a request came out of the queue while it is still running here",
		}
	case err != nil:
		return nil, fault.From(err)
	}
	if err := started(); err != nil {
		return nil, lease.Drop(err)
	}
	r := lease.Invoke(base, event)
	return r.Body, r.Fault
}

// programBeside is a file in the folder of this program.
func programBeside(name string) string {
	exe, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(strings.TrimSuffix(exe, " (deleted)")), name)
}
