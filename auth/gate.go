// Package auth says who may call the platform API: users with passwords, tokens and access keys from one file, and the
// verification of signed requests. It serves nothing and starts nothing.
package auth

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"gantry/fault"
	"gantry/files"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Action is what a user may be allowed to do; its text is the word in the users file.
type Action string

// The platform's actions (docs/COMPATIBILITY.md): FunctionGraph:function:invoke and FunctionGraph:function:invokeAsync.
const (
	Invoke      Action = "invoke"
	InvokeAsync Action = "invokeAsync"
)

// Actions is the closed list.
func Actions() []Action { return []Action{Invoke, InvokeAsync} }

// Config is what a Gate needs.
type Config struct {
	// UsersFile is the file of users. Empty means that every request is allowed; the listener must be on loopback then.
	UsersFile string
	// ProjectID and Project are id and name of the one project here; the name is the region's, as on the platform.
	ProjectID, Project string
	// Secure is set when the body cannot be changed between caller and agent: TLS, or a loopback listener.
	Secure bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	Log *zap.Logger
}

// Gate decides who may call. Its methods are safe for concurrent use. Errors are *fault.Error with the platform's
// codes.
type Gate struct {
	cfg       *Config
	directory atomic.Pointer[directory]
	keys      *lockout // by access key and peer; only keys that exist
	users     *lockout // by user name and peer; only users that exist
	strangers *lockout // by the name or id of a user that does not exist, and peer
	peers     *lockout // of logins, by peer alone

	// The rest belongs to Follow, but for what a test replaces.
	identify func(name string) fileID
	read     func(name string) (*directory, error)
	seen     fileID // of the file as it was read last
	failure  string // to read it, as it was logged last
	removed  map[string]time.Time
	hung     atomic.Bool
}

// Caller is an authenticated user.
type Caller struct {
	user *user
	// token is nil for a signed request.
	token *Token
}

// Name returns the user's name, for the log.
func (c *Caller) Name() string { return c.user.name }

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

func newGate(cfg *Config) *Gate {
	return &Gate{
		cfg:  cfg,
		keys: newLockout(cfg.Now), users: newLockout(cfg.Now), strangers: newLockout(cfg.Now), peers: newPeerLockout(cfg.Now),
		identify: identify, read: readDirectory, removed: map[string]time.Time{},
	}
}

// openToAll is the directory of a gate without a users file. Its tokens are signed all the same, with a secret of this
// process.
func openToAll() *directory {
	d := newDirectory(defaultDomain, rand.Text()+rand.Text())
	d.open = true
	return d
}

// current returns the directory in force.
func (g *Gate) current() *directory { return g.directory.Load() }

// Request is what the gate needs to know of a request. The slices are not kept.
type Request struct {
	Method string
	// Path and Query are as they came, not decoded.
	Path, Query, Body []byte
	// Values returns the values of a header, trimmed; the name is in lower case. The result is valid until the next
	// call.
	Values func(name string) [][]byte
	// Peer is where the request comes from.
	Peer netip.Addr
}

const (
	headerAuthorization = "authorization"
	headerToken         = "x-auth-token"
	headerDate          = "x-sdk-date"
	headerContentHash   = "x-sdk-content-sha256"
	headerSecurityToken = "x-security-token"
	headerHost          = "host"
)

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

// unauthorized begins with the words of the platform's gateway (its error table, code 0301).
func unauthorized(detail string) *fault.Error {
	return &fault.Error{
		Kind: fault.Unauthorized, Type: fault.TypeUnknown, Code: fault.CodeBadRequest,
		Message: "Incorrect IAM authentication information: " + strings.ToValidUTF8(detail, "?"),
	}
}

func forbidden(detail string) *fault.Error {
	return &fault.Error{
		Kind:    fault.Forbidden,
		Type:    fault.TypeForbidden,
		Code:    fault.CodeBadRequest,
		Message: "Forbidden: " + detail,
	}
}
