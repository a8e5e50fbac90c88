package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// gatewayJS and gatewayPy answer with what the header x-answer has, or show the event.
const (
	gatewayJS = `exports.handler = async (event, context) => {
  const asked = event.headers['x-answer'];
  if (asked === 'undefined') return undefined;
  if (asked === 'throw') throw new Error('no luck');
  if (asked === 'hang') return new Promise(() => {});
  if (asked === 'exit') process.exit(3);
  if (asked === 'text') return 'Hello';
  if (asked === 'back') return { statusCode: 200, headers: {}, body: event.body, isBase64Encoded: true };
  if (asked === 'size') return { statusCode: 200, headers: {}, body: String(Buffer.from(event.body, 'base64').length), isBase64Encoded: false };
  if (asked === 'slow') { console.log('slow begins'); await new Promise((r) => setTimeout(r, 500)); }
  if (asked && asked[0] === '{') return JSON.parse(asked);
  return { statusCode: 200, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(event), isBase64Encoded: false };
};`
	gatewayPy = `import base64, json, os, time
def handler(event, context):
    asked = event["headers"].get("x-answer", "")
    if asked == "undefined": return None
    if asked == "throw": raise ValueError("no luck")
    if asked == "hang": time.sleep(3600)
    if asked == "exit": os._exit(3)
    if asked == "text": return "Hello"
    if asked == "back": return {"statusCode": 200, "headers": {}, "body": event["body"], "isBase64Encoded": True}
    if asked == "size": return {"statusCode": 200, "headers": {}, "body": str(len(base64.b64decode(event["body"]))), "isBase64Encoded": False}
    if asked[:1] == "{": return json.loads(asked)
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps(event), "isBase64Encoded": False}
`
)

var gatewayFiles = map[string]map[string]string{"nodejs": {"index.js": gatewayJS}, "python": {"index.py": gatewayPy}}

// gateway starts an agent with the front, and returns its address as well.
func gateway(t *testing.T, files map[string]string, env ...string) (r *running, front string) {
	t.Helper()
	r = start(t, writeFiles(t, files), append([]string{"GANTRY_APIG_ADDR=127.0.0.1:0", "RUNTIME_TIMEOUT=20"}, env...)...)
	return r, frontOf(r)
}

func frontOf(r *running) string {
	r.t.Helper()
	lines := r.stderr.Logged("listening")
	return "http://" + lines[len(lines)-1]["apig"].(string)
}

// apigEvent is what the function got.
type apigEvent struct {
	Body           string            `json:"body"`
	Context        map[string]string `json:"requestContext"`
	Query          map[string]string `json:"queryStringParameters"`
	Method         string            `json:"httpMethod"`
	PathParameters map[string]string `json:"pathParameters"`
	Headers        map[string]string `json:"headers"`
	Path           string            `json:"path"`
	Encoded        bool              `json:"isBase64Encoded"`
}

func readEvent(t *testing.T, a answer) (e apigEvent) {
	t.Helper()
	require.Equal(t, 200, a.status, a.body)
	decoder := json.NewDecoder(strings.NewReader(a.body))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&e), a.body)
	return e
}

