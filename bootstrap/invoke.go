package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"gantry/agent"
	"gantry/api"
	"gantry/extension"
	"gantry/instance"
	"gantry/settings"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/valyala/fasthttp"
)

type invokeOptions struct {
	events, expect        []string // a file, JSON, or -
	trigger               triggerOptions
	to, junit             string
	tail, timeline, async bool
}

func (p *program) invokeCommand() *cobra.Command {
	var o invokeOptions
	cmd := &cobra.Command{
		Use: "invoke [-- COMMAND...]", Short: "Run events and print the results; exits with 0 or 1", Args: serverCommand,
		Long: "Start the function, run one event, print the result on stdout and the log on\n" +
			"stderr. Several events run one after the other, each result on a line. With --to\n" +
			"they go to a running agent instead.\n\n" +
			"Exit codes: 0; 1 a call failed, or a result is not as expected; 2 the command\n" +
			"line, a setting or a file is wrong; 3 an address cannot be listened on.",
		Example: "  NAME invoke --code my-function --event '{\"n\": 1}'\n" +
			"  NAME invoke --code my-function --event a.json --event b.json --junit results.xml\n" +
			"  NAME invoke --code my-function --event a.json --expect a.expected.json\n" +
			"  NAME invoke --code my-function --trigger obs --set key=a.txt",
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&o.events, "event", nil,
		"the `EVENT`: a file, the event itself as JSON text that begins with {, [ or \", or - for standard input; may be repeated; default: one empty event")
	flags.StringVar(&o.trigger.name, "trigger", "", "the event of a `TRIGGER`, as bootstrap event prints it")
	addSetFlag(cmd, &o.trigger)
	flags.StringArrayVar(&o.expect, "expect", nil,
		"`FILE` with what the result has to be, as JSON with matchers; once for all events, or once for each")
	flags.StringVar(&o.junit, "junit", "", "`FILE` for the results as JUnit XML")
	flags.StringVar(&o.to, "to", "", "`ADDR` of a running agent, with --async of its API")
	flags.BoolVar(&o.async, "async", false,
		"hand the events to the platform API of a running agent, and print the request ids")
	flags.BoolVar(&o.tail, "tail", false, "print only the log's tail, as the platform returns it")
	flags.BoolVar(&o.timeline, "timeline", false, "print where the time went")
	addOutputFlags(cmd, "v")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return p.invoke(cmd, &o) }
	return cmd
}

// invoke runs the events where the options say.
func (p *program) invoke(cmd *cobra.Command, o *invokeOptions) error {
	if o.async && (o.tail || o.timeline || len(o.expect) > 0) {
		return &failure{
			exitUsage,
			errors.New(
				"--tail, --timeline and --expect need a call that has ended, and --async does not wait for the end: see bootstrap async show, and the agent's log",
			),
		}
	}
	if err := o.trigger.check(o.events); err != nil {
		return &failure{exitUsage, err}
	}
	if len(o.events) == 0 {
		o.events = []string{o.trigger.name}
	}
	file, err := openJUnit(o.junit)
	if err != nil {
		return err
	}
	r := &results{
		p: p, succeed: p.printResult, fail: p.printFailure,
		events: nameEvents(o.events), began: time.Now(), junit: file,
	}
	if err := file.prepare(r.suite(errCutOff)); err != nil {
		return err
	}
	if o.trigger.name != "" {
		if r.events[0].body, err = p.triggerEvent(&o.trigger); err != nil {
			return r.end(&failure{exitUsage, err})
		}
		o.events = nil
	}
	if r.expected, err = p.readEvents(r.events, o.events, o.expect); err != nil {
		return r.end(&failure{exitUsage, err})
	}
	switch {
	case o.async:
		err = p.withClientConfig(cmd, func(c *settings.Config) error { return p.invokeLater(c, o.to, r) })
	case o.to != "":
		err = p.invokeAt(o, r)
	default:
		err = p.withConfig(cmd, func(c *settings.Config) error { return p.invokeHere(c, o, r) })
	}
	return r.end(err)
}

