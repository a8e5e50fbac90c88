package main

import (
	"encoding/json"
	"fmt"
	"gantry/agent"
	goruntime "runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build is what "version --json" prints.
type build struct {
	Version  string            `json:"version"`
	Commit   string            `json:"commit"`
	Go       string            `json:"go"`
	Platform string            `json:"platform"`
	Modules  map[string]string `json:"modules,omitempty"`
}

func readBuild() build {
	return build{
		Version:  version,
		Commit:   commit,
		Go:       goruntime.Version(),
		Platform: goruntime.GOOS + "/" + goruntime.GOARCH,
	}
}

func (p *program) printVersion() {
	b := readBuild()
	fmt.Fprintf(p.stdout, "%s %s (%s, %s, %s)\n", p.name, b.Version, b.Commit, b.Go, b.Platform)
}

func (p *program) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			b := readBuild()
			if !asJSON {
				p.printVersion()
				return nil
			}
			b.Modules = map[string]string{}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, m := range info.Deps {
					b.Modules[m.Path] = m.Version
				}
			}
			enc := json.NewEncoder(p.stdout)
			enc.SetIndent("", "  ")
			return enc.Encode(b)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON, with all modules")
	return cmd
}

// options are those of an agent in this process.
func (p *program) options() *agent.Options {
	b := readBuild()
	return &agent.Options{
		Stdout: p.stdout, Stderr: p.stderr, Build: agent.Build{Version: b.Version, Commit: b.Commit, Go: b.Go},
	}
}
