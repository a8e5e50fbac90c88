package extension

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/fault"
	"gantry/telemetry"
	"gantry/test/harness"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// asked is a body with these members; uri and types may be empty.
func asked(uri, types, more string) string {
	return fmt.Sprintf(`{"subscriber":{"protocol":"POST","uri":%q},"types":[%s]%s}`, uri, types, more)
}

func TestParseSubscriptionTakesEveryValidForm(t *testing.T) {
	const uri, all = "http://127.0.0.1:8085/path", `"platform","function","extension"`
	everything := telemetry.TypePlatform | telemetry.TypeFunction | telemetry.TypeExtension
	plain := subscription{uri: uri, types: everything, maxItems: 1000, maxBytes: 256 << 10, timeout: 100 * time.Millisecond}
	with := func(change func(*subscription)) subscription {
		s := plain
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		body string
		want subscription
	}{
		"as documented":                 {asked(uri, all, ""), plain},
		"the platform's sample":         {"{\n\"subscriber\": {\"protocol\": \"POST\", \"uri\": \"" + uri + "\",},\n\"types\": [" + all + ",\n],\r\n\t}", plain},
		"keys in another case":          {`{"SUBSCRIBER":{"Protocol":"POST","URI":"` + uri + `"},"Types":[` + all + `]}`, plain},
		"words in another case":         {`{"subscriber":{"protocol":" post ","uri":"` + uri + `"},"types":["Platform"," FUNCTION ","extension"]}`, plain},
		"types twice":                   {asked(uri, all+","+all, ""), plain},
		"scheme in another case":        {asked("HTTP://127.0.0.1:8085/path", all, ""), plain},
		"blanks around the uri":         {asked(" "+uri+" ", all, ""), plain},
		"localhost":                     {asked("http://localhost:8085/path", all, ""), plain},
		"Localhost":                     {asked("http://Localhost:8085/path", all, ""), plain},
		"members that nobody knows":     {asked(uri, all, `,"destination":{"a":[1,]},"b":null`), plain},
		"one type":                      {asked(uri, `"function"`, ""), with(func(s *subscription) { s.types = telemetry.TypeFunction })},
		"no path":                       {asked("http://127.0.0.1:8085", all, ""), with(func(s *subscription) { s.uri = "http://127.0.0.1:8085/" })},
		"query":                         {asked("http://127.0.0.1:8085/a%20b?x=1&y", all, ""), with(func(s *subscription) { s.uri = "http://127.0.0.1:8085/a%20b?x=1&y" })},
		"path that needs escapes":       {asked("http://127.0.0.1:8085/ä b", all, ""), with(func(s *subscription) { s.uri = "http://127.0.0.1:8085/%C3%A4%20b" })},
		"commas and brackets in text":   {asked("http://127.0.0.1:8085/,]?q=,}", all, ""), with(func(s *subscription) { s.uri = "http://127.0.0.1:8085/,]?q=,}" })},
		"quotes and backslashes":        {asked(uri, all, `,"x":"a\\","y":"\",]"`), plain},
		"first and last port":           {asked("http://127.0.0.1:8090/", all, ""), with(func(s *subscription) { s.uri = "http://127.0.0.1:8090/" })},
		"empty buffering":               {asked(uri, all, `,"buffering":{}`), plain},
		"no buffering":                  {asked(uri, all, `,"buffering":null`), plain},
		"lowest buffering":              {asked(uri, all, `,"buffering":{"maxItems":1000,"maxBytes":262144,"timeoutMs":25}`), with(func(s *subscription) { s.timeout = 25 * time.Millisecond })},
		"highest buffering":             {asked(uri, all, `,"buffering":{"maxItems":10000,"maxBytes":1048576,"timeoutMs":30000}`), with(func(s *subscription) { s.maxItems, s.maxBytes, s.timeout = 10000, 1<<20, 30*time.Second })},
		"buffering in another case":     {asked(uri, all, `,"Buffering":{"MAXITEMS":2000,}`), with(func(s *subscription) { s.maxItems = 2000 })},
		"schema version":                {asked(uri, all, `,"schemaVersion":"2022-12-13"`), with(func(s *subscription) { s.envelope = true })},
		"schema version of our own":     {asked(uri, all, `,"schemaVersion":"x"`), with(func(s *subscription) { s.envelope = true })},
		"schema version that is absent": {asked(uri, all, `,"schemaVersion":null`), plain},
	} {
		got, port, err := parseSubscription([]byte(c.body))
		require.NoError(t, err, name)
		require.Equal(t, c.want, *got, name)
		require.Contains(t, got.uri, fmt.Sprint(":", port), name)
	}
}

