package main

import (
	"cmp"
	"gantry/settings"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/valyala/fasthttp"
)

// Bounds of a question that a person at a terminal waits for.
const (
	completionTime = 25 * time.Millisecond // with the start of the program below 50
	completionIDs  = 50
)

// requestIDs are those of a running agent that needs no credentials, is on loopback and answers at once; none
// otherwise. For cancel they are of requests that have not ended.
func (p *program) requestIDs(cmd *cobra.Command) (ids []string) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil
	}
	environ := settings.Public(p.environ)
	facts := settings.Facts{PID: os.Getpid(), CWD: cwd}
	c, err := settings.LoadClient(environ, settings.ChangedSettings(cmd.Flags()), facts)
	if err != nil || c.API.UsersFile != "" || c.API.Cert != "" {
		return nil
	}
	addr := cmp.Or(c.API.Addr, settings.DefaultAPIAddr)
	if f := cmd.Flag("to"); f != nil && f.Value.String() != "" {
		addr = f.Value.String()
	}
	if !onLoopback(addr) {
		return nil
	}
	a := &client{
		base: "http://" + addr, path: functionPath(c.Function.Project, c.Function.URN()), guessed: c.NameGuessed,
		limit: completionTime,
		http:  &fasthttp.Client{MaxResponseBodySize: 1 << 20},
	}
	page, err := a.records(nil)
	if err != nil {
		return nil
	}
	for _, r := range page.Rows {
		// The answer may be another program's, and becomes a part of the command line.
		if uuid.Validate(r.RequestID) == nil && (cmd.Name() == "show" || r.Status == "WAIT" || r.Status == "RUNNING") {
			ids = append(ids, r.RequestID)
		}
	}
	slices.Reverse(ids) // the last ones are asked for most
	return ids[:min(len(ids), completionIDs)]
}

// onLoopback reports whether an address of the form host:port is on loopback by its number; names are not looked up.
func onLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
