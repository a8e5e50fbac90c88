package main

import (
	"errors"
	"fmt"
	"gantry/settings"

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
	if near := settings.Nearest(args[0], names); near != "" {
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
	if near := settings.Nearest(unknown.GetSpecifiedName(), names); near != "" {
		return fmt.Sprintf("; did you mean --%s?", near)
	}
	return ""
}

func (p *program) withConfig(cmd *cobra.Command, do func(*settings.Config) error) error {
	c, err := p.load(settings.ChangedSettings(cmd.Flags()), false)
	if err != nil {
		return err
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
	c, err := p.load(settings.ChangedSettings(cmd.Flags()), true)
	if err != nil {
		return err
	}
	return do(c)
}
