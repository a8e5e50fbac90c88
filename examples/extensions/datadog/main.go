// Command extensionDatadog counts the calls of the function and posts their number to Datadog, or to whatever takes its
// metrics: POST /api/v2/series, metric functiongraph.invoke.count.
//
// Every call is counted once. A point that was not taken is posted again as it was, with the same time: Datadog keeps
// one value for a time, so that a point that comes twice counts once. What was counted since the last point is posted
// when the instance stops, as long as the stop may take. What could not be delivered by then is printed. Notifications
// that the agent dropped, beyond 1,000 that wait, are in its metric gantry_notification_drops_total.
//
// Variables, which reach an extension only if the agent's GANTRY_EXTENSION_ENV names them, as in
// GANTRY_EXTENSION_ENV='DD_*':
//
//	DD_API_KEY   needed
//	DD_SITE      default: datadoghq.com, so that points go to https://api.datadoghq.com
//	DD_URL       base URL, in place of https://api.DD_SITE
//	DD_TAGS      further tags, separated by blanks or commas: "env:prod team:shop"
//	DD_INTERVAL  how often points are posted, as Go writes times; default: 10s
//	DD_ADDR      where this extension listens, 127.0.0.1 and a port from 8081 to 8090; default: 127.0.0.1:8086
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// postLimit bounds one attempt to post a point.
	postLimit = 5 * time.Second
	// lastLimit bounds the last posts if the time for the stop is unknown.
	lastLimit = time.Second
	// spare is how long before the end of the stop this extension gives up.
	spare = 100 * time.Millisecond
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	interval, err := time.ParseDuration(cmp.Or(os.Getenv("DD_INTERVAL"), "10s"))
	if err != nil || interval <= 0 {
		return fmt.Errorf("DD_INTERVAL is %q, want a time such as 10s", os.Getenv("DD_INTERVAL"))
	}
	if os.Getenv("DD_API_KEY") == "" {
		return errors.New("DD_API_KEY is not set, or GANTRY_EXTENSION_ENV does not name it")
	}
	ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	ln, err := net.Listen("tcp", cmp.Or(os.Getenv("DD_ADDR"), "127.0.0.1:8086"))
	if err != nil {
		return err
	}
	c := &counter{interval: interval, began: time.Now(), ready: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /extension/invoke", c.invoked)
	mux.HandleFunc("POST /extension/shutdown", c.shutdown)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }() // calls may come as soon as the next line is done
	function, err := register(ln.Addr().String())
	if err != nil {
		return err
	}
	c.series.Store(newSeries(function))
	close(c.ready)
	go c.run(ended)
	select {
	case err := <-failed:
		return err
	case <-ended.Done():
	}
	last, cancel := c.untilEnd(context.Background())
	defer cancel()
	_ = server.Shutdown(last) // time is the only limit: what is still being answered then is not worth more of it
	c.finish(last)
	return nil
}

// function identifies the counted function, from the answer to the registration.
type function struct {
	Name    string `json:"functionName"`
	Version string `json:"functionVersion"`
}

// attempts limits the tries to register: a freeze of the instance can make one time out.
const attempts = 3

// register announces this extension to the agent. Listen first: calls may come at once. To register again is no error.
func register(addr string) (f *function, err error) {
	for range attempts {
		var refused bool
		if f, refused, err = attempt(addr); err == nil || refused {
			break
		}
	}
	return f, err
}

func attempt(addr string) (f *function, refused bool, err error) {
	req, err := http.NewRequest(http.MethodPost, "http://"+os.Getenv("EXTENSION_API_ADDR")+"/extension/register", nil)
	if err != nil {
		return nil, false, err
	}
	req.Header.Set("FunctionGraph-Extension-Name", filepath.Base(os.Args[0]))
	req.Header.Set("FunctionGraph-Extension-Address", addr)
	req.Header.Set("FunctionGraph-Extension-Events", "INVOKE,SHUTDOWN")
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return nil, false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, false, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, true, fmt.Errorf("not registered: %s", body)
	}
	f = &function{}
	return f, false, json.Unmarshal(body, f)
}

// invoked counts and answers at once, but for the first call if it comes before the answer to the registration: the
// instance may be frozen with the answer.
func (c *counter) invoked(_ http.ResponseWriter, r *http.Request) {
	c.add()
	select {
	case <-c.ready:
	case <-r.Context().Done():
	}
}

// shutdown posts what is left before it answers: the agent waits, until about half of the time is over.
func (c *counter) shutdown(w http.ResponseWriter, r *http.Request) {
	var notice struct {
		DeadlineMs int64 `json:"deadlineMs"`
	}
	if err := json.NewDecoder(r.Body).Decode(&notice); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.end.Store(notice.DeadlineMs)
	last, cancel := c.untilEnd(r.Context()) // which ends when the agent does not wait any more
	defer cancel()
	_ = c.deliverAll(last) // what is left is tried again after TERM, and printed if lost
}

// untilEnd is the time that is left when this extension has to end: the notice said how much.
func (c *counter) untilEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	if end := c.end.Load(); end != 0 {
		return context.WithDeadline(ctx, time.UnixMilli(end).Add(-spare))
	}
	return context.WithTimeout(ctx, lastLimit)
}

// newSeries is what all points have in common.
func newSeries(f *function) *series {
	tags := []string{"function:" + f.Name, "version:" + f.Version}
	for tag, variable := range map[string]string{"package": "RUNTIME_PACKAGE", "project": "RUNTIME_PROJECT_ID"} {
		if value := os.Getenv(variable); value != "" {
			tags = append(tags, tag+":"+value)
		}
	}
	tags = append(tags, strings.FieldsFunc(os.Getenv("DD_TAGS"), func(r rune) bool { return r == ' ' || r == ',' })...)
	return &series{
		Metric:    "functiongraph.invoke.count",
		Type:      count,
		Tags:      tags,
		Resources: []resource{{Type: "host", Name: instance()}},
	}
}

// instance names this instance of the function: two that had the same name would overwrite each other's points.
func instance() string {
	if pod := os.Getenv("PAAS_POD_ID"); pod != "" {
		return pod
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d-%d", host, os.Getppid(), time.Now().Unix())
}
