package gateway

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// param is a destination OBS that keeps its objects.
func param(bucket, prefix string) string {
	text, _ := json.Marshal(map[string]string{"bucket": bucket, "prefix": prefix}) // strings
	return string(text)
}

// acceptedAt reads the time of acceptance out of a request id.
func acceptedAt(t *testing.T, id string) time.Time {
	t.Helper()
	var ms int64
	_, err := fmt.Sscanf(strings.ReplaceAll(id, "-", "")[:12], "%x", &ms)
	require.NoError(t, err)
	return time.UnixMilli(ms).UTC()
}

// key is the key of a request's outcome message according to docs/ASYNC.md.
func (a *agent) key(prefix, id string) string {
	a.t.Helper()
	return prefix + a.name + acceptedAt(a.t, id).Format("/2006/01/02/") + id + ".json"
}

// timestamp removes the one member that a test cannot predict from an outcome message.
func timestamp(t *testing.T, text string, from time.Time) string {
	t.Helper()
	var n struct{ Timestamp time.Time }
	require.NoError(t, json.Unmarshal([]byte(text), &n), text)
	require.WithinRange(t, n.Timestamp, from, time.Now())
	return n.Timestamp.Format("2006-01-02T15:04:05.000Z07:00")
}

// TestOutcomes: the objects in the buckets are, byte by byte, those that docs/ASYNC.md shows.
func TestOutcomes(t *testing.T) {
	g := startGateway(t, bucket, "failures")
	a := startAgent(t, g.endpoint())
	a.configure("latest", `{"bucket":"outcomes","prefix":"a/b","expires":7}`, param("failures", ""))

	id := a.accept("latest", `{"k":"ü 日本", "n": 1.50}`)
	o := g.object(bucket, a.key("a/b/", id))
	require.Equal(t, fmt.Sprintf(`{"timestamp":"%s","request_context":{"request_id":"%s","function_urn":"%s","condition":"","approximate_invoke_count":1},`+
		`"request_payload":{"k":"ü 日本","n":1.50},"response_context":{"status_code":200,"function_error":""},"response_payload":{"got":{"k":"ü 日本","n":1.5}}}`,
		timestamp(t, o.text, acceptedAt(t, id)), id, a.urn("latest")), o.text)
	require.Equal(t, "application/json", *o.head.ContentType)
	require.EqualValues(t, len(o.text), *o.head.ContentLength)
	t.Logf("of expires = 7 the gateway keeps: Expires %v, expiration %v, metadata %v", o.head.ExpiresString, o.head.Expiration, o.head.Metadata)

	id = a.accept("latest", `{"fail":true}`)
	r := a.reaches(id, "FAIL")
	o = g.object("failures", a.key("", id))
	var n struct {
		Result json.RawMessage `json:"response_payload"`
	}
	require.NoError(t, json.Unmarshal([]byte(o.text), &n))
	require.Contains(t, string(n.Result), "asked to fail", "a stack is in it, so it is not known byte by byte")
	message, err := json.Marshal(r.Message)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf(`{"timestamp":"%s","request_context":{"request_id":"%s","function_urn":"%s","condition":"RetriesExhausted","approximate_invoke_count":1},`+
		`"request_payload":{"fail":true},"response_context":{"status_code":200,"function_error":%s},"response_payload":%s}`,
		timestamp(t, o.text, acceptedAt(t, id)), id, a.urn("latest"), message, n.Result), o.text)
	require.Equal(t, "application/json", *o.head.ContentType)
	a.settled(2, 0)
}

// TestNames: each object has the expected name, and a valid signature.
func TestNames(t *testing.T) {
	const other = "a.bucket-2"
	long := strings.Repeat("0123456789/", 69) // 759 of the 768 bytes that a prefix may have
	prefixes := map[string]string{
		"": "", "/": "", "/a//b/": "a/b/", "..up/.x/...": "..up/.x/.../", "a b + c ": "a b + c /", "ü/日本/🙂": "ü/日本/🙂/", "=&?#%": "=&?#%/",
		"%2F%2e%2e": "%2F%2e%2e/", "'()!*;:@$,": "'()!*;:@$,/", `back\slash`: `back\slash/`, "~-._": "~-._/", "\"<>|^`{}[]": "\"<>|^`{}[]/", long: long,
	}
	g := startGateway(t, bucket, other)
	for _, name := range []string{"hello", `Grüße_1+1=2&a#b%c'(*)~@$,;"`} {
		a := startAgent(t, g.endpoint(), func(a *agent) {
			if a.name = name; name != "hello" {
				a.version = "v-1.0_rc+1"
			}
		})
		for n, prefix := range slices.Sorted(maps.Keys(prefixes)) {
			last, to := a.version, bucket
			if n%2 == 0 {
				last, to = "!prod", other
			}
			a.configure(last, param(to, prefix), "")
			id := a.accept(last, `{}`)
			o := g.object(to, a.key(prefixes[prefix], id))
			require.Contains(t, o.text, `"request_id":"`+id+`"`, "%q", prefix)
			require.Contains(t, o.text, `"function_urn":`+quoted(t, a.urn(a.version)))
		}
		a.settled(len(prefixes), 0)
	}
	t.Logf("%d objects", len(g.keys(bucket))+len(g.keys(other)))
}

