package async

import (
	"bytes"
	"context"
	"fmt"
	"gantry/fault"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zapcore"

	fncontext "gantry/context"
)

func named(name string) *fncontext.Function {
	return &fncontext.Function{Region: "r", Project: "p", Package: "default", Name: name, Version: "latest"}
}

const tenantShards = 2

// tenants is a way to keep functions apart; each has a user of its name, and user "admin" may do everything where the
// streams are.
type tenants func(functions ...string) string

func quoted(subjects []string) string {
	texts := make([]string, 0, len(subjects))
	for _, s := range subjects {
		texts = append(texts, fmt.Sprintf("%q", s))
	}
	return strings.Join(texts, ", ")
}

// byUsers has one account, whose users have permissions.
func byUsers(functions ...string) string {
	users := []string{`{user: admin, password: p}`}
	for _, f := range functions {
		publish, subscribe := Permissions(named(f), tenantShards)
		users = append(users, fmt.Sprintf(
			`{user: %s, password: p, permissions: {publish: {allow: [%s]}, subscribe: {allow: [%s]}}}`,
			f, quoted(publish), quoted(subscribe)))
	}
	return fmt.Sprintf(`accounts {A: {jetstream: enabled, users: [%s]}}`, strings.Join(users, "\n"))
}

// byAccounts has an account for each function, which imports what its agents need from the account with the streams.
func byAccounts(functions ...string) string {
	var exports, accounts []string
	for _, f := range functions {
		e, i := Imports(named(f), tenantShards, "A", f)
		exports = append(exports, e...)
		accounts = append(accounts, fmt.Sprintf("%s: {users: [{user: %s, password: p}], imports: [%s]}",
			f, f, strings.Join(i, ", ")))
	}
	return fmt.Sprintf("accounts {A: {jetstream: enabled, users: [{user: admin, password: p}], exports: [%s]}\n%s}",
		strings.Join(exports, ", "), strings.Join(accounts, "\n"))
}

var bothTenants = map[string]tenants{"users": byUsers, "accounts": byAccounts}

// of is the configuration of a queue of that function with its own user.
func of(s *server.Server, name string, more ...nats.Option) func(*Config) {
	return func(c *Config) {
		c.Function = named(name)
		c.Connect = func(_ context.Context, options ...nats.Option) (*nats.Conn, error) {
			return nats.Connect(s.ClientURL(), append(append(options, nats.UserInfo(name, "p")), more...)...)
		}
	}
}

// unconfined makes the streams, and returns a queue whose user may do everything.
func unconfined(t *testing.T, s *server.Server, change ...func(*Config)) *engine {
	t.Helper()
	q := open(t, s, &testFunction{}, append([]func(*Config){of(s, "admin"), func(c *Config) { c.Shards = tenantShards }},
		change...)...)
	e, err := q.engine(t.Context())
	require.NoError(t, err)
	return e
}

// requireNothingLeft waits until the servers have no event and no outcome message of a function.
func requireNothingLeft(t *testing.T, admin *engine, name string) {
	t.Helper()
	l := sharedLayout(key(named(name)), tenantShards)
	for stream, filter := range map[string]string{l.events: l.event + "*", l.outbox: l.notify + "*"} {
		require.Eventually(t, func() bool {
			info, err := admin.leader.StreamInfo(stream, &nats.StreamInfoRequest{SubjectsFilter: filter})
			return err == nil && len(info.State.Subjects) == 0
		}, patience, 10*time.Millisecond, stream)
	}
}

