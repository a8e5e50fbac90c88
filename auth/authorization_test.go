package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"gantry/fault"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The published vectors: A is of the signing guide, B and C of the SDK's own tests.
func TestSignaturesOfThePublishedVectorsAreAccepted(t *testing.T) {
	const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	short := map[string]string{headerDate: "20060102T150405Z"}
	cases := []struct {
		name, secret, canonical string
		m                       message
		list, signature         string
	}{
		{
			"A", "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc", "b25362e603ee30f4f25e7858e8a7160fd36e803bb2dfe206278659d71a9bcd7a",
			message{method: "GET", path: "/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs", query: "limit=2&marker=13551d6b-755d-4757-b956-536f674975c0", header: map[string]string{
				"content-type": "application/json", "host": "service.region.example.com", headerDate: "20191115T033655Z",
			}},
			"content-type;host;x-sdk-date", "7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe",
		},
		{
			"B", "SecretKey", "85c3b7730f308aee452b16138a42a914397e43a8f0d732dfa521c0ef2afa98a4",
			message{method: "GET", path: "/path", query: "limit=1", header: short},
			"x-sdk-date", "5a2ce64c865e0e6046321c6f3d5a77ba8413eeaf355c3166c03d58d02ac79624",
		},
		{
			"C with LF", "SecretKey", "",
			message{method: "POST", path: "/path", query: "key=value", body: "{\"Name\":\"test\",\"Id\":1}\n", header: short},
			"x-sdk-date", "cecc2af119b18ab70b4d094c0750f3b42c02f254903179a0fc2cc72fc9db4f59",
		},
		{
			"C without LF", "SecretKey", "",
			message{method: "POST", path: "/path", query: "key=value", body: `{"Name":"test","Id":1}`, header: short},
			"x-sdk-date", "83599e5230b5b31fb58837c5760b4c2d407542df1f9493834ead538696e17a35",
		},
	}
	for _, v := range cases {
		a, err := parseAuthorization(algorithm + " Access=AccessKey, SignedHeaders=" + v.list + ", Signature=" + v.signature)
		require.NoError(t, err)
		payload := hash(v.m.body)
		require.True(t, a.matches(v.m.request(), v.secret, v.m.header[headerDate], payload), v.name)
		require.False(t, a.matches(v.m.request(), v.secret+"x", v.m.header[headerDate], payload), v.name)
		if v.m.body == "" {
			require.Equal(t, emptyHash, payload)
			c := &canonical{}
			require.True(t, c.build(v.m.request(), a, strict, v.m.header["host"], payload))
			sum := sha256.Sum256(c.buf)
			require.Equal(t, v.canonical, hex.EncodeToString(sum[:]), "%s:\n%s", v.name, c.buf)
		}
	}
}

// TestSignMakesThePublishedSignatures: the published vectors from the other side.
func TestSignMakesThePublishedSignatures(t *testing.T) {
	now := time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC)
	for want, r := range map[string]*Request{
		"5a2ce64c865e0e6046321c6f3d5a77ba8413eeaf355c3166c03d58d02ac79624": {Method: "GET", Path: []byte("/path"), Query: []byte("limit=1")},
		"83599e5230b5b31fb58837c5760b4c2d407542df1f9493834ead538696e17a35": {Method: "POST", Path: []byte("/path"), Query: []byte("key=value"), Body: []byte(`{"Name":"test","Id":1}`)},
	} {
		date, header, err := Sign(r, "AccessKey", "SecretKey", now)
		require.NoError(t, err)
		require.Equal(t, "20060102T150405Z", date)
		require.Equal(t, "SDK-HMAC-SHA256 Access=AccessKey, SignedHeaders=x-sdk-date, Signature="+want, header)
	}
	_, _, err := Sign(&Request{Method: "GET", Path: []byte("/%")}, "a", "b", now)
	require.ErrorIs(t, err, errEscapes)
}

