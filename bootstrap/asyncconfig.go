package main

import (
	"errors"
	"fmt"
	"gantry/async"
	fncontext "gantry/context"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// asyncConfig holds the settings of asynchronous invocation.
type asyncConfig struct {
	dataDir                       string // empty: chosen by defaultDataDir
	natsURL                       string
	natsCredentials, natsCA       string
	natsCertificate, natsKey      string
	natsTLSFirst                  bool
	natsDomain                    string
	replicas, maxEvents, maxBytes int
	maxRecordBytes                int // 0: no limit, unless the servers require one
	retention, retryDelay         time.Duration
	program, endpointsFile        string
}

// storeLimit is none: the queues have limits of their own, and a store that takes no records any more would have
// requests run again.
const storeLimit = 1 << 50

// queueProgram is the child's file, which lies beside the agent's.
const queueProgram = "gantry-jetstream"

// resolve completes what depends on other settings and on the environment.
func (a *asyncConfig) resolve(fn *fncontext.Function, env map[string]string) (named bool, err error) {
	if a.natsURL == "" && a.replicas > 1 {
		return false, errors.New("GANTRY_ASYNC_REPLICAS above 1 needs a cluster: set GANTRY_NATS_URL, or leave it at 1")
	}
	if (a.natsCertificate == "") != (a.natsKey == "") {
		return false, errors.New("GANTRY_NATS_CERT and GANTRY_NATS_KEY belong together: set both or none")
	}
	if a.natsURL == "" && (a.natsTLSFirst || a.natsDomain != "") {
		return false, errors.New(
			"GANTRY_NATS_TLS_FIRST and GANTRY_NATS_DOMAIN are for a cluster: set GANTRY_NATS_URL, or leave them out",
		)
	}
	if a.natsTLSFirst && async.Websocket(a.natsURL) {
		return false, errors.New(
			"GANTRY_NATS_TLS_FIRST is for tls:// and nats://: with wss:// TLS always comes first; leave it out",
		)
	}
	named = a.dataDir != ""
	if !named {
		a.dataDir = filepath.Join(stateHome(env), "gantry", fn.Project, fn.Package, fn.Name)
	}
	if a.dataDir, err = filepath.Abs(a.dataDir); err != nil {
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

// programBeside is a file in the folder of this program.
func programBeside(name string) string {
	exe, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(strings.TrimSuffix(exe, " (deleted)")), name)
}
