package destination

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	fncontext "gantry/context"
)

// patience bounds every wait.
const patience = 60 * time.Second

// put sends an object to a service that answers with the given handler, and returns the sender's error.
func put(t *testing.T, write func(address string) string, answer http.HandlerFunc) error {
	t.Helper()
	service := httptest.NewServer(answer)
	defer service.Close()
	s := &Sender{Now: time.Now}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return s.putObject(ctx, &Endpoint{URL: write(service.URL), Access: "AK", Secret: "SK"}, &param{Bucket: "b"}, "a b.json", []byte(`{}`))
}

// TestSignatureFitsWhatTheServiceGets: what is signed is what the service gets, however the endpoint is written.
func TestSignatureFitsWhatTheServiceGets(t *testing.T) {
	for name, write := range map[string]func(string) string{
		"address":      func(a string) string { return a },
		"slash":        func(a string) string { return a + "/" },
		"path":         func(a string) string { return a + "/base" },
		"large letter": func(a string) string { return strings.Replace(a, "127.0.0.1", "LocalHost", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			var host, path, got, want string
			require.NoError(t, put(t, write, func(_ http.ResponseWriter, r *http.Request) {
				at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
				if err != nil {
					t.Error(err)
				}
				header := map[string]string{"X-Amz-Date": r.Header.Get("X-Amz-Date"), "X-Amz-Content-Sha256": r.Header.Get("X-Amz-Content-Sha256")}
				host, path, got = r.Host, r.URL.EscapedPath(), r.Header.Get("Authorization")
				want = signV4(&Endpoint{Access: "AK", Secret: "SK"}, r.Host, r.URL.EscapedPath(), header, at)
			}))
			require.Equal(t, want, got, "%s%s", host, path)
		})
	}
}

// TestEndpointIsFoundByEveryFormOfItsURN: URNs mean the same in all their forms.
func TestEndpointIsFoundByEveryFormOfItsURN(t *testing.T) {
	s := &Sender{Function: &fncontext.Function{Region: "r", Project: "p", Package: "default", Name: "hello", Version: "v1"}, Endpoints: &Endpoints{}}
	const full = "urn:fss:r:p:function:default:fix"
	for _, c := range []struct {
		urn  string
		keys []string
		want string // the key that is found
	}{
		{full + ":latest", []string{full}, full},
		{full, []string{full + ":latest"}, full + ":latest"},
		{"fix", []string{full}, full},
		{"default:fix", []string{full + ":latest"}, full + ":latest"},
		{"p:default:fix:v2", []string{full}, full},
		{full, []string{"fix"}, "fix"},
		{full + ":v2", []string{"default:fix"}, "default:fix"},
		{full + ":v2", []string{full, full + ":v2"}, full + ":v2"},
		{full + ":!live", []string{full, full + ":live", "p:default:fix:!live"}, "p:default:fix:!live"},
		{full, []string{full, "fix", "p:default:fix"}, "fix"},
		{full, []string{full + ":v2", "other:fix", "urn:fss:r:p2:function:default:fix", "urn:fss:r2:p:function:default:fix"}, ""},
		{"no such form", []string{full}, ""},
	} {
		s.Endpoints.Functions = map[string]Endpoint{}
		for _, key := range c.keys {
			s.Endpoints.Functions[key] = Endpoint{URL: key}
		}
		found, ok := s.EndpointOf(c.urn)
		require.Equal(t, c.want != "", ok, c)
		require.Equal(t, c.want, found.URL, c)
	}
}

// TestObjectIsSentOnce: what goes wrong on the way is tried again after a pause, not at once by the client.
func TestObjectIsSentOnce(t *testing.T) {
	var asked atomic.Int32
	require.Error(t, put(t, func(a string) string { return a }, func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		panic(http.ErrAbortHandler) // the connection is closed without an answer
	}))
	require.EqualValues(t, 1, asked.Load())
}

// TestOnlyTheStatusOfALongAnswerCounts: of a long answer the status counts.
func TestOnlyTheStatusOfALongAnswerCounts(t *testing.T) {
	for status, taken := range map[int]bool{http.StatusOK: true, http.StatusServiceUnavailable: false} {
		err := put(t, func(a string) string { return a }, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write(make([]byte, client.MaxResponseBodySize+1))
		})
		if taken {
			require.NoError(t, err)
			continue
		}
		var refused *Refused
		require.True(t, errors.As(err, &refused), "%v", err)
		require.Equal(t, status, refused.Status)
		require.False(t, refused.Final)
	}
}

// TestStreamAnswerWithFailedRecordIsARefusal: DIS answers 2xx also when it did not take the record.
func TestStreamAnswerWithFailedRecordIsARefusal(t *testing.T) {
	for answer, taken := range map[string]bool{
		`{"failed_record_count":0,"records":[{"partition_id":"0","sequence_number":"1"}]}`: true, ``: true,
		`{"failed_record_count":1,"records":[{"error_code":"DIS.4303"}]}`: false,
	} {
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
		defer service.Close()
		s := &Sender{Function: &fncontext.Function{Project: "p"}}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := s.putRecord(ctx, &Endpoint{URL: service.URL}, "s", "id", []byte(`{}`))
		if taken {
			require.NoError(t, err)
			continue
		}
		var refused *Refused
		require.True(t, errors.As(err, &refused), "%v", err)
		require.Contains(t, refused.Text, "DIS.4303")
		require.False(t, refused.Final)
	}
}

// TestRefusedObjectIsRetriedOnlyIfItWasDamaged: what was damaged on its way is sent again, what is wrong is not.
func TestRefusedObjectIsRetriedOnlyIfItWasDamaged(t *testing.T) {
	for code, final := range map[string]bool{
		"XAmzContentSHA256Mismatch": false, "BadDigest": false, "IncompleteBody": false, "RequestTimeout": false,
		"InvalidBucketName": true, "KeyTooLongError": true, "AuthorizationHeaderMalformed": true,
	} {
		err := put(t, func(a string) string { return a }, func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `<?xml version="1.0"?><Error><Code>`+code+`</Code><Message>RequestTimeout</Message></Error>`, http.StatusBadRequest)
		})
		var refused *Refused
		require.True(t, errors.As(err, &refused), code)
		require.Equal(t, final, refused.Final, code)
		require.Contains(t, refused.Text, code)
	}
}