func TestCanonicalQueryIsSortedAndEncoded(t *testing.T) {
	c := &canonical{}
	cases := map[string]string{
		"":                   "",
		"a":                  "a=",
		"a=&b":               "a=&b=",
		"b=2&a=1":            "a=1&b=2",
		"multi=3&multi=1":    "multi=1&multi=3",
		"a=b=c":              "a=b%3Dc",
		"a+b=c+d":            "a%2Bb=c%2Bd",
		"a=%2ftmp%2F":        "a=%2Ftmp%2F",
		"a=1&&b=2":           "a=1&b=2",
		"a-=1&a=2":           "a=2&a-=1",
		"x=!'()*":            "x=%21%27%28%29%2A",
		"%C3%BC=%e4%b8%80":   "%C3%BC=%E4%B8%80",
		"path=/tmp/123&t=~_": "path=%2Ftmp%2F123&t=~_",
		"test=%E4%B8%80%20(%26%3D%3F!%23%25.*)&path=%2Ftmp%2F123&multi=3&multi=2&multi=1&limit=1&enable=true": "enable=true&limit=1&multi=1&multi=2&multi=3&path=%2Ftmp%2F123&test=%E4%B8%80%20%28%26%3D%3F%21%23%25.%2A%29",
	}
	for raw, want := range cases {
		c.buf = c.buf[:0]
		require.True(t, c.query([]byte(raw), strict), raw)
		require.Equal(t, want+"\n", string(c.buf), raw)
	}
	for _, bad := range []string{"%", "a=%2", "%zz=1", "a=%g0"} {
		require.False(t, c.query([]byte(bad), strict), bad)
	}
}

func TestCanonicalPathIsEncodedInBothAlphabets(t *testing.T) {
	c := &canonical{}
	cases := map[string][2]string{
		"":                  {"/", "/"},
		"/":                 {"/", "/"},
		"/a/b":              {"/a/b/", "/a/b/"},
		"/a/b/":             {"/a/b/", "/a/b/"},
		"/urn:fss:!prod/x":  {"/urn%3Afss%3A%21prod/x/", "/urn%3Afss%3A!prod/x/"},
		"/urn%3Afss%3a%21p": {"/urn%3Afss%3A%21p/", "/urn%3Afss%3A!p/"},
		"/a+b%20c":          {"/a%2Bb%20c/", "/a%2Bb%20c/"},
	}
	for raw, want := range cases {
		for i, alphabet := range []alphabet{strict, lax} {
			c.buf = c.buf[:0]
			require.True(t, c.path([]byte(raw), alphabet))
			require.Equal(t, want[i]+"\n", string(c.buf), raw)
		}
	}
	require.False(t, c.path([]byte("/%"), strict))
}

func TestSignedRequestsAreAcceptedInAllTheirForms(t *testing.T) {
	g := open(t, testUsers)
	check := func(m *message) error { _, err := g.Check(m.request()); return err }
	require.NoError(t, check(post()))

	t.Run("both alphabets, raw and encoded", func(t *testing.T) {
		for _, path := range []string{"/f/urn:fss:!prod", "/f/urn%3Afss%3A%21prod", "/f/urn%3afss:%21prod"} {
			for _, canonical := range []string{"/f/urn%3Afss%3A%21prod/", "/f/urn%3Afss%3A!prod/"} {
				m := &message{method: "GET", path: path, header: map[string]string{headerDate: testDate}}
				require.NoError(t, check(m.sign(testAccess, testSecret, canonical, "", headerDate)), path)
			}
		}
	})
	t.Run("host with a default port", func(t *testing.T) {
		m := &message{method: "GET", path: "/", header: map[string]string{headerDate: testDate, "host": "example.com"}}
		m.sign(testAccess, testSecret, "/", "", headerDate, "host")
		for host, ok := range map[string]bool{"example.com": true, "example.com:443": true, "example.com:80": true, "example.com:81": false, "example.org": false} {
			m.header["host"] = host
			require.Equal(t, ok, check(m) == nil, host)
		}
		delete(m.header, "host")
		require.Error(t, check(m))
		require.NoError(t, check(post()))
	})
	t.Run("several values of one header", func(t *testing.T) {
		m := &message{method: "GET", path: "/", header: map[string]string{headerDate: testDate, "x-many": "one\nx-many:two"}}
		m.sign(testAccess, testSecret, "/", "", headerDate, "x-many")
		r := m.request()
		plain := r.Values
		r.Values = func(name string) [][]byte {
			if name == "x-many" {
				return [][]byte{[]byte("two"), []byte(" one ")}
			}
			return plain(name)
		}
		_, err := g.Check(r)
		require.NoError(t, err, "one line for each, sorted")
	})
	t.Run("what is not signed may change", func(t *testing.T) {
		m := post()
		m.header["user-agent"] = "proxy/1"
		require.NoError(t, check(m))
	})
}

