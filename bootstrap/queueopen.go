package main

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
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
)

// openQueue prepares asynchronous invocation; nothing is started before the first need, but for what was left in the
// queue.
func (in *agent) openQueue() *queue {
	c, q := &in.cfg.async, &queue{log: in.log}
	c.program = cmp.Or(c.program, programBeside(queueProgram))
	var connect async.Connector
	left := true // a cluster may hold something
	if c.natsURL != "" {
		cluster := &async.Cluster{
			URL: c.natsURL, Credentials: c.natsCredentials, CA: c.natsCA, Certificate: c.natsCertificate, Key: c.natsKey,
			TLSFirst: c.natsTLSFirst,
		}
		connect = cluster.Connect
	} else {
		if q.why = in.noStore(); q.why != "" {
			in.log.Info("no asynchronous invocation", zap.String("reason", q.why))
			return q
		}
		q.child = child.New(&child.Config{
			Program:    c.program,
			Folder:     c.dataDir,
			MaxBytes:   storeLimit,
			Env:        in.cfg.inherited(baseEnv),
			Supervisor: in.supervisor,
			Log:        in.log,
		})
		connect = async.Local(q.child)
		_, err := os.Stat(filepath.Join(c.dataDir, "store"))
		left = err == nil
	}
	q.Queue = async.New(&async.Config{
		Function:       &in.cfg.fn,
		Connect:        connect,
		Alone:          q.child != nil,
		Replicas:       c.replicas,
		MaxEvents:      int64(c.maxEvents),
		MaxBytes:       int64(c.maxBytes),
		MaxRecordBytes: int64(c.maxRecordBytes),
		Domain:         c.natsDomain,
		Parallel:       in.cfg.concurrency*in.cfg.workers + 1,
		Retention:      c.retention,
		UserDelay:      c.retryDelay,
		Folder:         c.dataDir,
		Endpoints:      in.platform.endpoints,
		Sign:           sign,
		Invoke:         in.invokeQueued,
		Cancel:         in.instance.Cancel,
		Credentials:    fncontext.NewCredentials(in.cfg.secrets),
		Log:            in.log,
	})
	in.queueGauges(q.Queue)
	if left {
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
func (in *agent) noStore() string {
	c := &in.cfg.async
	if _, err := os.Stat(c.program); err != nil {
		return fmt.Sprintf(
			"the queue's program is missing: put %s beside bootstrap, or set GANTRY_ASYNC_PROGRAM or GANTRY_NATS_URL (%v)",
			queueProgram,
			err,
		)
	}
	if in.cfg.dataDirNamed {
		return ""
	}
	if volatile, err := child.Volatile(c.dataDir); err == nil && volatile {
		return fmt.Sprintf(
			"the data folder %s lies in memory (tmpfs) and would not survive a restart; set GANTRY_DATA_DIR to a folder on a disk, or to this one to accept that",
			c.dataDir,
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
