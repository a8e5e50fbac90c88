package auth

import (
	"context"
	"errors"
	"fmt"
	"gantry/files"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// fileInterval is how long a change of the users file may go unnoticed.
const fileInterval = time.Second

// Follow takes over each change of the users file within a second, until ctx ends. It logs a change that it cannot take
// over, and a file whose storage does not answer: the previous users are in force then, including those that were to be
// revoked. The owner of the gate runs it once; without it no change is taken over.
func (g *Gate) Follow(ctx context.Context) {
	if g.cfg.UsersFile == "" {
		return
	}
	w := &files.Watch{Interval: fileInterval, Look: g.look, Hangs: g.hangs}
	w.Run(ctx)
}

// hangs reports that look has not returned since the given time.
func (g *Gate) hangs(since time.Duration) {
	g.hung.Store(true)
	g.cfg.Log.Error(
		"the users file cannot be read, its storage does not answer: the users from before stay in force, and no revocation counts until it answers",
		zap.String("file", g.cfg.UsersFile),
		zap.Duration("since", since.Round(time.Second)),
	)
}

// look reads the users file again if it has changed. A file that cannot be used leaves the old users in force, and is
// logged once. A file that could not be read at all is tried again at the next look: the cause, such as a lack of
// descriptors, may pass without a change of the file.
func (g *Gate) look() {
	id := g.identify(g.cfg.UsersFile)
	if g.hung.CompareAndSwap(true, false) {
		g.cfg.Log.Info("the users file's storage answers again", zap.String("file", g.cfg.UsersFile))
	}
	if id == g.seen {
		return
	}
	d, err := g.read(g.cfg.UsersFile)
	if err != nil {
		if errno := syscall.Errno(0); !errors.As(err, &errno) {
			g.seen = id
		}
		if err.Error() != g.failure || g.seen == id {
			g.cfg.Log.Error("the users file changed and cannot be used: the users from before it stay in force", zap.Error(err))
		}
		g.failure = err.Error()
		return
	}
	g.failure = ""
	g.adopt(d)
	g.cfg.Log.Info("users file read again", zap.Int("users", len(d.byName)))
}

// adopt puts d in force, and says what is remarkable about it.
func (g *Gate) adopt(d *directory) {
	g.keepRemovals(d)
	g.seen = d.id
	g.directory.Store(d)
	for _, remark := range append(d.remarks, d.expired(g.cfg.Now())...) {
		g.cfg.Log.Warn(remark, zap.String("file", g.cfg.UsersFile))
	}
}

// keepRemovals records removed users for as long as a token lives: the tokens of a user who comes back stay invalid.
func (g *Gate) keepRemovals(d *directory) {
	now := g.cfg.Now()
	if old := g.directory.Load(); old != nil {
		for name := range old.byName {
			if d.byName[name] == nil {
				g.removed[name] = now
			}
		}
	}
	for name, at := range g.removed {
		if now.Sub(at) >= TokenLife {
			delete(g.removed, name)
		} else if u := d.byName[name]; u != nil {
			u.removed = at
		}
	}
}

// maxNamed bounds the keys that one remark names.
const maxNamed = 10

// expired remarks on keys that cannot be used any more.
func (d *directory) expired(now time.Time) []string {
	var remarks []string
	for _, k := range d.keys {
		if k.expiresAt.IsZero() || now.Before(k.expiresAt) {
			continue
		}
		if len(remarks) == maxNamed {
			return append(remarks, "more access keys in the users file have expired")
		}
		remarks = append(
			remarks,
			fmt.Sprintf(
				"the access key %s of user %q expired at %s: requests signed with it are refused",
				k.access,
				k.user.name,
				k.expiresAt.UTC().Format(time.RFC3339),
			),
		)
	}
	return remarks
}
