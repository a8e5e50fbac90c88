package main

import (
	"errors"
	"fmt"
	"gantry/async"
	"gantry/settings"
	"strings"

	"github.com/spf13/cobra"
)

// permissionsCommand prints what a function's agents need on a cluster; no agent and no server has to run.
func (p *program) permissionsCommand() *cobra.Command {
	var streams, account string
	cmd := &cobra.Command{
		Use: "permissions", Short: "Print what the function's agents need on a NATS cluster", Args: noArguments,
		Long: "Print, for nats-server.conf, the permissions of a user whose agents see this function alone.\n" +
			"They bind a user that keeps to them; against one that means harm, give the function an\n" +
			"account of its own: with --streams and --account, print exports and imports instead.\n" +
			"No agent and no server has to run. docs/ASYNC.md says what each subject is for.",
		Example: "  NAME permissions --name orders --async-shards 4\n" +
			"  NAME permissions --name orders --streams QUEUES --account ORDERS",
	}
	cmd.Flags().StringVar(&streams, "streams", "", "the `ACCOUNT` that has the streams, for exports and imports")
	cmd.Flags().StringVar(&account, "account", "", "the `ACCOUNT` of the function, which imports them")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if (streams == "") != (account == "") || streams != "" && streams == account {
			wrong := errors.New("--streams and --account belong together, want the names of two accounts")
			return &failure{exitUsage, wrong}
		}
		return p.withClientConfig(cmd, func(c *settings.Config) error {
			p.printUnknown(c)
			if c.Async.NATSDomain != "" {
				wrong := errors.New("GANTRY_NATS_DOMAIN is set, and the subjects at a leaf node are others: leave it out, and " +
					"give what is printed to the leaf node's user on the servers that keep the queue")
				return &failure{exitUsage, wrong}
			}
			if c.NameGuessed {
				fmt.Fprintf(p.stderr, "%s: for function %s, whose name is %s; --name or --code sets another\n",
					p.name, c.Function.Name, c.NameFrom)
			}
			return p.printPermissions(c, streams, account)
		})
	}
	return cmd
}

// printPermissions prints the permissions of a user, or the exports and imports of two accounts.
func (p *program) printPermissions(c *settings.Config, streams, account string) error {
	var b strings.Builder
	shards := max(c.Async.Shards, 1)
	fmt.Fprintf(&b, "# %s, with GANTRY_ASYNC_SHARDS=%d\n", visible(c.Function.URN()), shards)
	if streams == "" {
		publish, subscribe := async.Permissions(&c.Function, shards)
		b.WriteString("permissions {\n")
		printList(&b, "  publish: {allow: [", quoteAll(publish), "  ]}")
		printList(&b, "  subscribe: {allow: [", quoteAll(subscribe), "  ]}")
		b.WriteString("}\n")
	} else {
		exports, imports := async.Imports(&c.Function, shards, streams, account)
		fmt.Fprintf(&b, "# in account %q:\n", streams)
		printList(&b, "exports: [", exports, "]")
		fmt.Fprintf(&b, "# in account %q, which has no JetStream of its own:\n", account)
		printList(&b, "imports: [", imports, "]")
	}
	_, err := p.stdout.Write([]byte(b.String()))
	return err
}

func printList(b *strings.Builder, begin string, entries []string, end string) {
	fmt.Fprintln(b, begin)
	for _, entry := range entries {
		fmt.Fprintln(b, "    "+entry)
	}
	fmt.Fprintln(b, end)
}

func quoteAll(subjects []string) []string {
	texts := make([]string, 0, len(subjects))
	for _, s := range subjects {
		texts = append(texts, fmt.Sprintf("%q", s))
	}
	return texts
}
