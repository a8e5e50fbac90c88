package main

import (
	"fmt"
	"gantry/agent"
	"gantry/explain"
	"gantry/spelling"
	"time"

	"github.com/spf13/cobra"
)

// explainCommand explains codes and error types without a network.
func (p *program) explainCommand() *cobra.Command {
	var language string
	var last bool
	cmd := &cobra.Command{
		Use: "explain [CODE]", Short: "Say what an error code or type means, and what to do",
		Args: cobra.MaximumNArgs(1),
		Long: "Say what an error code or type means, why it comes up, and what to do.\n" +
			"Without a code: a list of all. With --last: the last failed invoke of this user.",
		Example: "  NAME explain 4010\n  NAME explain --last\n  NAME explain Runtime.OutOfMemory\n  NAME explain FSS.1051 --lang zh",
	}
	cmd.Flags().StringVar(&language, "lang", "", "`LANGUAGE`: en or zh; default: by LC_ALL, LC_MESSAGES or LANG")
	cmd.Flags().BoolVar(&last, "last", false, "explain the last failed invoke once more")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		l, err := p.language(language)
		if err != nil {
			return &failure{exitUsage, err}
		}
		if last {
			return p.explainLast(l, args)
		}
		if len(args) == 0 {
			fmt.Fprint(p.stdout, explain.List(l))
			return nil
		}
		text, ok := explain.Text(args[0], l)
		if !ok {
			near := ""
			if code := spelling.Nearest(args[0], explain.Codes()); code != "" {
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

func (p *program) explainLast(l explain.Language, args []string) error {
	if len(args) > 0 {
		return &failure{exitUsage, fmt.Errorf("--last takes no code, and %q is one", args[0])}
	}
	f, err := p.lastFailure()
	if err != nil {
		return err
	}
	colour := agent.IsTerminal(p.stdout) && !p.noColor()
	fmt.Fprintf(p.stdout, "%s\n%s", f.Time.Format(time.DateTime), f.Text(l, p.name, colour))
	return nil
}
