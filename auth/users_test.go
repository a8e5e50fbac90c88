package auth

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const goodSecret = `"secret": "0123456789abcdef0123456789abcdef"`

func TestUsersFileErrorsNameTheFaultWithoutSecrets(t *testing.T) {
	d, err := parseDirectory([]byte("{" + goodSecret + "}"))
	require.NoError(t, err)
	require.Equal(t, "local", d.domain)
	_, err = parseDirectory([]byte("\xef\xbb\xbf{" + goodSecret + "}"))
	require.NoError(t, err, "editors on Windows put a byte order mark before the text")
	one := func(user string) string { return "{" + goodSecret + `, "users": [` + user + `]}` }
	withKey := func(key string) string { return one(`{"name": "a", "actions": [], "keys": [` + key + `]}`) }
	for text, says := range map[string]string{
		``:                                   "not complete",
		`{`:                                  "not complete",
		`[]`:                                 `want a JSON object with "secret" and "users"`,
		`{"secret": 1}`:                      `"secret" has the wrong type at byte 12: want a string`,
		`{"users": {}}`:                      `"users" has the wrong type at byte 11: want a list`,
		`{"users": [1]}`:                     `"users" has the wrong type at byte 12: want an object`,
		`{"users": [{"generation": 1.5}]}`:   `want a whole number`,
		`{"secret": "short"}`:                "at least 32 characters",
		`{"sceret": "x"}`:                    `unknown member "sceret"`,
		"{" + goodSecret + "} x":             "something follows",
		"{" + goodSecret + `, "domain": ""}`: `"domain" needs`,
		"{" + goodSecret + `, "domain": "\u0001"}`: `"domain" needs`,
		one(`null`):                                                                                             "users[0] is null",
		one(`{"name": "a"}`):                                                                                    `"actions" is missing`,
		one(`{"name": "", "actions": []}`):                                                                      `"name" needs`,
		one(`{"name": "a", "actions": ["fly"]}`):                                                                `action "fly" is not one of`,
		one(`{"name": "a", "actions": [], "password": "short"}`):                                                `"password" needs at least 8`,
		one(`{"name": "a", "actions": []}, {"name": "a", "actions": []}`):                                       "users[1] (a): the name is there twice",
		one(`{"name": "a", "actions": [], "admin": true}`):                                                      `unknown member "admin"`,
		withKey(`null`):                                                                                         "keys[0] is null",
		withKey(`{"access": "", "secret": "0123456789abcdef"}`):                                                 `"access" needs`,
		withKey(`{"access": "a,b", "secret": "0123456789abcdef"}`):                                              `"access" needs`,
		withKey(`{"access": "a", "secret": "short"}`):                                                           `"secret" needs at least 16`,
		withKey(`{"access": "a", "secret": "0123456789abcdef", "security_token": "x"}`):                         `needs "expires_at"`,
		withKey(`{"access": "a", "secret": "0123456789abcdef", "expires_at": "soon"}`):                          `users[0] (a): keys[0]: "expires_at" is no time; want one like 2026-12-31T23:59:59Z`,
		withKey(`{"access": "a", "secret": "0123456789abcdef", "expires_at": ""}`):                              `keys[0]: "expires_at" is no time`,
		withKey(`{"access": "a", "secret": "0123456789abcdef"}, {"access": "a", "secret": "0123456789abcdef"}`): "there twice",
	} {
		_, err := parseDirectory([]byte(text))
		require.ErrorContains(t, err, says, text)
		require.NotContains(t, err.Error(), "0123456789abcdef", text)
		require.NotContains(t, err.Error(), "short", text)
	}
}

func TestUsersFileThatOthersMayWriteIsRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "users.json")
	require.NoError(t, os.WriteFile(name, []byte(testUsers), 0o600))
	for mode, says := range map[os.FileMode]string{0o600: "", 0o400: "", 0o640: "read by others", 0o604: "read by others", 0o620: "written by others", 0o602: "written by others", 0o666: "written by others"} {
		require.NoError(t, os.Chmod(name, mode))
		d, err := readDirectory(name)
		switch {
		case strings.HasPrefix(says, "written"):
			require.ErrorContains(t, err, "may be "+says, mode)
			require.ErrorContains(t, err, "chmod 600")
		case says != "":
			require.NoError(t, err)
			require.Len(t, d.remarks, 1)
			require.Contains(t, d.remarks[0], says)
		default:
			require.NoError(t, err)
			require.Empty(t, d.remarks)
		}
	}
	_, err := readDirectory(filepath.Dir(name))
	require.ErrorContains(t, err, "not a regular file")
	require.NoError(t, os.WriteFile(name+".big", make([]byte, maxFile+1), 0o600))
	_, err = readDirectory(name + ".big")
	require.ErrorContains(t, err, "more than 4194304 bytes")
	_, err = readDirectory(name + ".none")
	require.ErrorIs(t, err, os.ErrNotExist)
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chmod(name, 0o600))
		require.NoError(t, os.Chown(name, 12345, 0))
		_, err = readDirectory(name)
		require.ErrorContains(t, err, "belongs to user 12345")
	}
}

// TestBrokenUsersFileLeavesTheUsersInForce: a file that cannot be used leaves the users in force, and one line in the
// log.
func TestBrokenUsersFileLeavesTheUsersInForce(t *testing.T) {
	g := open(t, testUsers)
	for _, broken := range []string{"{", `{"secret": "short"}`} {
		g.write(broken)
		for range 3 {
			g.follow()
			_, err := g.Check(post().request())
			require.NoError(t, err)
		}
	}
	require.Len(t, g.logs.FilterLevelExact(zapcore.ErrorLevel).All(), 2, "once for each change")
	require.NoError(t, os.Remove(g.file))
	g.follow()
	_, err := g.Check(post().request())
	require.NoError(t, err)
	require.Len(t, g.logs.FilterLevelExact(zapcore.ErrorLevel).All(), 3)
	g.write(strings.ReplaceAll(testUsers, "AKCI", "AKNEW"))
	g.follow()
	_, err = g.Check(post().request())
	require.Error(t, err)
	require.Equal(t, 1, g.logs.FilterMessage("users file read again").Len())
}

// TestSecretsDoNotPrint: whatever is printed of the users shows no secret.
func TestSecretsDoNotPrint(t *testing.T) {
	g := open(t, testUsers)
	d := g.directory.Load()
	caller, err := g.Check(post().request())
	require.NoError(t, err)
	for _, value := range []any{d, *d, d.byName["ci"], *d.byName["ci"], d.byAccess["AKCI"], *d.byAccess["AKTMP"], caller, g.Gate, *caller} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			text := fmt.Sprintf(verb, value)
			for _, secret := range []string{testSecret, "correct horse", "0123456789abcdef0123456789abcdef", "sts-token"} {
				require.NotContains(t, text, secret)
			}
		}
	}
}

func FuzzUsersFile(f *testing.F) {
	f.Add(testUsers)
	f.Add(`{"secret": null}`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDirectory([]byte(text))
		if err != nil {
			return
		}
		if d.domain == "" || !strings.Contains(strings.ToLower(text), "secret") {
			t.Fatalf("accepted %q", text)
		}
		for _, k := range d.byAccess {
			if len(k.secret()) < minKey || k.user == nil || d.byName[k.user.name] != k.user {
				t.Fatalf("accepted %q", text)
			}
		}
	})
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	_, err := Open(&Config{UsersFile: "/no/such/file", Log: zap.NewNop()})
	require.ErrorContains(t, err, "/no/such/file")
}
