package main

import (
	"errors"
	"fmt"
	"gantry/agent"
	"gantry/settings"

	"github.com/spf13/cobra"
)

// execute parses the command line and runs one command.
func (p *program) execute(args []string) error {
	root := p.rootCommand()
	root.SetArgs(args)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	if completing(args) {
		if err := errors.Join(p.complete(root), silence(root)); err != nil {
			return err
		}
	}
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	err := root.Execute()
	if err != nil && !started { // the command line itself is wrong
		if f := (*failure)(nil); !errors.As(err, &f) {
			err = &failure{exitUsage, fmt.Errorf("%w; see %s --help", err, p.name)}
		}
	}
	return err
}

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use: p.name, Short: "Run a FunctionGraph function and its extensions in any container",
		Long: "Run a FunctionGraph function and its extensions in any container.",
		Example: "  NAME serve --code my-function      # curl 127.0.0.1:8000/invoke -d '{}'\n" +
			"  NAME invoke --code my-function --event '{\"n\": 1}'\n" +
			"  NAME serve --api-addr on --api-auth none      # for the platform's SDKs",
		SilenceErrors: true, SilenceUsage: true, Args: commandOnly,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &failure{exitUsage, fmt.Errorf("%w%s; see %s --help", err, meantFlag(cmd, err), p.name)}
	})
	settings.AddSettings(root.PersistentFlags())
	root.SetUsageFunc(p.usage)
	serve, poll := p.serveCommand(), p.pollCommand()
	addOutputFlags(root, "") // of many programs -v alone asks for the version
	version := root.Flags().Bool("version", false, "print version, commit and Go version")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if *version {
			p.printVersion()
			return nil
		}
		if p.polls() || cmd.Flags().Changed("runtime-api") {
			return poll.RunE(cmd, args)
		}
		return serve.RunE(cmd, args)
	}
	root.AddCommand(
		serve,
		poll,
		p.invokeCommand(),
		p.warmCommand(),
		p.eventCommand(),
		p.asyncCommand(),
		p.timersCommand(),
		p.permissionsCommand(),
		p.checkCommand(),
		p.healthCommand(),
		p.waitCommand(),
		p.explainCommand(),
		p.versionCommand(),
		p.completionCommand(),
		p.manCommand(),
		p.settingsTopic(),
	)
	refuseUnknownTopics(root)
	fillLines(root)
	return root
}

func (p *program) serveCommand() *cobra.Command {
	var ports string
	cmd := &cobra.Command{
		Use: "serve [-- COMMAND...]", Short: "Be the entrypoint: serve the function (the default)", Args: serverCommand,
		Example: "  NAME serve --code my-function\n  NAME serve --code another --ports 0      # beside the first one",
	}
	addOutputFlags(cmd, "v")
	cmd.Flags().StringVar(&ports, "ports", "",
		"0: free ports for all listeners but those with an address of their own; extensions choose theirs among 8081 to 8090")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if ports != "" && ports != "0" {
			wrong := fmt.Errorf("--ports is %q, want 0: the kernel chooses; a port of your own is --addr HOST:PORT", ports)
			return &failure{exitUsage, wrong}
		}
		return p.withConfig(cmd, func(c *settings.Config) error {
			if ports == "0" {
				c.FreePorts()
			}
			return agent.Serve(c, p.options())
		})
	}
	return cmd
}

func (p *program) pollCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "poll", Short: "Be a platform's custom runtime; the default with RUNTIME_API_ADDR", Args: noArguments,
		Long: "Be a platform's custom runtime: take events from its runtime API at RUNTIME_API_ADDR, run\n" +
			"them, and post the answers, until a signal ends it. There is no function listener.\n" +
			"A program called bootstrap in a function's ZIP does this by itself.",
		Example: "  NAME poll --runtime-api 127.0.0.1:9000 --code my-function",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.withRuntimeConfig(cmd, func(c *settings.Config) error { return agent.Poll(c, p.options()) })
		},
	}
	addOutputFlags(cmd, "v")
	return cmd
}

// bare is the program without a command: poll where a platform starts its custom runtime, else serve.
func (p *program) bare() error {
	poll := p.polls()
	c, err := p.load(nil, poll, nil)
	if err != nil {
		return err
	}
	if poll {
		return agent.Poll(c, p.options())
	}
	return agent.Serve(c, p.options())
}

// polls reports whether the environment is that of a custom runtime.
func (p *program) polls() bool { return settings.Variables(p.environ)["RUNTIME_API_ADDR"] != "" }
