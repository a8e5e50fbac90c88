package main

import (
	"fmt"
	"gantry/instance"
	"gantry/settings"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// waitPause lies between two questions of "wait".
const waitPause = 20 * time.Millisecond

// waitCommand waits until an agent that was started in the background takes calls.
func (p *program) waitCommand() *cobra.Command {
	var limit string
	var ready bool
	cmd := &cobra.Command{
		Use: "wait", Short: "Wait until a running agent is ready; exits with 0 or 1", Args: noArguments,
		Long: "Wait until a running agent takes calls, for scripts that started it in the background.\n" +
			"The address is that of GANTRY_OPS_ADDR. Exits with 1, and the last reason, when\nthe time is over, or at once when the function has failed.",
		Example: "  NAME serve --code my-function &\n  NAME wait --timeout 10 && curl 127.0.0.1:8000/invoke -d '{}'",
	}
	cmd.Flags().BoolVar(&ready, "ready", true, "until calls are taken; false: until the agent itself works, whatever the function does")
	cmd.Flags().StringVar(&limit, "timeout", "30", "`TIME` to wait at most, in seconds or as a duration")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		flags := settings.ChangedSettings(cmd.Flags())
		delete(flags, "timeout") // ours, and not the handler's
		d, err := settings.ParseDuration(limit)
		if err != nil {
			return &failure{exitUsage, fmt.Errorf("--timeout: %q: %w", limit, err)}
		}
		if err := p.conceal(); err != nil {
			return err
		}
		addr, err := p.opsAddr(flags)
		if err != nil {
			return err
		}
		route := readyRoute
		if !ready {
			route = aliveRoute
		}
		return p.wait(addr, route, d)
	}
	return cmd
}

func (p *program) wait(addr, route string, limit time.Duration) error {
	for end := time.Now().Add(limit); ; time.Sleep(waitPause) {
		text, err := probe(addr, route)
		if err == nil {
			fmt.Fprintln(p.stdout, text)
			return nil
		}
		if strings.HasPrefix(text, instance.Failed.String()) {
			return fmt.Errorf("the agent is not ready, and will not be until a reload or another call: %w", err)
		}
		if time.Now().After(end) {
			return fmt.Errorf("the agent is not ready after %s: %w", limit, err)
		}
	}
}
