package sdk

import (
	"net/http"
	"strings"
	"testing"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/global"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/region"
	functiongraph "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/functiongraph/v2"
	iam "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/iam/v3"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/iam/v3/model"
	"github.com/stretchr/testify/require"
)

// iamClient finds its domain by itself, as clients of global services do.
func (a *agent) iamClient() *iam.IamClient {
	a.t.Helper()
	credentials, err := global.NewCredentialsBuilder().WithAk(access).WithSk(secret).WithIamEndpointOverride(a.url).SafeBuild()
	require.NoError(a.t, err)
	client, err := iam.IamClientBuilder().WithRegion(region.NewRegion("local-1", a.url)).WithCredential(credentials).SafeBuild()
	require.NoError(a.t, err)
	return iam.NewIamClient(client)
}

func login(name, password string, scope *model.AuthScope) *model.KeystoneCreateUserTokenByPasswordRequest {
	return &model.KeystoneCreateUserTokenByPasswordRequest{Body: &model.KeystoneCreateUserTokenByPasswordRequestBody{Auth: &model.PwdAuth{
		Identity: &model.PwdIdentity{
			Methods:  []model.PwdIdentityMethods{model.GetPwdIdentityMethodsEnum().PASSWORD},
			Password: &model.PwdPassword{User: &model.PwdPasswordUser{Name: name, Password: password, Domain: &model.PwdPasswordUserDomain{Name: "acme"}}},
		},
		Scope: scope,
	}}}
}

var inProject = &model.AuthScope{Project: &model.AuthScopeProject{Name: text("local-1")}}

// withToken is a FunctionGraph client that sends a token. The SDK has no credentials of that kind; it signs as well.
func (a *agent) withToken(token string) *functiongraph.FunctionGraphClient {
	client := a.client(keys("unused", "unused", ""))
	client.HcClient.WithExtraHeaders(map[string]string{"X-Auth-Token": token})
	return client
}

func TestTokens(t *testing.T) {
	a := startAgent(t)
	client := a.iamClient()
	made, err := client.KeystoneCreateUserTokenByPassword(login("ci", "correct horse", inProject))
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, made.HttpStatusCode)
	require.NotEmpty(t, *made.XSubjectToken)
	require.Equal(t, "ci", made.Token.User.Name)
	require.Equal(t, "acme", made.Token.User.Domain.Name)
	require.Equal(t, project, made.Token.Project.Id)
	require.Equal(t, []string{"password"}, made.Token.Methods)
	require.Len(t, made.Token.Roles, 2)
	require.NotEmpty(t, made.Token.Catalog)

	checked, err := client.KeystoneValidateToken(&model.KeystoneValidateTokenRequest{XSubjectToken: *made.XSubjectToken})
	require.NoError(t, err)
	require.Equal(t, made.Token.ExpiresAt, checked.Token.ExpiresAt)

	answer, err := a.withToken(*made.XSubjectToken).InvokeFunction(invocation(urn("!prod"), map[string]any{"k": 1}))
	require.NoError(t, err)
	require.JSONEq(t, `{"got":{"k":1}}`, *answer.Result)

	short := login("ci", "correct horse", inProject)
	short.Nocatalog = text("yes")
	made, err = client.KeystoneCreateUserTokenByPassword(short)
	require.NoError(t, err)
	require.Empty(t, made.Token.Catalog)
}

func TestTokensOfOtherScopes(t *testing.T) {
	a := startAgent(t)
	for _, scope := range []*model.AuthScope{{Domain: &model.AuthScopeDomain{Name: text("acme")}}, {}} {
		made, err := a.iamClient().KeystoneCreateUserTokenByPassword(login("ci", "correct horse", scope))
		require.NoError(t, err)
		_, err = a.withToken(*made.XSubjectToken).InvokeFunction(invocation("hello", map[string]any{}))
		e := refusal(t, err)
		require.Equal(t, http.StatusForbidden, e.StatusCode)
		require.Contains(t, e.ErrorMessage, "project scope")
	}
	made, err := a.iamClient().KeystoneCreateUserTokenByPassword(login("reader", "staple battery", inProject))
	require.NoError(t, err)
	_, err = a.withToken(*made.XSubjectToken).InvokeFunction(invocation("hello", map[string]any{}))
	require.Equal(t, http.StatusForbidden, refusal(t, err).StatusCode)
}

func TestBadLogins(t *testing.T) {
	a := startAgent(t)
	client := a.iamClient()
	elsewhere := &model.AuthScope{Project: &model.AuthScopeProject{Name: text("cn-north-4")}}
	for _, c := range []struct {
		request *model.KeystoneCreateUserTokenByPasswordRequest
		status  int
	}{
		{login("ci", "wrong", inProject), http.StatusUnauthorized},
		{login("nobody", "correct horse", inProject), http.StatusUnauthorized},
		{login("ci", "correct horse", elsewhere), http.StatusNotFound},
		{login("ci", "", inProject), http.StatusBadRequest},
	} {
		_, err := client.KeystoneCreateUserTokenByPassword(c.request)
		require.Equal(t, c.status, refusal(t, err).StatusCode)
	}
	_, err := client.KeystoneValidateToken(&model.KeystoneValidateTokenRequest{XSubjectToken: "gantry1.e30.e30"})
	require.Equal(t, http.StatusNotFound, refusal(t, err).StatusCode)
	_, err = a.withToken("gantry1.e30.e30").InvokeFunction(invocation("hello", map[string]any{}))
	require.Equal(t, http.StatusUnauthorized, refusal(t, err).StatusCode)
	require.False(t, strings.Contains(a.Stderr.String(), "gantry1."), "tokens are never logged")
}

func TestProjects(t *testing.T) {
	a := startAgent(t)
	all, err := a.iamClient().KeystoneListProjects(&model.KeystoneListProjectsRequest{Name: text("local-1")})
	require.NoError(t, err)
	require.Len(t, *all.Projects, 1)
	require.Equal(t, project, (*all.Projects)[0].Id)
	none, err := a.iamClient().KeystoneListProjects(&model.KeystoneListProjectsRequest{Name: text("cn-north-4")})
	require.NoError(t, err)
	require.Empty(t, *none.Projects)
}
