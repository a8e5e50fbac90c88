package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const userDataJS = `const fs = require('fs');
let early;
exports.init = (c, cb) => { early = c.getUserData('SECRET'); cb(null); };
exports.handler = async (e, c) => {
  console.log(c, JSON.stringify(c), c.userData);
  const env = process.env;
  return { env: [env.K, env.RUNTIME_CPU, env.SECRET || ''], context: ['K', 'RUNTIME_CPU', 'SECRET'].map((k) => c.getUserData(k)),
    leaks: fs.readFileSync('/proc/self/environ', 'latin1').includes('s3cr3t'), early };
};`

const userDataPy = `import os, json
early = None
def init(c):
    global early
    early = c.getUserData("SECRET")
def handler(e, c):
    print(c, vars(c), c.user_data)
    env = os.environ
    return json.dumps({"env": [env["K"], env["RUNTIME_CPU"], env.get("SECRET", "")], "context": [c.getUserData(k) for k in ("K", "RUNTIME_CPU", "SECRET")],
        "leaks": b"s3cr3t" in open("/proc/self/environ", "rb").read(), "early": early}, separators=(",", ":"))
`

const userDataPHP = `<?php
$early = null;
function init($c) {
  global $early;
  $early = $c->getUserData('SECRET');
}
function handler($e, $c) {
  global $early;
  var_dump($c);
  print_r((array) $c);
  return ['env' => [getenv('K'), getenv('RUNTIME_CPU'), getenv('SECRET') ?: ''], 'context' => array_map([$c, 'getUserData'], ['K', 'RUNTIME_CPU', 'SECRET']),
    'leaks' => strpos(file_get_contents('/proc/self/environ'), 's3cr3t') !== false, 'early' => $early];
}
`

// TestEncryptedUserVariablesAreInTheContextAlone: those of RUNTIME_USERDATA are variables of the function's
// environment, unless the name is a preset one; encrypted ones are in the context alone, from the initializer on, and
// nothing prints them.
func TestEncryptedUserVariablesAreInTheContextAlone(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("\xef\xbb\xbf{\"SECRET\": \"s3cr3t\"}\r\n"), 0o600))
	folders := map[string]string{
		"nodejs": writeFiles(t, map[string]string{"index.js": userDataJS}), "python": writeFiles(t, map[string]string{"index.py": userDataPy}),
		"php": writeFiles(t, map[string]string{"index.php": userDataPHP}), "go": t.TempDir(),
	}
	compile(t, "./testdata/userdata", filepath.Join(folders["go"], "handler"))
	for language, dir := range folders {
		for form, setting := range map[string]string{"value": `GANTRY_ENCRYPTED_USERDATA={"SECRET": "s3cr3t"}`, "file": "GANTRY_ENCRYPTED_USERDATA_FILE=" + secret} {
			t.Run(language+" "+form, func(t *testing.T) {
				t.Parallel()
				if language == "php" {
					needPHP(t)
				}
				env := []string{`RUNTIME_USERDATA={"K":"v","RUNTIME_CPU":"9"}`, setting, "K=of the container", "GANTRY_LOG_LEVEL=debug", "RUNTIME_TIMEOUT=20"}
				if language != "go" || form == "file" {
					env = append(env, "RUNTIME_INITIALIZER_HANDLER=index.init")
				} // else it is a part of the load
				r := start(t, dir, env...)
				require.JSONEq(t, `{"env":["v","300",""],"context":["v","9","s3cr3t"],"leaks":false,"early":"s3cr3t"}`, r.invoke("{}").body)
				r.signal(15)
				require.Equal(t, 0, r.wait())
				require.NotContains(t, r.stdout.String(), "s3cr3t")
				require.NotContains(t, r.stderr.String(), "s3cr3t")
				require.Contains(t, r.stderr.String(), "RUNTIME_USERDATA: RUNTIME_CPU has a name that the agent sets itself")
			})
		}
	}
}

// TestAccessKeysOfSettingsReachTheContext: getAccessKey and getSecretKey have settings like those of the temporary
// keys.
func TestAccessKeysOfSettingsReachTheContext(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte("\xef\xbb\xbfsk-s3cr3t\n"), 0o600))
	folders := map[string]map[string]string{
		"nodejs": {"index.js": "exports.handler = async (e, c) => [c.getAccessKey(), c.getSecretKey(), c.getSecurityAccessKey()].join()"},
		"python": {"index.py": "def handler(e, c):\n    return ','.join([c.getAccessKey(), c.getSecretKey(), c.getSecurityAccessKey()])"},
	}
	for language, files := range folders {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			r := start(t, writeFiles(t, files), "GANTRY_ACCESS_KEY=ak-s3cr3t", "GANTRY_SECRET_KEY_FILE="+file, "RUNTIME_TIMEOUT=20")
			require.Equal(t, "ak-s3cr3t,sk-s3cr3t,", r.invoke("{}").body)
			require.NotContains(t, r.stderr.String()+r.stdout.String(), "s3cr3t")
		})
	}
}