func TestParseSubscriptionRefusesWithTheRightType(t *testing.T) {
	const uri, all = "http://127.0.0.1:8085/path", `"platform"`
	for errorType, bodies := range map[string][]string{
		TypeInvalidBody: {
			"", "x", "null", "[]", "{}", `""`, "{,}", `{"types":["platform"]}`, asked(uri, all, "") + "x", asked(uri, all, "")[1:], asked(uri, all+",,", ""), asked(uri, "7", ""),
			`{"subscriber":null,"types":["platform"]}`, `{"subscriber":"http://127.0.0.1:8085","types":["platform"]}`, `{"subscriber":{"uri":"` + uri + `"},"types":["platform"]}`,
			`{"subscriber":{"protocol":"GET","uri":"` + uri + `"},"types":["platform"]}`, `{"subscriber":{"protocol":"POST","uri":7},"types":["platform"]}`,
			`{"subscriber":{"protocol":"POST","uri":"` + uri + `"},"types":"platform"}`, asked(uri, all, `,"schemaVersion":""`), asked(uri, all, `,"schemaVersion":1`),
			asked(uri, all, `,"buffering":{"maxItems":"1000"}`), asked(uri, all, `,"buffering":{"maxItems":1000.5}`), asked(uri, all, `,"buffering":[]`), asked(uri, all, `,"buffering":{"timeoutMs":99999999999999999999}`),
		},
		TypeInvalidURI: {
			asked("", all, ""), asked("127.0.0.1:8085", all, ""), asked("/path", all, ""), asked("http://", all, ""), asked("http://127.0.0.1", all, ""), asked("http://127.0.0.1:", all, ""),
			asked("http://127.0.0.1:80", all, ""), asked("http://127.0.0.1:8080", all, ""), asked("http://127.0.0.1:8091", all, ""), asked("http://127.0.0.1:-8085", all, ""), asked("http://127.0.0.1:80850", all, ""),
			asked("https://127.0.0.1:8085", all, ""), asked("tcp://127.0.0.1:8085", all, ""), asked("http:127.0.0.1:8085", all, ""), asked("http://127.0.0.2:8085", all, ""), asked("http://0.0.0.0:8085", all, ""),
			asked("http://[::1]:8085", all, ""), asked("http://127.1:8085", all, ""), asked("http://example.com:8085", all, ""), asked("http://localhost.example.com:8085", all, ""), asked("http://127.0.0.1.:8085", all, ""),
			asked("http://a:b@127.0.0.1:8085", all, ""), asked("http://127.0.0.1:8085/#x", all, ""), asked("http://127.0.0.1:8085/\r\nX: y", all, ""), asked("http://127.0.0.1:8085/%zz", all, ""),
			asked("http://127.0.0.1:8085/?a b", all, ""), `{"subscriber":{"protocol":"POST"},"types":["platform"]}`,
		},
		TypeInvalidTypes: {
			asked(uri, "", ""), asked(uri, `""`, ""), asked(uri, `"platform","logs"`, ""), asked(uri, `"all"`, ""), `{"subscriber":{"protocol":"POST","uri":"` + uri + `"}}`,
			`{"subscriber":{"protocol":"POST","uri":"` + uri + `"},"types":null}`, asked(uri, `null`, ""),
		},
		TypeInvalidBuffering: {
			asked(uri, all, `,"buffering":{"maxItems":999}`), asked(uri, all, `,"buffering":{"maxItems":10001}`), asked(uri, all, `,"buffering":{"maxItems":0}`), asked(uri, all, `,"buffering":{"maxItems":-1}`),
			asked(uri, all, `,"buffering":{"maxBytes":262143}`), asked(uri, all, `,"buffering":{"maxBytes":1048577}`), asked(uri, all, `,"buffering":{"timeoutMs":24}`), asked(uri, all, `,"buffering":{"timeoutMs":30001}`),
			asked(uri, all, `,"buffering":{"maxItems":5000,"maxBytes":1,"timeoutMs":1}`),
		},
	} {
		for _, body := range bodies {
			_, _, err := parseSubscription([]byte(body))
			requireRefused(t, err, fault.Invalid, errorType, body)
		}
	}
	_, _, err := parseSubscription([]byte(asked(uri, all, `,"buffering":{"maxBytes":1,"timeoutMs":1}`)))
	require.EqualError(t, err, "buffering.maxBytes is 1, want 262144 to 1048576", "the error names the first one")
}

