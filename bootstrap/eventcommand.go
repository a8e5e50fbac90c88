package main

import (
	"errors"
	"fmt"
	"gantry/agent"
	"gantry/api"
	"gantry/settings"
	"gantry/trigger"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// triggerOptions say which event of a trigger is wanted.
type triggerOptions struct {
	name string
	sets []string // path=value
}

func addSetFlag(cmd *cobra.Command, o *triggerOptions) {
	cmd.Flags().StringArrayVar(&o.sets, "set", nil,
		"`PATH=VALUE` in that event, in plain, like key=a.txt or body=@FILE; may be repeated")
}

// check reports flags of invoke that do not go together.
func (o *triggerOptions) check(events []string) error {
	switch {
	case o.name == "" && len(o.sets) > 0:
		return fmt.Errorf("--set is for the event of a trigger, and --trigger is missing: want one of %s",
			strings.Join(trigger.TriggerNames(), ", "))
	case o.name != "" && len(events) > 0:
		return errors.New("--trigger and --event exclude each other; for several events, print each: bootstrap event TRIGGER > FILE")
	}
	return nil
}

// eventCommand prints and checks events of triggers.
func (p *program) eventCommand() *cobra.Command {
	var o triggerOptions
	var paths bool
	cmd := &cobra.Command{
		Use: "event [TRIGGER]", Short: "Print the event of a trigger, or check one", Args: oneTrigger,
		Long: "Print an event as a trigger sends it, with fresh ids and times. Without a trigger:\n" +
			"a list of all. Values are set in plain: what the event has in Base64, as JSON in a\n" +
			"text or URL-encoded is encoded. docs/TRIGGERS.md has their shapes.",
		Example: "  NAME event obs --set bucket=photos --set 'key=a b.jpg'\n" +
			"  NAME event apig --set method=POST --set path=/orders --set body=@order.json\n" +
			"  NAME event kafka --paths                      # what --set takes\n" +
			"  NAME invoke --code my-function --trigger timer --set event=nightly\n" +
			"  NAME event check events/*.json",
	}
	addSetFlag(cmd, &o)
	cmd.Flags().BoolVar(&paths, "paths", false, "list what --set takes: short name, path, type")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 && (paths || len(o.sets) > 0) {
			wrong := errors.New("--set and --paths want a trigger before them: " + strings.Join(trigger.TriggerNames(), ", "))
			return &failure{exitUsage, wrong}
		}
		if len(args) == 0 {
			return p.listTriggers()
		}
		o.name = args[0]
		if paths {
			return p.listPaths(o.name)
		}
		e, err := p.newEvent(&o)
		if err != nil {
			return &failure{exitUsage, err}
		}
		text, err := e.Indented()
		if err != nil {
			return &failure{exitUsage, err}
		}
		_, err = p.stdout.Write(text)
		return err
	}
	cmd.AddCommand(p.eventCheckCommand())
	return cmd
}

// oneTrigger takes one argument at most, and says what was probably meant by a file and by a second argument.
func oneTrigger(cmd *cobra.Command, args []string) error {
	for _, arg := range args {
		if info, err := os.Stat(arg); err == nil && info.Mode().IsRegular() && !slices.Contains(trigger.TriggerNames(), arg) {
			return fmt.Errorf("%s takes a trigger, and %q is a file; did you mean %s check %s?",
				cmd.CommandPath(), arg, cmd.CommandPath(), arg)
		}
	}
	if len(args) < 2 {
		return nil
	}
	err := fmt.Errorf("%s takes one trigger, and %q is another argument", cmd.CommandPath(), args[1])
	if strings.Contains(args[1], "=") {
		return fmt.Errorf("%w; did you mean --set %s?", err, args[1])
	}
	return err
}

func (p *program) listTriggers() error {
	out := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, t := range trigger.All() {
		fmt.Fprintf(out, "%s\t%s\t%s\n", t.Name, t.Mode(), t.Title)
	}
	return out.Flush()
}

func (p *program) listPaths(name string) error {
	t, err := trigger.Find(name)
	if err != nil {
		return &failure{exitUsage, err}
	}
	paths, err := t.Paths()
	if err != nil {
		return err
	}
	out := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, at := range paths {
		fmt.Fprintf(out, "%s\t%s\t%s\n", at.Short, at.Path, at.Type)
	}
	return out.Flush()
}

