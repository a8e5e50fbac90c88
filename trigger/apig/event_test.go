package apig

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// decoded is an event as a function sees it.
type decoded struct {
	Body           string            `json:"body"`
	Context        map[string]string `json:"requestContext"`
	Query          map[string]string `json:"queryStringParameters"`
	Method         string            `json:"httpMethod"`
	PathParameters map[string]string `json:"pathParameters"`
	Headers        map[string]string `json:"headers"`
	Path           string            `json:"path"`
	Encoded        bool              `json:"isBase64Encoded"`
}

func eventOf(t testing.TB, r *Request, fields ...string) (d decoded) {
	t.Helper()
	var e Events
	e.Begin()
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		e.Add([]byte(name), []byte(value))
	}
	text := e.Append(nil, r)
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&d), "%s", text)
	return d
}

func TestEventHasEverythingOfTheRequest(t *testing.T) {
	d := eventOf(t, &Request{
		Method: []byte("POST"), Path: []byte("/a%20b//../c"), Query: []byte("x=1&y=%C3%BC+z"), Body: []byte("h\x00\xff"),
		Params: []Field{{[]byte("id"), []byte("ü")}, {nil, []byte("rest/of it")}},
		APIID:  "api", ID: "id", Source: "192.0.2.1", Port: "8093",
	}, "Host: h.example", "X-A: 1", "x-a: 2", "Cookie: a=1", "cookie: b=2", "Content-Length: 3", "X-Forwarded-Proto: https",
		"X-Forwarded-For: 198.51.100.7", "X-Real-IP: 203.0.113.9")
	require.Equal(t, decoded{
		Body: base64.StdEncoding.EncodeToString([]byte("h\x00\xff")), Encoded: true,
		Context: map[string]string{"apiId": "api", "requestId": "id", "stage": "RELEASE", "sourceIp": "192.0.2.1"},
		Query:   map[string]string{"x": "1", "y": "ü z"}, Method: "POST", Path: "/a%20b//../c",
		PathParameters: map[string]string{"id": "ü", "": "rest/of it"},
		Headers: map[string]string{
			"host": "h.example", "x-a": "1, 2", "cookie": "a=1; b=2", "content-length": "3", "x-forwarded-proto": "https",
			"x-forwarded-for": "198.51.100.7, 192.0.2.1", "x-real-ip": "192.0.2.1", "x-forwarded-port": "8093",
		},
	}, d)
}

func TestEventOfABareRequestHasEmptyMembers(t *testing.T) {
	var e Events
	text := string(e.Append(nil, &Request{Method: []byte("GET"), Path: []byte("/"), Source: "::1", Port: "1"}))
	require.Contains(t, text, `{"body":"",`)
	require.Contains(t, text, `"queryStringParameters":{},"httpMethod":"GET","pathParameters":{},"headers":{`)
	require.Contains(t, text, `,"path":"/","isBase64Encoded":true}`)
}

func TestEventLeavesOutWhatConcernsTheConnection(t *testing.T) {
	d := eventOf(t, &Request{}, "Connection: keep-alive, X-Gone, Host", "X-Gone: 1", "Host: h", "Keep-Alive: 5", "TE: trailers",
		"Upgrade: websocket", "Transfer-Encoding: chunked", "Expect: 100-continue", "Trailer: x", "Proxy-Authorization: secret",
		"X-Stays: 1")
	for _, name := range []string{"x-forwarded-for", "x-forwarded-port", "x-forwarded-proto", "x-real-ip"} {
		require.Contains(t, d.Headers, name)
		delete(d.Headers, name)
	}
	require.Equal(t, map[string]string{"host": "h", "x-stays": "1"}, d.Headers)
}

func TestQueryIsDecodedAndValuesAreJoined(t *testing.T) {
	for query, want := range map[string]map[string]string{
		"":                      {},
		"&&":                    {},
		"a":                     {"a": ""},
		"a=":                    {"a": ""},
		"=v":                    {"": "v"},
		"a=1&a=2&b=3&a=":        {"a": "1,2,", "b": "3"},
		"a=b=c":                 {"a": "b=c"},
		"q=%zz%4&r=%":           {"q": "%zz%4", "r": "%"},
		"%C3%BC=%2B+%26%3D":     {"ü": "+ &="},
		"x=%ff":                 {"x": "\ufffd"},
		"a[]=1&a[]=2&{}=\"\\\"": {"a[]": "1,2", "{}": `"\"`},
	} {
		require.Equal(t, want, eventOf(t, &Request{Query: []byte(query)}).Query, query)
	}
}