// quoted is text in the encoding of an outcome message.
func quoted(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // an outcome message has the characters that a name has
	require.NoError(t, encoder.Encode(text))
	return strings.TrimSuffix(b.String(), "\n")
}

// TestLarge: the largest event, whose result is almost as large.
func TestLarge(t *testing.T) {
	g := startGateway(t, bucket)
	a := startAgent(t, g.endpoint())
	a.configure("latest", param(bucket, ""), "")
	result := `"` + strings.Repeat("x", 256<<10-len(`{"answer":""}`)) + `"`
	event := `{"answer":` + result + `}`
	began := time.Now()
	id := a.accept("latest", event)
	o := g.object(bucket, a.key("", id))
	t.Logf("an event of %d bytes became an object of %d bytes in %s", len(event), len(o.text), time.Since(began).Round(time.Millisecond))
	require.Contains(t, o.text, `"request_payload":`+event+`,"response_context"`)
	require.True(t, strings.HasSuffix(o.text, `"response_payload":`+result+`}`))
}

// TestEndpoint: a certificate, no region, a slash at the end, large letters.
func TestEndpoint(t *testing.T) {
	g := newGateway(t)
	g.region = "us-east-1"
	g.secure()
	g.start()
	g.create(bucket)
	endpoint := g.endpoint()
	endpoint["url"], endpoint["region"] = strings.Replace(g.url(), "localhost", "LocalHost", 1)+"/", ""
	a := startAgent(t, endpoint, func(a *agent) { a.env = []string{"SSL_CERT_FILE=" + g.certificate} })
	a.configure("latest", param(bucket, ""), "")
	g.object(bucket, a.key("", a.accept("latest", `{}`)))
	a.settled(1, 0)
}

// TestRefused: an outcome message that the gateway refuses is retried or dropped. The record does not change.
func TestRefused(t *testing.T) {
	g := startGateway(t, bucket)
	for name, test := range map[string]struct {
		change func(endpoint map[string]string)
		param  string
		error  string
		tries  int // until it was dropped; 0 if it is only looked at until it is tried again
	}{
		"wrong secret": {func(e map[string]string) { e["secret"] = "SKwrong" }, param(bucket, ""), "status 403: SignatureDoesNotMatch", 8},
		"unknown key":  {func(e map[string]string) { e["access"] = "AKunknown" }, param(bucket, ""), "status 403: InvalidAccessKeyId", 0},
		"no keys":      {func(e map[string]string) { e["access"], e["secret"] = "", "" }, param(bucket, ""), "status 403: AccessDenied", 0},
		"wrong region": {func(e map[string]string) { e["region"] = "elsewhere" }, param(bucket, ""), "status 400: AuthorizationHeaderMalformed", 1},
		"bucket":       {func(map[string]string) {}, param("No_Bucket", ""), "status 400: InvalidBucketName", 1},
	} {
		t.Run(name, func(t *testing.T) {
			g, endpoint := g.in(t), g.endpoint()
			address, refusals := hasty(t, g)
			endpoint["url"] = address
			test.change(endpoint)
			a := startAgent(t, endpoint)
			a.configure("latest", test.param, "")
			id := a.accept("latest", `{}`)
			r := a.reaches(id, "SUCCESS")
			text := triedAgain
			if test.tries > 0 {
				text = isDropped
			}
			line := a.waitLogged(text, 1)[0]
			status, code, _ := strings.Cut(test.error, ": ")
			require.Contains(t, line["error"], status)
			require.Contains(t, line["error"], code)
			if test.tries > 0 {
				require.EqualValues(t, test.tries, line["tries"])
				require.EqualValues(t, test.tries, refusals.Load())
				a.settled(0, 1)
			} else {
				a.settled(0, 0)
			}
			require.Equal(t, r, a.record(t, id))
			require.Empty(t, g.keys(bucket))
			if secret := endpoint["secret"]; secret != "" {
				require.NotContains(t, a.proc.Stderr.String(), secret)
			}
		})
	}
}

// TestCorrected: a wrong secret is corrected by a start of the agent with the right one; the outcome message was kept.
func TestCorrected(t *testing.T) {
	g := startGateway(t, bucket)
	wrong := g.endpoint()
	wrong["secret"] = "SKwrong"
	a := startAgent(t, wrong)
	a.configure("latest", param(bucket, ""), "")
	id := a.accept("latest", `{}`)
	r := a.reaches(id, "SUCCESS")
	lines := a.waitLogged(triedAgain, 2)
	require.Equal(t, []any{"1s", "2s"}, []any{lines[0]["delay"], lines[1]["delay"]})
	a.proc.Stop()
	a.start(g.endpoint())
	g.object(bucket, a.key("", id))
	a.settled(1, 0)
	require.Equal(t, r, a.record(t, id))
}