// invokeHere runs the whole instance for the events.
func (p *program) invokeHere(c *settings.Config, o *invokeOptions, r *results) error {
	began := time.Now()
	r.function = c.Function.Name
	lines := p.stderr
	if o.tail {
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer null.Close()
		lines = null
	}
	if !c.IsSet("EXTENSION_API_ADDR") { // a running agent has the usual port
		c.ExtensionAddr = "127.0.0.1:0"
	}
	c.API.Addr = "" // calls from here need no listener
	c.Timeline, c.Once = o.timeline, true
	if c.LogFormat == "auto" {
		c.LogFormat = "text"
	}
	options := p.options()
	options.Stdout, options.Examine = lines, true
	var bodies [][]byte
	for _, e := range r.events {
		bodies = append(bodies, e.body)
	}
	var unwritten error
	var report *agent.Report
	take := func(call *agent.Call) {
		if o.tail {
			fmt.Fprint(p.stderr, string(call.Tail))
		}
		a := answerOf(&call.Result)
		unwritten = errors.Join(unwritten, r.add(a))
		if a.failed && a.wrong() && (report == nil || report.Fatal == nil) {
			p.explainFailure(c, call)
		}
	}
	ended := take
	if len(bodies) == 1 { // the result comes last, after the log of the stop
		ended = nil
	}
	var err error
	report, err = agent.Once(c, options, bodies, o.tail || r.junit != nil, ended)
	if err != nil {
		return err
	}
	if o.timeline {
		p.printTimeline(report, r.events, time.Since(began))
	}
	if ended == nil {
		take(&report.Calls[0])
	}
	if report.Fatal != nil { // as of serve
		return &failure{exitUsage, report.Fatal}
	}
	return unwritten
}

// answerOf is the result of a call in this process.
func answerOf(r *instance.Result) *answer {
	a := &answer{body: r.Body, tail: r.Tail, took: r.Duration}
	if r.Fault != nil {
		a.body, a.failed, a.code = r.Fault.Text(true), true, strconv.Itoa(r.Fault.Code)
	}
	return a
}

func (p *program) printTimeline(r *agent.Report, events []event, total time.Duration) {
	phases := r.Phases
	for i, call := range r.Calls {
		of := ""
		if len(r.Calls) > 1 {
			of = events[i].name + ": "
		}
		phases = append(phases, instance.Phase{Name: of + "wait for a slot", Took: call.Waited})
		for _, c := range call.Costs {
			name := of + c.Extension + ", beside the handler"
			if c.Sync {
				name = of + c.Extension + ", before the handler (sync)"
			}
			if c.Err != nil {
				name += ": " + c.Err.Error()
			}
			phases = append(phases, instance.Phase{Name: name, Took: c.Took})
		}
		phases = append(phases, instance.Phase{Name: of + "handler", Took: call.Duration})
	}
	phases = append(phases, instance.Phase{Name: "all, with the stop", Took: total})
	for _, ph := range phases {
		fmt.Fprintf(p.stderr, "%10.3f ms  %s\n", float64(ph.Took.Microseconds())/1000, ph.Name)
	}
}

// printResult writes the answer as it is; on a terminal its line ends, or the prompt would stick to it.
func (p *program) printResult(body []byte) error {
	if agent.IsTerminal(p.stdout) && !bytes.HasSuffix(body, []byte("\n")) {
		body = append(bytes.Clone(body), '\n')
	}
	_, err := p.stdout.Write(body)
	return err
}

func (p *program) printFailure(body []byte) error {
	if err := p.printResult(body); err != nil {
		return err
	}
	return &failure{exitError, nil}
}

// invokeAt sends the events to a running agent.
func (p *program) invokeAt(o *invokeOptions, r *results) error {
	client := &fasthttp.Client{MaxResponseBodySize: 2 * api.MaxEvent, ReadBufferSize: 64 << 10}
	for _, e := range r.events {
		if err := r.add(p.callAt(client, o, e.body)); err != nil {
			return err
		}
	}
	return nil
}

// callAt sends one event to a running agent, and prints the log's tail.
func (p *program) callAt(client *fasthttp.Client, o *invokeOptions, event []byte) *answer {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI("http://" + agent.Reachable(strings.TrimRight(strings.TrimPrefix(o.to, "http://"), "/")) + "/invoke")
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.SetContentType("application/json")
	req.Header.Set("X-Cff-Log-Type", "tail")
	req.SetBody(event)
	began := time.Now()
	err := client.Do(req, resp)
	a := &answer{took: time.Since(began)}
	if err != nil {
		a.err = fmt.Errorf("%s does not answer: %s", o.to, extension.NoAnswer(err))
		return a
	}
	if tail, err := base64.StdEncoding.DecodeString(string(resp.Header.Peek("X-Cff-Function-Log"))); err == nil {
		a.tail = tail
		fmt.Fprint(p.stderr, string(tail))
	}
	if o.timeline {
		fmt.Fprintf(
			p.stderr,
			"%10.3f ms  round trip; %s\n",
			float64(a.took.Microseconds())/1000,
			resp.Header.Peek("X-Cff-Invoke-Summary"),
		)
	}
	a.body, a.failed = bytes.Clone(resp.Body()), resp.StatusCode() != fasthttp.StatusOK
	if a.failed {
		a.code = string(resp.Header.Peek("X-Func-Err-Code"))
	}
	return a
}
