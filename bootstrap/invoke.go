package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/agent"
	"gantry/api"
	"gantry/extension"
	"gantry/instance"
	"gantry/settings"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/valyala/fasthttp"
)

type invokeOptions struct {
	event, to             string
	tail, timeline, async bool
}

func (p *program) invokeCommand() *cobra.Command {
	var o invokeOptions
	cmd := &cobra.Command{
		Use: "invoke", Short: "Run one event and print the result; exits with 0 or 1", Args: noArguments,
		Long: "Start the function, run one event, print the result on stdout and the log on stderr.\n" +
			"Exits with 0, or with 1 when the call failed. With --to the event goes to a running agent instead.",
	}
	cmd.Flags().
		StringVar(&o.event, "event", "", "file with the event, the event itself as JSON, or - for standard input; default: an empty event")
	cmd.Flags().
		StringVar(&o.to, "to", "", "address of a running agent's function listener; with --async of its platform API")
	cmd.Flags().
		BoolVar(&o.async, "async", false, "hand the event to the platform API of a running agent, at --to or where the settings say, and print the request id")
	cmd.Flags().BoolVar(&o.tail, "tail", false, "print only the log's tail, as the platform returns it")
	cmd.Flags().BoolVar(&o.timeline, "timeline", false, "print where the time went")
	addOutputFlags(cmd, "v")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.async && (o.tail || o.timeline) {
			return &failure{
				exitUsage,
				errors.New(
					"--tail and --timeline show a call that has ended, and --async does not wait for the end: see bootstrap async show, and the agent's log",
				),
			}
		}
		event, err := p.readEvent(o.event)
		if err != nil {
			return &failure{exitUsage, err}
		}
		if o.async {
			return p.withClientConfig(cmd, func(c *settings.Config) error { return p.invokeLater(c, o.to, event) })
		}
		if o.to != "" {
			return p.invokeAt(&o, event)
		}
		return p.withConfig(cmd, func(c *settings.Config) error { return p.invokeHere(c, &o, event) })
	}
	return cmd
}

// readEvent reads the event that --event names: a file, - for standard input, or the JSON itself.
func (p *program) readEvent(name string) ([]byte, error) {
	var r io.Reader
	switch name {
	case "":
		return nil, nil
	case "-":
		r = p.stdin
	default:
		f, err := os.Open(name)
		if err != nil {
			if json.Valid([]byte(name)) {
				return []byte(name), nil
			}
			return nil, fmt.Errorf("--event: %w; want a file, JSON, or - for standard input", err)
		}
		defer f.Close()
		r = f
	}
	event, err := io.ReadAll(io.LimitReader(r, api.MaxEvent+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("--event: %w", err)
	case len(event) > api.MaxEvent:
		return nil, fmt.Errorf("--event: the event is over the limit of %d bytes", api.MaxEvent)
	}
	return settings.PlainJSON(event), nil
}

// invokeHere runs the whole instance for one call.
func (p *program) invokeHere(c *settings.Config, o *invokeOptions, event []byte) error {
	began := time.Now()
	lines := p.stderr
	if o.tail {
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer null.Close()
		lines = null
	}
	if !c.ExtensionAddrSet { // a running agent has the usual port
		c.ExtensionAddr = "127.0.0.1:0"
	}
	c.API.Addr = "" // one call needs no listener
	c.Timeline, c.Once = o.timeline, true
	if c.LogFormat == "auto" {
		c.LogFormat = "text"
	}
	options := p.options()
	options.Stdout = lines
	r, err := agent.Once(c, options, event, o.tail)
	if err != nil {
		return err
	}
	if o.tail {
		fmt.Fprint(p.stderr, string(r.Tail))
	}
	if o.timeline {
		p.printTimeline(r, time.Since(began))
	}
	if r.Fault == nil {
		return p.printResult(r.Body)
	}
	err = p.printFailure(r.Fault.Text(true))
	if r.Fatal != nil { // as of serve
		return &failure{exitUsage, r.Fatal}
	}
	p.explainFailure(c, r)
	return err
}

func (p *program) printTimeline(r *agent.Report, total time.Duration) {
	phases := append(r.Phases, instance.Phase{Name: "wait for a slot", Took: r.Waited})
	for _, c := range r.Costs {
		name := c.Extension + ", beside the handler"
		if c.Sync {
			name = c.Extension + ", before the handler (sync)"
		}
		if c.Err != nil {
			name += ": " + c.Err.Error()
		}
		phases = append(phases, instance.Phase{Name: name, Took: c.Took})
	}
	phases = append(
		phases,
		instance.Phase{Name: "handler", Took: r.Duration},
		instance.Phase{Name: "all, with the stop", Took: total},
	)
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

// invokeAt sends the event to a running agent.
func (p *program) invokeAt(o *invokeOptions, event []byte) error {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI("http://" + agent.Reachable(strings.TrimRight(strings.TrimPrefix(o.to, "http://"), "/")) + "/invoke")
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.SetContentType("application/json")
	req.Header.Set("X-Cff-Log-Type", "tail")
	req.SetBody(event)
	began := time.Now()
	if err := (&fasthttp.Client{MaxResponseBodySize: 2 * api.MaxEvent, ReadBufferSize: 64 << 10}).Do(
		req,
		resp,
	); err != nil {
		return fmt.Errorf("%s does not answer: %s", o.to, extension.NoAnswer(err))
	}
	if tail, err := base64.StdEncoding.DecodeString(string(resp.Header.Peek("X-Cff-Function-Log"))); err == nil {
		fmt.Fprint(p.stderr, string(tail))
	}
	if o.timeline {
		fmt.Fprintf(
			p.stderr,
			"%10.3f ms  round trip; %s\n",
			float64(time.Since(began).Microseconds())/1000,
			resp.Header.Peek("X-Cff-Invoke-Summary"),
		)
	}
	if resp.StatusCode() != fasthttp.StatusOK {
		return p.printFailure(resp.Body())
	}
	return p.printResult(resp.Body())
}
