package async

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// tenant is a connection with a function's own user, and what the servers refuse it.
type tenant struct {
	*nats.Conn
	refused chan string
}

func connectTenant(t *testing.T, s *server.Server, name string) *tenant {
	t.Helper()
	c := &tenant{refused: make(chan string, 16)}
	var err error
	c.Conn, err = nats.Connect(s.ClientURL(), nats.UserInfo(name, "p"), nats.CustomInboxPrefix(inboxOf(key(named(name)))),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.refused <- err.Error() }))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// ask sends a request, and returns its answer, or how it was refused.
func (c *tenant) ask(t *testing.T, subject, body string) (answer *nats.Msg, refusal string) {
	t.Helper()
	inbox := c.NewInbox()
	answers, err := c.SubscribeSync(inbox)
	require.NoError(t, err)
	defer func() { require.NoError(t, answers.Unsubscribe()) }()
	require.NoError(t, c.PublishRequest(subject, inbox, []byte(body)))
	return c.answer(t, answers)
}

// answer waits for the first of a message and a refusal.
func (c *tenant) answer(t *testing.T, from *nats.Subscription) (answer *nats.Msg, refusal string) {
	t.Helper()
	require.Eventually(t, func() bool {
		select {
		case refusal = <-c.refused:
			return true
		default:
		}
		var err error
		answer, err = from.NextMsg(time.Millisecond)
		if errors.Is(err, nats.ErrNoResponders) {
			refusal = err.Error()
		}
		return err == nil || refusal != ""
	}, patience, time.Millisecond)
	return answer, refusal
}

// attempt is a request that a function's user must not make.
type attempt struct{ subject, body string }

// attempts are what F may try to reach G's messages. f and g are their layouts, which share streams, kf and kg their
// keys, id is a request of G's.
func attemptsOn(f, g *layout, kf, kg, id string) []attempt {
	api := func(format string, args ...any) string { return "$JS.API." + fmt.Sprintf(format, args...) }
	all := []attempt{
		{api("DIRECT.GET.%s.%s%s", functionStream, functionSubject, kg), ""},
		{api("STREAM.MSG.GET.%s", functionStream), fmt.Sprintf(`{"last_by_subj":"%s%s"}`, functionSubject, kg)},
		{functionSubject + kg, "{}"},
		{layoutSubject, `{"shards":1}`},
		{inboxOf(kg) + ".x", "x"},
		{api("INFO"), ""},
		{api("STREAM.NAMES"), ""},
		{api("STREAM.LIST"), ""},
		{api("STREAM.CREATE.gantry_leak"), `{"name":"gantry_leak","subjects":["gantry.leak"]}`},
	}
	for _, name := range []string{".cancel", ".changed", ".running", ".cascade"} {
		all = append(all, attempt{prefixOf(kg) + name, id})
	}
	for stream, subjects := range map[string][2]string{
		g.events: {f.event, g.event}, g.outbox: {f.notify, g.notify}, g.records: {f.record, g.record},
	} {
		own, other := subjects[0]+"*", subjects[1]+"*"
		create := func(name, filter string) string {
			return fmt.Sprintf(`{"stream_name":"%s","config":{"name":"%s","durable_name":"%s","filter_subject":"%s"}}`,
				stream, name, name, filter)
		}
		all = append(all,
			attempt{subjects[1] + id, "x"},
			attempt{api("DIRECT.GET.%s.%s%s", stream, subjects[1], id), ""},
			attempt{api("DIRECT.GET.%s", stream), fmt.Sprintf(`{"multi_last":["%s"]}`, other)},
			attempt{api("DIRECT.GET.%s", stream), `{"seq":1}`},
			attempt{api("STREAM.MSG.GET.%s", stream), fmt.Sprintf(`{"last_by_subj":"%s%s"}`, subjects[1], id)},
			attempt{api("CONSUMER.CREATE.%s.%s.%s", stream, kf, other), create(kf, other)},
			attempt{api("CONSUMER.CREATE.%s.%s%s.%s", stream, kf, listing, other), create(kf+listing, other)},
			attempt{api("CONSUMER.CREATE.%s.%s.%s", stream, kg, own), create(kg, own)},
			attempt{api("CONSUMER.CREATE.%s.%s.>", stream, kf), create(kf, ">")},
			attempt{api("CONSUMER.CREATE.%s.%s", stream, kf), create(kf, "")},
			attempt{api("CONSUMER.CREATE.%s", stream), create("", other)},
			attempt{api("CONSUMER.DURABLE.CREATE.%s.%s", stream, kf), create(kf, other)},
			attempt{api("CONSUMER.MSG.NEXT.%s.%s", stream, kg), "1"},
			attempt{api("CONSUMER.INFO.%s.%s", stream, kg), ""},
			attempt{api("CONSUMER.DELETE.%s.%s", stream, kg), ""},
			attempt{api("CONSUMER.PAUSE.%s.%s", stream, kg), `{"pause_until":"2036-01-01T00:00:00Z"}`},
			attempt{api("CONSUMER.NAMES.%s", stream), ""}, attempt{api("CONSUMER.LIST.%s", stream), ""},
			attempt{fmt.Sprintf("$JS.ACK.%s.%s.1.1.1.1.0", stream, kg), "+ACK"},
			attempt{api("STREAM.MSG.DELETE.%s", stream), `{"seq":1}`},
			attempt{api("STREAM.PURGE.%s", stream), fmt.Sprintf(`{"filter":"%s"}`, other)},
			attempt{api("STREAM.INFO.%s", stream), fmt.Sprintf(`{"subjects_filter":"%s"}`, other)},
			attempt{api("STREAM.DELETE.%s", stream), ""},
			attempt{api("STREAM.UPDATE.%s", stream), fmt.Sprintf(`{"name":"%s","subjects":["x"]}`, stream)},
			attempt{api("STREAM.SNAPSHOT.%s", stream), `{"deliver_subject":"x"}`},
		)
	}
	return all
}