func TestManyFieldsAndParametersAreGatheredByName(t *testing.T) {
	var fields, query []string
	for i := range 3000 {
		fields = append(fields, fmt.Sprintf("X-%d: %d", i%1000, i))
		query = append(query, fmt.Sprintf("p%d=%d", i%1000, i))
	}
	d := eventOf(t, &Request{Query: []byte(strings.Join(query, "&"))}, append(fields, "Connection: X-7")...)
	require.Len(t, d.Query, 1000)
	require.Len(t, d.Headers, 1000-1+4)
	require.Equal(t, "999,1999,2999", d.Query["p999"])
	require.Equal(t, "42, 1042, 2042", d.Headers["x-42"])
}

// TestEventsAreUsedAgainWithoutWhatWasBefore: one request must not see another one's.
func TestEventsAreUsedAgainWithoutWhatWasBefore(t *testing.T) {
	var e Events
	e.Begin()
	e.Add([]byte("X-Secret"), []byte("1"))
	e.Add([]byte("Connection"), []byte("x-mine"))
	e.Append(nil, &Request{Query: []byte("secret=%41")})
	e.Begin()
	e.Add([]byte("X-Mine"), []byte("2"))
	text := string(e.Append(nil, &Request{}))
	require.NotContains(t, strings.ToLower(text), "secret")
	require.Contains(t, text, `"x-mine":"2"`)
}

func FuzzEventIsAlwaysJSONOfTheSameRequest(f *testing.F) {
	f.Add("GET", "/a", "x=1&x=%zz", "X-A", "v", []byte("body"))
	f.Add("\"\\", "/\xff\u2028", "a\x00=\n", "Connection", "x-a, \xff", []byte{0})
	f.Fuzz(func(t *testing.T, method, path, query, name, value string, body []byte) {
		d := eventOf(t, &Request{Method: []byte(method), Path: []byte(path), Query: []byte(query), Body: body},
			name+": "+value, "X-Other: 1")
		got, err := base64.StdEncoding.DecodeString(d.Body)
		require.NoError(t, err)
		require.Equal(t, string(body), string(got))
		require.Equal(t, strings.ToValidUTF8(path, "\ufffd") == path, d.Path == path)
	})
}

func BenchmarkEvent(b *testing.B) {
	var e Events
	var buf []byte
	for b.Loop() {
		e.Begin()
		for _, f := range [][2]string{{"Host", "localhost:8093"}, {"User-Agent", "wrk"}, {"Content-Type", "application/json"}, {"Content-Length", "12"}} {
			e.Add([]byte(f[0]), []byte(f[1]))
		}
		buf = e.Append(buf[:0], &Request{Method: []byte("POST"), Path: []byte("/"), Body: []byte(`{"name":"x"}`), Source: "127.0.0.1", Port: "8093"})
	}
}

// TestNamesThatConnectionListsAreDroppedInOnePass: what a caller can name in one request must not cost its square.
func TestNamesThatConnectionListsAreDroppedInOnePass(t *testing.T) {
	const n = 1000
	listed := make([]string, n)
	fields := []string{"x-kept: 1"}
	for i := range listed {
		listed[i] = fmt.Sprint("x-", i)
		fields = append(fields, listed[i]+": v")
	}
	fields = append(fields, "connection: "+strings.Join(listed, ","))
	d := eventOf(t, &Request{}, fields...)
	require.Equal(t, "1", d.Headers["x-kept"])
	for _, name := range listed {
		require.NotContains(t, d.Headers, name)
	}
	var e Events
	allocated := testing.AllocsPerRun(1, func() {
		e.Begin()
		for _, field := range fields {
			name, value, _ := strings.Cut(field, ": ")
			e.Add([]byte(name), []byte(value))
		}
		e.Append(nil, &Request{})
	})
	require.Less(t, allocated, float64(20*n))
}
