package async

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

func (e *engine) configuration(key string) *Configuration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.known.Configurations[key]
}

// configurations is a copy of what is in force here.
func (e *engine) configurations() map[string]*Configuration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.known.Configurations)
}

// follow takes over what the servers know, unless something newer was taken over before.
func (e *engine) follow(f *function) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.revision > e.known.revision {
		e.known = *f
	}
}

// readFunction asks the servers what they know of a function; one without a revision if they know nothing.
func (e *engine) readFunction(ctx context.Context, key string) (*function, error) {
	f := &function{}
	msg, err := e.last(ctx, functionStream, functionSubject+key)
	if err != nil {
		return nil, err
	}
	if msg != nil {
		if err := json.Unmarshal(msg.Data, f); err != nil {
			return nil, fmt.Errorf("what is stored of function %s: %w", key, err)
		}
		f.revision = msg.Sequence
	}
	return f, nil
}

// writeFunction stores f over the revision that it has, and sets the new one; errOvertaken if there is another.
func (e *engine) writeFunction(ctx context.Context, f *function) error {
	f.URN = e.q.cfg.Function.URN()
	text, err := plainJSON(f)
	if err != nil {
		return err
	}
	f.revision, err = e.replace(ctx, functionSubject+e.key, text, f.revision)
	return err
}

// change makes one change of what the servers know of this function, again as long as other agents are faster, and has
// the other agents take it over. An error of edit ends it.
func (e *engine) change(ctx context.Context, edit func(*function) error) error {
	for {
		f, err := e.readFunction(ctx, e.key)
		if err != nil {
			return err
		}
		if f.revision == 0 { // it was purged: the change is one of what is in force here
			f.Configurations = e.configurations()
		}
		if f.Configurations == nil {
			f.Configurations = map[string]*Configuration{}
		}
		if err := edit(f); err != nil {
			return err
		}
		err = e.writeFunction(ctx, f)
		if errors.Is(err, errOvertaken) && ctx.Err() == nil {
			continue
		}
		if err == nil {
			e.follow(f)
			e.announce(f.revision)
		}
		return err
	}
}

// announce has the other agents of the function read what was changed. One that misses it reads it within a minute.
func (e *engine) announce(revision uint64) {
	if err := e.conn.Publish(e.prefix+".changed", strconv.AppendUint(nil, revision, 10)); err != nil {
		e.q.cfg.Log.Debug("the other agents see a change of the configuration later", zap.Error(err))
	}
}

// functionAge is how old what is known of the function may get, with half as long at random on top: messages between
// agents may be lost.
const functionAge = 40 * time.Second

// followFunction takes over what is known of the function, and makes it known if it is new.
func (e *engine) followFunction(ctx context.Context) error {
	f, err := e.readFunction(ctx, e.key)
	if err == nil && f.revision == 0 {
		if err = e.writeFunction(ctx, f); errors.Is(err, errOvertaken) {
			f, err = e.readFunction(ctx, e.key)
		}
	}
	if err != nil {
		return err
	}
	e.follow(f)
	return nil
}

// listenForChanges takes over what other agents change.
func (e *engine) listenForChanges() error {
	err := e.listen("changed", "", func(msg *nats.Msg) {
		revision, err := strconv.ParseUint(string(msg.Data), 10, 64)
		e.mu.Lock()
		news := err != nil || revision > e.known.revision
		e.mu.Unlock()
		if news {
			_ = e.lookAtFunction(revision)
		}
	})
	if err != nil {
		return err
	}
	e.tasks.Go(func() {
		for e.ctx.Err() == nil {
			pause(e.ctx, functionAge+rand.N(functionAge/2))
			if e.ctx.Err() == nil && !e.away.Load() {
				_ = e.lookAtFunction(0)
			}
		}
	})
	return nil
}

// lookAtFunction takes over what the servers know now, with the change of that number; 0 for no certain one. What was
// purged becomes known again. It returns the error that it logs.
func (e *engine) lookAtFunction(revision uint64) error {
	ctx, cancel := context.WithTimeout(e.ctx, storeTimeout)
	defer cancel()
	ctx, release := e.whileConnected(ctx)
	defer release()
	f, err := e.readChange(ctx, revision)
	switch {
	case err != nil:
	case f.revision == 0:
		err = e.remember(ctx)
	default:
		e.follow(f)
	}
	if err != nil && e.ctx.Err() == nil {
		e.q.causes.Warn("changes of configurations by other agents are not seen; they are read again within a minute", err)
	}
	return err
}

// Pauses between reads of a change that another agent has announced, and how many reads there are: together 7 s.
const (
	changePause    = 10 * time.Millisecond
	maxChangePause = time.Second
	changeReads    = 13
)

// readChange reads what the servers know, again while that is older than the change with that number: a confined agent
// reads from any copy of the stream, which may not have the change yet.
func (e *engine) readChange(ctx context.Context, revision uint64) (f *function, err error) {
	wait := changePause
	for range changeReads {
		if f, err = e.readFunction(ctx, e.key); err != nil || f.revision >= revision {
			return f, err
		}
		pause(ctx, wait)
		wait = min(2*wait, maxChangePause)
	}
	return f, nil
}

// remember makes the function known again, with the configurations in force here: its message was purged while this
// agent runs. That another agent was faster, or that the copy that was read is behind, shows the next look.
func (e *engine) remember(ctx context.Context) error {
	e.mu.Lock()
	kept := e.known
	e.mu.Unlock()
	kept.revision = 0
	if err := e.writeFunction(ctx, &kept); err != nil {
		if errors.Is(err, errOvertaken) {
			return nil
		}
		return err
	}
	e.follow(&kept)
	e.announce(kept.revision)
	e.q.cfg.Log.Warn("the function was purged from its stream while this agent runs, and is stored there again, with its "+
		"configurations; to remove it, stop its agents first", zap.String("stream", functionStream))
	return nil
}

// keepFunction stores what is known once more, in streams that are new.
func (e *engine) keepFunction(ctx context.Context) error {
	e.mu.Lock()
	kept := e.known
	kept.revision = 0
	e.mu.Unlock()
	f, err := &kept, e.writeFunction(ctx, &kept)
	if errors.Is(err, errOvertaken) { // another agent was faster
		f, err = e.readFunction(ctx, e.key)
	}
	if err != nil {
		return fmt.Errorf("what is known of the function: %w", err)
	}
	e.mu.Lock()
	e.known = *f // revisions begin anew
	e.mu.Unlock()
	return nil
}
