package sdk

import (
	"fmt"
	"gantry/test/harness"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/basic"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/config"
	functiongraph "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/functiongraph/v2"
	"github.com/stretchr/testify/require"
)

// patience bounds every wait.
const patience = harness.Patience

// The users of the agent under test.
const (
	project = "0123456789abcdef0123456789abcdef"
	access  = "AKCI0000000000000001"
	secret  = "SKCI000000000000000000000000000000000001"

	usersFile = `{
  "secret": "0123456789abcdef0123456789abcdef",
  "domain": "acme",
  "users": [
    {"name": "ci", "password": "correct horse", "actions": ["invoke", "invokeAsync"], "keys": [
      {"access": "AKCI0000000000000001", "secret": "SKCI000000000000000000000000000000000001"},
      {"access": "AKTEMP00000000000001", "secret": "SKTEMP0000000000000000000000000000000001", "security_token": "temporary-token", "expires_at": "2099-01-01T00:00:00Z"},
      {"access": "AKOVER00000000000001", "secret": "SKOVER0000000000000000000000000000000001", "security_token": "temporary-token", "expires_at": "2001-01-01T00:00:00Z"}]},
    {"name": "reader", "password": "staple battery", "actions": [], "keys": [
      {"access": "AKREADER000000000001", "secret": "SKREADER00000000000000000000000000000001"}]},
    {"name": "caller", "password": "battery horse", "actions": ["invoke"], "keys": [
      {"access": "AKCALLER000000000001", "secret": "SKCALLER00000000000000000000000000000001"}]}
  ]
}`
	functionCode = `
const fs = require('fs');
const folder = process.env.TEST_FOLDER, journal = folder + '/journal';
exports.handler = async (event, context) => {
    const id = context.getRequestID(), size = JSON.stringify(event).length;
    context.getLogger().info('got ' + JSON.stringify(event));
    fs.appendFileSync(journal, JSON.stringify({id, size, memory: context.getMemorySize(), alias: context.getAlias(), event: size < 10000 ? event : {}}) + '\n');
    if (fs.readFileSync(journal, 'utf8').split('{"id":"' + id).length - 1 <= event.fails) throw new TypeError('asked to fail');
    while (event.gate && !fs.existsSync(folder + '/' + event.gate)) await new Promise(r => setTimeout(r, 5));
    if (event.fail) throw new TypeError('asked to fail');
    if (event.exit) process.exit(7);
    if (event.big) return 'x'.repeat(event.big);
    if (event.wait) await new Promise(r => setTimeout(r, event.wait));
    if (event.context) return {memory: context.getMemorySize(), alias: context.getAlias(), ak: context.getSecurityAccessKey(), token: context.getToken()};
    return {got: event};
};
`
)

// agent is one agent under test with its platform API.
type agent struct {
	t *testing.T
	// folder holds the function's journal and its gates.
	folder string
	env    []string
	// Program prints the log of the function to Stdout, and that of the agent to Stderr.
	*harness.Program
	url string
	// ci is the client of the user "ci", made at its first use.
	ci *functiongraph.FunctionGraphClient
}

// startAgent runs the function and waits until the platform API listens.
func startAgent(t *testing.T, env ...string) *agent {
	t.Helper()
	dir := t.TempDir()
	code := filepath.Join(dir, "code")
	users := filepath.Join(dir, "users.json")
	require.NoError(t, os.Mkdir(code, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(code, "index.js"), []byte(functionCode), 0o644))
	require.NoError(t, os.WriteFile(users, []byte(usersFile), 0o600))
	a := &agent{t: t, folder: dir, env: append(harness.Environ(dir, "RUNTIME_CODE_ROOT="+code, "RUNTIME_FUNC_NAME=hello", "RUNTIME_PROJECT_ID="+project,
		"RUNTIME_ALIAS=prod", "GANTRY_API_ADDR=127.0.0.1:0", "GANTRY_API_USERS_FILE="+users, "RUNTIME_TIMEOUT=60",
		"GANTRY_DATA_DIR="+filepath.Join(dir, "data"), "TEST_FOLDER="+dir), env...)}
	a.start()
	return a
}

// start runs the program; again after stop, then with the same folders.
func (a *agent) start() {
	a.t.Helper()
	cmd := exec.Command(harness.Built(a.t, "bin/bootstrap", "test-sdk"), "serve")
	cmd.Env = a.env
	a.Program = harness.Start(a.t, cmd)
	a.url, a.ci = "http://"+a.Listening()["platform"], nil
}

// client returns a FunctionGraph client with the given credentials or those of the user "ci". The client of "ci"
// is shared: every client keeps connections of its own.
func (a *agent) client(change ...func(*basic.CredentialsBuilder)) *functiongraph.FunctionGraphClient {
	a.t.Helper()
	if len(change) == 0 && a.ci != nil {
		return a.ci
	}
	b := basic.NewCredentialsBuilder().WithAk(access).WithSk(secret).WithProjectId(project)
	for _, c := range change {
		c(b)
	}
	credentials, err := b.SafeBuild()
	require.NoError(a.t, err)
	http, err := functiongraph.FunctionGraphClientBuilder().WithEndpoint(a.url).WithCredential(credentials).
		WithHttpConfig(config.DefaultHttpConfig().WithTimeout(patience)).SafeBuild()
	require.NoError(a.t, err)
	made := functiongraph.NewFunctionGraphClient(http)
	if len(change) == 0 {
		a.ci = made
	}
	return made
}

func keys(ak, sk, token string) func(*basic.CredentialsBuilder) {
	return func(b *basic.CredentialsBuilder) {
		b.WithAk(ak).WithSk(sk)
		if token != "" {
			b.WithSecurityToken(token)
		}
	}
}

func urn(last string) string {
	return fmt.Sprintf("urn:fss:local-1:%s:function:default:hello:%s", project, last)
}
