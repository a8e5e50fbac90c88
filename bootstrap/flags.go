package main

import (
	"errors"
	"fmt"
	"gantry/settings"
	"gantry/spelling"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

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
	if near := spelling.Nearest(args[0], names); near != "" {
		return fmt.Errorf("%w; did you mean %s?", err, near)
	}
	return err
}

// noArguments refuses arguments of a command that has flags only, and says which flag was probably meant.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("%s takes no arguments, and %q is one", cmd.CommandPath(), args[0])
	if _, isSwitch := strconv.ParseBool(args[0]); isSwitch == nil {
		return fmt.Errorf("%w; the value of a switch follows an equals sign: --NAME=%s", err, args[0])
	}
	info, statErr := os.Stat(args[0])
	flag := ""
	switch {
	case statErr == nil && info.IsDir():
		flag = "code"
	case cmd.Flags().Lookup("extension") != nil:
		flag = "extension"
	case cmd.Flags().Lookup("event") != nil:
		flag = "event"
	}
	if flag == "" {
		return err
	}
	return fmt.Errorf("%w; did you mean --%s %s?", err, flag, args[0])
}

// serverCommand takes the command line of the function's server, after --, and nothing else.
func serverCommand(cmd *cobra.Command, args []string) error {
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		args = args[:dash]
	}
	return noArguments(cmd, args)
}

// meantFlag says which flag was probably meant by one that does not exist.
func meantFlag(cmd *cobra.Command, err error) string {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return ""
	}
	if unknown.GetSpecifiedName() == "v" {
		return fmt.Sprintf("; did you mean --version, or the -v of %s serve?", cmd.Root().Name())
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := spelling.Nearest(unknown.GetSpecifiedName(), names); near != "" {
		return fmt.Sprintf("; did you mean --%s?", near)
	}
	return ""
}

func (p *program) withConfig(cmd *cobra.Command, do func(*settings.Config) error) error {
	return p.withLoaded(cmd, false, do)
}

// withClientConfig is withConfig for commands that call a running agent.
func (p *program) withClientConfig(cmd *cobra.Command, do func(*settings.Config) error) error {
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	facts := settings.Facts{PID: os.Getpid(), CWD: cwd}
	c, err := settings.LoadClient(p.environ, settings.ChangedSettings(cmd.Flags()), facts)
	if err != nil {
		return &failure{exitUsage, err}
	}
	return do(c)
}

// printUnknown is for commands without a log.
func (p *program) printUnknown(c *settings.Config) {
	for _, remark := range c.Unknown {
		fmt.Fprintln(p.stderr, p.name+": "+remark)
	}
}

// withRuntimeConfig is withConfig for an agent that is a custom runtime.
func (p *program) withRuntimeConfig(cmd *cobra.Command, do func(*settings.Config) error) error {
	return p.withLoaded(cmd, true, do)
}

func (p *program) withLoaded(cmd *cobra.Command, poll bool, do func(*settings.Config) error) error {
	c, err := p.load(settings.ChangedSettings(cmd.Flags()), poll, cmd.Flags().Args())
	if err != nil {
		return err
	}
	if err := takeOutputFlags(cmd, c); err != nil {
		return err
	}
	return do(c)
}
