package async

import (
	"archive/zip"
	"context"
	"encoding/json"
	"gantry/fault"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	fncontext "gantry/context"
)

// dataFolders are data folders as earlier releases have written them, named after their versions.
const dataFolders = "../testdata/data-folders"

// dataFolderUpdate is a variable of the environment with the version whose data folder the present programs make.
const dataFolderUpdate = "GANTRY_DATA_FOLDER_UPDATE"

// leftFile is beside the store in such a folder.
const leftFile = "left.json"

// left is what was left in a data folder: a request of each kind, and when.
type left struct {
	Made                                    time.Time
	Succeeded, Failed, Waiting, Interrupted string
}

// TestDataFoldersOfEarlierReleasesAreRead: each is opened with the present child a minute after it was left. Records and
// configuration are there, what waited and what was interrupted runs, and new requests do. Newer versions have to read
// all of them; CONTRIBUTING.md says when one is added.
func TestDataFoldersOfEarlierReleasesAreRead(t *testing.T) {
	program := filepath.Join(t.TempDir(), "gantry-jetstream")
	buildChild(t, program)
	if version := os.Getenv(dataFolderUpdate); version != "" {
		makeDataFolder(t, program, filepath.Join(dataFolders, version+".zip"))
	}
	found, err := filepath.Glob(filepath.Join(dataFolders, "*.zip"))
	require.NoError(t, err)
	require.NotEmpty(t, found)
	for _, path := range found {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".zip"), func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "data")
			was := unpackDataFolder(t, path, folder)
			since := time.Since(was.Made) - time.Minute
			child := startChildIn(t, program, folder)
			f := &testFunction{}
			q := open(t, nil, f, longKept, func(cfg *Config) {
				cfg.Connect, cfg.Parallel = Local(child.Child), 1
				cfg.Now = func() time.Time { return time.Now().Add(-since) }
			})
			require.NoError(t, q.Start(t.Context()))
			r := waitStatus(t, q, was.Succeeded, Success)
			require.Equal(t, 1, r.Attempts.Started)
			require.WithinDuration(t, was.Made, r.End, time.Minute)
			r = waitStatus(t, q, was.Failed, Fail)
			require.Equal(t, fault.CodeInvocation, r.ErrorCode)
			require.Contains(t, r.ErrorMessage, "asked to fail")
			c, err := q.Configuration(t.Context(), "latest", "")
			require.NoError(t, err)
			require.Equal(t, []int{7200, 0}, []int{c.AgeSeconds, c.Retries})

			waitStatus(t, q, was.Waiting, Success)
			waitStatus(t, q, was.Interrupted, Success)
			waitStatus(t, q, accept(t, q, `{"new":true}`), Success)
			require.ElementsMatch(t, []string{`{"waiting":true}`, `{"block":true}`, `{"new":true}`}, f.events)
			page, err := q.Records(t.Context(), &Filter{Limit: 100})
			require.NoError(t, err)
			require.Equal(t, 5, page.Count)
		})
	}
}

// longKept keeps records for longer than these folders are kept: JetStream removes what is older by the real clock.
func longKept(cfg *Config) { cfg.Retention = 200 * 365 * 24 * time.Hour }

// makeDataFolder leaves one request of each kind in a data folder, and packs it.
func makeDataFolder(t *testing.T, program, path string) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "data")
	child := startChildIn(t, program, folder)
	end := make(chan struct{})
	f := &testFunction{}
	f.answer = func(_ int, inv *fncontext.Invocation, event string) *fault.Error {
		switch event {
		case `{"fail":true}`:
			return &fault.Error{Kind: fault.Function, Code: fault.CodeInvocation, Body: []byte(`{"errorMessage":"asked to fail"}`)}
		case `{"block":true}`:
			f.block(inv, end)
			return &fault.Error{Kind: fault.Unavailable, Message: "the instance is stopping"}
		}
		return nil
	}
	q := open(t, nil, f, longKept, func(cfg *Config) { cfg.Connect, cfg.Parallel = Local(child.Child), 1 })
	putConfiguration(t, q, `{"max_async_event_age_in_seconds":7200,"max_async_retry_attempts":0}`)
	was := left{Succeeded: accept(t, q, "{}")}
	waitStatus(t, q, was.Succeeded, Success)
	was.Failed = accept(t, q, `{"fail":true}`)
	waitStatus(t, q, was.Failed, Fail)
	was.Interrupted = accept(t, q, `{"block":true}`)
	waitStatus(t, q, was.Interrupted, Running)
	was.Waiting = accept(t, q, `{"waiting":true}`)
	q.Pause()
	close(end)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	q.Close(ctx)
	require.NoError(t, child.Stop(ctx))
	was.Made = time.Now().UTC()
	text, err := json.Marshal(was)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(folder, leftFile), text, 0o600))
	packDataFolder(t, folder, path)
}

// packDataFolder leaves out what belongs to a running agent.
func packDataFolder(t *testing.T, folder, path string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(filepath.Join(folder, "run")))
	require.NoError(t, os.RemoveAll(filepath.Join(folder, "lock")))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	out, err := os.Create(path)
	require.NoError(t, err)
	w := zip.NewWriter(out)
	require.NoError(t, w.AddFS(os.DirFS(folder)))
	require.NoError(t, w.Close())
	require.NoError(t, out.Close())
}

// unpackDataFolder unpacks a data folder, for its user only, and returns what was left in it.
func unpackDataFolder(t *testing.T, path, folder string) (was left) {
	t.Helper()
	r, err := zip.OpenReader(path)
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, os.CopyFS(folder, r))
	require.NoError(t, filepath.WalkDir(folder, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = os.Chmod(name, 0o700)
		}
		return err
	}))
	text, err := os.ReadFile(filepath.Join(folder, leftFile))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &was))
	return was
}
