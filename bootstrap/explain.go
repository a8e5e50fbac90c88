package main

import (
	"fmt"
	"gantry/explain"
	"gantry/settings"
	"strings"

	"github.com/spf13/cobra"
)

// explainCommand explains codes and error types without a network.
func (p *program) explainCommand() *cobra.Command {
	var language string
	cmd := &cobra.Command{
		Use: "explain [CODE]", Short: "Say what an error code or type means, and what to do",
		Args: cobra.MaximumNArgs(1),
		Long: "Say what an error code or type means, why it comes up, and what to do.\n" +
			"Without a code: a list of all.",
		Example: "  NAME explain 4010\n  NAME explain Runtime.OutOfMemory\n  NAME explain FSS.1051 --lang zh",
	}
	cmd.Flags().StringVar(&language, "lang", "", "en or zh; default: by LC_ALL, LC_MESSAGES or LANG")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		l, err := p.language(language)
		if err != nil {
			return &failure{exitUsage, err}
		}
		if len(args) == 0 {
			fmt.Fprint(p.stdout, explain.List(l))
			return nil
		}
		text, ok := explain.Text(args[0], l)
		if !ok {
			near := ""
			if code := settings.Nearest(args[0], explain.Codes()); code != "" {
				near = "; did you mean " + code + "?"
			}
			unknown := fmt.Errorf("%.100q is no code of the agent%s; %s explain lists them", args[0], near, p.name)
			return &failure{exitUsage, unknown}
		}
		fmt.Fprint(p.stdout, text)
		return nil
	}
	return cmd
}

// language is what --lang says, else what the environment does.
func (p *program) language(flag string) (explain.Language, error) {
	switch strings.ToLower(flag) {
	case "en":
		return explain.English, nil
	case "zh":
		return explain.Chinese, nil
	case "":
	default:
		return 0, fmt.Errorf("--lang is %.20q, want en or zh", flag)
	}
	env := settings.Variables(p.environ)
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} { // in the order of setlocale(3)
		if env[name] != "" {
			return explain.LanguageOf(env[name]), nil
		}
	}
	return explain.English, nil
}
