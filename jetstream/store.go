package main

import (
	"errors"
	"fmt"
	"gantry/jetstream/control"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// user is the only one; its password is made anew by every agent.
	// maxPayload bounds a message, in bytes.
	maxPayload = 1 << 20
	// memoryLimit makes the garbage collector work harder before the process gets larger, in bytes. Queues of many
	// small messages need less than a fifth of it.
	memoryLimit = 256 << 20
	// maxMemory bounds streams that are kept in memory, in bytes. Without it the server offers three quarters of the
	// machine.
	maxMemory = 64 << 20
)

// openStore starts the server and returns when its streams are read. The error is the server's own reason.
func openStore(c *control.Config, log *journal) (*server.Server, error) {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // GOMEMLIMIT is not set
		debug.SetMemoryLimit(memoryLimit)
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "gantry", Username: control.User, Password: c.Password, MaxPayload: maxPayload,
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
		setAside(s, c.Store, log)
		return s, nil
	}
	s.Shutdown()
	s.WaitForShutdown()
	return nil, errors.New(log.lastError() + probe(c.Store))
}

// setAside moves away the remains of consumers that the server could not read: it would refuse to create them again. A
// consumer records only what was delivered; without it all stored messages are delivered once more.
func setAside(s *server.Server, store string, log *journal) {
	for _, stream := range newWatch(s, store).streams() {
		read := map[string]bool{}
		for _, c := range stream.Consumer {
			read[c.Name] = true
		}
		folder := filepath.Join(streamFolder(store), stream.Name, "obs")
		found, _ := os.ReadDir(folder) // missing: no consumers
		for _, f := range found {
			if read[f.Name()] {
				continue
			}
			to := filepath.Join(store, "damaged", stream.Name+"-"+f.Name())
			if err := moveAside(filepath.Join(folder, f.Name()), to); err != nil {
				log.Errorf("what is damaged cannot be set aside: %v", err)
				continue
			}
			log.Errorf("the consumer %s of %s is damaged: it was moved to %s, and is made anew", f.Name(), stream.Name, to)
		}
	}
}

// moveAside replaces what was moved there before.
func moveAside(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.Rename(from, to)
}

// probe repeats the server's own test of the folder, because the server does not report its error. Empty if the test
// succeeds now.
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
