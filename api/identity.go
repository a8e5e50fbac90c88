package api

import (
	"encoding/json"
	"errors"
	"gantry/auth"
	"gantry/fault"

	"github.com/valyala/fasthttp"
)

// The part of IAM that callers of the platform API need: tokens for a password, and the project of a region. The bodies
// are those of the platform (docs/COMPATIBILITY.md).

// timeMicros is how IAM writes times.
const timeMicros = "2006-01-02T15:04:05.000000Z"

const headerSubjectToken = "X-Subject-Token"

// named is a thing with an id or a name, as requests give it.
type named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// loginBody is the body of POST /v3/auth/tokens.
type loginBody struct {
	Auth struct {
		Identity struct {
			Methods  []string `json:"methods"`
			Password struct {
				User struct {
					named
					Password string `json:"password"`
					Domain   named  `json:"domain"`
				} `json:"user"`
			} `json:"password"`
		} `json:"identity"`
		Scope struct {
			Project *named `json:"project"`
			Domain  *named `json:"domain"`
		} `json:"scope"`
	} `json:"auth"`
}

func (b *loginBody) login() (*auth.Login, error) {
	identity, scope := &b.Auth.Identity, &b.Auth.Scope
	u := &identity.Password.User
	switch {
	case len(identity.Methods) != 1 || identity.Methods[0] != "password":
		return nil, errors.New(`auth.identity.methods must be ["password"]`)
	case u.named == named{} || u.Password == "":
		return nil, errors.New("auth.identity.password.user needs a name or an id, and a password")
	case scope.Project != nil && *scope.Project == named{}:
		return nil, errors.New("auth.scope.project needs a name or an id")
	case scope.Domain != nil && *scope.Domain == named{}:
		return nil, errors.New("auth.scope.domain needs a name or an id")
	}
	l := &auth.Login{User: auth.Named(u.named), Domain: auth.Named(u.Domain), Password: u.Password}
	if scope.Project != nil {
		l.Project = auth.Named(*scope.Project)
	}
	if scope.Domain != nil {
		l.ForDomain = auth.Named(*scope.Domain)
	}
	return l, nil
}

// createToken is POST /v3/auth/tokens. The token is in the header, not in the body.
func (p *platformAPI) createToken(x *exchange) {
	var body loginBody
	login, err := (*auth.Login)(nil), json.Unmarshal(x.ctx.Request.Body(), &body)
	if err != nil {
		err = errors.New(
			`the body is not JSON of the form {"auth":{"identity":{"methods":["password"],"password":{"user":{"name":…,"password":…,"domain":{"name":…}}}},"scope":{"project":{"name":…}}}}`,
		)
	} else {
		login, err = body.login()
	}
	if err != nil {
		p.refuse(x, invalid(err.Error()))
		return
	}
	login.Peer = x.peer
	text, token, err := p.Gate.Login(login)
	if err != nil {
		p.refuse(x, fault.From(err))
		return
	}
	p.issued(x, token)
	p.writeToken(x, fasthttp.StatusCreated, text, token)
}

// showToken is GET and HEAD /v3/auth/tokens: is the token in X-Subject-Token valid?
func (p *platformAPI) showToken(x *exchange) {
	text := string(x.ctx.Request.Header.Peek(headerSubjectToken))
	if text == "" {
		p.refuse(x, invalid("X-Subject-Token with the token to check is missing"))
		return
	}
	token, err := p.Gate.Inspect(text)
	if err != nil {
		p.refuse(x, notFound("the token in X-Subject-Token is not valid"))
		return
	}
	p.writeToken(x, fasthttp.StatusOK, text, token)
}

type (
	namedJSON struct {
		ID     string     `json:"id"`
		Name   string     `json:"name"`
		Domain *namedJSON `json:"domain,omitempty"`
	}
	userJSON struct {
		namedJSON
		PasswordExpires string `json:"password_expires_at"`
	}
	endpointJSON struct {
		ID        string `json:"id"`
		Interface string `json:"interface"`
		Region    string `json:"region"`
		RegionID  string `json:"region_id"`
		URL       string `json:"url"`
	}
	serviceJSON struct {
		ID        string         `json:"id"`
		Name      string         `json:"name"`
		Type      string         `json:"type"`
		Endpoints []endpointJSON `json:"endpoints"`
	}
	tokenJSON struct {
		Catalog   []serviceJSON `json:"catalog,omitempty"`
		Domain    *namedJSON    `json:"domain,omitempty"`
		Project   *namedJSON    `json:"project,omitempty"`
		ExpiresAt string        `json:"expires_at"`
		IssuedAt  string        `json:"issued_at"`
		MFA       string        `json:"mfa_authn_at"`
		Methods   []string      `json:"methods"`
		Roles     []namedJSON   `json:"roles"`
		User      userJSON      `json:"user"`
	}
)

