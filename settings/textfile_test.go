package settings

import (
	"gantry/test/harness"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSecretFileLosesItsByteOrderMark: a byte order mark is no part of the secret.
func TestSecretFileLosesItsByteOrderMark(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	for text, want := range map[string]string{"\xef\xbb\xbftoken\r\n": "token", "token": "token", "\xef\xbb\xbf": ""} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		c, err := loadWith(t, []string{"GANTRY_AUTH_TOKEN_FILE=" + file}, nil)
		require.NoError(t, err)
		require.Equal(t, want, c.Secrets.AuthToken)
	}
	require.NoError(t, os.WriteFile(file, []byte(harness.UTF16("token")), 0o600))
	_, err := loadWith(t, []string{"GANTRY_AUTH_TOKEN_FILE=" + file}, nil)
	require.ErrorContains(t, err, "GANTRY_AUTH_TOKEN_FILE: the text is in UTF-16, as its byte order mark says: save it as UTF-8")
}
