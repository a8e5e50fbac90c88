package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"gantry/fault"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// clock is a clock that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const (
	testAccess = "AKCI"
	testSecret = "SKCI-0123456789abcdef"
	testUsers  = `{"secret": "0123456789abcdef0123456789abcdef", "domain": "acme", "users": [
  {"name": "ci", "password": "correct horse", "generation": 1, "actions": ["invoke"], "keys": [
    {"access": "AKCI", "secret": "SKCI-0123456789abcdef"},
    {"access": "AKTMP", "secret": "SKTMP-0123456789abcdef", "security_token": "sts-token", "expires_at": "2019-11-15T04:00:00Z"}]},
  {"name": "nobody", "actions": [], "keys": []}
]}`
)

var (
	here  = netip.MustParseAddr("127.0.0.1")
	there = netip.MustParseAddr("127.0.0.2")
)

// harness is a gate with a file, a clock and a log of its own.
type harness struct {
	*Gate
	*clock
	t    *testing.T
	file string
	logs *observer.ObservedLogs
}

func open(t *testing.T, users string) *harness {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	h := &harness{t: t, clock: &clock{now: time.Date(2019, 11, 15, 3, 36, 55, 0, time.UTC)}, file: filepath.Join(t.TempDir(), "users.json"), logs: logs}
	h.write(users)
	var err error
	h.Gate, err = Open(&Config{UsersFile: h.file, ProjectID: "p1", Project: "local-1", Secure: true, Now: h.Now, Log: zap.New(core)})
	require.NoError(t, err)
	return h
}

// write replaces the users file as editors do.
func (h *harness) write(users string) {
	h.t.Helper()
	require.NoError(h.t, os.WriteFile(h.file+".new", []byte(users), 0o600))
	require.NoError(h.t, os.Rename(h.file+".new", h.file))
}

// follow does what a second of Follow does.
func (h *harness) follow() {
	h.move(fileInterval)
	h.look()
}

// message is one request as a client would build it.
type message struct {
	method, path, query, body string
	header                    map[string]string // lower case
	peer                      netip.Addr
}

func (m *message) request() *Request {
	peer := m.peer
	if !peer.IsValid() {
		peer = here
	}
	return &Request{
		Method: m.method, Path: []byte(m.path), Query: []byte(m.query), Body: []byte(m.body), Peer: peer,
		Values: func(name string) [][]byte {
			if v, ok := m.header[name]; ok {
				return [][]byte{[]byte(v)}
			}
			return nil
		},
	}
}

// sign signs as the signing guide says, in the plainest way; canonicalPath and canonicalQuery are given.
func (m *message) sign(access, secret, canonicalPath, canonicalQuery string, signed ...string) *message {
	sort.Strings(signed)
	text := m.method + "\n" + canonicalPath + "\n" + canonicalQuery + "\n"
	for _, name := range signed {
		text += name + ":" + strings.TrimSpace(m.header[name]) + "\n"
	}
	payload, ok := m.header[headerContentHash]
	if !ok {
		payload = hash(m.body)
	}
	text += "\n" + strings.Join(signed, ";") + "\n" + payload
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(algorithm + "\n" + m.header[headerDate] + "\n" + hash(text)))
	m.header[headerAuthorization] = fmt.Sprintf("%s Access=%s, SignedHeaders=%s, Signature=%x", algorithm, access, strings.Join(signed, ";"), mac.Sum(nil))
	return m
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

const testDate = "20191115T033655Z"

// post is a small signed call.
func post() *message {
	m := &message{method: "POST", path: "/v2/p1/fgs/functions/hello/invocations", body: `{"k":1}`, header: map[string]string{headerDate: testDate, "content-type": "application/json"}}
	return m.sign(testAccess, testSecret, m.path+"/", "", headerDate, "content-type")
}

// refused checks a refusal and returns its message.
func refused(t *testing.T, err error, kind fault.Kind, says string) {
	t.Helper()
	var f *fault.Error
	require.True(t, errors.As(err, &f), "%v", err)
	require.Equal(t, kind, f.Kind, f.Message)
	require.Contains(t, f.Message, says)
	for _, secret := range []string{testSecret, "SKTMP-0123456789abcdef", "correct horse", "sts-token"} {
		require.NotContains(t, err.Error(), secret)
	}
}

// TestGateWithoutUsersFileAcceptsEveryRequest: a gate without a file accepts every request, and its tokens are valid
// tokens all the same.
func TestGateWithoutUsersFileAcceptsEveryRequest(t *testing.T) {
	c := &clock{now: time.Unix(1e9, 0)}
	g, err := Open(&Config{ProjectID: "p1", Project: "local-1", Now: c.Now, Log: zap.NewNop()})
	require.NoError(t, err)
	caller, err := g.Check(&Request{Values: func(string) [][]byte { return nil }})
	require.NoError(t, err)
	require.NoError(t, g.Authorize(caller, InvokeAsync, "p1"))
	text, _, err := g.Login(&Login{User: Named{Name: "me"}, Password: "x", Project: Named{Name: "local-1"}})
	require.NoError(t, err)
	token, err := g.Inspect(text)
	require.NoError(t, err)
	require.Equal(t, "me", token.User.Name)
	c.move(TokenLife)
	_, err = g.Inspect(text)
	refused(t, err, fault.Unauthorized, "expired")
}

func TestMissingOrRepeatedCredentialsAreRefused(t *testing.T) {
	g := open(t, testUsers)
	_, err := g.Check((&message{method: "GET", path: "/"}).request())
	refused(t, err, fault.Unauthorized, "X-Auth-Token")
	twice := func(header string) *Request {
		return &Request{Method: "GET", Path: []byte("/"), Values: func(name string) [][]byte {
			if name == header {
				return [][]byte{[]byte("a"), []byte("b")}
			}
			return nil
		}}
	}
	_, err = g.Check(twice(headerToken))
	refused(t, err, fault.Unauthorized, "more than once")
	_, err = g.Check(twice(headerAuthorization))
	refused(t, err, fault.Unauthorized, "more than once")
}

func TestAuthorizeAllowsOnlyTheUsersActions(t *testing.T) {
	g := open(t, testUsers)
	caller, err := g.Check(post().request())
	require.NoError(t, err)
	require.Equal(t, "ci", caller.Name())
	require.NoError(t, g.Authorize(caller, Invoke, "p1"))
	refused(t, g.Authorize(caller, InvokeAsync, "p1"), fault.Forbidden, "invokeAsync")
}
