package main

import (
	"fmt"
	"gantry/agent"
	"gantry/extension"
	"gantry/settings"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/valyala/fasthttp"
)

// probeTimeout is below the default time limit of container health checks.
const probeTimeout = 2 * time.Second

func (p *program) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use: "health", Short: "Probe /readyz of a running agent; exits with 0 or 1", Args: noArguments,
		Long: "Probe /readyz of a running agent, for images without curl. The address is that of\nGANTRY_OPS_ADDR.",
		RunE: func(cmd *cobra.Command, _ []string) error { return p.health(settings.ChangedSettings(cmd.Flags())) },
	}
}

// health needs one setting only, so that it works where the function itself is not.
func (p *program) health(flags map[string]string) error {
	// A health check carries the environment of its container, beside the function and as the same user.
	if err := p.conceal(); err != nil {
		return err
	}
	addr, err := p.opsAddr(flags)
	if err != nil {
		return err
	}
	text, err := probe(addr, readyRoute)
	if err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, text)
	return nil
}

// opsAddr is the address of the ops listener as the settings have it.
func (p *program) opsAddr(flags map[string]string) (addr string, err error) {
	env := settings.Variables(p.environ)
	for _, s := range settings.Table() {
		if s.Env == "GANTRY_OPS_ADDR" {
			if addr, _, err = s.Value(env, flags); err != nil {
				return "", &failure{exitUsage, err}
			}
		}
	}
	return addr, nil
}

// Routes of the ops listener that are probed.
const (
	readyRoute = "/readyz"
	aliveRoute = "/healthz"
)

// probe asks a route of the agent whose ops listener is at addr. The text is there also if the agent is not ready.
func probe(addr, route string) (text string, err error) {
	status, body, err := fasthttp.GetTimeout(nil, "http://"+agent.Reachable(addr)+route, probeTimeout)
	if err != nil {
		return "", fmt.Errorf("%s does not answer: %s", addr, extension.NoAnswer(err))
	}
	text = strings.TrimSpace(string(body))
	if status != fasthttp.StatusOK {
		return text, fmt.Errorf("%w: %s", errNotReady, text)
	}
	return text, nil
}
