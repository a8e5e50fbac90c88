package main

import (
	"errors"
	"fmt"
	"gantry/agent"
	"gantry/settings"

	"github.com/spf13/cobra"
)

func (p *program) warmCommand() *cobra.Command {
	var events []string
	cmd := &cobra.Command{
		Use: "warm", Short: "Write a code cache, for faster starts in Node.js, Python and Java", Args: noArguments,
		Long: "Run load and initializer, and the events if any are given, then write what V8 has\n" +
			"compiled, Python's byte code, or an archive of the loaded classes of Java 13 and\n" +
			"later, to .gantry/code-cache in the code folder: in a Dockerfile, after\n" +
			"the code was copied. Workers of the same version of the interpreter start with it.\n" +
			"Extensions are not started.\n\n" +
			"Prints on stdout what was written, the log on stderr. Exit codes: 0; 1 an event\n" +
			"failed, or the cache cannot be written; 2 the command line, a setting or a file is\n" +
			"wrong; 3 an address cannot be listened on; 4 the function cannot be started.",
		Example: "  NAME warm --code my-function\n  NAME warm --code my-function --event '{\"n\": 1}'",
	}
	cmd.Flags().StringArrayVar(&events, "event", nil,
		"an `EVENT` to run first, so that what it needs is in the cache: a file, JSON text that begins with {, [ or \", or - for standard input; may be repeated")
	addOutputFlags(cmd, "v")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		read := nameEvents(events)
		if _, err := p.readEvents(read, events, nil); err != nil {
			return &failure{exitUsage, err}
		}
		return p.withConfig(cmd, func(c *settings.Config) error { return p.warm(c, read) })
	}
	return cmd
}

// warm writes the code cache.
func (p *program) warm(c *settings.Config, events []event) error {
	switch {
	case !c.Language.CachesCode:
		return &failure{exitUsage, fmt.Errorf("this function is one of %s, and only those in Node.js, Python and Java have a code cache", c.Language.Title)}
	case c.CodeCacheFile() == "":
		return &failure{exitUsage, errors.New("GANTRY_CODE_CACHE is off: want the name of the file to write, or leave it empty")}
	}
	if !c.IsSet("EXTENSION_API_ADDR") { // a running agent has the usual port
		c.ExtensionAddr = "127.0.0.1:0"
	}
	c.API.Addr = "" // nothing calls the function from outside
	if c.LogFormat == "auto" {
		c.LogFormat = "text"
	}
	options := p.options()
	options.Stdout = p.stderr
	var bodies [][]byte
	for _, e := range events {
		bodies = append(bodies, e.body)
	}
	written, err := agent.Warm(c, options, bodies)
	if err != nil {
		return err
	}
	files := "files"
	if written.Files == 1 {
		files = "file"
	}
	text := fmt.Sprintf("code cache of %d %s, %d kB: %s\n", written.Files, files, written.Bytes/1000, c.CodeCacheFile())
	if written.LeftOut > 0 {
		text += fmt.Sprintf("left out: %d files that may use import(), which cached code has from Node.js 22 on only; one is %s\n",
			written.LeftOut, written.FirstLeftOut)
	}
	if written.Present > 0 {
		text += fmt.Sprintf("in __pycache__ as well: %d of them, which Python uses first: the cache saves no time while these are there\n", written.Present)
	}
	_, err = p.stdout.WriteString(text)
	return err
}
