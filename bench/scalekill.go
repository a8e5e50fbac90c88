package main

import (
	"context"
	"errors"
	"fmt"
	"gantry/async"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// killTimeLeast is enough for one server to be killed.
	killTimeLeast = 10 * time.Second
	// killAgents is how many processes run the functions; each function runs in two of them.
	killAgents = 5
	// killServerEvery comes between the deaths of two servers, or the first one's full recovery, if that is later.
	killServerEvery = 10 * time.Second
	// killRecovery bounds that recovery.
	killRecovery = 90 * time.Second
	// killDrain bounds the time from the last kill to the last outcome: requests of killed agents are redelivered after
	// half a minute, and may be lost twice more.
	killDrain = 4 * time.Minute
	// killLate bounds what the acceptance of all events may take longer than the kills.
	killLate = 3 * time.Minute
	// killWaves is in how many bursts the events come: there is a backlog in each, and the agents are busy.
	killWaves = 12
	// killPage is how many records are listed at once.
	killPage = 500
)

// killSizes are the flags of the kill rounds.
type killSizes struct {
	functions, events int
	length            time.Duration
}

// killRun is one run of the kill rounds.
type killRun struct {
	*scaleRun
	queues []*async.Queue // one for each function, which accepts and lists, and runs nothing
	agents []*killAgent
	fail   context.CancelCauseFunc // ends the run; the first failure counts
	count  killCounts

	mu       sync.Mutex
	accepted []map[string]bool // ids, of each function
}

// killCounts is what happened.
type killCounts struct{ agents, servers, leaders, retried atomic.Int64 }

// kill accepts events while the agents that run them and the servers that keep them are killed: each has an outcome at
// the end, and none runs after it.
func (s *scaleRun) kill(ctx context.Context) error {
	s.closeAgents()
	run, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	k := &killRun{scaleRun: s, fail: fail}
	defer k.stop()
	err := k.prepare(run)
	if err == nil {
		err = k.rounds(run)
	}
	if cause := context.Cause(run); err != nil && cause != nil && !errors.Is(err, cause) {
		err = errors.Join(cause, err)
	}
	return err
}

// prepare opens the queues that accept and starts the agents. A paused queue accepts and runs nothing.
func (k *killRun) prepare(ctx context.Context) error {
	folder, err := k.folder("kill")
	if err != nil {
		return err
	}
	n := k.sizes.kill.functions
	progress("scale, %d functions for the kill rounds", n)
	of := make([][]string, killAgents)
	for i := range n {
		name := fmt.Sprintf("kill%d", i)
		q := newScaleQueue(k.cluster.url(), name, zap.NewNop(), func(string) {
			k.fail(fmt.Errorf("the paused queue of %s runs a call", name))
		})
		q.Pause()
		k.queues, k.accepted = append(k.queues, q), append(k.accepted, map[string]bool{})
		first, second := i%killAgents, (i+1+i/killAgents%(killAgents-1))%killAgents
		of[first], of[second] = append(of[first], name), append(of[second], name)
	}
	if err := each(n, func(i int) error {
		_, err := k.queues[i].SetConfiguration(ctx, "latest", "", "urn", &async.Configuration{
			AgeSeconds: int(async.MaxAge / time.Second), Retries: async.MaxRetries,
		})
		return err
	}); err != nil {
		return err
	}
	for i, functions := range of {
		a, err := newKillAgent(folder, fmt.Sprintf("agent%d", i+1), k.cluster.url(), functions, k.fail)
		if err != nil {
			return err
		}
		k.agents = append(k.agents, a)
		if err := a.start(); err != nil {
			return err
		}
	}
	return nil
}

