package function

import (
	"context"
	"errors"
	"fmt"
	"gantry/function/poll"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// poller asks the runtime API for events, one at a time, and posts what came of them.
type poller struct {
	*function
	api     *poll.Client
	logs    *lines
	warn    func(string)
	encoder encoder
	done    chan outcome
}

func newPoller(f *function, api *poll.Client, logs *lines, warn func(string)) *poller {
	api.Remark = func(err error) {
		if err != nil {
			warn(err.Error())
		} else {
			warn("the runtime API answers again")
		}
	}
	return &poller{function: f, api: api, logs: logs, warn: warn, done: make(chan outcome)}
}

// prepare runs the initializer before there are events.
func prepare(f *function, logs *lines) *failure {
	if !f.configured {
		return &failure{kind: kindConfig, message: entry + "function.Start was given no handler, but nil"}
	}
	if f.initializer == nil {
		return nil
	}
	p := newPoller(f, poll.New(""), logs, nil)
	c := newCall(f, logs)
	c.initializes, c.info.deadline = true, time.Now().Add(f.initTimeout)
	return p.result(c, nil).failure
}

// run serves events until ctx ends; the last one is answered first.
func (p *poller) run(ctx context.Context) {
	for {
		e, err := p.api.Next(ctx)
		var tooLarge *poll.TooLargeError
		switch {
		case err == nil:
			p.serve(e)
		case errors.As(err, &tooLarge):
			x := &failure{kind: "FunctionRequestTooLarge", message: err.Error()}
			p.post(tooLarge.RequestID, time.Now(), p.api.Fail, x.document())
		default: // ctx has ended
			if err := p.api.Close(); err != nil {
				p.warn("the connection to the runtime API: " + err.Error())
			}
			return
		}
	}
}

func (p *poller) serve(e *poll.Event) {
	c := newCall(p.function, p.logs)
	c.info.readHeader(e.Header)
	c.info.requestID, c.info.deadline = e.RequestID, time.Now().Add(p.timeout)
	o := p.result(c, e.Body)
	if o.failure != nil {
		p.logs.log(c, levelError, o.failure.text())
		p.post(e.RequestID, c.info.deadline, p.api.Fail, o.failure.document())
		return
	}
	p.post(e.RequestID, c.info.deadline, p.api.Respond, o.body)
}

// result runs a call on a goroutine of its own, which its handler may end.
func (p *poller) result(c *call, body []byte) outcome {
	go p.perform(c, event{body, true}, &p.encoder, p)
	return <-p.done
}

// settle implements settler.
func (p *poller) settle(c *call, o outcome) {
	c.end()
	p.done <- o
}

// postGrace is how long after its deadline an answer is still posted.
const postGrace = 10 * time.Second

func (p *poller) post(
	requestID string,
	deadline time.Time,
	post func(context.Context, string, []byte) error,
	body []byte,
) {
	if now := time.Now(); deadline.Before(now) {
		deadline = now
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline.Add(postGrace))
	defer cancel()
	if err := post(ctx, requestID, body); err != nil {
		p.warn(fmt.Sprintf("the answer to request %s is lost: %v", requestID, err))
	}
}

// readHeader fills a Context from the headers of an event.
func (c *Context) readHeader(h http.Header) {
	if alias, ok := strings.CutPrefix(h.Get("X-Cff-Origin-Version-Tag"), "!"); ok {
		c.alias = alias
	} else {
		c.alias = c.facts.alias
	}
	c.workflow = workflow{h.Get("X-Cff-Workflow-Id"), h.Get("X-Cff-Workflow-Run-Id"), h.Get("X-Cff-Workflow-State-Id")}
	c.keep(secrets{
		AccessKey: h.Get("X-Cff-Access-Key"), SecretKey: h.Get("X-Cff-Secret-Key"),
		SecurityAccessKey: h.Get("X-Cff-Security-Access-Key"), SecuritySecretKey: h.Get("X-Cff-Security-Secret-Key"),
		SecurityToken: h.Get("X-Cff-Security-Token"), AuthToken: h.Get("X-Cff-Auth-Token"),
	})
}

// lines writes log lines as the platform shows them.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

// log implements sink.
func (l *lines) log(c *call, level, text string) {
	line := time.Now().UTC().Format("2006-01-02T15:04:05.000Z ")
	if c.info.requestID != "" { // the initializer has none
		line += c.info.requestID + " "
	}
	line += level + " " + text + "\n"
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.WriteString(l.w, line) // without stdout there is nowhere to say so
}