// TestFrontMakesTheEventOfAPIGateway: in each language the function gets every part of the request.
func TestFrontMakesTheEventOfAPIGateway(t *testing.T) {
	t.Parallel()
	for language, files := range gatewayFiles {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			r, front := gateway(t, files)
			a := r.rawTo(front, "POST /a%20b//../c?x=1&x=2&y=%C3%BC+z HTTP/1.1\r\nHost: localhost:1\r\nX-A: 1\r\nx-a: 2\r\nCookie: a=1\r\n"+
				"Connection: X-Hop\r\nX-Hop: 1\r\nX-CFF-Request-Id: mine\r\nContent-Length: 3\r\n\r\n\x00\xffx")
			e := readEvent(t, a)
			require.Equal(t, base64.StdEncoding.EncodeToString([]byte("\x00\xffx")), e.Body)
			require.True(t, e.Encoded)
			require.Equal(t, []string{"POST", "/a%20b//../c"}, []string{e.Method, e.Path})
			require.Equal(t, map[string]string{"x": "1,2", "y": "ü z"}, e.Query)
			require.Equal(t, map[string]string{"": "a%20b//../c"}, e.PathParameters)
			require.Equal(t, "RELEASE", e.Context["stage"])
			require.Equal(t, "127.0.0.1", e.Context["sourceIp"])
			require.Len(t, e.Context["apiId"], 32)
			require.Equal(t, a.header.Get("X-Cff-Request-Id"), e.Context["requestId"])
			require.Equal(t, map[string]string{
				"host": "localhost:1", "x-a": "1, 2", "cookie": "a=1", "x-cff-request-id": "mine", "content-length": "3",
				"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http", "x-real-ip": "127.0.0.1",
				"x-forwarded-port": front[strings.LastIndexByte(front, ':')+1:],
			}, e.Headers)
			r.stdout.WaitFor(t, a.header.Get("X-Cff-Request-Id"))

			e = readEvent(t, r.request("GET", front+"/", ""))
			require.Equal(t, apigEvent{Method: "GET", Path: "/", Encoded: true}, apigEvent{
				Method: e.Method, Path: e.Path, Encoded: e.Encoded, Body: e.Body,
			})
			require.Empty(t, e.PathParameters)
			require.Empty(t, e.Query)
		})
	}
}

// TestFrontMakesHTTPOfTheAnswer: statuses, headers, cookies, binary bodies, and answers without a body.
func TestFrontMakesHTTPOfTheAnswer(t *testing.T) {
	t.Parallel()
	for language, files := range gatewayFiles {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			r, front := gateway(t, files)
			as := func(method, text string) answer { return r.request(method, front+"/", "", "X-Answer: "+text) }
			a := as("GET", `{"statusCode":418,"headers":{"x-a":"1","Set-Cookie":["a=1; Path=/","b=2"],"content-length":"1","Connection":"close, X-A","Transfer-Encoding":"x","Content-Type":"text/html"},"body":"<p>ü","isBase64Encoded":false}`)
			require.Equal(t, 418, a.status)
			require.Equal(t, "<p>ü", a.body)
			require.Equal(t, []string{"a=1; Path=/", "b=2"}, a.header["Set-Cookie"])
			require.Equal(t, []string{"1", "text/html", "5"}, []string{a.header.Get("X-A"), a.header.Get("Content-Type"), a.header.Get("Content-Length")})
			require.Equal(t, []string{"0", "false"}, []string{a.header.Get("X-Func-Err-Code"), a.header.Get("X-Is-Func-Err")})
			require.NotEmpty(t, a.header.Get("X-Cff-Invoke-Summary"))
			require.Equal(t, a.header.Get("X-Cff-Request-Id"), a.header.Get("X-Request-Id"))
			a = as("GET", `{"statusCode":200,"headers":{"x-request-id":"own","X-Cff-Request-Id":"own"},"body":"","isBase64Encoded":false}`)
			require.Equal(t, []string{"own"}, a.header["X-Request-Id"])
			require.Len(t, a.header.Get("X-Cff-Request-Id"), 36, "which no function chooses")
			for _, status := range []int{204, 205, 304} {
				a = as("GET", fmt.Sprintf(`{"statusCode":%d,"headers":{"ETag":"x"},"body":"left out","isBase64Encoded":false}`, status))
				require.Equal(t, status, a.status)
				require.Empty(t, a.body)
				require.Equal(t, "x", a.header.Get("Etag"))
			}
			a = as("HEAD", `{"statusCode":200,"headers":{"Content-Length":"9999"},"body":"four","isBase64Encoded":false}`)
			require.Empty(t, a.body)
			require.Equal(t, "4", a.header.Get("Content-Length"))
			a = r.rawTo(front, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Answer: "+
				`{"statusCode":302,"headers":{"Location":"/ü x"},"body":null,"isBase64Encoded":false}`+"\r\n\r\n")
			require.Equal(t, []string{"302", "/ü x", ""}, []string{fmt.Sprint(a.status), a.header.Get("Location"), a.body})
		})
	}
}