func requireRefused(t *testing.T, err error, kind fault.Kind, errorType string, about ...any) {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f, about...)
	require.Equal(t, errorType, f.Type, about...)
	require.Equal(t, kind, f.Kind, about...)
	require.NotEmpty(t, f.Message, about...)
	require.Less(t, len(f.Message), 1000, about...)
}

func FuzzParseSubscription(f *testing.F) {
	f.Add([]byte(asked("http://127.0.0.1:8085/path?q", `"platform",`, `,"buffering":{"maxItems":1000,},"schemaVersion":"1"`)))
	f.Add([]byte(asked("http://localhost:8090//x", `"function"`, "")))
	f.Add([]byte("{,]\"\\"))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, port, err := parseSubscription(body)
		var refused *fault.Error
		if err != nil {
			if !errors.As(err, &refused) || !strings.HasPrefix(refused.Type, "Telemetry.") || refused.Kind != fault.Invalid || refused.Message == "" {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		u, err := url.Parse(s.uri)
		if err != nil || u.Host != fmt.Sprint("127.0.0.1:", port) || port < FirstPort || port > LastPort || strings.ContainsAny(s.uri, " \r\n\x00") {
			t.Fatalf("%q: %q, %v", body, s.uri, err)
		}
		if s.types == 0 || s.maxItems < 1000 || s.maxItems > 10000 || s.maxBytes < 256<<10 || s.maxBytes > 1<<20 || s.timeout < 25*time.Millisecond || s.timeout > 30*time.Second {
			t.Fatalf("%q: %+v", body, s)
		}
		newSubscriber("x", s, &Observer{})
	})
}

// FuzzTrailingCommas: what is JSON stays what it is.
func FuzzTrailingCommas(f *testing.F) {
	f.Add([]byte(`{"a":[1,2,{"b":",]"}],"c":"\",}"}`))
	f.Add([]byte(`",`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if json.Valid(body) && string(withoutTrailingCommas(body)) != string(body) {
			t.Fatalf("%q became %q", body, withoutTrailingCommas(body))
		}
	})
}

// listening is a server on an extension port that takes whatever comes.
func listening(t *testing.T, port int) {
	receiver(t, port, func(http.ResponseWriter, *http.Request) {})
}

// streaming returns a host with telemetry.
func streaming(t *testing.T, scripts []Script, change func(*Config)) *Host {
	stream := telemetry.NewStream("f", "latest", zap.NewNop())
	h := newHost(t, scripts, func(c *Config) {
		c.Stream = stream
		if change != nil {
			change(c)
		}
	})
	t.Cleanup(func() { // before the host stops: nothing is waited for
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		stream.Close(ctx)
	})
	return h
}

func (h *Host) owner() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listening() == nil {
		return "nobody"
	}
	return h.listener.owner
}

