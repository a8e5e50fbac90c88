package main

import (
	"errors"
	"fmt"
	"strings"

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