// TestFrontCarriesBodiesOfUpTo6MB: both ways, byte for byte; the answer's limit is that of the result.
func TestFrontCarriesBodiesOfUpTo6MB(t *testing.T) {
	t.Parallel()
	for language, files := range gatewayFiles {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			r, front := gateway(t, files)
			body := make([]byte, 6<<20)
			rand.New(rand.NewSource(1)).Read(body)
			for _, size := range []int{0, 1, 4096, 4097, 70000, 4 << 20} {
				a := r.request("PUT", front+"/up?load", string(body[:size]), "X-Answer: back")
				require.Equal(t, 200, a.status, "%d: %.300s", size, a.body)
				require.True(t, string(body[:size]) == a.body, "%d bytes come back as they were sent", size)
			}
			a := r.request("PUT", front+"/", string(body), "X-Answer: size")
			require.Equal(t, "6291456", a.body)
			a = r.request("PUT", front+"/", string(body), "X-Answer: back")
			require.Equal(t, 500, a.status)
			require.Equal(t, "4004", a.header.Get("X-Func-Err-Code"))
			a = r.rawTo(front, rawPost("/", string(body)+"x"))
			require.Equal(t, 413, a.status)
			r.stderr.WaitFor(t, "a request is over the limit of API Gateway")
			chunks := "POST / HTTP/1.1\r\nHost: localhost\r\nX-Answer: size\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
			require.Equal(t, "5", r.rawTo(front, chunks).body)
		})
	}
}

// refusal is the body of the gateway's own errors.
type refusal struct {
	Code    string `json:"error_code"`
	Message string `json:"error_msg"`
	ID      string `json:"request_id"`
	Hint    string `json:"hint"`
}

func readRefusal(t *testing.T, a answer, status int, code string) (f refusal) {
	t.Helper()
	require.Equal(t, status, a.status, a.body)
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
	require.NoError(t, json.Unmarshal([]byte(a.body), &f), a.body)
	require.Equal(t, code, f.Code)
	require.Equal(t, a.header.Get("X-Cff-Request-Id"), f.ID)
	return f
}

