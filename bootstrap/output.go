package main

import (
	"errors"
	"gantry/settings"

	"github.com/spf13/cobra"
)

// addOutputFlags adds the flags that choose how much of the log is shown. They are no settings: they are for the person
// who starts the program. verbose is the letter of --verbose, which may be empty.
func addOutputFlags(cmd *cobra.Command, verbose string) {
	cmd.Flags().BoolP("quiet", "q", false, "log only warnings, errors, and lines of function and extensions")
	cmd.Flags().BoolP("verbose", verbose, false, "on a terminal: all platform lines, and whole request ids")
}

// takeOutputFlags sets what the flags of addOutputFlags say, if the command has them.
func takeOutputFlags(cmd *cobra.Command, c *settings.Config) error {
	for name, value := range map[string]*bool{"quiet": &c.Quiet, "verbose": &c.Verbose} {
		if f := cmd.Flags().Lookup(name); f != nil {
			*value = f.Value.String() == "true"
		}
	}
	if c.Quiet && c.Verbose {
		return &failure{exitUsage, errors.New("--quiet and --verbose exclude each other: want one of them")}
	}
	return nil
}
