package main

import (
	"gantry/explain"
	"gantry/extension"
	"gantry/runtime/language"
	"gantry/settings"
	"gantry/trigger"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// complete registers what a shell offers for flags and arguments of every command. A command's own flag that is not
// named here takes a file.
func (p *program) complete(root *cobra.Command) error {
	root.InitDefaultHelpCmd()
	for _, s := range settings.Table() {
		if f := root.PersistentFlags().Lookup(s.Flag()); f != nil {
			if err := root.RegisterFlagCompletionFunc(f.Name, p.settingValues(s)); err != nil {
				return err
			}
		}
	}
	return p.completeBelow(root)
}

func (p *program) completeBelow(cmd *cobra.Command) (err error) {
	own := cmd.LocalNonPersistentFlags()
	if cmd.HasParent() { // those of the program itself are the settings
		own.AddFlagSet(cmd.PersistentFlags())
	}
	own.VisitAll(func(f *pflag.Flag) {
		f.Usage = strings.ReplaceAll(f.Usage, "`", "") // they mark the value's name for the help
		if values := p.flagValues(cmd, f); values != nil && err == nil {
			err = cmd.RegisterFlagCompletionFunc(f.Name, values)
		}
	})
	switch cmd.Name() {
	case "event":
		cmd.ValidArgsFunction = first(func(*cobra.Command) []string { return trigger.TriggerNames() })
	case "explain":
		cmd.ValidArgsFunction = first(func(*cobra.Command) []string { return explain.Codes() })
	case "show", "cancel":
		cmd.ValidArgsFunction = first(p.requestIDs)
	case "help":
		commands := cmd.ValidArgsFunction
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
			found, directive := commands(cmd, args, begin)
			if len(args) == 0 && strings.HasPrefix("settings", begin) {
				found = append(found, "settings\tAll settings")
			}
			return found, directive
		}
	default:
		if cmd.ValidArgs == nil && cmd.CommandPath() != p.name+" event check" { // which takes files
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
	for _, c := range cmd.Commands() {
		if err == nil {
			err = p.completeBelow(c)
		}
	}
	return err
}

// first offers values for the first argument only.
func first(values func(*cobra.Command) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return values(cmd), cobra.ShellCompDirectiveNoFileComp
	}
}

// settingValues is what a shell offers for the flag of a setting.
func (p *program) settingValues(s settings.Setting) cobra.CompletionFunc {
	switch s.Env {
	case "RUNTIME_HANDLER", "RUNTIME_INITIALIZER_HANDLER", "RUNTIME_PRESTOP_HANDLER", "RUNTIME_HEARTBEAT_HANDLER":
		return p.handlers
	case "GANTRY_EXTENSION_REQUIRED":
		return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, script := range p.extensions(cmd) {
				names = append(names, script.Name)
			}
			return printable(names), cobra.ShellCompDirectiveNoFileComp
		}
	}
	switch s.Path() {
	case settings.File:
		return nil
	case settings.Folder:
		return cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
	}
	return cobra.FixedCompletions(s.Values(), cobra.ShellCompDirectiveNoFileComp)
}

// flagValues is what a shell offers for a flag of one command; nil for a file.
func (p *program) flagValues(cmd *cobra.Command, f *pflag.Flag) cobra.CompletionFunc {
	fixed := map[string][]string{
		"lang": {"en", "zh"}, "status": {"WAIT", "RUNNING", "SUCCESS", "FAIL", "DISCARD"}, "ports": {"0"},
		"trigger": trigger.TriggerNames(), "to": nil, "wait": nil, "timeout": nil, "env": nil,
	}
	values, known := fixed[f.Name]
	switch {
	case known:
		return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	case f.Value.Type() == "bool":
		return cobra.FixedCompletions([]string{"true", "false"}, cobra.ShellCompDirectiveNoFileComp)
	case f.Value.Type() == "int", f.Value.Type() == "duration":
		return cobra.NoFileCompletions
	case cmd.Name() == "check" && f.Name == "extension":
		return p.extensionFiles
	case f.Name == "set":
		return settable
	}
	return nil
}

// typed is the configuration as far as the command line has it, without secrets and without a look at the function;
// nil if something in it is wrong.
func (p *program) typed(cmd *cobra.Command) *settings.Config {
	cwd, err := os.Getwd()
	if err != nil {
		return nil
	}
	environ := settings.Public(p.environ)
	flags := settings.ChangedSettings(cmd.Flags())
	home := settings.Variables(environ)["HOME"]
	if rest, below := strings.CutPrefix(flags["code"], "~/"); below && home != "" { // the shell has not replaced it yet
		flags["code"] = filepath.Join(home, rest)
	}
	c, err := settings.Read(environ, settings.Variables(environ), flags, settings.Facts{PID: os.Getpid(), CWD: cwd})
	if err != nil {
		return nil
	}
	return c
}

// handlers are those that the code folder seems to have.
func (p *program) handlers(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	c := p.typed(cmd)
	if c == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	found := printable(language.Handlers(c.Function.CodeRoot))
	directive := cobra.ShellCompDirectiveNoFileComp
	if slices.ContainsFunc(found, func(handler string) bool { return strings.HasSuffix(handler, ".") }) {
		directive |= cobra.ShellCompDirectiveNoSpace // the name of the function is still to be typed
	}
	return found, directive
}

// extensions are those that an agent with this command line would start.
func (p *program) extensions(cmd *cobra.Command) []extension.Script {
	c := p.typed(cmd)
	if c == nil {
		return nil
	}
	dirs := c.ExtensionDirs
	if dirs == "" {
		dirs = filepath.Join(c.Function.CodeRoot, "extension") + ":/opt/extension"
	}
	found, _, err := extension.Discover(strings.Split(dirs, ":"))
	if err != nil {
		return nil
	}
	return found
}

// extensionFiles are the files of the extensions that were found, or any file where what was typed is another one.
func (p *program) extensionFiles(cmd *cobra.Command, _ []string, begin string) ([]string, cobra.ShellCompDirective) {
	var found []string
	cwd, err := os.Getwd()
	for _, script := range p.extensions(cmd) {
		path := script.Path
		if rel, relErr := filepath.Rel(cwd, path); err == nil && relErr == nil && filepath.IsLocal(rel) {
			path = rel
		}
		if strings.HasPrefix(path, begin) {
			found = append(found, path)
		}
	}
	return printable(found), cobra.ShellCompDirectiveDefault
}

// settable are the short names and paths of the trigger on the command line.
func settable(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	name := ""
	if f := cmd.Flags().Lookup("trigger"); f != nil {
		name = f.Value.String()
	} else if len(args) > 0 {
		name = args[0]
	}
	const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	t, err := trigger.Find(name)
	if err != nil {
		return nil, directive
	}
	paths, err := t.Paths()
	if err != nil {
		return nil, directive
	}
	var short, long []string
	for _, p := range paths {
		if p.Short != "" {
			short = append(short, strings.TrimSuffix(p.Short+"=", "NAME="))
		}
		long = append(long, strings.TrimSuffix(p.Path+"=", "NAME="))
	}
	return append(short, long...), directive
}

// printable leaves out names that would spoil a terminal.
func printable(names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool {
		return strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
	})
}