// neighbours are F and G in one shard, with messages of G: an event, an outcome message, a record, an entry.
type neighbours struct {
	s      *server.Server
	admin  *engine
	f, g   *layout
	kf, kg string
	id     string
}

func startNeighbours(t *testing.T, tenants tenants) *neighbours {
	t.Helper()
	n := &neighbours{kf: key(named("F")), id: newID()}
	other := "G"
	for i := 0; shardOf(key(named(other)), tenantShards) != shardOf(n.kf, tenantShards); i++ {
		other = fmt.Sprintf("G%d", i)
	}
	n.kg = key(named(other))
	n.f, n.g = sharedLayout(n.kf, tenantShards), sharedLayout(n.kg, tenantShards)
	n.s, _ = startConfigured(t, tenants("F", other))
	n.admin = unconfined(t, n.s)
	g := open(t, n.s, &testFunction{}, of(n.s, other))
	waitStatus(t, g, accept(t, g, "{}"), Success)
	g.Pause() // its messages stay
	for _, subject := range n.messages() {
		_, err := n.admin.js.Publish(t.Context(), subject, []byte("secret of G"))
		require.NoError(t, err)
	}
	return n
}

func (n *neighbours) messages() map[string]string {
	return map[string]string{n.g.events: n.g.event + n.id, n.g.outbox: n.g.notify + n.id, n.g.records: n.g.record + n.id}
}

// requireUntouched checks that G's messages are there as they were, and its consumers.
func (n *neighbours) requireUntouched(t *testing.T) {
	t.Helper()
	for stream, subject := range n.messages() {
		msg, err := n.admin.last(t.Context(), stream, subject)
		require.NoError(t, err)
		require.NotNil(t, msg, subject)
		require.Equal(t, "secret of G", string(msg.Data))
		require.Empty(t, msg.Header)
	}
	for _, stream := range []string{n.g.events, n.g.outbox} {
		_, err := n.admin.js.Consumer(t.Context(), stream, n.kg)
		require.NoError(t, err)
	}
	entry, err := n.admin.readFunction(t.Context(), n.kg)
	require.NoError(t, err)
	require.NotZero(t, entry.revision)
}

// TestFunctionIsRefusedWhatIsAnothers: each request is refused by the servers, and nothing of G's changes.
func TestFunctionIsRefusedWhatIsAnothers(t *testing.T) {
	for name, refusal := range map[string]string{"users": "Permissions Violation for Publish to", "accounts": "no responders"} {
		t.Run(name, func(t *testing.T) {
			n := startNeighbours(t, bothTenants[name])
			f := connectTenant(t, n.s, "F")
			for _, a := range attemptsOn(n.f, n.g, n.kf, n.kg, n.id) {
				answer, refused := f.ask(t, a.subject, a.body)
				require.Contains(t, refused, refusal, "%s: %v", a.subject, answer)
				if name == "users" {
					require.Contains(t, refused, `"`+a.subject+`"`)
				}
			}
			n.requireUntouched(t)
			n.requireBodiesCannotReach(t, f)
			n.requireUntouched(t)
		})
	}
}

