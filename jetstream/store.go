package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// user is the only one; its password is made anew by every agent.
	user = "gantry"
	// maxPayload bounds a message, in bytes.
	maxPayload = 1 << 20
	// memoryLimit makes the garbage collector work harder before the process gets larger, in bytes. Queues of many small
	// messages need less than a fifth of it.
	memoryLimit = 256 << 20
	// maxMemory bounds streams that are kept in memory, in bytes. Without it the server offers three quarters of the machine.
	maxMemory = 64 << 20
)

// openStore starts the server and returns when its streams are read. The error is the server's own reason.
func openStore(c *config, log *journal) (*server.Server, error) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // GOMEMLIMIT is not set
		debug.SetMemoryLimit(memoryLimit)
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "gantry", Username: user, Password: c.Password, MaxPayload: maxPayload,
		JetStream: true, StoreDir: c.Store, JetStreamMaxStore: c.MaxBytes, JetStreamMaxMemory: maxMemory,
		// Acknowledged means on the disk: by default two minutes of messages would be lost in a power cut.
		SyncAlways: true,
		DontListen: true, NoSigs: true, DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, err
	}
	s.SetLoggerV2(log, false, false, false)
	s.Start() // returns when it is done, since it does not listen
	if s.JetStreamEnabled() && !log.fatal() {
		return s, nil
	}
	s.Shutdown()
	s.WaitForShutdown()
	return nil, errors.New(log.lastError() + probe(c.Store))
}

// probe repeats the server's own test of the folder, whose error it does not tell. Empty if that works now.
func probe(store string) string {
	folder := filepath.Join(store, server.JetStreamStoreDir)
	err := os.MkdirAll(folder, 0o700)
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(folder, "_test_"); err == nil {
			_ = f.Close()
			err = os.Remove(f.Name())
		}
	}
	if err == nil {
		return ""
	}
	return fmt.Sprintf(" (%v)", err)
}
