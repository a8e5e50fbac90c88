package destination

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	fncontext "gantry/context"
)

// services are the kinds that are services, each with a good param, one that lacks a member, and the place of its
// endpoint. A new kind gets a row, and passes TestEveryServiceChecksSendsAndJudgesAnswers.
var services = map[string]struct {
	good, lacks string
	endpoint    func(*Endpoints) *Endpoint
}{
	OBS: {`{"bucket":"b","prefix":"p"}`, `{"prefix":"p"}`, func(e *Endpoints) *Endpoint { return &e.OBS }},
	SMN: {`{"topic_urn":"urn:smn:r:p:t"}`, `{}`, func(e *Endpoints) *Endpoint { return &e.SMN }},
	DIS: {`{"stream_name":"s"}`, `{"stream_name":""}`, func(e *Endpoints) *Endpoint { return &e.DIS }},
}

func sender(t *testing.T) *Sender {
	return &Sender{
		Function: &fncontext.Function{Name: "hello", Project: "p"}, Endpoints: &Endpoints{}, Folder: t.TempDir(), Now: time.Now,
		Sign: func(_, _ string, _ []byte, access, _ string) (date, authorization string, err error) {
			return "now", "signed by " + access, nil
		},
	}
}

var outcome = Message{RequestID: "the-id", Accepted: time.Unix(0, 0).UTC(), Text: []byte(`{"status":"success"}`)}

// TestEveryKindIsInTheTable: the list of names, the table, and the suite have the same kinds.
func TestEveryKindIsInTheTable(t *testing.T) {
	require.Len(t, names, len(kinds))
	require.Len(t, services, len(kinds)-1, "all but functions are services")
	for _, name := range names {
		require.Contains(t, kinds, name)
	}
	require.EqualError(t, Check("on_success", "RocketMQ", `{}`), `on_success.destination is "RocketMQ", want OBS, SMN, DIS or FunctionGraph`)
	var refused *Refused
	require.ErrorAs(t, sender(t).Send(t.Context(), "RocketMQ", `{}`, &outcome), &refused)
	require.True(t, refused.Final)
}

// TestEveryServiceChecksSendsAndJudgesAnswers: what holds for each kind that is a service.
func TestEveryServiceChecksSendsAndJudgesAnswers(t *testing.T) {
	for name, c := range services {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, Check("on_success", name, c.good))
			require.ErrorContains(t, Check("on_success", name, c.lacks), "on_success.param of "+name+" needs ")
			require.ErrorContains(t, Check("on_success", name, `"no object"`), "a JSON object in a string")
			require.ErrorContains(t, Check("on_failure", name, `{"bucket":1,"topic_urn":1,"stream_name":1}`), "has the wrong type, want a string")
			t.Run("a file without an endpoint", func(t *testing.T) {
				s := sender(t)
				require.NoError(t, s.Send(t.Context(), name, c.good, &outcome))
				require.NoError(t, s.Send(t.Context(), name, c.good, &outcome), "the second one replaces the first")
				require.Equal(t, []string{string(outcome.Text)}, contents(t, filepath.Join(s.Folder, "notifications", name)))
			})
			t.Run("a signed request", func(t *testing.T) { signedRequest(t, name, c.good, c.endpoint) })
			t.Run("answers", func(t *testing.T) { answers(t, name, c.good, c.endpoint) })
			t.Run("no answer", func(t *testing.T) {
				release := make(chan struct{})
				service := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
				defer service.Close()
				defer close(release)
				s := sender(t)
				c.endpoint(s.Endpoints).URL = service.URL
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				err := s.Send(ctx, name, c.good, &outcome)
				require.Error(t, err)
				require.False(t, errors.As(err, new(*Refused)), "it is tried again: %v", err)
			})
		})
	}
}

func signedRequest(t *testing.T, name, param string, endpoint func(*Endpoints) *Endpoint) {
	requests := make(chan *http.Request, 1)
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		requests <- r
	}))
	defer service.Close()
	s := sender(t)
	*endpoint(s.Endpoints) = Endpoint{URL: service.URL + "/base/", Access: "AK", Secret: "SK"}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.Send(ctx, name, param, &outcome))
	r := <-requests
	require.True(t, strings.HasPrefix(r.URL.Path, "/base/"), r.URL.Path)
	require.Contains(t, r.Header.Get("Authorization"), "AK")
	require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	require.Empty(t, contents(t, s.Folder), "no file beside it")
}

func answers(t *testing.T, name, param string, endpoint func(*Endpoints) *Endpoint) {
	for status, final := range map[int]bool{http.StatusServiceUnavailable: false, http.StatusForbidden: false, http.StatusNotFound: false, http.StatusBadRequest: true} {
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			http.Error(w, "no", status)
		}))
		defer service.Close()
		s := sender(t)
		endpoint(s.Endpoints).URL = service.URL
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var refused *Refused
		require.True(t, errors.As(s.Send(ctx, name, param, &outcome), &refused))
		require.Equal(t, Refused{Text: refused.Text, Status: status, After: 7 * time.Second, Final: final}, *refused)
	}
}

// contents are the texts of all files below a folder.
func contents(t *testing.T, folder string) (all []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all = append(all, string(text))
		return err
	}))
	return all
}

// TestFunctionIsCalledWithTheUnchangedNotification: the outcome message goes to Call as it is.
func TestFunctionIsCalledWithTheUnchangedNotification(t *testing.T) {
	s := sender(t)
	var urn string
	s.Call = func(_ context.Context, to string, m *Message) error {
		urn = to
		require.Equal(t, &outcome, m)
		return nil
	}
	require.NoError(t, Check("on_success", Function, `{"func_urn":"urn:fss:r:p:function:default:fix"}`))
	require.Error(t, Check("on_success", Function, `{}`))
	require.NoError(t, s.Send(t.Context(), Function, `{"func_urn":"fix"}`, &outcome))
	require.Equal(t, "fix", urn)
}