func at(port int) []byte {
	return []byte(asked(fmt.Sprintf("http://127.0.0.1:%d/", port), `"platform"`, ""))
}

func TestSubscribeNeedsARegistration(t *testing.T) {
	harness.FixedPorts(t)
	h := streaming(t, nil, nil)
	requireRefused(t, h.Subscribe("", at(8085)), fault.Invalid, TypeNotRegistered)
	requireRefused(t, h.Subscribe("a", at(8085)), fault.Invalid, TypeNotRegistered)
	register(t, h, "a", 8081)
	requireRefused(t, h.Subscribe("b", at(8085)), fault.Invalid, TypeNotRegistered)
	requireRefused(t, h.Subscribe("b", at(8081)), fault.Invalid, TypeNotRegistered)
	requireRefused(t, h.Subscribe("", []byte("{")), fault.Invalid, TypeInvalidBody)
	require.Equal(t, "nobody", h.owner())
	require.False(t, h.cfg.Stream.Subscribed())
}

func register(t *testing.T, h *Host, name string, port int) {
	t.Helper()
	require.NoError(t, h.Register(Registration{Name: name, Address: fmt.Sprint("127.0.0.1:", port)}))
}

// TestSubscriptionOwnerIsFoundByNameOrPort: whose subscription it is, by the header, by the port, or because there is
// only one.
func TestSubscriptionOwnerIsFoundByNameOrPort(t *testing.T) {
	harness.FixedPorts(t)
	for _, c := range []struct {
		name  string
		port  int
		alone bool
		want  string
	}{
		{"a", 8085, false, "a"},
		{" a ", 8085, false, "a"},
		{"b", 8085, false, "b"},
		{"a", 8081, false, "a"},
		{"", 8081, false, "a"},
		{"", 8082, false, "b"},
		{"", 8085, false, ""},
		{"", 8085, true, "a"},
	} {
		h := streaming(t, nil, nil)
		register(t, h, "a", 8081)
		if !c.alone {
			register(t, h, "b", 8082)
		}
		require.NoError(t, h.Subscribe(c.name, at(c.port)), "%+v", c)
		require.Equal(t, c.want, h.owner(), "%+v", c)
		require.Equal(t, c.want, h.cfg.Stream.Current().Name)
	}
}

// TestSecondSubscriptionIsRefusedWhileTheFirstListens: the same one is no error, another one is refused until the
// first one's address refuses connections.
func TestSecondSubscriptionIsRefusedWhileTheFirstListens(t *testing.T) {
	harness.FixedPorts(t)
	h := streaming(t, nil, nil)
	register(t, h, "a", 8081)
	register(t, h, "b", 8082)
	first := http.Server{}
	ln := listen(t, 8085)
	served := make(chan error, 1)
	go func() { served <- first.Serve(ln) }()
	require.NoError(t, h.Subscribe("a", at(8085)))
	sub := h.cfg.Stream.Current()
	require.NoError(t, h.Subscribe("a", at(8085)))
	require.NoError(t, h.Subscribe("", []byte(`{"Types":["PLATFORM",],"Subscriber":{"Protocol":"post","Uri":"http://localhost:8085"}}`)), "the same in other words")
	require.Same(t, sub, h.cfg.Stream.Current())
	for _, other := range []string{asked("http://127.0.0.1:8086/", `"platform"`, ""), asked("http://127.0.0.1:8085/other", `"platform"`, ""), asked("http://127.0.0.1:8085/", `"function"`, ""), asked("http://127.0.0.1:8085/", `"platform"`, `,"schemaVersion":"1"`)} {
		requireRefused(t, h.Subscribe("b", []byte(other)), fault.Invalid, TypeAlreadySubscribed, other)
	}
	require.Same(t, sub, h.cfg.Stream.Current())
	require.NoError(t, first.Close())
	require.ErrorIs(t, <-served, http.ErrServerClosed) // a server that had not begun yet closes its listener only now
	require.NoError(t, h.Subscribe("a", at(8085)), "the same one while it starts anew")
	require.Same(t, sub, h.cfg.Stream.Current())
	require.NoError(t, h.Subscribe("b", at(8086)))
	require.NotSame(t, sub, h.cfg.Stream.Current())
	require.Equal(t, "b", h.owner())
}