func (p *platformAPI) writeToken(x *exchange, status int, text string, token *auth.Token) {
	domain := &namedJSON{ID: token.Domain.ID, Name: token.Domain.Name}
	t := tokenJSON{
		ExpiresAt: token.ExpireAt.Format(
			timeMicros,
		),
		IssuedAt: token.IssuedAt.Format(timeMicros),
		Methods:  []string{"password"},
		Roles:    []namedJSON{},
		User:     userJSON{namedJSON: namedJSON{ID: token.User.ID, Name: token.User.Name, Domain: domain}},
	}
	for _, a := range token.Actions {
		t.Roles = append(t.Roles, namedJSON{ID: string(a), Name: "FunctionGraph:function:" + string(a)})
	}
	project, ofProject := token.Project()
	if ofProject {
		t.Project = &namedJSON{ID: project.ID, Name: project.Name, Domain: domain}
	}
	if token.OfDomain() {
		t.Domain = domain
	}
	if (ofProject || token.OfDomain()) && len(x.ctx.QueryArgs().Peek("nocatalog")) == 0 {
		t.Catalog = p.catalog(x)
	}
	x.ctx.Response.Header.Set(headerSubjectToken, text)
	p.respondJSON(x, status, map[string]any{"token": t})
}

// catalog lists the two services that answer here, under the address that the caller used.
func (p *platformAPI) catalog(x *exchange) []serviceJSON {
	base := p.base(x)
	service := func(name, path string) serviceJSON {
		return serviceJSON{
			ID:   name,
			Name: name,
			Type: name,
			Endpoints: []endpointJSON{
				{ID: name, Interface: "public", Region: p.Function.Region, RegionID: p.Function.Region, URL: base + path},
			},
		}
	}
	return []serviceJSON{service("functiongraph", "/v2/"+p.Function.Project), service("iam", "/v3")}
}

func (p *platformAPI) base(x *exchange) string {
	scheme := "http"
	if x.ctx.IsTLS() || p.BehindProxy {
		scheme = "https"
	}
	return scheme + "://" + string(x.ctx.Host())
}

type (
	domainJSON struct {
		ID          string            `json:"id"`
		Name        string            `json:"name"`
		Enabled     bool              `json:"enabled"`
		Description string            `json:"description"`
		Links       map[string]string `json:"links"`
	}
	projectJSON struct {
		domainJSON
		DomainID string `json:"domain_id"`
		ParentID string `json:"parent_id"`
		IsDomain bool   `json:"is_domain"`
	}
)

// listDomains is GET /v3/auth/domains: the one domain. SDK clients of global services ask for it.
func (p *platformAPI) listDomains(x *exchange) {
	domain, self := p.Gate.Domain(), p.base(x)+"/v3/auth/domains"
	p.writeList(
		x,
		"domains",
		self,
		[]domainJSON{
			{
				ID:      domain.ID,
				Name:    domain.Name,
				Enabled: true,
				Links:   map[string]string{"self": p.base(x) + "/v3/domains/" + domain.ID},
			},
		},
	)
}

// listProjects is GET /v3/projects: the one project, if its name, which is the region's, is the one asked for.
func (p *platformAPI) listProjects(x *exchange) {
	domain, self, projects := p.Gate.Domain().ID, p.base(x)+"/v3/projects", []projectJSON{}
	if name := x.ctx.QueryArgs().Peek("name"); len(name) == 0 || string(name) == p.Function.Region {
		projects = append(projects, projectJSON{
			domainJSON: domainJSON{
				ID:      p.Function.Project,
				Name:    p.Function.Region,
				Enabled: true,
				Links:   map[string]string{"self": self + "/" + p.Function.Project},
			},
			DomainID: domain,
			ParentID: domain,
		})
	}
	p.writeList(x, "projects", self, projects)
}

func (p *platformAPI) writeList(x *exchange, name, self string, rows any) {
	p.respondJSON(
		x,
		fasthttp.StatusOK,
		map[string]any{name: rows, "links": map[string]any{"self": self, "next": nil, "previous": nil}},
	)
}

// identityBodyLimit bounds the bodies of the IAM routes.
const identityBodyLimit = 64 << 10
