package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"gantry/agent"
	"gantry/explain"
	"gantry/fault"
	"gantry/runtime/hang"
	"gantry/settings"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// explainFailure says at the end of a failed call what is known about it, and keeps that for "explain --last".
func (p *program) explainFailure(c *settings.Config, r *agent.Call) {
	f := failureOf(c, r)
	p.keepFailure(f)
	if c.LogFormat == "json" { // stderr is for programs
		return
	}
	p.printFailureText(c, f)
}

func (p *program) printFailureText(c *settings.Config, f *explain.Failure) {
	l, err := p.language("")
	if err != nil {
		l = explain.English
	}
	colour := !c.NoColor && agent.IsTerminal(p.stderr)
	fmt.Fprint(p.stderr, "\n"+f.Text(l, p.name, colour))
}

// noMessage stands for the message of an error that has none; the title of its code would name other reasons as well.
const noMessage = "(no message)"

// failureOf collects the evidence of a failed call.
func failureOf(c *settings.Config, r *agent.Call) *explain.Failure {
	f := r.Fault
	e := &explain.Failure{
		Time: time.Now(), RequestID: r.RequestID, CodeRoot: c.Function.CodeRoot,
		Code: f.Code, Type: f.UserType(), Message: f.UserMessage(), Hint: f.Hint,
		Took: r.Duration, MemoryMB: r.MemoryUsed, LimitMB: c.Function.MemoryMB,
		Place: explain.Locate(f.Body), LastLines: f.Stderr,
	}
	if r.Duration > 0 {
		e.Limit = c.Function.Timeout
	}
	if f.Kind == fault.Event { // parsers quote what they cannot read
		e.Message = ""
	}
	if _, own, found := strings.Cut(e.Message, "exception, error: "); found { // what the platform puts before it
		e.Message = own
		if own == "" {
			e.Message = noMessage
		}
	}
	if r.Hang != nil {
		addHang(e, r.Hang)
	}
	hide := hider(c)
	e.Message, e.Hint = hide.Replace(e.Message), hide.Replace(e.Hint)
	return e
}

// addHang adds where a call was when its time was over.
func addHang(e *explain.Failure, h *hang.Evidence) {
	if h.Kind != hang.Unknown {
		busy := h.Kind == hang.Busy
		e.Busy = &busy
	}
	for _, f := range h.Frames {
		file, err := filepath.Rel(e.CodeRoot, f.File)
		if !f.User || f.Line == 0 || err != nil || !filepath.IsLocal(file) {
			continue
		}
		e.Stopped = append(e.Stopped, explain.Place{File: file, Line: f.Line, Function: f.Function})
	}
	for _, s := range h.Sockets {
		if s.State == "LISTEN" {
			continue
		}
		what := fmt.Sprintf("%s to %s, %s", strings.ToUpper(s.Protocol), s.Remote, s.State)
		e.Waits = append(e.Waits, explain.Wait{What: what, Unconnected: s.State == "SYN-SENT"})
	}
	for _, c := range h.Children {
		e.Waits = append(e.Waits, explain.Wait{What: fmt.Sprintf("process %d, %s", c.PID, c.Name)})
	}
	for _, r := range h.Resources {
		if !strings.Contains(r, "TCP") { // the sockets say more
			e.Waits = append(e.Waits, explain.Wait{What: r})
		}
	}
	e.Unsettled = h.Kind == hang.Waiting && h.ResourcesKnown && len(h.Resources) == 0 && len(h.Frames) == 0
}

// shortest is the length, in bytes, from which a secret is looked for in texts: a shorter one is part of many words.
const shortest = 4

// hider replaces the credentials and the encrypted user data that the function was given.
func hider(c *settings.Config) *strings.Replacer {
	s := &c.Secrets
	secrets := []string{
		s.AccessKey, s.SecretKey, s.SecurityAccessKey, s.SecuritySecretKey, s.SecurityToken, s.AuthToken,
	}
	for _, value := range c.Encrypted.Reveal() {
		secrets = append(secrets, value)
	}
	var pairs []string
	for _, secret := range secrets {
		if len(secret) >= shortest {
			pairs = append(pairs, secret, "(not shown)")
		}
	}
	return strings.NewReplacer(pairs...)
}

// failureFile is where the last failure of a user is kept, after the XDG base directory specification; empty where
// there is no home.
func (p *program) failureFile() string {
	env := settings.Variables(p.environ)
	state := env["XDG_STATE_HOME"]
	if !filepath.IsAbs(state) {
		if home := env["HOME"]; filepath.IsAbs(home) {
			state = filepath.Join(home, ".local", "state")
		} else {
			return ""
		}
	}
	return filepath.Join(state, "gantry", "last-failure.json")
}

// keepFailure writes the file for its user only, in one step. Where that is not possible, as in an image without a
// home, there is none, and "explain --last" says so.
func (p *program) keepFailure(f *explain.Failure) {
	name := p.failureFile()
	if name == "" {
		return
	}
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return
	}
	temporary, err := os.CreateTemp(filepath.Dir(name), ".last-*") // mode 0600
	if err != nil {
		return
	}
	_, err = temporary.Write(append(text, '\n'))
	err = errors.Join(err, temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), name)
	}
	if err != nil {
		_ = os.Remove(temporary.Name()) // it may be gone
	}
}

// lastFailure reads what keepFailure wrote.
func (p *program) lastFailure() (*explain.Failure, error) {
	name := p.failureFile()
	if name == "" {
		return nil, errors.New("no failed invoke is on record: neither XDG_STATE_HOME nor HOME names a folder to keep it in")
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no failed invoke is on record in %s", name)
	}
	if err != nil {
		return nil, err
	}
	f := &explain.Failure{}
	if err := json.Unmarshal(text, f); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w; the next failed invoke writes it anew", name, err)
	}
	return f, nil
}
