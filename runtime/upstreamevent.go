package runtime

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/fault"
	"net/url"
	"sort"
	"strings"

	"github.com/valyala/fasthttp"
)

// gatewayEvent is the event of API Gateway (page functiongraph_01_0204): a request.
type gatewayEvent struct {
	Method    string              `json:"httpMethod"`
	Path      string              `json:"path"`
	Query     map[string]oneOrAll `json:"queryStringParameters"`
	Headers   map[string]oneOrAll `json:"headers"`
	Body      *string             `json:"body"`
	IsEncoded bool                `json:"isBase64Encoded"`
	Context   struct {
		API       string `json:"apiId"`
		RequestID string `json:"requestId"`
		Stage     string `json:"stage"`
		SourceIP  string `json:"sourceIp"`
	} `json:"requestContext"`
}

// oneOrAll is a value, or a list of them.
type oneOrAll []string

// UnmarshalJSON implements json.Unmarshaler.
func (o *oneOrAll) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '[' {
		return json.Unmarshal(text, (*[]string)(o))
	}
	var one string
	if err := json.Unmarshal(text, &one); err != nil {
		return err
	}
	*o = oneOrAll{one}
	return nil
}

// readGatewayEvent makes the request that an event describes.
func readGatewayEvent(event []byte, req *fasthttp.Request) error {
	var e gatewayEvent
	if err := json.Unmarshal(event, &e); err != nil {
		return wrongEvent(err)
	}
	if e.Method == "" || !strings.HasPrefix(e.Path, "/") {
		return wrongEvent(errors.New(`"httpMethod" is missing, or "path" does not begin with "/"`))
	}
	if strings.ContainsFunc(e.Method, func(r rune) bool { return r < 'A' || r > 'Z' }) {
		return wrongEvent(fmt.Errorf("httpMethod is %.20q, want capital letters", e.Method))
	}
	target := escapePath(e.Path)
	if query := encodeQuery(e.Query); query != "" {
		target += "?" + query
	}
	req.Header.SetMethod(e.Method)
	req.Header.SetHost("localhost")
	for name, values := range e.Headers {
		switch strings.ToLower(name) {
		case "content-length", "transfer-encoding": // of the request that API Gateway had
			continue
		case "host":
			req.Header.SetHost(first(values))
			continue
		}
		if isPlatformName([]byte(name)) {
			continue
		}
		if strings.ContainsAny(name, "\r\n: ") || strings.ContainsAny(strings.Join(values, ""), "\r\n\x00") {
			return wrongEvent(fmt.Errorf("the header %.50q has characters that no header can have", name))
		}
		for _, value := range values {
			req.Header.Add(name, value)
		}
	}
	for name, value := range map[string]string{
		"X-Apig-Api-Id": e.Context.API, "X-Apig-Request-Id": e.Context.RequestID,
		"X-Apig-Source-Ip": e.Context.SourceIP, "X-Apig-Source-Stage": e.Context.Stage,
	} {
		if value != "" && !strings.ContainsAny(value, "\r\n\x00") {
			req.Header.Set(name, value)
		}
	}
	req.Header.SetRequestURI(target)
	return setEventBody(&e, req)
}

func setEventBody(e *gatewayEvent, req *fasthttp.Request) error {
	if e.Body == nil || *e.Body == "" {
		return nil
	}
	if len(req.Header.ContentType()) == 0 {
		req.Header.SetContentType("application/octet-stream")
	}
	if !e.IsEncoded {
		req.SetBodyString(*e.Body)
		return nil
	}
	body, err := base64.StdEncoding.DecodeString(*e.Body)
	if err != nil {
		return wrongEvent(fmt.Errorf("isBase64Encoded is true, and body is not Base64: %w", err))
	}
	req.SetBodyRaw(body)
	return nil
}

func wrongEvent(err error) *fault.Error {
	f := &fault.Error{
		Kind: fault.Event, Type: "EventError", Code: fault.CodeInvocation,
		Message: "an HTTP function is called with an event of API Gateway: " + err.Error(),
		Hint: `send a request to the function listener, or an event like {"httpMethod":"GET","path":"/","headers":{},` +
			`"queryStringParameters":{},"body":"","isBase64Encoded":false}`,
	}
	f.Body = fmt.Appendf(nil, "{\n    \"errorMessage\": %q,\n    \"errorType\": %q\n}", f.Message, f.Type)
	return f
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// escapePath keeps a path as it is but for characters that no request line can have.
func escapePath(path string) string {
	var b strings.Builder
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c >= 0x7f || c == '?' || c == '#' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func encodeQuery(query map[string]oneOrAll) string {
	names := make([]string, 0, len(query))
	for name := range query {
		names = append(names, name)
	}
	sort.Strings(names)
	var parts []string
	for _, name := range names {
		for _, value := range query[name] {
			parts = append(parts, url.QueryEscape(name)+"="+url.QueryEscape(value))
		}
	}
	return strings.Join(parts, "&")
}

// gatewayResult wraps an answer as the platform does for API Gateway.
func gatewayResult(resp *fasthttp.Response, limit int) (Result, error) {
	headers := map[string][]string{}
	for name, value := range resp.Header.All() {
		headers[string(name)] = append(headers[string(name)], string(value))
	}
	body, err := json.Marshal(struct {
		Body    string              `json:"body"`
		Headers map[string][]string `json:"headers"`
		Status  int                 `json:"statusCode"`
		Encoded bool                `json:"isBase64Encoded"`
	}{base64.StdEncoding.EncodeToString(resp.Body()), headers, resp.StatusCode(), true})
	switch {
	case err != nil:
		return Result{}, fault.From(err)
	case len(body) > limit+limit/2: // the limit is that of the answer's own body
		return Result{}, tooLargeFault(len(body), limit)
	}
	return Result{Body: body}, nil
}
