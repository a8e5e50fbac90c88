package main

import (
	"fmt"
	"gantry/settings"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is the width of help texts, in columns: that of the smallest terminal.
const helpWidth = 80

// usage is the help of every command: what is its own, and where the settings are, which all of them have. It fits a
// screen.
func (p *program) usage(cmd *cobra.Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n", cmd.UseLine())
	if !cmd.HasParent() {
		fmt.Fprintf(&b, "  %s COMMAND [flags]\n", cmd.CommandPath())
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", strings.ReplaceAll(cmd.Example, "NAME", p.name))
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-12s%s\n", c.Name(), c.Short)
			}
		}
	}
	if own := ownFlags(cmd); own.HasFlags() {
		fmt.Fprintf(&b, "\nFlags:\n%s", own.FlagUsagesWrapped(helpWidth))
	}
	if names := settingsOf(cmd); len(names) > 0 {
		fmt.Fprintf(&b, "\nCommon settings:\n%s", settings.Flags(helpWidth, names...))
		fmt.Fprintf(&b, "\nAll settings, as flags and variables: %s help settings\n", p.name)
	}
	_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
	return err
}

// ownFlags are the flags of a command and of those above it that are no settings.
func ownFlags(cmd *cobra.Command) *pflag.FlagSet {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	own.SortFlags = false
	settingFlags := cmd.Root().PersistentFlags()
	for _, flags := range []*pflag.FlagSet{cmd.NonInheritedFlags(), cmd.InheritedFlags()} {
		flags.VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && f != settingFlags.Lookup(f.Name) {
				own.AddFlag(f)
			}
		})
	}
	return own
}

// settingsOf are the variables of the settings that matter most to a command.
func settingsOf(cmd *cobra.Command) []string {
	switch cmd.Name() {
	case "version", "help", "completion", "man", "explain", "event":
		return nil
	case "health", "wait":
		return []string{"GANTRY_OPS_ADDR"}
	case "async", "ls", "show", "cancel":
		return []string{"RUNTIME_FUNC_NAME", "RUNTIME_CODE_ROOT", "GANTRY_API_ADDR"}
	case "permissions":
		return []string{"RUNTIME_FUNC_NAME", "RUNTIME_CODE_ROOT", "GANTRY_ASYNC_SHARDS"}
	case "timers":
		return []string{"GANTRY_TIMER", "GANTRY_TIMER_FILE"}
	case cmd.Root().Name(): // whose examples have the address of the platform API
		return []string{
			"RUNTIME_CODE_ROOT", "RUNTIME_HANDLER", "GANTRY_RUNTIME", "RUNTIME_TIMEOUT", "GANTRY_ADDR", "GANTRY_LOG_LEVEL",
		}
	case "check":
		if cmd.Parent().Name() == "event" {
			return nil
		}
		return []string{"RUNTIME_FUNC_NAME", "GANTRY_EXTENSION_WAIT", "GANTRY_SHUTDOWN_TIMEOUT"}
	case "poll": // it has no function listener and no platform API
		return []string{
			"RUNTIME_API_ADDR", "RUNTIME_CODE_ROOT", "RUNTIME_HANDLER", "GANTRY_RUNTIME", "RUNTIME_TIMEOUT", "GANTRY_LOG_LEVEL",
		}
	case "warm":
		return []string{
			"RUNTIME_CODE_ROOT", "RUNTIME_HANDLER", "GANTRY_RUNTIME", "GANTRY_CODE_CACHE", "RUNTIME_TIMEOUT", "GANTRY_LOG_LEVEL",
		}
	case "invoke": // it listens on no address of its own
		return []string{"RUNTIME_CODE_ROOT", "RUNTIME_HANDLER", "GANTRY_RUNTIME", "RUNTIME_TIMEOUT", "GANTRY_LOG_LEVEL"}
	}
	return []string{
		"RUNTIME_CODE_ROOT", "RUNTIME_HANDLER", "GANTRY_RUNTIME", "RUNTIME_TIMEOUT", "GANTRY_ADDR", "GANTRY_API_ADDR",
		"GANTRY_LOG_LEVEL",
	}
}

// fillLines breaks the descriptions of a command and of all below it into lines that fit the terminal, by paragraphs.
func fillLines(cmd *cobra.Command) {
	paragraphs := strings.Split(cmd.Long, "\n\n")
	for i, text := range paragraphs {
		paragraphs[i] = strings.TrimSpace(settings.Wrap(text, "", helpWidth))
	}
	cmd.Long = strings.Join(paragraphs, "\n\n")
	for _, c := range cmd.Commands() {
		fillLines(c)
	}
}

// refuseUnknownTopics makes "help NAME" an error where there is no such command: of itself the library prints the help
// of the program, and exits with 0.
func refuseUnknownTopics(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, help := range root.Commands() {
		if help.Name() == "help" {
			help.Short = "Print the help of a command, or all settings"
			help.Long = "Print the help of a command, or with \"settings\" the list of all settings."
			help.Args = func(_ *cobra.Command, args []string) error {
				cmd, rest, err := root.Find(args)
				if err != nil || len(rest) == 0 {
					return err
				}
				return commandOnly(cmd, rest)
			}
		}
	}
}

// settingsTopic is "help settings": cobra shows a command that cannot be run as a topic of help.
func (p *program) settingsTopic() *cobra.Command {
	topic := &cobra.Command{Use: "settings", Short: "All settings"}
	topic.SetHelpFunc(func(*cobra.Command, []string) { fmt.Fprint(p.stdout, settings.Help(helpWidth)) })
	return topic
}
