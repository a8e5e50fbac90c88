package auth

import (
	"context"
	"fmt"
	"gantry/fault"
	"gantry/files"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// TestPipeAsUsersFileIsRefusedAtOnce: it is refused at once, at the start and later, and the next good file is taken
// over.
func TestPipeAsUsersFileIsRefusedAtOnce(t *testing.T) {
	g := open(t, testUsers)
	pipe := g.file + ".pipe"
	require.NoError(t, unix.Mkfifo(pipe, 0o600))
	_, err := Open(&Config{UsersFile: pipe, Log: zap.NewNop()})
	require.ErrorContains(t, err, pipe+" is not a regular file")
	_, _, err = AnyKey(pipe, Invoke)
	require.ErrorContains(t, err, "is not a regular file")

	require.NoError(t, os.Rename(pipe, g.file))
	g.follow()
	g.follow()
	require.Len(t, g.logs.FilterLevelExact(zapcore.ErrorLevel).All(), 1)
	_, err = g.Check(post().request())
	require.NoError(t, err)
	g.write(strings.ReplaceAll(testUsers, "AKCI", "AKNEW"))
	g.follow()
	_, err = g.Check(post().request())
	refused(t, err, fault.Unauthorized, "ak not exist")
}

// TestFollowTakesOverAChangedUsersFile: a change counts without a request that asks for it.
func TestFollowTakesOverAChangedUsersFile(t *testing.T) {
	g := open(t, testUsers)
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { g.Follow(ctx) })
	g.write("{")
	require.Eventually(t, func() bool { return g.logs.FilterMessageSnippet("cannot be used").Len() == 1 }, 10*time.Second, 10*time.Millisecond)
	g.write(strings.ReplaceAll(testUsers, "AKCI", "AKNEW"))
	require.Eventually(t, func() bool { return g.logs.FilterMessage("users file read again").Len() == 1 }, 10*time.Second, 10*time.Millisecond)
	_, err := g.Check(post().request())
	refused(t, err, fault.Unauthorized, "ak not exist")
	cancel()
	following.Wait()
}

// TestUsersFileIsReadOnceDescriptorsAreFree: a lack of descriptors passes without a change of the file.
func TestUsersFileIsReadOnceDescriptorsAreFree(t *testing.T) {
	g := open(t, testUsers)
	read := g.read
	g.read = func(name string) (*directory, error) {
		return nil, fmt.Errorf("reading: %w", &os.PathError{Op: "open", Path: name, Err: syscall.EMFILE})
	}
	g.write(strings.ReplaceAll(testUsers, "AKCI", "AKNEW"))
	g.follow()
	g.follow()
	require.Len(t, g.logs.FilterLevelExact(zapcore.ErrorLevel).All(), 1, "once for each reason")
	g.read = read
	g.follow()
	_, err := g.Check(post().request())
	refused(t, err, fault.Unauthorized, "ak not exist")
}

// TestHangingUsersFileIsReportedAndReadLater: revocations that do not count are no secret, and they count when the
// storage answers again.
func TestHangingUsersFileIsReportedAndReadLater(t *testing.T) {
	g := open(t, testUsers)
	g.write(strings.ReplaceAll(testUsers, "AKCI", "AKNEW"))
	identify := g.identify
	g.identify = func(name string) fileID {
		g.hangs(files.Patience)
		return identify(name)
	}
	g.follow()
	lines := g.logs.FilterMessageSnippet("its storage does not answer").All()
	require.Len(t, lines, 1)
	require.Contains(t, lines[0].Message, "no revocation counts until it answers")
	require.Equal(t, files.Patience, lines[0].ContextMap()["since"])
	require.Equal(t, 1, g.logs.FilterMessageSnippet("answers again").Len())
	_, err := g.Check(post().request())
	refused(t, err, fault.Unauthorized, "ak not exist")
}

// TestExpiredKeysAreLoggedWhenTheFileIsRead: a key that cannot be used any more is remarked on when the file is read.
func TestExpiredKeysAreLoggedWhenTheFileIsRead(t *testing.T) {
	g := open(t, testUsers)
	const remark = `the access key AKTMP of user "ci" expired at 2019-11-15T04:00:00Z: requests signed with it are refused`
	require.Zero(t, g.logs.FilterMessage(remark).Len())
	g.move(time.Hour)
	g.write(testUsers)
	g.follow()
	require.Equal(t, 1, g.logs.FilterMessage(remark).Len())

	d := newDirectory("acme", "0123456789abcdef0123456789abcdef")
	require.NoError(t, d.add(&userRow{Name: "u", Actions: []Action{}}))
	for n := range 3 * maxNamed {
		past := "2019-11-15T03:00:00Z"
		require.NoError(t, d.addKey(d.byName["u"], &keyRow{Access: fmt.Sprint(n), Secret: testSecret, ExpiresAt: &past}))
	}
	require.Len(t, d.expired(g.Now()), maxNamed+1)
}
