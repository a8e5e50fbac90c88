package settings

import (
	"errors"
	"fmt"
	"gantry/async"
	fncontext "gantry/context"
	"os"
	"path/filepath"
	"time"
)

// Async holds the settings of asynchronous invocation.
type Async struct {
	// DataDir is the folder of the queue.
	DataDir string
	// NATSURL has the servers of a cluster, separated by commas; empty for the queue's child. The others are files.
	NATSURL                  string
	NATSCredentials, NATSCA  string
	NATSCertificate, NATSKey string
	NATSTLSFirst             bool
	NATSDomain               string
	// Replicas and Shards are 1 without a cluster. ShardBytes is 0 for MaxBytes, MaxRecordBytes for three times that on a
	// cluster and for no limit without one.
	Replicas, Shards, ShardBytes, MaxEvents, MaxBytes, MaxRecordBytes int
	// Retention is how long records of ended requests are kept, RetryDelay the pause before the second attempt.
	Retention, RetryDelay time.Duration
	// Program is the child's file, empty for the one beside this program; EndpointsFile is empty for none.
	Program, EndpointsFile string
}

// resolve completes what depends on other settings and on the environment.
func (a *Async) resolve(fn *fncontext.Function, env map[string]string) (named bool, err error) {
	if a.NATSURL == "" && a.Replicas > 1 {
		return false, errors.New("GANTRY_ASYNC_REPLICAS above 1 needs a cluster: set GANTRY_NATS_URL, or leave it at 1")
	}
	if a.NATSURL == "" && (a.Shards > 1 || a.ShardBytes > 0) {
		return false, errors.New(
			"GANTRY_ASYNC_SHARDS and GANTRY_ASYNC_SHARD_BYTES are for a cluster: set GANTRY_NATS_URL, or leave them out",
		)
	}
	for _, one := range []struct{ name, value string }{
		{"GANTRY_NATS_CREDENTIALS", a.NATSCredentials},
		{"GANTRY_NATS_CA", a.NATSCA},
		{"GANTRY_NATS_CERT", a.NATSCertificate},
		{"GANTRY_NATS_KEY", a.NATSKey},
	} {
		if a.NATSURL == "" && one.value != "" {
			return false, fmt.Errorf("%s is for a cluster: set GANTRY_NATS_URL, or leave it out", one.name)
		}
	}
	if (a.NATSCertificate == "") != (a.NATSKey == "") {
		return false, errors.New("GANTRY_NATS_CERT and GANTRY_NATS_KEY belong together: set both or none")
	}
	if a.NATSURL == "" && (a.NATSTLSFirst || a.NATSDomain != "") {
		return false, errors.New(
			"GANTRY_NATS_TLS_FIRST and GANTRY_NATS_DOMAIN are for a cluster: set GANTRY_NATS_URL, or leave them out",
		)
	}
	if a.NATSTLSFirst && async.Websocket(a.NATSURL) {
		return false, errors.New(
			"GANTRY_NATS_TLS_FIRST is for tls:// and nats://: with wss:// TLS always comes first; leave it out",
		)
	}
	named = a.DataDir != ""
	if !named {
		a.DataDir = filepath.Join(stateHome(env), "gantry", fn.Project, fn.Package, fn.Name)
	}
	if a.DataDir, err = filepath.Abs(a.DataDir); err != nil {
		return named, fmt.Errorf("GANTRY_DATA_DIR: %w", err)
	}
	return named, nil
}

// stateHome is where programs keep what must survive a restart.
func stateHome(env map[string]string) string {
	if dir := env["XDG_STATE_HOME"]; filepath.IsAbs(dir) {
		return dir
	}
	if home := env["HOME"]; os.Geteuid() != 0 && filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state")
	}
	return "/var/lib"
}
