package main

import (
	"context"
	"errors"
	"fmt"
	"gantry/async"
	"maps"
	"slices"
	"strings"
	"time"
)

// records lists all of one function's.
func records(ctx context.Context, q *async.Queue) (map[string]async.Record, error) {
	found := map[string]async.Record{}
	for offset := 0; ; {
		page, err := q.Records(ctx, &async.Filter{Offset: offset, Limit: killPage})
		if err != nil {
			return nil, err
		}
		for _, r := range page.Records {
			found[r.RequestID] = r
		}
		if page.Next == 0 {
			return found, nil
		}
		offset = page.Next
	}
}

// waitEnded waits until each accepted request has an outcome. The error says how many have none at the limit.
func (k *killRun) waitEnded(ctx context.Context, since time.Time) error {
	progress("scale, kill rounds, waiting for the outcomes")
	for open := k.allFunctions(); ; {
		var still []int
		var unknown error // a listing that failed is tried again
		left := 0
		for _, i := range open {
			found, err := records(ctx, k.queues[i])
			without := 0
			if err != nil {
				unknown, without = err, len(k.accepted[i])
			}
			for id := range k.accepted[i] {
				if r, ok := found[id]; err == nil && (!ok || !r.Ended()) {
					without++
				}
			}
			if without > 0 {
				still, left = append(still, i), left+without
			}
		}
		if open = still; left == 0 {
			return nil
		}
		if time.Since(since) > killDrain {
			return errors.Join(
				fmt.Errorf("%d accepted requests have no outcome %s after the last kill, as far as is known", left, killDrain), unknown,
			)
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (k *killRun) allFunctions() (all []int) {
	for i := range k.queues {
		all = append(all, i)
	}
	return all
}

// judge compares what was accepted, what is recorded, and what the agents have noted.
func (k *killRun) judge(ctx context.Context, ended time.Duration) error {
	starts := map[string][]time.Time{}
	for _, a := range k.agents {
		if err := a.readStarts(starts); err != nil {
			return err
		}
	}
	accepted, found := map[string]bool{}, map[string]async.Record{}
	for i, q := range k.queues {
		all, err := records(ctx, q)
		if err != nil {
			return err
		}
		maps.Copy(found, all)
		maps.Copy(accepted, k.accepted[i])
	}
	v := judge(accepted, found, starts)
	count := func(figure string, n int64) *row { return scaleValue(figure, "%.0f", target{}, float64(n)) }
	lost := scaleValue("kill rounds: accepted requests that were lost", "%.0f", atMost(0), float64(len(v.lost)))
	again := scaleValue("kill rounds: calls after their request's outcome", "%.0f", atMost(0), float64(len(v.again)))
	k.table.add(
		lost, again,
		count(fmt.Sprintf("… requests accepted over %d functions", len(k.queues)), int64(len(accepted))),
		count("… stored without an answer to their accept", int64(v.unanswered)),
		count("… accepts that failed and were repeated", k.count.retried.Load()),
		count("… calls started", int64(v.calls)),
		count("… requests with several calls, all before the outcome", int64(v.repeated)),
		count("… outcome SUCCESS", int64(v.outcomes[async.Success])),
		count("… outcome FAIL, as agents died during three of their calls", int64(v.outcomes[async.Fail])),
		count("… outcome DISCARD", int64(v.outcomes[async.Discard])),
		count("… agents killed", k.count.agents.Load()),
		count("… servers killed", k.count.servers.Load()),
		count("… of these chosen as the leader of a stream", k.count.leaders.Load()),
		scaleValue("… s from the last kill to the last outcome", "%.0f", target{}, ended.Seconds()),
	)
	return v.err()
}

// verdict is what judge found.
type verdict struct {
	lost, again, uncalled       []string // sentences about each
	calls, repeated, unanswered int
	outcomes                    map[async.Status]int // of accepted requests
}

// judge decides about each request: accepted ones have an outcome, successful ones were called, and none was called
// after its outcome. The times are of one machine's clock.
func judge(accepted map[string]bool, found map[string]async.Record, starts map[string][]time.Time) *verdict {
	v := &verdict{outcomes: map[async.Status]int{}}
	for id := range accepted {
		r, ok := found[id]
		switch {
		case !ok:
			v.lost = append(v.lost, fmt.Sprintf("%s: accepted, %d calls, no record", id, len(starts[id])))
		case !r.Ended():
			v.lost = append(v.lost, fmt.Sprintf("%s: accepted, %d calls, status %s", id, len(starts[id]), r.Status))
		default:
			v.outcomes[r.Status]++
		}
	}
	for id, r := range found {
		if !accepted[id] {
			v.unanswered++
		}
		if r.Status == async.Success && len(starts[id]) == 0 {
			v.uncalled = append(v.uncalled, id+": SUCCESS without a call")
		}
	}
	for id, calls := range starts {
		v.calls += len(calls)
		r, ok := found[id]
		late := 0
		for _, at := range calls {
			if ok && r.Ended() && at.After(r.End) {
				late++
				v.again = append(v.again, fmt.Sprintf("%s: a call %s after its outcome %s of %s", id, at.Sub(r.End), r.Status,
					r.End.Format(time.RFC3339Nano)))
			}
		}
		if len(calls) > 1 && late == 0 {
			v.repeated++
		}
	}
	return v
}

// err says what must not be.
func (v *verdict) err() (err error) {
	for _, bad := range []struct {
		what string
		ids  []string
	}{
		{"accepted requests were lost", v.lost},
		{"calls began after the outcome of their request", v.again},
		{"requests succeeded without a call", v.uncalled},
	} {
		if n := len(bad.ids); n > 0 {
			slices.Sort(bad.ids)
			err = errors.Join(err, fmt.Errorf("%d %s:\n%s", n, bad.what, strings.Join(bad.ids[:min(n, 10)], "\n")))
		}
	}
	if n := v.outcomes[async.Discard]; n > 0 {
		err = errors.Join(err, fmt.Errorf("%d requests were discarded, and nothing expires or is canceled here", n))
	}
	return err
}
