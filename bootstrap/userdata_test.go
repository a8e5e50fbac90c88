package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// TestEncryptedUserVariablesAreInTheContextAlone: those of RUNTIME_USERDATA are variables of the function's
// environment, unless the name is a preset one; encrypted ones are in the context alone, from the initializer on, and
// nothing prints them.
func TestEncryptedUserVariablesAreInTheContextAlone(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("\xef\xbb\xbf{\"SECRET\": \"s3cr3t\"}\r\n"), 0o600))
	folders := map[string]string{
		"nodejs": writeFiles(t, map[string]string{"index.js": userDataJS}), "python": writeFiles(t, map[string]string{"index.py": userDataPy}), "go": t.TempDir(),
	}
	compile(t, "./testdata/userdata", filepath.Join(folders["go"], "handler"))
	for language, dir := range folders {
		for form, setting := range map[string]string{"value": `GANTRY_ENCRYPTED_USERDATA={"SECRET": "s3cr3t"}`, "file": "GANTRY_ENCRYPTED_USERDATA_FILE=" + secret} {
			t.Run(language+" "+form, func(t *testing.T) {
				t.Parallel()
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

// TestCustomRuntimeHasEncryptedVariablesInItsEnvironment: a custom runtime has no context, so its encrypted variables
// are in the environment, as on the platform.
func TestCustomRuntimeHasEncryptedVariablesInItsEnvironment(t *testing.T) {
	c, err := load([]string{
		"PATH=" + os.Getenv("PATH"), `GANTRY_ENCRYPTED_USERDATA={"SECRET":"s","PATH":"/x"}`, `RUNTIME_USERDATA={"GANTRY_CONCURRENCY":"4"}`,
	}, nil, facts{pid: 100, cwd: writeFiles(t, map[string]string{"bootstrap": "#!/bin/sh\n"})})
	require.NoError(t, err)
	require.Contains(t, c.workerEnvironment(), "SECRET=s")
	require.Contains(t, c.workerEnvironment(), "GANTRY_CONCURRENCY=4", "it may be an agent itself")
	require.NotContains(t, c.workerEnvironment(), "PATH=/x")
	require.NotContains(t, strings.Join(c.extensionEnvironment(), "\n"), "SECRET", "extensions are often of other authors")
}

// TestPresetNamesWinOverUserVariablesWithoutDuplicates: the presets win, what the agent only hands on gives way, and
// no name occurs twice: which of two counts differs from language to language.
func TestPresetNamesWinOverUserVariablesWithoutDuplicates(t *testing.T) {
	names := []string{"RUNTIME_HANDLER", "GANTRY_ADDR", "PATH", "HOME", "HOSTNAME", "USER", "LOGNAME", "TMPDIR", "LD_LIBRARY_PATH", "PAAS_POD_ID", "EXTENSION_API_ADDR", "EXTENSION_ROOT", "A=B", ""}
	data := `{"TZ":"Asia/Shanghai","DB":"user","LC_ALL":"C"`
	for _, name := range names {
		data += fmt.Sprintf(`,%q:"bad"`, name)
	}
	c, err := loadWith(t, []string{"TZ=UTC", "DB=container", "HOME=/root", "GANTRY_EXTENSION_ENV=DB", "RUNTIME_USERDATA=" + data + "}"}, nil)
	require.NoError(t, err)
	for who, env := range map[string][]string{"worker": c.workerEnvironment(), "extension": c.extensionEnvironment()} {
		require.Subset(t, env, []string{"TZ=Asia/Shanghai", "DB=user", "LC_ALL=C", "HOME=/root", "RUNTIME_HANDLER=index.handler", "RUNTIME_LOG_PATH=/home/snuser/log"}, who)
		require.NotContains(t, strings.Join(env, "\n")+"\n", "=bad\n", who)
		seen := map[string]bool{}
		for _, kv := range env {
			name, _, _ := strings.Cut(kv, "=")
			require.False(t, seen[name], "%s: %s twice", who, name)
			seen[name] = true
		}
	}
	require.Contains(t, strings.Join(c.remarks, "\n"), "A=B, EXTENSION_API_ADDR, EXTENSION_ROOT, GANTRY_ADDR, HOME")
}

func TestBadUserDataIsRefusedWithoutBeingShown(t *testing.T) {
	for text, says := range map[string]string{
		"[1]": "this is an array", `"x"`: "this is a string", "7": "this is a number", "true": "this is a truth value", `{"a":`: "this is no JSON from byte 5 on",
		`{"a":"` + strings.Repeat("x", 128<<10) + `"}`: "bytes are too many: the kernel takes at most",
	} {
		for _, setting := range []string{"RUNTIME_USERDATA", "GANTRY_ENCRYPTED_USERDATA"} {
			_, err := loadWith(t, []string{setting + "=" + text}, nil)
			require.ErrorContains(t, err, setting+": (not shown), from the environment: ")
			require.ErrorContains(t, err, says)
			require.NotContains(t, err.Error(), "Go ")
		}
	}
	c, err := loadWith(t, []string{`RUNTIME_USERDATA={"b":1,"a":true,"c":"x"}`}, nil)
	require.NoError(t, err)
	require.Contains(t, c.remarks, "RUNTIME_USERDATA: a, b is no string; the platform has strings only: write it in quotes")
	require.Subset(t, c.workerEnvironment(), []string{"a=true", "b=1", "c=x"})
	_, err = loadWith(t, []string{`GANTRY_ENCRYPTED_USERDATA={"b":1}`}, nil)
	require.ErrorContains(t, err, "b is no string")
	_, err = loadWith(t, []string{`GANTRY_ENCRYPTED_USERDATA={"a":"s3cr3t"}`, `RUNTIME_USERDATA={"a":"x"}`}, nil)
	require.ErrorContains(t, err, `GANTRY_ENCRYPTED_USERDATA: "a" is in RUNTIME_USERDATA as well`)
	require.NotContains(t, err.Error(), "s3cr3t")
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