// newEvent makes the event that the options ask for.
func (p *program) newEvent(o *triggerOptions) (*trigger.Event, error) {
	t, err := trigger.Find(o.name)
	if err != nil {
		return nil, err
	}
	e, err := t.New(time.Now())
	if err != nil {
		return nil, err
	}
	read := false
	for _, set := range o.sets {
		path, value, found := strings.Cut(set, "=")
		if !found || path == "" {
			return nil, fmt.Errorf("--set: %.100q is not of the form PATH=VALUE, like --set %s=x", set, t.Names[0].Name)
		}
		if value == "@-" && read {
			return nil, fmt.Errorf("--set %s: standard input can be read once", path)
		}
		read = read || value == "@-"
		if value, err = p.setValue(value); err != nil {
			return nil, fmt.Errorf("--set %s: %w", path, err)
		}
		if err := e.Set(path, value); err != nil {
			return nil, fmt.Errorf("--set %s: %w", path, err)
		}
	}
	return e, nil
}

// setValue is the value of --set: the text itself, or a file behind an @.
func (p *program) setValue(value string) (string, error) {
	name, file := strings.CutPrefix(value, "@")
	if !file || strings.HasPrefix(name, "@") {
		return name, nil
	}
	b, err := p.readFile(name)
	switch {
	case err != nil:
		return "", fmt.Errorf("%w; a text that begins with @ has two of them", err)
	case len(b) > api.MaxEvent:
		return "", fmt.Errorf("%s is over the limit of %d bytes", name, api.MaxEvent)
	}
	return string(b), nil
}

// triggerEvent is the event of a trigger for a call.
func (p *program) triggerEvent(o *triggerOptions) ([]byte, error) {
	e, err := p.newEvent(o)
	if err != nil {
		return nil, err
	}
	return e.JSON()
}

func (p *program) eventCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check FILE...", Short: "Say which trigger an event is of, and what is wrong with it",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("%s wants files with an event each, or - for standard input", cmd.CommandPath())
			}
			return nil
		},
		Long: "Say which trigger sends an event like the one in the file, and what is wrong with\n" +
			"it: missing and misspelled keys, types, encodings, times. - is standard input.\n\n" +
			"Exit codes: 0 nothing is wrong, warnings aside; 1 something is; 2 a file cannot be\nread.",
		Example: "  NAME event check event.json\n  NAME event obs | NAME event check -",
		RunE:    func(_ *cobra.Command, args []string) error { return p.checkEvents(args) },
	}
}

// checkEvents checks each file, and fails if something is wrong with one.
func (p *program) checkEvents(files []string) error {
	stdin := slices.Index(files, "-")
	if stdin >= 0 && slices.Contains(files[stdin+1:], "-") {
		return &failure{exitUsage, errors.New("- is given twice, and standard input can be read once")}
	}
	failed, unread := false, false
	for _, name := range files {
		text, err := p.readFile(name)
		if err == nil && len(text) > api.MaxEvent {
			err = fmt.Errorf("%s is over the limit of %d bytes", name, api.MaxEvent)
		}
		if err != nil {
			fmt.Fprintf(p.stderr, "%s: %s\n", p.name, visible(err.Error()))
			unread = true
			continue
		}
		report, err := trigger.Check(settings.PlainJSON(text))
		if err != nil {
			return err
		}
		if err := p.printReport(name, report); err != nil {
			return err
		}
		failed = failed || report.Failures() > 0
	}
	switch {
	case unread:
		return &failure{exitUsage, nil}
	case failed:
		return &failure{exitError, nil}
	}
	return nil
}

// printReport prints a line for the event, and one for each finding.
func (p *program) printReport(name string, r *trigger.Report) error {
	colour := agent.IsTerminal(p.stdout) && !p.noColor()
	word := func(verdict, code string) string {
		if colour {
			return code + fmt.Sprintf("%-4s", verdict) + "\x1b[0m"
		}
		return fmt.Sprintf("%-4s", verdict)
	}
	var b strings.Builder
	if name == "-" {
		name = "standard input"
	}
	what := "is of no trigger"
	if r.Trigger != nil {
		what = fmt.Sprintf("%s (%s), %s", r.Trigger.Name, r.Trigger.Title, r.Trigger.Mode())
	}
	verdict := word("ok", "\x1b[32m")
	if r.Failures() > 0 {
		verdict = word("fail", "\x1b[31m")
	}
	fmt.Fprintf(&b, "%s  %s: %s\n", verdict, visible(name), what)
	for _, f := range r.Findings {
		verdict := word("fail", "\x1b[31m")
		if f.Warning {
			verdict = word("warn", "\x1b[33m")
		}
		path := f.Path
		if path != "" {
			path += ": "
		}
		fmt.Fprintf(&b, "%s  %s\n", verdict, visible(path+f.Text))
	}
	_, err := p.stdout.WriteString(b.String())
	return err
}

// visible is a text without characters that would spoil a terminal: the event's own words, or a file's name, may be in
// it.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError { // a single byte of 128 to 159 is a command, too
			return ' '
		}
		return r
	}, s)
}
