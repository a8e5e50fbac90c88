package main

import (
	_ "embed"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// The scripts ask the program itself, by its hidden command __complete. They evaluate nothing that was typed, and need
// no package beside the shell; those of the library do both.
var (
	//go:embed completion.bash
	bashScript string
	//go:embed completion.zsh
	zshScript string
	//go:embed completion.fish
	fishScript string
)

// completionCommand prints what a shell reads to complete the program's commands, flags and values.
func (p *program) completionCommand() *cobra.Command {
	scripts := map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "Print the completion script of a shell",
		Long: "Print what makes a shell complete commands, flags and their values. Loading and\nvalues need no package, " +
			"start nothing, and read no secrets. The script is for the\nname that the program was called by.",
		Example: "  source <(NAME completion bash)               # in ~/.bashrc\n" +
			"  source <(NAME completion zsh)                # in ~/.zshrc, behind compinit\n" +
			"  NAME completion fish | source                # in ~/.config/fish/config.fish",
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || scripts[args[0]] == "" {
				return &failure{exitUsage, fmt.Errorf("completion wants one shell: bash, zsh or fish; see %s completion --help", p.name)}
			}
			_, err := p.stdout.WriteString(strings.ReplaceAll(scripts[args[0]], "NAME", p.name))
			return err
		},
	}
}

// completing reports whether a shell asks for values.
func completing(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// silence sends the remarks of the library on a completion, also those that it writes to os.Stderr itself, to nowhere:
// they would stand in the middle of the command line.
func silence(root *cobra.Command) error {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	os.Stderr = null // it is open until the process ends
	root.SetErr(null)
	return nil
}