// TestFrontNamesWhatIsWrongWithAnAnswer: the caller gets 500 and FSS.1202; local ones, and the log, learn the member
// and what to write.
func TestFrontNamesWhatIsWrongWithAnAnswer(t *testing.T) {
	t.Parallel()
	for language, files := range gatewayFiles {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			r, front := gateway(t, files)
			falsehood := map[string]string{"nodejs": "false", "python": "False"}[language]
			for text, want := range map[string][2]string{
				"text":      {`the answer is text, "Hello"`, `{"statusCode": 200, "headers": {}, "body": "Hello", "isBase64Encoded": ` + falsehood + "}"},
				"undefined": {`the answer is empty`, `"body": ""`},
				`{"body":"x","headers":{},"isBase64Encoded":false}`: {"statusCode is missing", `"statusCode": 200`},
				`{"statusCode":99}`:                              {"statusCode is the number 99", `"statusCode": 200`},
				`{"statusCode":1000}`:                            {"statusCode is the number 1000", `"statusCode": 200`},
				`{"statusCode":200,"body":5}`:                    {"body is the number 5, and has to be a string", `"body": "5"`},
				`{"statusCode":200,"headers":{"a":"b\r\nc: d"}}`: {"headers: a has a line end in its value", `"headers": {"a": "b c: d"}`},
				`{"statusCode":200,"headers":{"a":true}}`:        {"headers: a is true, and has to be a string", `"headers": {"a": "true"}`},
				`{"statusCode":200,"headers":{},"body":"no base64","isBase64Encoded":true}`:   {"isBase64Encoded is true, and body is no Base64", `"isBase64Encoded": ` + falsehood},
				`{"statusCode":200,"headers":{},"body":"bm8=","isBase64Encoded":"certainly"}`: {`isBase64Encoded is "certainly"`, `"isBase64Encoded": ` + falsehood},
			} {
				f := readRefusal(t, r.request("GET", front+"/", "", "X-Answer: "+text), 500, "FSS.1202")
				require.Contains(t, f.Hint, want[0], text)
				require.Contains(t, f.Hint, want[1], text)
				logged := waitLogged(t, r, f.ID)
				require.Contains(t, logged["problem"], want[0])
				require.Contains(t, logged["write"], want[1])
			}
			page := r.request("GET", front+"/", "", "X-Answer: text", "Accept: text/html,application/xhtml+xml;q=0.9")
			require.Equal(t, 500, page.status)
			require.Equal(t, "text/html; charset=utf-8", page.header.Get("Content-Type"))
			require.Contains(t, page.body, "The answer is text, &#34;Hello&#34;")
			require.Contains(t, page.body, "&#34;isBase64Encoded&#34;: "+falsehood)
			for _, other := range []string{"X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1"} { // a proxy in between
				f := readRefusal(t, r.request("GET", front+"/", "", "X-Answer: text", "Accept: text/html", other), 500, "FSS.1202")
				require.Empty(t, f.Hint)
				require.NotContains(t, f.Message, "Hello")
			}
			r.request("GET", front+"/", "", `X-Answer: {"statusCode":200,"multiValueHeaders":{"a":["b"]}}`)
			r.stderr.WaitFor(t, `"unknown": ["multiValueHeaders"]`)
			r.stderr.WaitFor(t, `"missing": ["headers", "body", "isBase64Encoded"]`)
			r.request("GET", front+"/", "", `X-Answer: {"statusCode":200}`)
			require.Equal(t, 500, r.request("GET", front+"/", "", "X-Answer: text").status)
			require.Len(t, r.stderr.Logged("an answer may not work on the platform: API Gateway takes statusCode, headers of strings, "+
				"body and isBase64Encoded; what is missing counts as empty, and what is unknown is left out"), 1, "not for each call")
		})
	}
}

// waitLogged waits for the line about the answer of a call.
func waitLogged(t *testing.T, r *running, id string) (line map[string]any) {
	t.Helper()
	r.stderr.WaitFor(t, id)
	for _, line := range r.stderr.Logged("the function's answer is not one that API Gateway can use, and the caller got 500 FSS.1202") {
		if line["request_id"] == id {
			return line
		}
	}
	t.Fatalf("no line for %s", id)
	return nil
}

// TestFrontAnswersAsTheFunctionListenerWhereACallFails: status, code and body are the same.
func TestFrontAnswersAsTheFunctionListenerWhereACallFails(t *testing.T) {
	t.Parallel()
	for language, files := range gatewayFiles {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			r, front := gateway(t, files, "RUNTIME_TIMEOUT=2")
			for how, want := range map[string][2]string{"throw": {"500", "4002"}, "exit": {"502", "4204"}, "hang": {"504", "4010"}} {
				a := r.request("GET", front+"/", "", "X-Answer: "+how)
				require.Equal(t, want, [2]string{fmt.Sprint(a.status), a.header.Get("X-Func-Err-Code")}, a.body)
				require.Equal(t, "true", a.header.Get("X-Is-Func-Err"))
				direct := r.invoke(fmt.Sprintf(`{"headers":{"x-answer":%q}}`, how))
				require.Equal(t, direct.status, a.status)
				require.Equal(t, direct.header.Get("Content-Type"), a.header.Get("Content-Type"))
			}
			require.Equal(t, 200, r.request("GET", front+"/", "").status)
		})
	}
}

