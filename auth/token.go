package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"gantry/fault"
	"strings"
	"time"
)

// claims are the signed contents of a token.
type claims struct {
	User       string `json:"u"`
	Generation int    `json:"g"`
	// Password is the user's fingerprint: a changed password revokes.
	Password string `json:"p"`
	Scope    scope  `json:"s"`
	Project  string `json:"r,omitempty"`
	Issued   int64  `json:"i"` // unix microseconds
	Nonce    string `json:"n"`
}

// Login checks the password and issues a token.
func (g *Gate) Login(l *Login) (text string, token *Token, err error) {
	d := g.current()
	u, err := g.checkPassword(d, l)
	if err != nil {
		return "", nil, err
	}
	c := claims{
		User:       u.name,
		Generation: u.generation,
		Password:   u.fingerprint,
		Issued:     g.cfg.Now().UnixMicro(),
		Nonce:      rand.Text(),
	}
	switch {
	case l.Project != Named{}:
		if !l.Project.is(Named{g.cfg.ProjectID, g.cfg.Project}) {
			return "", nil, notFound(
				fmt.Sprintf(
					"the project %.100q does not exist here; there is %q with id %s",
					l.Project.Name+l.Project.ID,
					g.cfg.Project,
					g.cfg.ProjectID,
				),
			)
		}
		c.Scope, c.Project = scopeProject, g.cfg.ProjectID
	case l.ForDomain != Named{}:
		if !l.ForDomain.is(d.named()) {
			return "", nil, notFound(fmt.Sprintf("the domain %.100q does not exist here", l.ForDomain.Name+l.ForDomain.ID))
		}
		c.Scope = scopeDomain
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", nil, err
	}
	head := tokenPrefix + base64.RawURLEncoding.EncodeToString(payload)
	return head + "." + base64.RawURLEncoding.EncodeToString(d.sign(head)), g.token(d, u, &c), nil
}

// is compares by what was given; both must fit if both were.
func (n Named) is(other Named) bool {
	return (n.ID == "" || n.ID == other.ID) && (n.Name == "" || n.Name == other.Name)
}

func (d *directory) named() Named { return Named{d.domainID, d.domain} }

func (u *user) named() Named { return Named{u.id, u.name} }

// checkPassword finds the user. An unknown one takes as long, is locked as fast, and gets the same answer as a wrong
// password. Users that exist have a table of their own, so that made-up names cannot displace a lock.
func (g *Gate) checkPassword(d *directory, l *Login) (*user, error) {
	if d.open {
		return newUser(d.domain, l.User.Name+l.User.ID, Actions()), nil
	}
	if g.peers.locked("", l.Peer) {
		return nil, unauthorized("too many wrong passwords: this peer is locked for " + lockTime.String())
	}
	u := d.find(l.User)
	known := u != nil && u.hasPassword != nil && (l.Domain == Named{} || l.Domain.is(d.named()))
	table, name, hasPassword := g.strangers, l.User.Name+"\n"+l.User.ID, unguessable
	if known {
		table, name, hasPassword = g.users, u.name, u.hasPassword
	}
	if table.locked(name, l.Peer) {
		return nil, unauthorized("too many wrong passwords: this user is locked for this peer for " + lockTime.String())
	}
	if !hasPassword(l.Password) || !known {
		table.failed(name, l.Peer)
		g.peers.failed("", l.Peer)
		return nil, unauthorized("The username or password is wrong.")
	}
	table.succeeded(name, l.Peer)
	return u, nil
}

// unguessable is the password of users that do not exist.
var unguessable = equals[string](rand.Text())

// find looks a user up by name, else by id; nil if there is none.
func (d *directory) find(n Named) *user {
	u := d.byName[n.Name]
	if n.Name == "" {
		u = d.byID[n.ID]
	}
	if u == nil || !n.is(u.named()) {
		return nil
	}
	return u
}

// Inspect returns what a token says, if it is valid.
func (g *Gate) Inspect(text string) (*Token, error) {
	token, _, err := g.parse(g.current(), text)
	return token, err
}

var errToken = unauthorized("decrypt token fail")

// parse checks a token. Nothing in it is looked at before its signature was found right.
func (g *Gate) parse(d *directory, text string) (*Token, *user, error) {
	head, signature, ok := cutLast(text)
	if !ok || len(text) > maxToken || !strings.HasPrefix(head, tokenPrefix) {
		return nil, nil, errToken
	}
	mac, err := base64.RawURLEncoding.Strict().DecodeString(signature)
	if err != nil || !hmac.Equal(mac, d.sign(head)) {
		return nil, nil, errToken
	}
	var c claims
	payload, err := base64.RawURLEncoding.Strict().DecodeString(head[len(tokenPrefix):])
	if err != nil || json.Unmarshal(payload, &c) != nil {
		return nil, nil, errToken
	}
	u := d.byName[c.User]
	if d.open {
		u = newUser(d.domain, c.User, Actions())
	}
	token := (*Token)(nil)
	if u != nil {
		token = g.token(d, u, &c)
	}
	now := g.cfg.Now()
	switch {
	case u == nil || u.generation != c.Generation || u.fingerprint != c.Password ||
		!u.removed.IsZero() && !token.IssuedAt.After(u.removed):
		return nil, nil, unauthorized("the token was revoked")
	case !now.Before(token.ExpireAt):
		return nil, nil, unauthorized("the token has expired")
	case token.IssuedAt.Sub(now) > dateWindow:
		return nil, nil, unauthorized("the token comes from the future: the clock here went back")
	}
	return token, u, nil
}

func cutLast(s string) (head, tail string, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

func (g *Gate) token(d *directory, u *user, c *claims) *Token {
	issued := time.UnixMicro(c.Issued).UTC()
	return &Token{
		User: u.named(), Domain: d.named(), IssuedAt: issued, ExpireAt: issued.Add(TokenLife), Actions: u.actions,
		scope: c.Scope, project: c.Project, projectName: g.cfg.Project,
	}
}

// Token returns what the caller's token says; nil for a signed request.
func (c *Caller) Token() *Token { return c.token }

// Domain returns the domain of all users.
func (g *Gate) Domain() Named { return g.current().named() }

func notFound(message string) *fault.Error {
	return &fault.Error{Kind: fault.NotFound, Type: fault.TypeNotFound, Code: fault.CodeBadRequest, Message: message}
}
