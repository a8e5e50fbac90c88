package settings

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCustomRuntimeHasEncryptedVariablesInItsEnvironment: a custom runtime has no context, so its encrypted variables
// are in the environment, as on the platform.
func TestCustomRuntimeHasEncryptedVariablesInItsEnvironment(t *testing.T) {
	c, err := Load([]string{
		"PATH=" + os.Getenv("PATH"), `GANTRY_ENCRYPTED_USERDATA={"SECRET":"s","PATH":"/x"}`, `RUNTIME_USERDATA={"GANTRY_CONCURRENCY":"4"}`,
	}, nil, Facts{PID: 100, CWD: codeWith(t, "bootstrap", "#!/bin/sh\n")})
	require.NoError(t, err)
	require.Contains(t, c.WorkerEnvironment(), "SECRET=s")
	require.Contains(t, c.WorkerEnvironment(), "GANTRY_CONCURRENCY=4", "it may be an agent itself")
	require.NotContains(t, c.WorkerEnvironment(), "PATH=/x")
	require.NotContains(t, strings.Join(c.ExtensionEnvironment(), "\n"), "SECRET", "extensions are often of other authors")
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
	for who, env := range map[string][]string{"worker": c.WorkerEnvironment(), "extension": c.ExtensionEnvironment()} {
		require.Subset(t, env, []string{"TZ=Asia/Shanghai", "DB=user", "LC_ALL=C", "HOME=/root", "RUNTIME_HANDLER=index.handler", "RUNTIME_LOG_PATH=/home/snuser/log"}, who)
		require.NotContains(t, strings.Join(env, "\n")+"\n", "=bad\n", who)
		seen := map[string]bool{}
		for _, kv := range env {
			name, _, _ := strings.Cut(kv, "=")
			require.False(t, seen[name], "%s: %s twice", who, name)
			seen[name] = true
		}
	}
	require.Contains(t, strings.Join(c.Remarks, "\n"), "A=B, EXTENSION_API_ADDR, EXTENSION_ROOT, GANTRY_ADDR, HOME")
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
	require.Contains(t, c.Remarks, "RUNTIME_USERDATA: a, b is no string; the platform has strings only: write it in quotes")
	require.Subset(t, c.WorkerEnvironment(), []string{"a=true", "b=1", "c=x"})
	_, err = loadWith(t, []string{`GANTRY_ENCRYPTED_USERDATA={"b":1}`}, nil)
	require.ErrorContains(t, err, "b is no string")
	_, err = loadWith(t, []string{`GANTRY_ENCRYPTED_USERDATA={"a":"s3cr3t"}`, `RUNTIME_USERDATA={"a":"x"}`}, nil)
	require.ErrorContains(t, err, `GANTRY_ENCRYPTED_USERDATA: "a" is in RUNTIME_USERDATA as well`)
	require.NotContains(t, err.Error(), "s3cr3t")
}