func TestChangeOfAnySignedPartIsRefused(t *testing.T) {
	g := open(t, testUsers)
	changes := map[string]func(*message){
		"method": func(m *message) { m.method = "PUT" },
		"path":   func(m *message) { m.path = strings.Replace(m.path, "hello", "other", 1) },
		"query":  func(m *message) { m.query = "a=1" },
		"body":   func(m *message) { m.body += " " },
		"header": func(m *message) { m.header["content-type"] = "text/plain" },
		"date":   func(m *message) { m.header[headerDate] = "20191115T033656Z" },
		"gone":   func(m *message) { delete(m.header, "content-type") },
		"escape": func(m *message) { m.path += "%" },
	}
	for name, change := range changes {
		m := post()
		change(m)
		_, err := g.Check(m.request())
		refused(t, err, fault.Unauthorized, "verify aksk signature fail")
		_, err = g.Check(post().request()) // so that no lock comes
		require.NoError(t, err, name)
	}
}

func TestMalformedAuthorizationIsRefusedWithItsReason(t *testing.T) {
	g := open(t, testUsers)
	hex64 := strings.Repeat("a", 64)
	for value, says := range map[string]string{
		"":                           "does not begin with",
		"Bearer x":                   "does not begin with",
		"SDK-HMAC-SHA256":            "does not begin with",
		"SDK-HMAC-SHA256x Access=a":  "does not begin with",
		"SDK-HMAC-SM3 Access=a":      "does not begin with",
		"V11-HMAC-SHA256 Credential": "does not begin with",
		"SDK-HMAC-SHA256 ":           "does not read",
		"SDK-HMAC-SHA256 Access=AKCI, SignedHeaders=x-sdk-date":                                                    "does not read",
		"SDK-HMAC-SHA256 Access=AKCI, SignedHeaders=x-sdk-date, Signature=" + hex64[1:]:                            "does not read",
		"SDK-HMAC-SHA256 Access=AKCI, SignedHeaders=x-sdk-date, Signature=" + hex64 + "a":                          "does not read",
		"SDK-HMAC-SHA256 Access=AKCI, SignedHeaders=x-sdk-date, Signature=z" + hex64[1:]:                           "does not read",
		"SDK-HMAC-SHA256 Access=, SignedHeaders=x-sdk-date, Signature=" + hex64:                                    "does not read",
		"SDK-HMAC-SHA256 Access=AKCI, Access=AKCI, SignedHeaders=x-sdk-date, Signature=" + hex64:                   "does not read",
		"SDK-HMAC-SHA256 Access=AKCI, SignedHeaders=x-sdk-date, Signature=" + hex64 + ", More=1":                   "does not read",
		"SDK-HMAC-SHA256 Access=AKCI, SignedHeaders=host, Signature=" + hex64:                                      "has x-sdk-date",
		"SDK-HMAC-SHA256 Access=AKCI, SignedHeaders=X-Sdk-Date, Signature=" + hex64:                                "has x-sdk-date",
		"SDK-HMAC-SHA256 Access=AKCI, SignedHeaders=x-sdk-date;Host, Signature=" + hex64:                           "lower-case",
		"SDK-HMAC-SHA256 Access=AKCI, SignedHeaders=x-sdk-date;, Signature=" + hex64:                               "lower-case",
		"SDK-HMAC-SHA256 Access=AKCI, SignedHeaders=" + strings.Repeat("x-sdk-date;", 70) + ", Signature=" + hex64: "list",
		"SDK-HMAC-SHA256 Access=NOBODY, SignedHeaders=x-sdk-date, Signature=" + hex64:                              "ak:NOBODY,err:ak not exist",
	} {
		m := post()
		m.header[headerAuthorization] = value
		_, err := g.Check(m.request())
		refused(t, err, fault.Unauthorized, says)
	}
	m := post() // blanks around the commas are optional
	m.header[headerAuthorization] = strings.ReplaceAll(m.header[headerAuthorization], ", ", ",")
	_, err := g.Check(m.request())
	require.NoError(t, err)
}