// TestConfinedAgentDoesAllWithItsOwnPermissions: accept, run, retry, list, cancel, configure, send, count.
func TestConfinedAgentDoesAllWithItsOwnPermissions(t *testing.T) {
	for name, tenants := range bothTenants {
		t.Run(name, func(t *testing.T) {
			s, _ := startConfigured(t, tenants("F", "G"))
			admin := unconfined(t, s)
			logs, log := observed()
			end := make(chan struct{})
			f := &testFunction{result: `"done"`}
			f.answer = func(n int, inv *fncontext.Invocation, event string) *fault.Error {
				switch {
				case event == "block":
					return f.block(inv, end)
				case event == "fail once" && n == 2:
					return &fault.Error{Kind: fault.Function, Code: fault.CodeInvocation, Message: "x", Body: []byte(`{}`)}
				}
				return nil
			}
			folder := t.TempDir()
			r := &recorder{}
			q := open(t, s, f, of(s, "F", nats.SetCustomDialer(r)), log, func(c *Config) { c.Folder, c.Parallel = folder, 1 })
			t.Cleanup(func() { close(end) })
			first := accept(t, q, "{}")
			waitStatus(t, q, first, Success)
			require.True(t, q.open.confined.Load())
			setAndDeleteConfigurations(t, q)
			require.Equal(t, 2, waitStatus(t, q, accept(t, q, "fail once"), Success).Attempts.Started)
			cancelAll(t, q, first)
			configure(t, q, &Destination{Kind: "DIS", Param: `{"stream_name":"s"}`}, nil)
			sentOne := accept(t, q, "{}")
			waitStatus(t, q, sentOne, Success)
			sent(t, filepath.Join(folder, "notifications", "DIS", "s", sentOne+".json"))
			id := newID()
			for _, want := range []bool{true, false} {
				got, err := q.AcceptOnce(t.Context(), id, &Event{Body: []byte("{}"), Version: "latest"})
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
			waitStatus(t, q, id, Success)
			loseConsumers(t, admin, q)
			waitStatus(t, q, accept(t, q, "{}"), Success)
			requireNothingLeft(t, admin, "F")
			requireAllUsed(t, r)
			require.Zero(t, logs.FilterLevelExact(zapcore.ErrorLevel).Len(), "%v", logs.FilterLevelExact(zapcore.ErrorLevel).All())
			require.Zero(t, logs.FilterMessageSnippet("refuse a request").Len(), "%v", logs.FilterMessageSnippet("refuse").All())
		})
	}
}

// recorder is a dialer that keeps the lines of the client's protocol.
type recorder struct {
	net.Dialer
	mu   sync.Mutex
	text bytes.Buffer
}

type recorded struct {
	net.Conn
	by *recorder
}

// Dial implements nats.CustomDialer.
func (r *recorder) Dial(network, address string) (net.Conn, error) {
	conn, err := r.Dialer.Dial(network, address)
	return &recorded{conn, r}, err
}

func (c *recorded) Write(b []byte) (int, error) {
	c.by.mu.Lock()
	defer c.by.mu.Unlock()
	c.by.text.Write(b)
	return c.Conn.Write(b)
}

// requireAllUsed checks that an agent has used each of its permissions, so that none is too much.
func requireAllUsed(t *testing.T, r *recorder) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	publish, subscribe := Permissions(named("F"), tenantShards)
	k := key(named("F"))
	l := sharedLayout(k, tenantShards)
	elsewhere := []string{ // the loss of a server, and answers to another agent of the function
		"$JS.API.CONSUMER.DELETE." + l.events + "." + k, "$JS.API.CONSUMER.DELETE." + l.outbox + "." + k, inboxOf(k) + ".>",
	}
	for verb, subjects := range map[string][]string{"H?PUB": publish, "SUB": subscribe} {
		for _, s := range subjects {
			pattern := regexp.QuoteMeta(s)
			pattern = strings.NewReplacer(`\*`, `[^ .]+`, `>`, `[^ ]+`).Replace(pattern)
			used := regexp.MustCompile(`(?m)^` + verb + ` ` + pattern + ` `).Match(r.text.Bytes())
			require.Equal(t, verb == "SUB" || !slices.Contains(elsewhere, s), used, "%s %s", verb, s)
		}
	}
}

func setAndDeleteConfigurations(t *testing.T, q *Queue) {
	t.Helper()
	config, err := ParseConfiguration([]byte(`{"max_async_retry_attempts":2}`))
	require.NoError(t, err)
	for _, alias := range []string{"", "other"} {
		_, err = q.SetConfiguration(t.Context(), "latest", alias, "urn", config)
		require.NoError(t, err)
	}
	require.NoError(t, q.DeleteConfiguration(t.Context(), "latest", "other"))
	all, err := q.Configurations(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
}

// cancelAll has one request run and another one wait behind it, lists both, and cancels them. ended is one with an
// outcome.
func cancelAll(t *testing.T, q *Queue, ended string) {
	t.Helper()
	running := accept(t, q, "block")
	waitStatus(t, q, running, Running)
	waiting := accept(t, q, "block")
	waitStatus(t, q, waiting, Wait)
	page, err := q.Records(t.Context(), &Filter{Active: true, Limit: 10})
	require.NoError(t, err)
	require.Equal(t, []string{running, waiting}, []string{page.Records[0].RequestID, page.Records[1].RequestID})
	page, err = q.Records(t.Context(), &Filter{Limit: 10})
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(page.Records, func(r Record) bool { return r.RequestID == ended }))
	require.Len(t, page.Records, 4)
	events, oldest := q.Depth()
	require.GreaterOrEqual(t, events, int64(2))
	require.Positive(t, oldest)
	require.NoError(t, q.Cancel(t.Context(), waiting, false))
	require.NoError(t, q.Cancel(t.Context(), running, false))
	waitStatus(t, q, waiting, Discard)
	waitStatus(t, q, running, Fail)
	for _, recursive := range []bool{false, true} {
		requireFault(t, q.Cancel(t.Context(), ended, recursive), fault.Invalid, "Invalid RequestId")
	}
}

