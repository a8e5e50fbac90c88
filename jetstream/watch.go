package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// watchEvery is how often the folders of the streams are looked at.
const watchEvery = time.Second

// streamFolder is where the server keeps the streams of its only account.
func streamFolder(store string) string {
	return filepath.Join(store, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams")
}

// watch checks that the folders of a store are still those that the server has opened. The server does not check: it
// goes on writing files that no path leads to, and acknowledges the writes.
type watch struct {
	server *server.Server
	store  string
	seen   map[string]os.FileInfo // nil if it was not there
}

func newWatch(s *server.Server, store string) *watch {
	return &watch{server: s, store: store, seen: map[string]os.FileInfo{}}
}

// gone gets what is lost, once a folder was removed or replaced.
func (w *watch) gone() <-chan string {
	lost := make(chan string, 1)
	go func() {
		for range time.Tick(watchEvery) {
			if !w.intact() {
				lost <- w.contents()
				return
			}
		}
	}()
	return lost
}

func (w *watch) intact() bool {
	for _, s := range w.streams() {
		path := filepath.Join(streamFolder(w.store), s.Name, "msgs")
		info, err := os.Stat(path)
		switch known, old := w.seen[path]; {
		case err == nil && known == nil:
			w.seen[path] = info
		case err == nil && !os.SameFile(known, info):
			return false
		case errors.Is(err, os.ErrNotExist) && old:
			return false
		case errors.Is(err, os.ErrNotExist): // it may just be being made
			w.seen[path] = nil
		}
	}
	return true
}

// contents counts the messages of each stream, in words.
func (w *watch) contents() string {
	var all []string
	for _, s := range w.streams() {
		if s.State.Msgs > 0 {
			all = append(all, fmt.Sprintf("%d of %s", s.State.Msgs, s.Name))
		}
	}
	if len(all) == 0 {
		return "no messages"
	}
	return "messages: " + strings.Join(all, ", ")
}

// streams is empty while the server ends.
func (w *watch) streams() []server.StreamDetail {
	account, err := w.server.JszAccount(
		&server.JSzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Streams: true, Consumer: true},
	)
	if err != nil {
		return nil
	}
	return account.Streams
}