// TestDateOffByMoreThanFifteenMinutesIsRefused: the window is fifteen minutes to either side, by the injected clock.
func TestDateOffByMoreThanFifteenMinutesIsRefused(t *testing.T) {
	g := open(t, testUsers)
	for off, ok := range map[time.Duration]bool{
		15 * time.Minute: true, -15 * time.Minute: true, 15*time.Minute + time.Second: false, -15*time.Minute - time.Second: false, 24 * time.Hour: false,
	} {
		g.move(off)
		_, err := g.Check(post().request())
		g.move(-off)
		if ok {
			require.NoError(t, err, off)
		} else {
			refused(t, err, fault.Unauthorized, "off by more than 15m0s")
		}
	}
	for _, date := range []string{"", "now", "20191115T033655", "2019-11-15T03:36:55Z", "20191115T033655Z ", "20191315T033655Z", "20191115T033655.5Z", "99999999T999999Z"} {
		m := post()
		m.header[headerDate] = date
		_, err := g.Check(m.request())
		refused(t, err, fault.Unauthorized, "X-Sdk-Date")
	}
	m := post()
	delete(m.header, headerDate)
	_, err := g.Check(m.request())
	refused(t, err, fault.Unauthorized, "X-Sdk-Date is needed")
}

func TestContentHashMustBeSignedAndFitTheBody(t *testing.T) {
	g := open(t, testUsers)
	check := func(value string, signed ...string) error {
		m := &message{method: "POST", path: "/", body: `{"k":1}`, header: map[string]string{headerDate: testDate, headerContentHash: value}}
		_, err := g.Check(m.sign(testAccess, testSecret, "/", "", append(signed, headerDate)...).request())
		return err
	}
	require.NoError(t, check(hash(`{"k":1}`), headerContentHash))
	refused(t, check(hash("other"), headerContentHash), fault.Unauthorized, "not the hash of the body")
	refused(t, check("", headerContentHash), fault.Unauthorized, "not the hash of the body")
	refused(t, check(hash(`{"k":1}`)), fault.Unauthorized, "not among the signed headers")
	require.NoError(t, check(unsignedPayload, headerContentHash), "the listener is secure")
	g.cfg.Secure = false
	refused(t, check(unsignedPayload, headerContentHash), fault.Unauthorized, "over TLS or on loopback only")
}

