package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// tooOld is when Datadog does not take a point any more: an hour, and some room.
const tooOld = 50 * time.Minute

const (
	// again is the pause between attempts while the instance stops.
	again = 200 * time.Millisecond
	// complainEvery limits what is printed while nothing is taken.
	complainEvery = time.Minute
)

// count is the number of Datadog's metric type.
const count = 1

// series is a member of the body of POST /api/v2/series.
type series struct {
	Metric    string     `json:"metric"`
	Type      int        `json:"type"`
	Interval  int64      `json:"interval"` // seconds
	Points    []point    `json:"points"`
	Resources []resource `json:"resources"`
	Tags      []string   `json:"tags"`
}

type point struct {
	Timestamp int64 `json:"timestamp"` // Unix seconds
	Value     int64 `json:"value"`
}

type resource struct {
	Type string `json:"type"`
	Name string `json:"name"`
}

// counter counts calls and delivers their number in points.
type counter struct {
	interval time.Duration
	began    time.Time
	ready    chan struct{}          // closed when this extension is registered
	series   atomic.Pointer[series] // without points; nil before the registration
	end      atomic.Int64           // of the stop, in Unix milliseconds; 0 before the notice

	mu       sync.Mutex
	all      int64  // every call so far
	fresh    int64  // calls that are in no point yet
	pending  *point // made and not taken yet; it does not change any more
	covers   int64  // seconds before pending
	newest   int64  // time of the newest point
	notUntil time.Time
	refusal  error // what the server said when it refused a point last

	posting sync.Mutex // one post at a time
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all++
	c.fresh++
}

// run delivers a point for each interval until ctx ends. One that is not taken is tried again with the next.
func (c *counter) run(ctx context.Context) {
	ticker := time.NewTicker(c.interval)
	defer ticker.Stop()
	var complained time.Time
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		early := time.Now().Before(c.notUntil)
		c.mu.Unlock()
		if early {
			continue
		}
		if err := c.deliver(ctx); err != nil && ctx.Err() == nil && time.Since(complained) >= complainEvery {
			complained = time.Now()
			fmt.Fprintln(os.Stderr, "the count was not taken, it is posted again:", err)
		}
	}
}

// finish delivers everything and says how many calls there were.
func (c *counter) finish(ctx context.Context) {
	err := c.deliverAll(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if c.refusal != nil { // it says more than that there was no time left
			err = c.refusal
		}
		fmt.Fprintf(os.Stderr, "%d of %d calls were counted and not posted: %v\n", c.left(), c.all, err)
		return
	}
	fmt.Println(c.all, "calls counted and posted")
}

// deliverAll tries until everything is delivered or ctx ends.
func (c *counter) deliverAll(ctx context.Context) error {
	for {
		err := c.deliver(ctx)
		c.mu.Lock()
		left := c.left()
		c.mu.Unlock()
		switch {
		case err == nil && left == 0:
			return nil
		case err == nil: // that was the pending point; the fresh calls are next
			continue
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return err
		}
	}
}

// left is the number of calls in points that were not taken, and in none; called with mu held.
func (c *counter) left() int64 {
	if c.pending == nil {
		return c.fresh
	}
	return c.fresh + c.pending.Value
}

// deliver posts one point, if there is anything to report.
func (c *counter) deliver(ctx context.Context) error {
	c.posting.Lock()
	defer c.posting.Unlock()
	body, err := c.next(time.Now())
	if body == nil || err != nil {
		return err
	}
	if err := c.post(ctx, body); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = nil
	return nil
}

// next is the body with the point that was not accepted yet, or else a new one; nil if there is nothing to report.
func (c *counter) next(now time.Time) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending != nil && now.Unix()-c.pending.Timestamp > int64(tooOld.Seconds()) {
		c.fresh += c.pending.Value
		c.pending = nil
	}
	if c.pending == nil {
		if c.fresh == 0 {
			return nil, nil
		}
		since := cmp.Or(c.newest, c.began.Unix())
		c.pending = &point{Timestamp: max(now.Unix(), c.newest+1), Value: c.fresh} // one point for a second
		c.covers = max(c.pending.Timestamp-since, 1)
		c.fresh, c.newest = 0, c.pending.Timestamp
	}
	common := c.series.Load()
	if common == nil {
		return nil, errors.New("not registered yet")
	}
	s := *common
	s.Interval, s.Points = c.covers, []point{*c.pending}
	return json.Marshal(map[string]any{"series": []series{s}})
}

func (c *counter) post(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, postLimit)
	defer cancel()
	base := cmp.Or(os.Getenv("DD_URL"), "https://api."+cmp.Or(os.Getenv("DD_SITE"), "datadoghq.com"))
	req, err := http.NewRequestWithContext(
		ctx,
		http.MethodPost,
		strings.TrimSuffix(base, "/")+"/api/v2/series",
		bytes.NewReader(body),
	)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("DD-API-KEY", os.Getenv("DD_API_KEY"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1000))
	if resp.StatusCode/100 == 2 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notUntil = time.Now().Add(patience(resp.Header))
	c.refusal = errors.Join(fmt.Errorf("the server answers %s: %s", resp.Status, bytes.TrimSpace(text)), err)
	return c.refusal
}

// patience is how long the server wants to be left alone.
func patience(h http.Header) time.Duration {
	for _, name := range []string{"Retry-After", "X-RateLimit-Reset"} {
		if d, err := time.ParseDuration(h.Get(name) + "s"); err == nil && d > 0 {
			return d
		}
	}
	return 0
}
