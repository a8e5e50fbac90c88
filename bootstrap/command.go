package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// execute parses the command line and runs one command.
func (p *program) execute(args []string) error {
	root := p.rootCommand()
	root.SetArgs(args)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	err := root.Execute()
	if err != nil && !started { // the command line itself is wrong
		if f := (*failure)(nil); !errors.As(err, &f) {
			err = &failure{exitUsage, fmt.Errorf("%w; see bootstrap --help", err)}
		}
	}
	return err
}

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use: "bootstrap", Short: "Run a FunctionGraph function and its extensions in any container",
		Long: "Run a FunctionGraph function and its extensions in any container.\n\n" +
			"Every flag has an environment variable, shown with it; a flag beats the environment.",
		SilenceErrors: true, SilenceUsage: true, Args: commandOnly,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &failure{exitUsage, fmt.Errorf("%w%s; see bootstrap --help", err, meantFlag(cmd, err))}
	})
	addSettings(root.PersistentFlags())
	serve := func(cmd *cobra.Command, _ []string) error { return p.withConfig(cmd, p.serve) }
	poll := func(cmd *cobra.Command, _ []string) error { return p.withRuntimeConfig(cmd, p.poll) }
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if p.polls() || cmd.Flags().Changed("runtime-api") {
			return poll(cmd, args)
		}
		return serve(cmd, args)
	}
	root.AddCommand(
		&cobra.Command{Use: "serve", Short: "Be the entrypoint: serve the function (the default)", Args: cobra.NoArgs, RunE: serve},
		&cobra.Command{
			Use: "poll", Short: "Be the custom runtime of a platform: take events from its runtime API (the default where RUNTIME_API_ADDR is set)", Args: cobra.NoArgs, RunE: poll,
		},
		p.invokeCommand(), p.asyncCommand(), p.checkCommand(), p.healthCommand(), p.versionCommand(),
	)
	return root
}

// commandOnly refuses arguments of a command that only has others below it, and says which one was probably meant.
func commandOnly(cmd *cobra.Command, args []string) error {
	err := cobra.NoArgs(cmd, args)
	if err == nil {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	if near := nearest(args[0], names); near != "" {
		return fmt.Errorf("%w; did you mean %s?", err, near)
	}
	return err
}

// meantFlag says which flag was probably meant by one that does not exist.
func meantFlag(cmd *cobra.Command, err error) string {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return ""
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := nearest(unknown.GetSpecifiedName(), names); near != "" {
		return fmt.Sprintf("; did you mean --%s?", near)
	}
	return ""
}

func (p *program) withConfig(cmd *cobra.Command, do func(*config) error) error {
	c, err := p.load(changedSettings(cmd.Flags()), false)
	if err != nil {
		return err
	}
	return do(c)
}

// printUnknown is for commands without a log.
func (p *program) printUnknown(c *config) {
	for _, remark := range c.unknown {
		fmt.Fprintln(p.stderr, "bootstrap: "+remark)
	}
}

// withRuntimeConfig is withConfig for an agent that is a custom runtime.
func (p *program) withRuntimeConfig(cmd *cobra.Command, do func(*config) error) error {
	c, err := p.load(changedSettings(cmd.Flags()), true)
	if err != nil {
		return err
	}
	return do(c)
}

// addSettings makes a flag of every setting that is no secret.
func addSettings(flags *pflag.FlagSet) {
	flags.SortFlags = false
	for _, s := range settings() {
		switch {
		case s.secret:
		case isSwitch(s):
			flags.Bool(s.flag, s.fallback == "true", s.usage())
		default:
			flags.String(s.flag, s.fallback, s.usage())
		}
	}
}

func (s *setting) usage() string { return fmt.Sprintf("%s [$%s]", s.help, s.env) }

// isSwitch reports whether a setting is boolean and needs no value.
func isSwitch(s setting) bool {
	return s.apply(&config{}, "true") == nil && s.apply(&config{}, "maybe") != nil || s.env == "NO_COLOR"
}

// changedSettings returns the settings that were given as flags.
func changedSettings(flags *pflag.FlagSet) map[string]string {
	given := map[string]string{}
	flags.Visit(func(f *pflag.Flag) {
		for _, s := range settings() {
			if s.flag == f.Name && s.flag != "" {
				given[f.Name] = strings.TrimSpace(f.Value.String())
			}
		}
	})
	return given
}