// TestEntryDecidesByHeadersWhatNeedsNoBody: what no body can make valid is refused by its headers; where the headers
// suffice, no hash is needed.
func TestEntryDecidesByHeadersWhatNeedsNoBody(t *testing.T) {
	g := open(t, testUsers)
	begin := func(m *message) (*Entry, error) {
		r := m.request()
		r.Body = nil
		return g.Begin(r)
	}
	e, err := begin(post())
	require.NoError(t, err)
	require.Nil(t, e.Caller(), "the signature covers the body")
	caller, err := e.Finish(sha256.Sum256([]byte(post().body)))
	require.NoError(t, err)
	require.Equal(t, "ci", caller.Name())
	e, err = begin(post())
	require.NoError(t, err)
	_, err = e.Finish(sha256.Sum256(nil))
	refused(t, err, fault.Unauthorized, "verify aksk signature fail")

	stated := func(hash, path string) *message {
		m := &message{method: "POST", path: "/", header: map[string]string{headerDate: testDate, headerContentHash: hash}}
		m.sign(testAccess, testSecret, "/", "", headerContentHash, headerDate)
		m.path = path
		return m
	}
	e, err = begin(stated(hash("event"), "/"))
	require.NoError(t, err)
	require.Nil(t, e.Caller())
	_, err = e.Finish(sha256.Sum256([]byte("event")))
	require.NoError(t, err)
	_, err = e.Finish(sha256.Sum256([]byte("another")))
	refused(t, err, fault.Unauthorized, "not the hash of the body")
	_, err = begin(stated(hash("event"), "/other"))
	refused(t, err, fault.Unauthorized, "verify aksk signature fail")
	e, err = begin(stated(unsignedPayload, "/"))
	require.NoError(t, err)
	require.Equal(t, "ci", e.Caller().Name())

	for name, change := range map[string]func(*message){
		"none":     func(m *message) { delete(m.header, headerAuthorization) },
		"stale":    func(m *message) { m.header[headerDate] = "20181115T033655Z" },
		"unknown":  func(m *message) { m.sign("AKUNKNOWN", testSecret, "/", "", headerDate) },
		"no token": func(m *message) { m.header[headerToken] = "gantry1.x.y" },
	} {
		m := post()
		change(m)
		_, err := begin(m)
		require.Error(t, err, name)
	}
	// Attempts that began before a lock are refused when they end.
	var begun []*Entry
	for range maxFailures + 2 {
		e, err := begin(post())
		require.NoError(t, err)
		begun = append(begun, e)
	}
	for _, e := range begun[:maxFailures+1] {
		_, err := e.Finish(sha256.Sum256(nil))
		refused(t, err, fault.Unauthorized, "verify aksk signature fail")
	}
	_, err = begun[maxFailures+1].Finish(sha256.Sum256([]byte(post().body)))
	refused(t, err, fault.Unauthorized, "locked for this peer")
}

func TestTemporaryKeyNeedsItsSignedTokenAndExpires(t *testing.T) {
	g := open(t, testUsers)
	check := func(token string, signed ...string) error {
		m := &message{method: "GET", path: "/", header: map[string]string{headerDate: testDate}}
		if token != "" {
			m.header[headerSecurityToken] = token
		}
		_, err := g.Check(m.sign("AKTMP", "SKTMP-0123456789abcdef", "/", "", append(signed, headerDate)...).request())
		return err
	}
	require.NoError(t, check("sts-token", headerSecurityToken))
	refused(t, check("another", headerSecurityToken), fault.Unauthorized, "X-Security-Token is not")
	refused(t, check("sts-token"), fault.Unauthorized, "among the signed")
	refused(t, check(""), fault.Unauthorized, "among the signed")
	g.move(14 * time.Minute)
	require.NoError(t, check("sts-token", headerSecurityToken))
	g.write(strings.Replace(testUsers, "04:00:00", "03:50:00", 1))
	g.follow()
	refused(t, check("sts-token", headerSecurityToken), fault.Unauthorized, "expired")
}

// TestSixBadSignaturesLockAKeyForThatPeer: more than five bad signatures in a row lock a key for five minutes, for
// that peer only.
func TestSixBadSignaturesLockAKeyForThatPeer(t *testing.T) {
	g := open(t, testUsers)
	try := func(m *message) error { _, err := g.Check(m.request()); return err }
	bad := func() *message { m := post(); m.body = "x"; return m }
	for range maxFailures {
		refused(t, try(bad()), fault.Unauthorized, "verify aksk signature fail")
	}
	require.NoError(t, try(post()), "five are not more than five, and a good one forgets them")
	for range maxFailures + 1 {
		refused(t, try(bad()), fault.Unauthorized, "verify aksk signature fail")
	}
	refused(t, try(bad()), fault.Unauthorized, "AK access failed to reach the limit,forbidden")
	refused(t, try(post()), fault.Unauthorized, "AK access failed to reach the limit,forbidden")
	other := post()
	other.peer = there
	require.NoError(t, try(other), "another peer is not locked")
	g.move(lockTime - time.Second)
	refused(t, try(post()), fault.Unauthorized, "limit")
	g.move(time.Second)
	require.NoError(t, try(post()))
}

