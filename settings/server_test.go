package settings

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUndecidedBootstrapGetsRoomForBoth: the function listener keeps its address until there is a server, which has the
// port then.
func TestUndecidedBootstrapGetsRoomForBoth(t *testing.T) {
	for _, c := range []struct {
		env          []string
		poll, server string
		fails        string
	}{
		{nil, "127.0.0.1:8000", "127.0.0.1:8080", ""},
		{[]string{"GANTRY_ADDR=:9000"}, ":9000", ":9000", ""},
		{[]string{"GANTRY_UPSTREAM=127.0.0.1:8001"}, "127.0.0.1:8000", "127.0.0.1:8000", ""},
		{[]string{"GANTRY_ADDR=:8000"}, ":8000", "", "cannot both have port 8000"},
	} {
		got, err := Load(append(c.env, "PATH="+os.Getenv("PATH")), nil, Facts{PID: 100, CWD: codeWith(t, "bootstrap", "#!/bin/sh\n")})
		require.NoError(t, err, c.env)
		require.True(t, got.Language.Undecided())
		require.Equal(t, c.poll, got.Listeners()[1].Addr, c.env)
		addr, err := got.AddrFor(got.Language.Poller)
		require.NoError(t, err, c.env)
		require.Equal(t, c.poll, addr, c.env)
		addr, err = got.AddrFor(got.Language.Server)
		if c.fails != "" {
			require.ErrorContains(t, err, c.fails)
			continue
		}
		require.NoError(t, err, c.env)
		require.Equal(t, c.server, addr, c.env)
		got.FreePorts()
		addr, err = got.AddrFor(got.Language.Server)
		require.NoError(t, err, c.env)
		if c.poll == "127.0.0.1:8000" {
			require.Equal(t, "127.0.0.1:0", addr, "the kernel chooses, for a server too")
		}
	}
	_, err := Load([]string{"GANTRY_UPSTREAM=192.0.2.1:8000"}, nil, Facts{PID: 100, CWD: codeWith(t, "bootstrap", "#!/bin/sh\n")})
	require.ErrorContains(t, err, "want a port on loopback")
}

// TestUndecidedBootstrapHasTheSurroundingsOfAServer: but for a program that knows the runtime API, which is started in
// the folder above, and for what would be no server.
func TestUndecidedBootstrapHasTheSurroundingsOfAServer(t *testing.T) {
	load := func(text string, env ...string) *Config {
		dir := codeWith(t, "bootstrap", text)
		c, err := Load(append(env, "PATH="+os.Getenv("PATH"), "PORT=1"), nil, Facts{PID: 100, CWD: dir})
		require.NoError(t, err)
		return c
	}
	elf, err := os.ReadFile("/bin/true")
	require.NoError(t, err)
	c := load("#!/bin/sh\n")
	require.Equal(t, c.Function.CodeRoot, c.WorkDir())
	require.Contains(t, c.WorkerEnvironment(), "PORT=8000")
	c = load(string(elf) + "RUNTIME_API_ADDR")
	require.True(t, c.Language.Undecided())
	require.Equal(t, filepath.Dir(c.Function.CodeRoot), c.WorkDir())
	require.Contains(t, c.WorkerEnvironment(), "PORT=8000")
	c = load("#!/bin/sh\n", `RUNTIME_USERDATA={"PORT":"5432"}`)
	require.Contains(t, c.WorkerEnvironment(), "PORT=5432", "a custom runtime may need it")
	c = load("#!/bin/sh\n", `RUNTIME_USERDATA={"PORT":"5432"}`, "GANTRY_RUNTIME=http")
	require.Contains(t, c.WorkerEnvironment(), "PORT=8000")
	c = load("#!/bin/sh\n", "GANTRY_WORKERS=2")
	require.True(t, c.Language.Polls() && !c.Language.Undecided(), "a server has one worker")
	require.Contains(t, c.WorkerEnvironment(), "PORT=1")
}