// requireBodiesCannotReach makes F's own requests with bodies that name what is G's.
func (n *neighbours) requireBodiesCannotReach(t *testing.T, f *tenant) {
	t.Helper()
	filter := n.g.record + "*"
	create := "$JS.API.CONSUMER.CREATE." + n.f.records + "." + n.kf + listing + "." + n.f.record + "*"
	for body, says := range map[string]string{
		`"filter_subject":"` + filter + `"`: `"err_code":10131`, `"filter_subjects":["` + filter + `"]`: `"err_code":10137`,
		`"name":"` + n.kg + `"`: `"error"`, ``: `"error"`,
	} {
		answer, refused := f.ask(t, create, `{"stream_name":"`+n.f.records+`","config":{`+body+`}}`)
		require.Empty(t, refused, "the subject is F's own")
		require.Contains(t, string(answer.Data), says, body)
	}
	answer, refused := f.ask(t, create, `{"stream_name":"`+functionStream+`","config":{"filter_subject":"`+filter+`"}}`)
	require.Empty(t, refused)
	require.Contains(t, string(answer.Data), `"error"`)
	own := n.f.record + newID()
	_, refused = f.ask(t, own, "of F")
	require.Empty(t, refused)
	for _, body := range []string{`{"multi_last":["` + filter + `"]}`, `{"last_by_subj":"` + n.g.record + n.id + `"}`, `{"seq":1}`} {
		answer, refused := f.ask(t, "$JS.API.DIRECT.GET."+n.f.records+"."+own, body)
		require.Empty(t, refused)
		require.NotContains(t, string(answer.Data), "secret", body)
		require.Contains(t, []string{own, ""}, answer.Header.Get("Nats-Subject"), body)
	}
	// A consumer that delivers by itself names any subject, but streams and JetStream do not listen to it.
	for _, deliver := range []string{n.g.event + newID(), "$JS.API.STREAM.PURGE." + n.g.records} {
		answer, refused := f.ask(t, create, fmt.Sprintf(
			`{"stream_name":"%s","config":{"name":"%s","filter_subject":"%s*","deliver_subject":"%s","ack_policy":"none"}}`,
			n.f.records, n.kf+listing, n.f.record, deliver))
		require.Empty(t, refused)
		require.NotContains(t, string(answer.Data), `"error"`)
		c, err := n.admin.leader.ConsumerInfo(n.f.records, n.kf+listing)
		require.NoError(t, err)
		require.False(t, c.PushBound, "it delivers nothing: %s has no interest", deliver)
		msg, err := n.admin.last(t.Context(), n.g.events, deliver)
		require.NoError(t, err)
		require.Nil(t, msg)
		_, refused = f.ask(t, "$JS.API.CONSUMER.DELETE."+n.f.records+"."+n.kf+listing, "")
		require.Empty(t, refused)
	}
}

// TestFunctionHearsNothingOfAnothers: F subscribes to what G's agents and servers send each other.
func TestFunctionHearsNothingOfAnothers(t *testing.T) {
	for name, tenants := range bothTenants {
		t.Run(name, func(t *testing.T) {
			n := startNeighbours(t, tenants)
			f := connectTenant(t, n.s, "F")
			var heard []*nats.Subscription
			for _, subject := range []string{
				inboxOf(n.kg) + ".>", "_INBOX.>", prefixOf(n.kg) + ".>", "gantry.>", ">", n.g.event + "*", n.g.record + "*",
				prefixOf(n.kg) + ".cancel", "$JS.>", "$SYS.>",
			} {
				sub, err := f.SubscribeSync(subject)
				require.NoError(t, err)
				heard = append(heard, sub)
				if name == "users" {
					select {
					case refused := <-f.refused:
						require.Contains(t, refused, `Permissions Violation for Subscription to "`+subject+`"`)
					case <-time.After(patience):
						require.Fail(t, "not refused", subject)
					}
				}
			}
			require.NoError(t, f.Flush())
			for _, subject := range []string{prefixOf(n.kg) + ".cancel", inboxOf(n.kg) + ".x", n.g.event + n.id, n.g.record + n.id} {
				require.NoError(t, n.admin.conn.Publish(subject, []byte("secret of G")))
			}
			require.NoError(t, n.admin.conn.Flush())
			require.NoError(t, f.Flush())
			for _, sub := range heard {
				_, err := sub.NextMsg(time.Millisecond)
				require.True(t, errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrBadSubscription) ||
					errors.Is(err, nats.ErrPermissionViolation), "%s: %v", sub.Subject, err)
			}
		})
	}
}

// TestAnotherFunctionCannotUseUpARequestID: timers of several agents agree on ids, which the servers forget after
// sameWindow, of all functions in a stream alike.
func TestAnotherFunctionCannotUseUpARequestID(t *testing.T) {
	for name, tenants := range bothTenants {
		t.Run(name, func(t *testing.T) {
			n := startNeighbours(t, tenants)
			f := &testFunction{}
			q := open(t, n.s, f, of(n.s, "F"))
			require.NoError(t, q.Start(t.Context()))
			id := newID()
			_, err := n.admin.js.Publish(t.Context(), n.g.event+newID(), nil, jetstream.WithMsgID(n.kf+"."+id))
			require.NoError(t, err)
			for _, want := range []bool{true, false} {
				first, err := q.AcceptOnce(t.Context(), id, &Event{Body: []byte("{}"), Version: "latest"})
				require.NoError(t, err)
				require.Equal(t, want, first)
				waitStatus(t, q, id, Success)
			}
			require.Equal(t, 1, f.calls())
		})
	}
}