func FuzzParseAuthorization(f *testing.F) {
	f.Add(post().header[headerAuthorization])
	f.Add("SDK-HMAC-SHA256 Access=,SignedHeaders=;,Signature=")
	f.Fuzz(func(t *testing.T, value string) {
		a, err := parseAuthorization(value)
		if err != nil {
			return
		}
		if a.access == "" || strings.ContainsAny(a.access, ",") || strings.Join(a.headers, ";") != a.list || !strings.HasPrefix(value, algorithm+" ") {
			t.Fatalf("accepted %q as %+v", value, a)
		}
	})
}

// FuzzVerify changes a request after it was signed: nothing but the very same meaning is let in.
func FuzzVerify(f *testing.F) {
	f.Add("POST", "/v2/p1/fgs/functions/hello/invocations", "", `{"k":1}`, "application/json")
	f.Add("POST", "/v2/p1/fgs/functions/%68ello/invocations", "", `{"k":1}`, " application/json")
	f.Add("POST", "/v2/p1/fgs/functions/hello/invocations/", "&", `{"k":1}`, "application/json\n")
	f.Add("GET", "/%", "a=%zz", "", "")
	g := fuzzGate(f)
	f.Fuzz(func(t *testing.T, method, path, query, body, contentType string) {
		m := post()
		m.method, m.path, m.query, m.body, m.header["content-type"] = method, path, query, body, contentType
		m.header[headerAuthorization] = post().header[headerAuthorization]
		_, err := g.Check(m.request())
		g.keys.succeeded(testAccess, here)
		c := &canonical{}
		same := method == "POST" && body == `{"k":1}` && strings.TrimSpace(contentType) == "application/json" && c.path([]byte(path), lax) && string(c.buf) == "/v2/p1/fgs/functions/hello/invocations/\n" && strings.Trim(query, "&") == ""
		if (err == nil) != same {
			t.Fatalf("%q %q %q %q %q: %v", method, path, query, body, contentType, err)
		}
	})
}

func fuzzGate(f *testing.F) *Gate {
	d, err := parseDirectory([]byte(testUsers))
	require.NoError(f, err)
	c := &clock{now: time.Date(2019, 11, 15, 3, 36, 55, 0, time.UTC)}
	g := newGate(&Config{ProjectID: "p1", Project: "local-1", Secure: true, Now: c.Now})
	g.directory.Store(d)
	return g
}

func BenchmarkVerify(b *testing.B) {
	d, err := parseDirectory([]byte(testUsers))
	require.NoError(b, err)
	c := &clock{now: time.Date(2019, 11, 15, 3, 36, 55, 0, time.UTC)}
	g := newGate(&Config{Secure: true, Now: c.Now})
	g.directory.Store(d)
	// As the Go SDK signs a call of a function by its URN.
	m := &message{method: "POST", path: "/v2/p1/fgs/functions/urn:fss:local-1:p1:function:default:hello:latest/invocations", body: `{"k":1}` + "\n", header: map[string]string{
		headerDate: testDate, "user-agent": "huaweicloud-usdk-go/3.0", "x-project-id": "0123456789abcdef0123456789abcdef", "x-cff-log-type": "tail", "x-cff-request-version": "v1",
	}}
	m.sign(testAccess, testSecret, "/v2/p1/fgs/functions/urn%3Afss%3Alocal-1%3Ap1%3Afunction%3Adefault%3Ahello%3Alatest/invocations/", "", headerDate, "user-agent", "x-project-id", "x-cff-log-type", "x-cff-request-version")
	values := map[string][][]byte{}
	for name, value := range m.header {
		values[name] = [][]byte{[]byte(value)}
	}
	r := m.request()
	r.Values = func(name string) [][]byte { return values[name] }
	for _, good := range []bool{true, false} {
		b.Run(fmt.Sprintf("good=%t", good), func(b *testing.B) {
			r := *r
			if !good {
				r.Body = []byte("x")
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := g.Check(&r); (err == nil) != good {
					b.Fatal(err)
				}
				if !good {
					g.keys.succeeded(testAccess, here)
				}
			}
		})
	}
}