// TestMissingBucket: a bucket that comes late gets its object.
func TestMissingBucket(t *testing.T) {
	g := startGateway(t)
	a := startAgent(t, g.endpoint())
	a.configure("latest", param("late", ""), "")
	id := a.accept("latest", `{}`)
	r := a.reaches(id, "SUCCESS")
	line := a.waitLogged(triedAgain, 1)[0]
	require.Contains(t, line["error"], "status 404")
	require.Contains(t, line["error"], "NoSuchBucket")
	a.settled(0, 0)
	g.create("late")
	g.object("late", a.key("", id))
	a.settled(1, 0)
	require.Equal(t, r, a.record(t, id))
}

// TestAway: a gateway that was down gets the outcome message when it is up again.
func TestAway(t *testing.T) {
	g := startGateway(t, bucket)
	g.proc.Stop()
	a := startAgent(t, g.endpoint())
	a.configure("latest", param(bucket, ""), "")
	id := a.accept("latest", `{}`)
	r := a.reaches(id, "SUCCESS")
	a.waitLogged(triedAgain, 2)
	g.start()
	began := time.Now()
	g.object(bucket, a.key("", id))
	t.Logf("%s after the gateway was up again", time.Since(began).Round(time.Millisecond))
	a.settled(1, 0)
	require.Equal(t, r, a.record(t, id))
}

// TestKilled: the gateway dies twice while many outcome messages are in flight; all of them arrive.
func TestKilled(t *testing.T) {
	const all = 200
	g := startGateway(t, bucket)
	a := startAgent(t, g.endpoint())
	a.configure("latest", param(bucket, ""), "")
	ids, before := make([]string, all), 0
	for n := range all {
		switch n {
		case 60: // away for a while
			require.Eventually(t, func() bool { return g.stored(bucket) >= 20 }, patience, time.Millisecond)
			g.proc.Kill()
			before = g.stored(bucket)
		case 120:
			a.waitLogged(triedAgain, 1)
			require.Equal(t, before, g.stored(bucket))
			g.start()
		case 180: // for a moment
			g.proc.Kill()
			g.start()
		}
		ids[n] = a.accept("latest", fmt.Sprintf(`{"n":%d}`, n))
	}
	began := time.Now()
	for n, id := range ids {
		text := g.object(bucket, a.key("", id)).text
		require.Contains(t, text, fmt.Sprintf(`"request_id":"%s"`, id))
		require.True(t, strings.HasSuffix(text, fmt.Sprintf(`"response_payload":{"got":{"n":%d}}}`, n)), text)
	}
	t.Logf("%d objects before the first kill, all %d %s after the last request; %d tries failed", before, all, time.Since(began).Round(time.Millisecond), len(a.proc.Stderr.Logged(triedAgain)))
	require.Len(t, g.keys(bucket), all)
	a.settled(all, 0)
}

// TestCut: an object that arrived only in part is sent again, whatever the response to the part.
func TestCut(t *testing.T) {
	g := startGateway(t, bucket)
	l := newLine(t, g.addr())
	endpoint := g.endpoint()
	endpoint["url"] = l.url()
	a := startAgent(t, endpoint)
	a.configure("latest", param(bucket, ""), "")
	l.most.Store(100 << 10)
	l.cuts.Store(2)
	id := a.accept("latest", `{"k":"`+strings.Repeat("x", 200<<10)+`"}`)
	line := a.waitLogged(triedAgain, 1)[0]
	t.Logf("of the part the gateway said: %.120s", line["error"])
	g.missing(bucket, a.key("", id))
	o := g.object(bucket, a.key("", id))
	require.True(t, json.Valid([]byte(o.text)))
	a.settled(1, 0)
}

// TestSlow: a gateway that accepts connections and does not respond delays no call, and gets its outcome messages in
// the end.
func TestSlow(t *testing.T) {
	const calls, requests = 200, 40
	g := startGateway(t, bucket)
	l := newLine(t, g.addr())
	endpoint := g.endpoint()
	endpoint["url"] = l.url()
	a := startAgent(t, endpoint)
	a.configure("latest", param(bucket, ""), "")
	measure := func() (median, longest time.Duration) {
		all := make([]time.Duration, calls)
		for n := range all {
			all[n] = a.invoke()
		}
		slices.Sort(all)
		return all[calls/2], all[calls-1]
	}
	a.invoke()
	idle, idleLongest := measure()
	l.hold()
	ids := make([]string, requests)
	for n := range ids {
		ids[n] = a.accept("latest", `{}`)
	}
	for _, id := range ids {
		a.reaches(id, "SUCCESS")
	}
	require.Eventually(t, func() bool { return l.taken.Load() == 4 }, patience, often, "four at a time")
	held, heldLongest := measure()
	t.Logf("%d calls: median %s, longest %s; while the gateway is held: %s, %s", calls, idle, idleLongest, held, heldLongest)
	require.Less(t, heldLongest, 5*time.Second)
	require.EqualValues(t, 4, l.taken.Load())
	require.Zero(t, g.stored(bucket))
	l.release()
	began := time.Now()
	for _, id := range ids {
		g.object(bucket, a.key("", id))
	}
	t.Logf("all %d objects %s after that", requests, time.Since(began).Round(time.Millisecond))
	a.settled(requests, 0)
	require.Empty(t, a.proc.Stderr.Logged(triedAgain))
}
