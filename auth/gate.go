// Package auth says who may call the platform API: users with passwords, tokens and access keys from one file, and the
// verification of signed requests. It serves nothing and starts nothing.
package auth

import (
	"net/netip"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

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

func newGate(cfg *Config) *Gate {
	return &Gate{
		cfg:  cfg,
		keys: newLockout(cfg.Now), users: newLockout(cfg.Now), strangers: newLockout(cfg.Now), peers: newPeerLockout(cfg.Now),
		identify: identify, read: readDirectory, removed: map[string]time.Time{},
	}
}

// current returns the directory in force.
func (g *Gate) current() *directory { return g.directory.Load() }

// Token is what a valid token says.
type Token struct {
	User, Domain       Named
	IssuedAt, ExpireAt time.Time
	Actions            []Action
	scope              scope
	project            string
	projectName        string
}

// Project returns the project of a project's token.
func (t *Token) Project() (Named, bool) {
	return Named{t.project, t.projectName}, t.scope == scopeProject
}

// OfDomain reports whether the token is for the whole domain.
func (t *Token) OfDomain() bool { return t.scope == scopeDomain }

// Named is a thing of IAM with an id and a name.
type Named struct{ ID, Name string }

// Login asks for a token. Names and ids are alternatives; empty means not given.
type Login struct {
	User, Domain Named
	Password     string
	// Project and ForDomain are the scope; the project wins if both are given, and without either the token is for
	// neither.
	Project, ForDomain Named
	Peer               netip.Addr
}

const (
	// TokenLife is how long a token is good (docs/COMPATIBILITY.md).
	TokenLife = 24 * time.Hour
	// tokenPrefix is the version of the tokens' form.
	tokenPrefix = "gantry1."
	maxToken    = 2048
)

// scope is what a token is for.
type scope string

const (
	scopeNone    scope = ""
	scopeProject scope = "project"
	scopeDomain  scope = "domain"
)

// Entry is a request on its way in: its headers could be valid. A body may have to be read before the caller is known.
type Entry struct {
	caller *Caller // nil as long as it depends on the body

	gate          *Gate
	request       *Request
	authorization *authorization
	key           *key
	date          string
	// payload is the hash of the body as the caller signed it; stated says that it came as a header.
	payload string
	stated  bool
}
