package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/agent"
	"gantry/api"
	"gantry/auth"
	"gantry/extension"
	"gantry/files"
	"gantry/settings"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	fncontext "gantry/context"
)

// client calls the platform API of a running agent, with address and keys from the agent's own settings.
type client struct {
	base, path     string // of the function
	asked          string // which function that is, and why
	guessed        bool   // it is only the working folder's name: the agent is asked which one it serves
	access, secret string // empty without authentication
	http           *fasthttp.Client
	limit          time.Duration // of one call
}

// newClient builds the client; to replaces the address.
func (p *program) newClient(c *settings.Config, to string) (*client, error) {
	// It may run beside the function, as the same user, and reads the users' keys.
	if err := p.conceal(); err != nil {
		return nil, err
	}
	p.printUnknown(c)
	addr := cmp.Or(c.API.Addr, settings.DefaultAPIAddr)
	scheme := "http"
	if c.API.Cert != "" {
		scheme = "https"
	}
	if to != "" {
		if s, rest, ok := strings.Cut(to, "://"); ok {
			scheme, to = s, rest
		}
		addr = strings.TrimRight(to, "/")
	}
	a := &client{
		base:  scheme + "://" + agent.Reachable(addr),
		path:  functionPath(c.Function.Project, c.Function.URN()),
		limit: time.Minute,
		http: &fasthttp.Client{
			MaxResponseBodySize:    16 << 20,
			ReadTimeout:            time.Minute,
			WriteTimeout:           time.Minute,
			DisablePathNormalizing: true,
		},
	}
	a.guessed = c.NameGuessed
	a.asked = fmt.Sprintf("asked for %s, whose name is %s; --name or --code sets another", c.Function.URN(), c.NameFrom)
	if c.API.Cert != "" {
		text, err := files.Read(c.API.Cert, 1<<20)
		if err != nil {
			return nil, fmt.Errorf("GANTRY_API_TLS_CERT: %w", err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		roots.AppendCertsFromPEM(text) // the agent's own, signed by any authority
		a.http.TLSConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	if c.API.UsersFile == "" {
		return a, nil
	}
	var err error
	if a.access, a.secret, err = auth.AnyKey(c.API.UsersFile, auth.InvokeAsync); err != nil {
		return nil, fmt.Errorf("GANTRY_API_USERS_FILE: %w", err)
	}
	return a, nil
}

// call sends one request for the function; route is what follows its URN. A refusal is an error with the API's words.
// Where no setting names the function it is the one that the agent serves.
func (a *client) call(method, route, query string, body []byte) ([]byte, error) {
	text, served, err := a.send(method, route, query, body)
	if err != nil && a.guessed && served != "" {
		urn, parseErr := fncontext.ParseURN(served)
		if parseErr != nil {
			return nil, errors.Join(err, parseErr)
		}
		a.guessed, a.path = false, functionPath(urn.Project, served)
		text, _, err = a.send(method, route, query, body)
	}
	return text, err
}

func functionPath(project, urn string) string { return "/v2/" + project + "/fgs/functions/" + urn }

// send is call for the function that a.path names. served is the one that the agent serves, if it is another one and
// the agent says so.
func (a *client) send(method, route, query string, body []byte) (text []byte, served string, err error) {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	target := a.path + route
	req.URI().DisablePathNormalizing = true
	req.SetRequestURI(a.base + target + "?" + query)
	req.Header.SetMethod(method)
	req.Header.SetContentType("application/json")
	req.SetBody(body)
	if a.access != "" {
		date, header, err := auth.Sign(
			&auth.Request{Method: method, Path: []byte(target), Query: []byte(query), Body: body},
			a.access,
			a.secret,
			time.Now(),
		)
		if err != nil {
			return nil, "", err
		}
		req.Header.Set("X-Sdk-Date", date)
		req.Header.Set("Authorization", header)
	}
	if err := a.http.DoTimeout(req, resp, a.limit); err != nil {
		return nil, "", fmt.Errorf("%s does not answer: %s", a.base, extension.NoAnswer(err))
	}
	if status := resp.StatusCode(); status < 200 || status > 299 {
		var refusal struct {
			Code    string `json:"error_code"`
			Message string `json:"error_msg"`
		}
		if json.Unmarshal(resp.Body(), &refusal) != nil || refusal.Message == "" {
			return nil, "", fmt.Errorf("%s answers %d: %.300q", a.base, status, resp.Body())
		}
		if status == fasthttp.StatusNotFound {
			refusal.Message += "; " + a.asked
		}
		return nil, string(resp.Header.Peek(api.HeaderServed)), errors.New(refusal.Code + ": " + refusal.Message)
	}
	return append([]byte(nil), resp.Body()...), "", nil
}

var errNotReady = errors.New("not ready")