// TestFrontRefusesWhatIsNoRequestForIt: other hosts, targets that are no path, framing.
func TestFrontRefusesWhatIsNoRequestForIt(t *testing.T) {
	t.Parallel()
	r, front := gateway(t, gatewayFiles["nodejs"])
	a := r.request("GET", front+"/", "", "Host: evil.example")
	require.Equal(t, 403, a.status)
	require.Contains(t, a.body, "GANTRY_APIG_ADDR")
	for _, request := range []string{
		"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		require.Equal(t, 400, r.rawTo(front, request).status, request)
	}
}

// TestFrontFinishesCallsWhenTheAgentStops: and takes no more.
func TestFrontFinishesCallsWhenTheAgentStops(t *testing.T) {
	t.Parallel()
	r, front := gateway(t, gatewayFiles["nodejs"])
	var calls sync.WaitGroup
	calls.Go(func() {
		req, err := http.NewRequest("GET", front+"/", nil)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("X-Answer", "slow")
		if a, err := do(req); err != nil || a.status != 200 {
			t.Errorf("%v %+v", err, a)
		}
	})
	r.stdout.WaitFor(t, "slow begins")
	r.signal(syscall.SIGTERM)
	calls.Wait()
	require.Equal(t, 0, r.wait())
}

// TestFrontKeepsCallsAtOnceApart: each request has its own answer, on kept connections.
func TestFrontKeepsCallsAtOnceApart(t *testing.T) {
	t.Parallel()
	r, front := gateway(t, gatewayFiles["nodejs"], "GANTRY_CONCURRENCY=8")
	var calls sync.WaitGroup
	for caller := range 8 {
		calls.Go(func() {
			for n := range 25 {
				target := fmt.Sprintf("/caller/%d?n=%d&pad=%s", caller, n, strings.Repeat("x", 50*n))
				body := strings.Repeat("b", 997*n)
				req, err := http.NewRequest("POST", front+target, strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				a, err := do(req)
				var e apigEvent
				if err != nil || json.Unmarshal([]byte(a.body), &e) != nil {
					t.Errorf("%v %+v", err, a)
					return
				}
				got, err := base64.StdEncoding.DecodeString(e.Body)
				if err != nil || string(got) != body || e.Path != fmt.Sprintf("/caller/%d", caller) || e.Query["n"] != fmt.Sprint(n) ||
					e.Headers["content-length"] != fmt.Sprint(len(body)) && n > 0 {
					t.Errorf("%s: %.300s", target, a.body)
				}
			}
		})
	}
	calls.Wait()
	require.Equal(t, 200, r.ready().status)
}

// TestFrontAnswersHeadAndEmptyAnswersOnOneConnection: what follows an answer without a body is the next answer.
func TestFrontAnswersHeadAndEmptyAnswersOnOneConnection(t *testing.T) {
	t.Parallel()
	r, front := gateway(t, gatewayFiles["nodejs"])
	conn := connect(t, &running{t: t, url: front})
	reader := bufio.NewReader(conn)
	for _, method := range []string{"HEAD", "GET"} {
		for _, status := range []int{204, 304, 200, 404} {
			_, err := fmt.Fprintf(conn, "%s / HTTP/1.1\r\nHost: localhost\r\nX-Answer: {\"statusCode\":%d,\"body\":\"%d\"}\r\n\r\n", method, status, status)
			require.NoError(t, err)
			resp, err := http.ReadResponse(reader, &http.Request{Method: method})
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, status, resp.StatusCode)
			if method == "GET" && (status == 200 || status == 404) {
				require.Equal(t, fmt.Sprint(status), string(body))
			} else {
				require.Empty(t, body)
			}
		}
	}
	require.Equal(t, 200, r.ready().status)
}