// loseConsumers removes the consumers of a queue, as the loss of their server does.
func loseConsumers(t *testing.T, admin *engine, q *Queue) {
	t.Helper()
	for _, stream := range []string{q.open.lay.events, q.open.lay.outbox} {
		require.NoError(t, admin.js.DeleteConsumer(t.Context(), stream, q.open.key))
	}
}

// TestConfinedAgentsOfAFunctionReachEachOther: one cancels what the other runs, and follows its configurations.
func TestConfinedAgentsOfAFunctionReachEachOther(t *testing.T) {
	for name, tenants := range bothTenants {
		t.Run(name, func(t *testing.T) {
			s, _ := startConfigured(t, tenants("F"))
			unconfined(t, s)
			end := make(chan struct{})
			f := &testFunction{}
			f.answer = func(_ int, inv *fncontext.Invocation, _ string) *fault.Error { return f.block(inv, end) }
			q := open(t, s, f, of(s, "F"))
			t.Cleanup(func() { close(end) })
			id := accept(t, q, "{}")
			waitStatus(t, q, id, Running)
			other := open(t, s, &testFunction{}, of(s, "F"))
			require.NoError(t, other.Cancel(t.Context(), id, false))
			r := waitStatus(t, q, id, Fail)
			require.Equal(t, fault.CodeCanceled, r.ErrorCode)
			require.Len(t, f.cancelled, 0, "its agent has ended the call")
			configure(t, other, nil, &Destination{Kind: "OBS", Param: `{"bucket":"b"}`})
			require.Eventually(t, func() bool {
				c, err := q.Configuration(t.Context(), "latest", "")
				return err == nil && c.Destinations.OnFailure != nil
			}, patience, 5*time.Millisecond)
		})
	}
}

// TestConfinedAgentWithoutStreamsSaysWhatToDo: it cannot make them, and does not wait for answers that never come.
func TestConfinedAgentWithoutStreamsSaysWhatToDo(t *testing.T) {
	for name, tenants := range bothTenants {
		for missing, remove := range map[string]func(e *engine) error{
			"all": nil,
			"events": func(e *engine) error {
				return e.js.DeleteStream(e.ctx, sharedLayout(key(named("F")), tenantShards).events)
			},
			"the arrangement": func(e *engine) error { return e.leader.PurgeStream(functionStream) },
		} {
			t.Run(name+" "+missing, func(t *testing.T) {
				s, _ := startConfigured(t, tenants("F"))
				if remove != nil {
					require.NoError(t, remove(unconfined(t, s)))
				}
				began := time.Now()
				q := open(t, s, &testFunction{}, of(s, "F"), func(c *Config) { _, c2 := observed(); c2(c) })
				err := q.Start(t.Context())
				require.ErrorContains(t, err, "start an agent without that limit first")
				require.Less(t, time.Since(began), openTimeout/3)
			})
		}
	}
}

// TestAgentWithAnothersPermissionsSaysWhatItNeeds: the opening ends with the first refusal.
func TestAgentWithAnothersPermissionsSaysWhatItNeeds(t *testing.T) {
	s, _ := startConfigured(t, byUsers("F"))
	unconfined(t, s)
	began := time.Now()
	q := open(t, s, &testFunction{}, of(s, "F"), func(c *Config) {
		_, log := observed()
		log(c)
		c.Function = named("other")
	})
	err := q.Start(t.Context())
	require.ErrorIs(t, err, nats.ErrPermissionViolation)
	require.ErrorContains(t, err, "bootstrap permissions")
	require.Less(t, time.Since(began), openTimeout/3)
}

// TestSameFunctionInTwoAccountsSharesNothing: an account has streams and subjects of its own.
func TestSameFunctionInTwoAccountsSharesNothing(t *testing.T) {
	s, _ := startConfigured(t, `accounts {
		A: {jetstream: enabled, users: [{user: a, password: p}]}, B: {jetstream: enabled, users: [{user: b, password: p}]}}`)
	f, g := &testFunction{}, &testFunction{}
	same := func(c *Config) { c.Function, c.Folder = named("hello"), t.TempDir() }
	q, other := open(t, s, f, of(s, "a"), same), open(t, s, g, of(s, "b"), same)
	require.NoError(t, other.Start(t.Context()))
	configure(t, q, &Destination{Kind: "OBS", Param: `{"bucket":"b"}`}, nil)
	id := accept(t, q, "{}")
	waitStatus(t, q, id, Success)
	require.Nil(t, one(t, other, id))
	requireFault(t, other.Cancel(t.Context(), id, false), fault.Invalid, "Invalid RequestId")
	_, err := other.Configuration(t.Context(), "latest", "")
	requireFault(t, err, fault.NotFound, "no asynchronous configuration")
	waitStatus(t, other, accept(t, other, "{}"), Success)
	page, err := q.Records(t.Context(), &Filter{Limit: 10})
	require.NoError(t, err)
	require.Len(t, page.Records, 1)
	require.Equal(t, []int{1, 1}, []int{f.calls(), g.calls()})
}
