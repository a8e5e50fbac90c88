package main

import (
	"cmp"
	"fmt"
	"gantry/settings"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manMark is the first line of every page: make uninstall removes the pages that have it.
const manMark = `.\" Written by "gantry man".`

// manCommand writes the manual pages, from what help shows. It is for packages, so help does not list it.
func (p *program) manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages, one for each command", Hidden: true, Args: cobra.ExactArgs(1),
		Long: "Write the manual pages into a folder that exists: one for the program and one for\n" +
			"each command, in section 1. Their date is that of SOURCE_DATE_EPOCH; without it they\n" +
			"have none, so that the same program writes the same bytes.",
		RunE: func(cmd *cobra.Command, args []string) error { return p.writePages(cmd.Root(), args[0]) },
	}
}

// writePages writes the page of a command and those of all below it.
func (p *program) writePages(cmd *cobra.Command, dir string) error {
	text, err := p.page(cmd)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, pageName(cmd)+".1"), []byte(text), 0o644); err != nil {
		return err
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			if err := p.writePages(c, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// page is the manual page of a command, for the macros of man(7).
func (p *program) page(cmd *cobra.Command) (string, error) {
	date, err := p.sourceDate()
	if err != nil {
		return "", err
	}
	m := &manual{}
	m.macro(manMark)
	m.macro(fmt.Sprintf(".TH %s 1 %q %q Gantry", strings.ToUpper(escape(pageName(cmd))), date, "gantry "+version))
	m.macro(".nh", ".ad l") // the names of flags and variables stay in one piece
	m.section("NAME")
	m.text(pageName(cmd) + " - " + firstLower(cmd.Short))
	m.section("SYNOPSIS")
	m.macro(".B " + escape(cmd.UseLine()))
	if !cmd.HasParent() {
		m.macro(".br", ".B "+escape(cmd.CommandPath()+" COMMAND [flags]"))
	}
	m.section("DESCRIPTION")
	m.text(cmp.Or(cmd.Long, cmd.Short+"."))
	if cmd.HasAvailableSubCommands() {
		m.section("COMMANDS")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				m.item(c.CommandPath(), c.Short+"; see "+pageName(c)+"(1).")
			}
		}
	}
	m.flags(ownFlags(cmd))
	m.settings(cmd)
	if cmd.HasExample() {
		m.section("EXAMPLES")
		m.example(strings.ReplaceAll(cmd.Example, "NAME", p.name))
	}
	if !cmd.HasParent() {
		m.section("EXIT STATUS")
		for _, status := range exitStatuses() {
			m.item(status.code, status.meaning)
		}
	}
	m.seeAlso(cmd)
	return m.String(), nil
}

// sourceDate is the date of a reproducible build, or nothing.
func (p *program) sourceDate() (string, error) {
	const name = "SOURCE_DATE_EPOCH"
	value := settings.Variables(p.environ)[name]
	if value == "" {
		return "", nil
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return "", &failure{exitUsage, fmt.Errorf("%s is %.40q, want seconds since 1970", name, value)}
	}
	return time.Unix(seconds, 0).UTC().Format(time.DateOnly), nil
}

// exitStatuses are the exit codes with their meanings, as docs/CONFIGURATION.md has them.
func exitStatuses() []struct{ code, meaning string } {
	return []struct{ code, meaning string }{
		{strconv.Itoa(exitOK), "Stopped by a signal in the orderly way, or the command did its work."},
		{strconv.Itoa(exitError), "Something unexpected, a failed call or check, or an agent that is not ready."},
		{strconv.Itoa(exitUsage), "A setting or an argument is wrong, or a needed file or program is missing."},
		{strconv.Itoa(exitListen), "An address cannot be listened on."},
		{strconv.Itoa(exitFunction), "The function cannot be loaded or initialised, with GANTRY_EXIT_ON_FAILURE."},
		{strconv.Itoa(exitStuck), "The stop could not end everything within GANTRY_SHUTDOWN_TIMEOUT."},
		{"128 + n", "A second signal n cut the stop short."},
	}
}

// manual is a manual page as it is written.
type manual struct{ strings.Builder }

func (m *manual) macro(lines ...string) {
	for _, line := range lines {
		m.WriteString(line + "\n")
	}
}

func (m *manual) section(title string) { m.macro(".SH " + title) }

// manWidth is the longest line of a page's source, in columns, but for words that are longer.
const manWidth = 78

// text is a paragraph. Its lines are filled again when it is shown.
func (m *manual) text(text string) {
	line := ""
	flush := func() {
		if strings.HasPrefix(line, ".") { // it would be a macro
			line = `\&` + line
		}
		m.macro(line)
	}
	for word := range strings.FieldsSeq(escape(text)) {
		if line != "" && len(line)+1+len(word) > manWidth {
			flush()
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	flush()
}

// item is a term, and below it what it means.
func (m *manual) item(term, text string) {
	m.macro(".TP", ".B "+escape(term))
	m.text(text)
}

func (m *manual) example(text string) {
	m.macro(".nf")
	for line := range strings.Lines(text) {
		m.macro(`\&` + escape(strings.TrimRight(line, "\n")))
	}
	m.macro(".fi")
}

func (m *manual) flags(flags *pflag.FlagSet) {
	if !flags.HasFlags() {
		return
	}
	m.section("OPTIONS")
	flags.VisitAll(func(f *pflag.Flag) {
		value, usage := pflag.UnquoteUsage(f)
		term := strings.TrimSpace("--" + f.Name + " " + value)
		if f.Shorthand != "" {
			term = "-" + f.Shorthand + ", " + term
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" {
			usage += " (default " + f.DefValue + ")"
		}
		m.item(term, usage)
	})
}

// settings is the list of all of them on the page of the program, and where it is on all others.
func (m *manual) settings(cmd *cobra.Command) {
	if cmd.HasParent() {
		if settingsOf(cmd) != nil {
			m.section("SETTINGS")
			m.text("The settings in " + cmd.Root().Name() + "(1) are flags of this command too.")
		}
		return
	}
	m.section("SETTINGS")
	m.text("Every setting is a variable, and a flag unless it is a secret. A flag beats the variable. " +
		"A secret may stand in a file instead: NAME_FILE has its path.")
	for _, g := range settings.Groups() {
		m.macro(".SS " + g.Title)
		for _, s := range g.Settings {
			term := s.Env
			if s.Flag() != "" {
				term += ", --" + s.Flag()
			}
			text := s.Text()
			if s.Default() != "" {
				text += " (default " + s.Default() + ")"
			}
			m.item(term, text)
		}
	}
}

func (m *manual) seeAlso(cmd *cobra.Command) {
	var pages []string
	if cmd.HasParent() {
		pages = append(pages, pageName(cmd.Parent())+"(1)")
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			pages = append(pages, pageName(c)+"(1)")
		}
	}
	m.section("SEE ALSO")
	m.text(strings.Join(pages, ", "))
}

// escape writes text as roff has it: characters that are to be copied from the page stay those of ASCII.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
}

// firstLower is a title as manual pages have it after the name.
func firstLower(s string) string { return strings.ToLower(s[:1]) + s[1:] }
