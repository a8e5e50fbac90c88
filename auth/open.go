package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"gantry/files"
	"time"
)

// Open reads the users file. An error says what is wrong with it, and never contains a secret. Changes of the file
// count only while Follow runs.
func Open(cfg *Config) (*Gate, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	g := newGate(cfg)
	if cfg.UsersFile == "" {
		g.directory.Store(openToAll())
		return g, nil
	}
	d, err := files.Within(cfg.UsersFile, func() (*directory, error) { return g.read(cfg.UsersFile) })
	if err != nil {
		return nil, err
	}
	g.adopt(d)
	return g, nil
}

// openToAll is the directory of a gate without a users file. Its tokens are signed all the same, with a secret of this
// process.
func openToAll() *directory {
	d := newDirectory(defaultDomain, rand.Text()+rand.Text())
	d.open = true
	return d
}

// Begin looks at the headers of a request: at a token, else at a signature. Its error means that no body could make the
// request valid. The request's body is not looked at; the request must stay as it is until Finish.
func (g *Gate) Begin(r *Request) (*Entry, error) {
	d := g.current()
	if d.open {
		return &Entry{caller: &Caller{user: anonymous}}, nil
	}
	tokens := r.Values(headerToken)
	if len(tokens) > 1 {
		return nil, unauthorized("X-Auth-Token is there more than once")
	}
	if len(tokens) == 1 && len(tokens[0]) > 0 {
		token, u, err := g.parse(d, string(tokens[0]))
		if err != nil {
			return nil, err
		}
		return &Entry{caller: &Caller{user: u, token: token}}, nil
	}
	lines := r.Values(headerAuthorization)
	switch len(lines) {
	case 0:
		return nil, unauthorized(
			"no credentials: send X-Auth-Token with a token of POST /v3/auth/tokens, or sign the request with AK/SK (" + algorithm + ")",
		)
	case 1:
		return g.begin(d, r, bytes.Clone(lines[0]))
	}
	return nil, unauthorized("Authorization is there more than once")
}

// Authorize says whether the caller may do action on project, which the path names.
func (g *Gate) Authorize(c *Caller, action Action, project string) error {
	if c.token != nil && c.token.scope != scopeProject {
		return forbidden(
			"the token has no project scope; ask for one with \"scope\": {\"project\": {\"name\": " + fmt.Sprintf(
				"%q",
				g.cfg.Project,
			) + "}}",
		)
	}
	if c.token != nil && c.token.project != project {
		return forbidden("the token is for another project than the path")
	}
	if !c.user.may(action) {
		return forbidden(fmt.Sprintf("user %q may not do FunctionGraph:function:%s", c.user.name, action))
	}
	return nil
}

// Check lets a caller in whose request is there with its body.
func (g *Gate) Check(r *Request) (*Caller, error) {
	e, err := g.Begin(r)
	if err != nil {
		return nil, err
	}
	if e.caller != nil {
		return e.caller, nil
	}
	return e.Finish(sha256.Sum256(r.Body))
}
