package main

import (
	"encoding/json"
	"fmt"
	"gantry/settings"
	"gantry/timer"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// mostRuns bounds --count.
const mostRuns = 1000

// timersCommand shows the timers of the settings; no agent has to run.
func (p *program) timersCommand() *cobra.Command {
	var count int
	var asJSON bool
	cmd := &cobra.Command{
		Use: "timers", Short: "List the timers of the settings, and when they run", Args: noArguments,
		Long: "List the timers of the settings on stdout, with their next runs; no agent has to\n" +
			"run. Remarks on schedules that are easily misread, and on summer time, follow.\n" +
			"Exits with 2 when a timer is wrong.",
		Example: "  NAME timers\n  NAME timers --timer '0 30 8 * * 1-5' --count 5",
	}
	cmd.Flags().IntVar(&count, "count", 3, "next `RUNS` of each timer, 1 to 1000")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if count < 1 || count > mostRuns {
			return &failure{exitUsage, fmt.Errorf("--count is %d, want 1 to %d", count, mostRuns)}
		}
		c, err := p.timersConfig(settings.ChangedSettings(cmd.Flags()))
		if err != nil {
			return &failure{exitUsage, err}
		}
		rows := timerRows(c.Timers, count, time.Now())
		if !asJSON {
			return p.printTimers(rows)
		}
		e := json.NewEncoder(p.stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(rows)
	}
	return cmd
}

// timersConfig reads the settings without a look at the function. What is remarkable goes to stderr.
func (p *program) timersConfig(flags map[string]string) (*settings.Config, error) {
	env := settings.Variables(p.environ)
	c, err := settings.Read(p.environ, env, flags, settings.Facts{PID: os.Getpid()})
	if err == nil {
		err = c.CompleteTimers(env)
	}
	if err != nil {
		return nil, err
	}
	p.printUnknown(c)
	for _, remark := range c.Remarks {
		fmt.Fprintln(p.stderr, p.name+": "+remark)
	}
	if len(c.Timers) == 0 {
		fmt.Fprintf(p.stderr, "%s: no timers are set: GANTRY_TIMER='@every 1m', or --timer\n", p.name)
	}
	return c, nil
}

// timerRow is a timer as "timers --json" prints it.
type timerRow struct {
	Name      string   `json:"name"`
	Schedule  string   `json:"schedule"`
	Zone      string   `json:"zone"`
	UserEvent string   `json:"user_event"`
	Next      []string `json:"next"`
	Warnings  []string `json:"warnings"`
}

func timerRows(timers []*timer.Timer, count int, now time.Time) []timerRow {
	rows := []timerRow{}
	for _, t := range timers {
		row := timerRow{t.Name, t.Schedule, t.ZoneName(now), t.UserEvent, nil, append([]string{}, t.Warnings(now)...)}
		for at := t.Next(now); !at.IsZero() && len(row.Next) < count; at = t.Next(at) {
			row.Next = append(row.Next, at.Format(time.RFC3339Nano))
		}
		rows = append(rows, row)
	}
	return rows
}

func (p *program) printTimers(rows []timerRow) error {
	out := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	if len(rows) > 0 {
		fmt.Fprintln(out, "TIMER\tSCHEDULE\tZONE\tNEXT")
	}
	for _, r := range rows {
		for _, at := range r.Next {
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", r.Name, r.Schedule, r.Zone, at)
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		for _, w := range r.Warnings {
			fmt.Fprintf(p.stdout, "%s: %s\n", r.Name, w)
		}
	}
	return nil
}