// stop ends all processes and queues of the run, but the servers.
func (k *killRun) stop() {
	for _, a := range k.agents {
		a.kill()
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	var closing sync.WaitGroup
	for _, q := range k.queues {
		closing.Go(func() { q.Close(ctx) })
	}
	closing.Wait()
}

// rounds kills, waits for the outcomes, and judges.
func (k *killRun) rounds(ctx context.Context) error {
	progress("scale, kill rounds, %d events within %s", k.sizes.kill.events, k.sizes.kill.length)
	killing, end := context.WithTimeout(ctx, k.sizes.kill.length)
	defer end()
	var killers sync.WaitGroup
	killers.Go(func() { k.killAgents(killing) })
	killers.Go(func() { k.killServers(ctx, killing) })
	err := k.acceptAll(ctx)
	if err != nil {
		end()
	}
	killers.Wait()
	if err != nil {
		return err
	}
	last := time.Now()
	progress("scale, kill rounds, %d agents and %d servers killed, all accepted", k.count.agents.Load(), k.count.servers.Load())
	waited := k.waitEnded(ctx, last)
	ended := time.Since(last)
	if waited == nil {
		waited = pause(ctx, k.scaling.linger)
	}
	if ctx.Err() != nil {
		return waited
	}
	for _, a := range k.agents {
		a.kill()
	}
	return errors.Join(waited, k.judge(ctx, ended))
}

// killAgents kills an agent every half to two seconds, and starts it again, until killing ends.
func (k *killRun) killAgents(killing context.Context) {
	for pause(killing, 500*time.Millisecond+rand.N(1500*time.Millisecond)) == nil {
		a := k.agents[rand.IntN(len(k.agents))]
		a.kill()
		k.count.agents.Add(1)
		if err := a.start(); err != nil {
			k.fail(err)
			return
		}
	}
}

// killServers kills one server at a time and starts it again, until killing ends: in turn the leader of a stream and
// any.
func (k *killRun) killServers(ctx, killing context.Context) {
	for n := 0; killing.Err() == nil; n++ {
		began := time.Now()
		victim := k.cluster.servers[rand.IntN(len(k.cluster.servers))]
		if n%2 == 0 {
			leader, stream, err := k.cluster.leader(killing, rand.IntN)
			if err == nil {
				victim = leader
				k.count.leaders.Add(1)
				progress("scale, kill rounds, %s leads %s", leader.name, stream)
			} else {
				progress("scale, kill rounds, any server is killed: %v", err)
			}
		}
		if err := victim.kill(); err != nil {
			k.fail(err)
			return
		}
		k.count.servers.Add(1)
		_ = pause(killing, time.Second+rand.N(2*time.Second)) // if the kills end, it starts again sooner
		if err := victim.start(); err != nil {
			k.fail(err)
			return
		}
		if err := victim.healthy(ctx, killRecovery); err != nil {
			k.fail(err)
			return
		}
		took := time.Since(began).Round(time.Millisecond)
		progress("scale, kill rounds, %s is up to date %s after its death", victim.name, took)
		_ = pause(killing, killServerEvery-time.Since(began)) // the end of the kills ends the loop
	}
}

// acceptAll has 16 callers accept all events, in bursts over the time of the kills, each event until it is accepted.
func (k *killRun) acceptAll(ctx context.Context) error {
	began, events, length := time.Now(), k.sizes.kill.events, k.sizes.kill.length
	var next atomic.Int64
	return together(scaleCallers, func(int) error {
		for i := int(next.Add(1)) - 1; i < events; i = int(next.Add(1)) - 1 {
			wave := i * killWaves / events
			due := began.Add(length * time.Duration(wave) / killWaves)
			if err := pause(ctx, time.Until(due)); err != nil {
				return err
			}
			function := rand.IntN(len(k.queues))
			for {
				id, err := k.queues[function].Accept(ctx, &async.Event{Body: []byte(openEvent), Version: "latest"})
				if err == nil {
					k.mu.Lock()
					k.accepted[function][id] = true
					k.mu.Unlock()
					break
				}
				k.count.retried.Add(1) // it may be stored, under an id that is not known: it must not be run twice, either
				if time.Since(began) > length+killLate {
					return fmt.Errorf("event %d of %d cannot be accepted: %w", i+1, events, err)
				}
				if err := pause(ctx, 100*time.Millisecond); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