// TestPortsBelongToOne: no other extension can register the subscriber's port, and the other way round.
func TestPortsBelongToOne(t *testing.T) {
	harness.FixedPorts(t)
	h := streaming(t, nil, nil)
	register(t, h, "a", 8081)
	register(t, h, "b", 8082)
	requireRefused(t, h.Subscribe("a", at(8082)), fault.Invalid, TypeURIInUse)
	require.NoError(t, h.Subscribe("a", at(8085)))
	requireRefused(t, h.Register(Registration{Name: "c", Address: "127.0.0.1:8085"}), fault.Conflict, TypeAddressInUse)
	register(t, h, "c", 8083)
	require.True(t, h.cfg.Stream.Unsubscribe(h.cfg.Stream.Current()), "as when nobody listens there any more")
	register(t, h, "d", 8085)
}

// TestOwnerMayRegisterItsListener: it subscribed under its name before it had that port.
func TestOwnerMayRegisterItsListener(t *testing.T) {
	harness.FixedPorts(t)
	h := streaming(t, nil, nil)
	register(t, h, "a", 8081)
	require.NoError(t, h.Subscribe("a", at(8085)))
	h.mu.Lock()
	h.vacate(h.byName["a"]) // it is there, and has given up its first address
	h.mu.Unlock()
	register(t, h, "a", 8085)
	require.Equal(t, "a", h.owner())
}

func TestSubscribeWhileStoppingIsRefused(t *testing.T) {
	harness.FixedPorts(t)
	h := streaming(t, nil, nil)
	register(t, h, "a", 8081)
	h.Stop(time.Now().Add(time.Second), ReasonSpindown)
	requireRefused(t, h.Subscribe("a", at(8085)), fault.Unavailable, TypeShuttingDown)
}

func TestSubscribeWithoutTelemetryIsRefused(t *testing.T) {
	harness.FixedPorts(t)
	h := newHost(t, nil, nil)
	register(t, h, "a", 8081)
	requireRefused(t, h.Subscribe("a", at(8085)), fault.Unavailable, TypeShuttingDown)
}

// TestOwnersEndEndsTheSubscription: of a process that was started here at once.
func TestOwnersEndEndsTheSubscription(t *testing.T) {
	harness.FixedPorts(t)
	h := streaming(t, []Script{script(t, "extensionA", "exec sleep 1000"), script(t, "extensionB", "exec sleep 1000")}, nil)
	h.Start("127.0.0.1:1")
	register(t, h, "extensionA", 8081)
	register(t, h, "extensionB", 8082)
	listening(t, 8085) // though a process listens there
	require.NoError(t, h.Subscribe("extensionA", at(8085)))
	require.NoError(t, h.process("extensionB").Kill())
	eventually(t, func() bool { return h.Registered() == 1 })
	require.Equal(t, "extensionA", h.owner(), "another one's end is none of its business")
	require.NoError(t, h.process("extensionA").Kill())
	eventually(t, func() bool { return h.Registered() == 0 })
	require.Equal(t, "nobody", h.owner())
	require.False(t, h.cfg.Stream.Subscribed())
}

// TestTelemetryArrivesAtTheSubscribedURI: from the stream through the listener.
func TestTelemetryArrivesAtTheSubscribedURI(t *testing.T) {
	harness.FixedPorts(t)
	h := streaming(t, nil, nil)
	got := make(chan string, 10)
	receiver(t, 8085, record(got))
	register(t, h, "a", 8081)
	require.NoError(t, h.Subscribe("a", []byte(asked("http://127.0.0.1:8085/in?x=1", `"platform"`, ""))))
	require.Contains(t, <-got, `POST /in?x=1 application/json [{"name":"platform.extension",`)
}
