package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"gantry/settings"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/valyala/fasthttp"
)

// asyncCommand has what a person at a terminal needs of asynchronous requests.
func (p *program) asyncCommand() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use: "async", Short: "List, show and cancel the asynchronous requests of a running agent", Args: commandOnly,
		Long: "List, show and cancel the asynchronous requests of a running agent, over its platform API.\n" +
			"Address and keys are those of the agent's own settings; the function is the one that\nit serves, unless --name or --code says another.",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&to, "to", "", "`ADDRESS` of the platform API; default: that of the settings")
	with := func(do func(*client, []string) error) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, args []string) error {
			return p.withClientConfig(cmd, func(c *settings.Config) error {
				a, err := p.newClient(c, to)
				if err != nil {
					return &failure{exitUsage, err}
				}
				return do(a, args)
			})
		}
	}
	var status string
	var since time.Duration
	var limit int
	ls := &cobra.Command{Use: "ls", Short: "List requests in the order of their acceptance", Args: noArguments}
	ls.Flags().StringVar(&status, "status", "", "only requests of this `STATUS`: WAIT, RUNNING, SUCCESS, FAIL or DISCARD")
	ls.Flags().DurationVar(&since, "since", time.Hour, "`TIME` to look back")
	ls.Flags().IntVar(&limit, "limit", 500, "at most `N` requests")
	list := with(func(a *client, _ []string) error { return p.listAsync(a, status, since, limit) })
	ls.RunE = func(cmd *cobra.Command, args []string) error {
		if limit < 1 {
			return &failure{exitUsage, fmt.Errorf("--limit is %d, want 1 or more", limit)}
		}
		if since <= 0 {
			return &failure{exitUsage, fmt.Errorf("--since is %s, want a time to look back, like 1h", since)}
		}
		return list(cmd, args)
	}
	show := &cobra.Command{Use: "show ID", Short: "Show one request as JSON", Args: requestID}
	show.RunE = with(func(a *client, args []string) error { return p.showAsync(a, args[0]) })
	cancel := &cobra.Command{Use: "cancel ID", Short: "End one request, waiting or running", Args: requestID}
	cancel.RunE = with(func(a *client, args []string) error { return p.cancelAsync(a, args[0]) })
	cmd.AddCommand(ls, show, cancel)
	return cmd
}

// requestID takes one id. An empty one, as of a variable that is not set, would ask for any request.
func requestID(cmd *cobra.Command, args []string) error {
	if err := cobra.ExactArgs(1)(cmd, args); err != nil {
		return err
	}
	if strings.TrimSpace(args[0]) == "" {
		return errors.New("the request id is empty, want the one that the call was answered with")
	}
	return nil
}

// asyncRow is a record as the API shows it.
type asyncRow struct {
	RequestID    string `json:"request_id"`
	Status       string `json:"status"`
	ErrorCode    int    `json:"error_code"`
	ErrorMessage string `json:"error_message"`
	Start        string `json:"start_time"`
	End          string `json:"end_time"`
}

type asyncPage struct {
	Rows  []asyncRow `json:"invocations"`
	Count int        `json:"count"`
	Next  int        `json:"next_marker"`
}

// apiPage is the most rows the API gives at once.
const apiPage = 500

func (a *client) records(values url.Values) (*asyncPage, error) {
	text, err := a.call(fasthttp.MethodGet, "/async-invocations", strings.ReplaceAll(values.Encode(), "+", "%20"), nil)
	if err != nil {
		return nil, err
	}
	page := &asyncPage{}
	return page, json.Unmarshal(text, page)
}

func (p *program) listAsync(a *client, status string, since time.Duration, limit int) error {
	out := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "REQUEST\tSTATUS\tSTART\tEND\tERROR")
	values := url.Values{
		"query_begin_time": {time.Now().Add(-since).UTC().Format("2006-01-02T15:04:05")},
		"status":           {status},
	}
	shown, total := 0, 0
	for marker := 0; shown < limit; {
		values.Set("marker", strconv.Itoa(marker))
		values.Set("limit", strconv.Itoa(max(min(limit-shown, apiPage), 1)))
		page, err := a.records(values)
		if err != nil {
			return err
		}
		for _, r := range page.Rows {
			problem := ""
			if r.ErrorCode != 0 {
				problem = fmt.Sprintf("%d %.100s", r.ErrorCode, strings.Join(strings.Fields(r.ErrorMessage), " "))
			}
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", r.RequestID, r.Status, r.Start, r.End, problem)
		}
		shown, total = shown+len(page.Rows), page.Count
		if marker = page.Next; marker == 0 {
			break
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if shown < total {
		fmt.Fprintf(p.stderr, "%d of %d requests; see --limit\n", shown, total)
	}
	return nil
}

func (p *program) showAsync(a *client, id string) error {
	page, err := a.records(url.Values{"request_id": {id}})
	if err != nil {
		return err
	}
	if len(page.Rows) == 0 {
		return fmt.Errorf("no request %q is known", id)
	}
	encoder := json.NewEncoder(p.stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(page.Rows[0])
}

func (p *program) cancelAsync(a *client, id string) error {
	body, err := json.Marshal(map[string]string{"request_id": id, "type": "force"})
	if err != nil {
		return err
	}
	_, err = a.call(fasthttp.MethodPost, "/cancel", "", body)
	return err
}

// invokeLater hands the events to the platform API of a running agent and prints the request ids.
func (p *program) invokeLater(c *settings.Config, to string, r *results) error {
	a, err := p.newClient(c, to)
	if err != nil {
		return &failure{exitUsage, err}
	}
	r.function = c.Function.Name
	for _, e := range r.events {
		began := time.Now()
		id, err := a.accept(e.body)
		if err := r.add(&answer{body: append(id, '\n'), took: time.Since(began), err: err}); err != nil {
			return err
		}
	}
	return nil
}

// accept hands over one event and returns its request id.
func (a *client) accept(event []byte) (id []byte, err error) {
	text, err := a.call(fasthttp.MethodPost, "/invocations-async", "", event)
	if err != nil {
		return nil, err
	}
	var answer struct {
		ID string `json:"request_id"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, err
	}
	return []byte(answer.ID), nil
}
