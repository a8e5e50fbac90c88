package auth

import (
	"encoding/base64"
	"encoding/json"
	"gantry/fault"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func (h *harness) login(change ...func(*Login)) (string, *Token, error) {
	l := &Login{User: Named{Name: "ci"}, Domain: Named{Name: "acme"}, Password: "correct horse", Project: Named{Name: "local-1"}, Peer: here}
	for _, c := range change {
		c(l)
	}
	return h.Login(l)
}

// withToken asks the gate to let the holder of a token in.
func (h *harness) withToken(text string) (*Caller, error) {
	return h.Check((&message{method: "GET", path: "/", header: map[string]string{headerToken: text}}).request())
}

func TestLoginGivesATokenForItsProject(t *testing.T) {
	g := open(t, testUsers)
	text, token, err := g.login()
	require.NoError(t, err)
	require.Equal(t, "ci", token.User.Name)
	require.Len(t, token.User.ID, 32)
	require.Equal(t, "acme", token.Domain.Name)
	require.Equal(t, g.Now(), token.IssuedAt)
	require.Equal(t, g.Now().Add(24*time.Hour), token.ExpireAt)
	project, ok := token.Project()
	require.True(t, ok)
	require.Equal(t, Named{"p1", "local-1"}, project)
	require.False(t, token.OfDomain())

	again, err := g.Inspect(text)
	require.NoError(t, err)
	require.Equal(t, token, again)
	caller, err := g.withToken(text)
	require.NoError(t, err)
	require.NoError(t, g.Authorize(caller, Invoke, "p1"))
	refused(t, g.Authorize(caller, Invoke, "p2"), fault.Forbidden, "another project")
	refused(t, g.Authorize(caller, InvokeAsync, "p1"), fault.Forbidden, "may not do")

	other, _, err := g.login()
	require.NoError(t, err)
	require.NotEqual(t, text, other, "every token is another")
	byID, _, err := g.login(func(l *Login) { l.User, l.Domain, l.Project = Named{ID: token.User.ID}, Named{}, Named{ID: "p1"} })
	require.NoError(t, err)
	require.NotEmpty(t, byID)
}

func TestTokensWithoutProjectScopeMayNotInvoke(t *testing.T) {
	g := open(t, testUsers)
	for name, change := range map[string]func(*Login){
		"domain": func(l *Login) { l.Project, l.ForDomain = Named{}, Named{Name: "acme"} },
		"none":   func(l *Login) { l.Project = Named{} },
	} {
		text, token, err := g.login(change)
		require.NoError(t, err, name)
		require.Equal(t, name == "domain", token.OfDomain())
		_, ofProject := token.Project()
		require.False(t, ofProject)
		caller, err := g.withToken(text)
		require.NoError(t, err)
		refused(t, g.Authorize(caller, Invoke, "p1"), fault.Forbidden, "no project scope")
	}
	_, token, err := g.login(func(l *Login) { l.ForDomain = Named{Name: "elsewhere"} })
	require.NoError(t, err, "the project wins")
	require.False(t, token.OfDomain())
	_, _, err = g.login(func(l *Login) { l.Project = Named{Name: "cn-north-4"} })
	refused(t, err, fault.NotFound, "does not exist here")
	_, _, err = g.login(func(l *Login) { l.Project, l.ForDomain = Named{}, Named{Name: "elsewhere"} })
	refused(t, err, fault.NotFound, "does not exist here")
}

func TestBadLoginsAllGetTheSameRefusal(t *testing.T) {
	g := open(t, testUsers)
	for name, change := range map[string]func(*Login){
		"wrong password":   func(l *Login) { l.Password = "correct horsf" },
		"no such user":     func(l *Login) { l.User = Named{Name: "ghost"} },
		"no password":      func(l *Login) { l.User, l.Password = Named{Name: "nobody"}, "" },
		"another domain":   func(l *Login) { l.Domain = Named{Name: "evil"} },
		"id does not fit":  func(l *Login) { l.User.ID = "0123" },
		"no such id":       func(l *Login) { l.User = Named{ID: "0123"} },
		"neither of these": func(l *Login) { l.User = Named{} },
	} {
		_, _, err := g.login(change)
		refused(t, err, fault.Unauthorized, "The username or password is wrong.")
		_, _, err = g.login() // so that no lock comes
		require.NoError(t, err, name)
	}
}

// TestWrongPasswordsLockAUserByNameOrID: as for keys; an unknown user is locked alike, by name or by id.
func TestWrongPasswordsLockAUserByNameOrID(t *testing.T) {
	g := open(t, testUsers)
	_, token, err := g.login()
	require.NoError(t, err)
	names := []Named{{Name: "ci"}, {ID: token.User.ID}}
	for n := range maxFailures + 1 {
		_, _, err := g.login(func(l *Login) { l.User, l.Password = names[n%2], "wrong password" })
		refused(t, err, fault.Unauthorized, "is wrong")
	}
	_, _, err = g.login()
	refused(t, err, fault.Unauthorized, "locked for this peer for 5m0s")
	_, _, err = g.login(func(l *Login) { l.Peer = there })
	require.NoError(t, err)
	g.move(lockTime)
	_, _, err = g.login()
	require.NoError(t, err)

	ghost := func(l *Login) { l.User = Named{Name: "ghost"} }
	for range maxFailures + 1 {
		_, _, err = g.login(ghost)
		refused(t, err, fault.Unauthorized, "is wrong")
	}
	_, _, err = g.login(ghost)
	refused(t, err, fault.Unauthorized, "locked")
}

func TestTokenIsValidOnlyWithinItsLife(t *testing.T) {
	g := open(t, testUsers)
	text, _, err := g.login()
	require.NoError(t, err)
	g.move(TokenLife - time.Microsecond)
	_, err = g.withToken(text)
	require.NoError(t, err)
	g.move(time.Microsecond)
	_, err = g.withToken(text)
	refused(t, err, fault.Unauthorized, "expired")
	g.move(-TokenLife - dateWindow)
	_, err = g.withToken(text)
	require.NoError(t, err)
	g.move(-time.Microsecond)
	_, err = g.withToken(text)
	refused(t, err, fault.Unauthorized, "future")
}

// TestChangedUsersFileRevokesTokens: a changed users file takes effect within a second.
func TestChangedUsersFileRevokesTokens(t *testing.T) {
	changes := map[string][2]string{
		"user removed":      {`{"name": "ci"`, `{"name": "ci2"`},
		"generation raised": {`"generation": 1`, `"generation": 2`},
		"password changed":  {`correct horse`, `correct horsf`},
	}
	for name, change := range changes {
		g := open(t, testUsers)
		text, _, err := g.login()
		require.NoError(t, err)
		require.Contains(t, testUsers, change[0])
		g.write(strings.Replace(testUsers, change[0], change[1], 1))
		_, err = g.withToken(text)
		require.NoError(t, err, "the file is looked at by Follow alone")
		g.follow()
		_, err = g.withToken(text)
		refused(t, err, fault.Unauthorized, "revoked")
		g.write(testUsers)
		g.follow()
		if name == "user removed" {
			continue // see TestTokenOfARemovedUserStaysRevoked
		}
		_, err = g.withToken(text)
		require.NoError(t, err, name)
	}
	g := open(t, testUsers)
	text, _, err := g.login()
	require.NoError(t, err)
	g.write(strings.Replace(testUsers, "0123456789abcdef0123", "0123456789abcdef0124", 1))
	g.follow()
	_, err = g.withToken(text)
	refused(t, err, fault.Unauthorized, "decrypt token fail")
}

// TestTokenOfARemovedUserStaysRevoked: a user who comes back with the same password and generation gets new tokens
// only.
func TestTokenOfARemovedUserStaysRevoked(t *testing.T) {
	g := open(t, testUsers)
	text, _, err := g.login()
	require.NoError(t, err)
	for _, users := range []string{strings.Replace(testUsers, `{"name": "ci"`, `{"name": "ci2"`, 1), testUsers, testUsers + " "} {
		g.write(users)
		g.follow()
		_, err = g.withToken(text)
		refused(t, err, fault.Unauthorized, "revoked")
	}
	text, _, err = g.login()
	require.NoError(t, err)
	_, err = g.withToken(text)
	require.NoError(t, err)
	g.write(testUsers)
	g.follow()
	_, err = g.withToken(text)
	require.NoError(t, err, "it was not removed again")
	require.Len(t, g.removed, 2, "ci, and ci2 that took its place")
	g.move(TokenLife)
	g.write(testUsers)
	g.follow()
	require.Empty(t, g.removed, "by now every token of before has expired")
}

func TestForgedOrDamagedTokensAreRefused(t *testing.T) {
	g := open(t, testUsers)
	text, _, err := g.login()
	require.NoError(t, err)
	head, signature, _ := cutLast(text)
	payload, err := base64.RawURLEncoding.DecodeString(head[len(tokenPrefix):])
	require.NoError(t, err)
	var c claims
	require.NoError(t, json.Unmarshal(payload, &c))
	c.Generation++
	forged, err := json.Marshal(c)
	require.NoError(t, err)
	for _, bad := range []string{
		"x", ".", "gantry1.", "gantry1..", strings.Repeat("a", maxToken+1), text + "x", text[:len(text)-1], text + ".", "gantry2" + text[7:],
		tokenPrefix + base64.RawURLEncoding.EncodeToString(forged) + "." + signature, head + "." + strings.Repeat("A", len(signature)), head + ".",
		strings.ToUpper(text), " " + text,
	} {
		_, err := g.withToken(bad)
		refused(t, err, fault.Unauthorized, "decrypt token fail")
		_, err = g.Inspect(bad)
		refused(t, err, fault.Unauthorized, "decrypt token fail")
	}
}

func FuzzToken(f *testing.F) {
	g := fuzzGate(f)
	good, _, err := g.Login(&Login{User: Named{Name: "ci"}, Password: "correct horse", Peer: netip.Addr{}})
	require.NoError(f, err)
	f.Add("gantry1.e30.e30", uint16(0), byte('G'))
	f.Add("{}", uint16(len(good)-1), byte('B'))
	f.Add(`{"u":"ci","g":1}`, uint16(8), byte('.'))
	d := g.directory.Load()
	f.Fuzz(func(t *testing.T, text string, at uint16, c byte) {
		changed := []byte(good)
		changed[int(at)%len(good)] = c
		if _, err := g.Inspect(string(changed)); (err == nil) != (string(changed) == good) {
			t.Fatalf("%q: %v", changed, err)
		}
		if _, err := g.Inspect(text); err == nil {
			t.Fatalf("let %q in", text)
		}
		// The same with a good signature around anything, as a thief of the secret could make it: it must not panic.
		head := tokenPrefix + base64.RawURLEncoding.EncodeToString([]byte(text))
		if token, err := g.Inspect(head + "." + base64.RawURLEncoding.EncodeToString(d.sign(head))); err == nil && token.User.Name != "ci" {
			t.Fatalf("%q is a token of %v", text, token)
		}
	})
}
