package async

import (
	"encoding/json"
	"gantry/async/destination"
	"gantry/fault"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseConfigurationHasDefaultsAndRefusesBadValues(t *testing.T) {
	c, err := ParseConfiguration([]byte(`{}`))
	require.NoError(t, err)
	require.Equal(t, 3600, c.AgeSeconds)
	require.Equal(t, 1, c.Retries)
	require.Nil(t, c.Destinations.OnSuccess)

	const param = `{"bucket" : "b","prefix":"/success","expires":5}`
	text, err := json.Marshal(map[string]any{"destination_config": map[string]any{"on_success": map[string]string{"destination": "OBS", "param": param}}, "max_async_event_age_in_seconds": 86400, "max_async_retry_attempts": 0, "enable_async_status_log": true, "unknown": 1})
	require.NoError(t, err)
	c, err = ParseConfiguration(text)
	require.NoError(t, err)
	require.Equal(t, param, c.Destinations.OnSuccess.Param, "byte for byte")
	require.True(t, c.StatusLog)
	require.Equal(t, 24*time.Hour, c.age())

	destination := func(kind, param string) string {
		text, err := json.Marshal(map[string]any{"destination_config": map[string]any{"on_failure": map[string]string{"destination": kind, "param": param}}})
		require.NoError(t, err)
		return string(text)
	}
	for body, says := range map[string]string{
		``:                          "not a JSON object",
		`[]`:                        "not a JSON object",
		`null`:                      "not a JSON object",
		`{"destination_config":[]}`: "destination_config has the wrong type, want an object",
		destination("OBS", `{"bucket":"b","expires":"5"}`):                            "expires has the wrong type, want a whole number",
		destination("OBS", ``):                                                        "on_failure.param of OBS is needed",
		destination("OBS", `null`):                                                    "on_failure.param of OBS is needed",
		`{} {}`:                                                                       "something follows",
		`{"max_async_retry_attempts":4}`:                                              "is 4, want 0 to 3",
		`{"max_async_retry_attempts":-1}`:                                             "is -1, want 0 to 3",
		`{"max_async_retry_attempts":"1"}`:                                            "max_async_retry_attempts has the wrong type, want a whole number",
		`{"max_async_event_age_in_seconds":0}`:                                        "is 0, want 1 to 86400",
		`{"max_async_event_age_in_seconds":86401}`:                                    "is 86401",
		`{"max_async_event_age_in_seconds":1.5}`:                                      "wrong type",
		destination("RocketMQ", `{}`):                                                 "want OBS, SMN, DIS or FunctionGraph",
		destination("", `{}`):                                                         "want OBS, SMN, DIS or FunctionGraph",
		destination("OBS", `{"prefix":"/x"}`):                                         `needs "bucket"`,
		destination("OBS", `{"bucket":"b","expires":366}`):                            "want 0 to 365",
		destination("SMN", `{}`):                                                      `needs "topic_urn"`,
		destination("DIS", `{}`):                                                      `needs "stream_name"`,
		destination("FunctionGraph", `{}`):                                            `needs "func_urn"`,
		destination("FunctionGraph", `{"func_urn":"not a urn / ::"}`):                 "on_failure.param: func_urn: the function URN \"not a urn / ::\" has a field",
		destination("FunctionGraph", `{"func_urn":".."}`):                             "names no function",
		destination("OBS", `{"bucket":"../SMN/x"}`):                                   `on_failure.param: bucket is "../SMN/x", want letters`,
		destination("OBS", `{"bucket":"a/b"}`):                                        "bucket is",
		destination("OBS", `{"bucket":".."}`):                                         "bucket is",
		destination("OBS", `{"bucket":"a\u0000b"}`):                                   "bucket is",
		destination("OBS", `{"bucket":"`+strings.Repeat("b", 64)+`"}`):                "bucket has 64 bytes, want at most 63",
		destination("OBS", `{"bucket":"b","prefix":"a/../../SMN"}`):                   "want neither . nor ..",
		destination("OBS", `{"bucket":"b","prefix":"a/./b"}`):                         "want neither . nor ..",
		destination("OBS", `{"bucket":"b","prefix":"a\u0000b"}`):                      "control characters",
		destination("OBS", `{"bucket":"b","prefix":"`+strings.Repeat("p/", 400)+`"}`): "prefix has 800 bytes",
		destination("SMN", `{"topic_urn":"../OBS/x"}`):                                "topic_urn is",
		destination("SMN", `{"topic_urn":"`+strings.Repeat("t", 513)+`"}`):            "want at most 512",
		destination("DIS", `{"stream_name":"a/b"}`):                                   "stream_name is",
		destination("DIS", `{"stream_name":"`+strings.Repeat("s", 256)+`"}`):          "want at most 255",
		destination("FunctionGraph", `no JSON`):                                       "a JSON object in a string",
		destination("FunctionGraph", `"text"`):                                        "a JSON object in a string",
	} {
		_, err := ParseConfiguration([]byte(body))
		requireFault(t, err, fault.Invalid, says)
	}
}

// TestDestinationNamesMustFitAFileWithoutAnEndpoint: names that the services allow are accepted; where outcome
// messages become files, names that no file can have are not.
func TestDestinationNamesMustFitAFileWithoutAnEndpoint(t *testing.T) {
	parse := func(kind, param string) *Configuration {
		text, err := json.Marshal(map[string]any{"destination_config": destinations{OnSuccess: &Destination{kind, param}}})
		require.NoError(t, err)
		c, err := ParseConfiguration(text)
		require.NoError(t, err, param)
		return c
	}
	for _, prefix := range []string{"", "/", "a//b/", "a..b/.c", "Ergebnisse/für mich", strings.Repeat("p", 255)} {
		require.NoError(t, checkFiles(&destination.Endpoints{}, parse("OBS", `{"bucket":"my.bucket-1","prefix":"`+prefix+`"}`)))
	}
	long := strings.Repeat("p", 300)
	for kind, c := range map[string]*Configuration{
		"OBS": parse("OBS", `{"bucket":"b","prefix":"`+long+`"}`), "SMN": parse("SMN", `{"topic_urn":"urn:smn:r:p:`+long+`"}`),
	} {
		requireFault(t, checkFiles(&destination.Endpoints{}, c), fault.Invalid, "more than the 255 of a file's name")
		require.NoError(t, checkFiles(&destination.Endpoints{OBS: destination.Endpoint{URL: "http://s3"}, SMN: destination.Endpoint{URL: "http://smn"}}, c), "%s takes it", kind)
	}
}

func TestConfigurationsAreStoredReplacedDeletedAndShared(t *testing.T) {
	s := startServer(t, t.TempDir())
	q, other := open(t, s, &testFunction{}), open(t, s, &testFunction{})
	_, err := q.Configuration(t.Context(), "latest", "")
	requireFault(t, err, fault.NotFound, "no asynchronous configuration")
	requireFault(t, q.DeleteConfiguration(t.Context(), "latest", ""), fault.NotFound, "no asynchronous configuration")
	set := func(alias, body string) *Configuration {
		c, err := ParseConfiguration([]byte(body))
		require.NoError(t, err)
		stored, err := q.SetConfiguration(t.Context(), "latest", alias, "urn:"+alias, c)
		require.NoError(t, err)
		return stored
	}
	first := set("", `{"max_async_retry_attempts":2}`)
	_, err = time.Parse(time.RFC3339, first.Created)
	require.NoError(t, err)
	set("prod é", `{}`)
	again := set("", `{"max_async_event_age_in_seconds":7}`)
	require.Equal(t, first.Created, again.Created)
	require.Equal(t, 1, again.Retries, "a PUT replaces everything")
	got, err := q.Configuration(t.Context(), "latest", "")
	require.NoError(t, err, "effective at once")
	require.Equal(t, 7, got.AgeSeconds)
	require.Eventually(t, func() bool {
		c, err := other.Configuration(t.Context(), "latest", "")
		return err == nil && c.AgeSeconds == 7
	}, patience, time.Millisecond, "another agent follows")
	all, err := other.Configurations(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, "urn:", all[0].FunctionURN)
	require.NoError(t, q.DeleteConfiguration(t.Context(), "latest", ""))
	_, err = q.Configuration(t.Context(), "latest", "")
	requireFault(t, err, fault.NotFound, "")
	require.Eventually(t, func() bool {
		all, err := other.Configurations(t.Context())
		return err == nil && len(all) == 1
	}, patience, time.Millisecond)
}

// TestConcurrentChangesLeaveTheStoredConfigurationInForce: the configuration in force is the stored one, even with
// concurrent changes.
func TestConcurrentChangesLeaveTheStoredConfigurationInForce(t *testing.T) {
	q := open(t, startServer(t, t.TempDir()), &testFunction{})
	c, err := ParseConfiguration([]byte(`{}`))
	require.NoError(t, err)
	key := configurationKey("latest", "")
	for range 100 {
		_, err := q.SetConfiguration(t.Context(), "latest", "", "urn", c)
		require.NoError(t, err)
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := q.SetConfiguration(t.Context(), "latest", "", "urn", c); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			if err := q.DeleteConfiguration(t.Context(), "latest", ""); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		stored, err := q.open.readFunction(t.Context(), q.open.key)
		require.NoError(t, err)
		require.Equal(t, stored.Configurations[key], q.open.configuration(key))
	}
}

func FuzzParseConfiguration(f *testing.F) {
	f.Add(`{"max_async_event_age_in_seconds":60,"max_async_retry_attempts":1,"destination_config":{"on_success":{"destination":"FunctionGraph","param":"{\"func_urn\":\"x\"}"}}}`)
	f.Add(`{"destination_config":null}`)
	f.Add(`{"destination_config":{"on_failure":{"destination":"OBS","param":"{\"bucket\":\"b\",\"expires\":-1}"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConfiguration([]byte(text))
		if err != nil {
			return
		}
		if c.AgeSeconds < 1 || c.AgeSeconds > 86400 || c.Retries < 0 || c.Retries > 3 {
			t.Fatalf("accepted %q as %+v", text, c)
		}
		for _, d := range []*Destination{c.Destinations.OnSuccess, c.Destinations.OnFailure} {
			if d != nil && (!json.Valid([]byte(d.Param)) || !strings.Contains("OBS SMN DIS FunctionGraph", d.Kind)) {
				t.Fatalf("accepted %q as %+v", text, d)
			}
		}
	})
}

func TestRetryDelaysGrowUpToTheirLimits(t *testing.T) {
	for failures, want := range map[int][2]time.Duration{1: {60 * time.Second, 66 * time.Second}, 2: {120 * time.Second, 132 * time.Second}, 3: {120 * time.Second, 132 * time.Second}} {
		v := attempts{UserFailures: failures}.afterUserError(3, userDelay)
		require.True(t, v.again)
		require.True(t, v.delay >= want[0] && v.delay <= want[1], "%d: %s", failures, v.delay)
	}
	require.False(t, attempts{UserFailures: 4}.afterUserError(3, userDelay).again)
	for failures, full := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 9: 256 * time.Second, 10: 300 * time.Second, 1000: 300 * time.Second} {
		v := attempts{SystemFailures: failures}.afterSystemError()
		require.True(t, v.again)
		require.True(t, v.delay >= full/2 && v.delay <= full, "%d: %s", failures, v.delay)
	}
	require.Equal(t, time.Second, verdict{again: true, delay: time.Hour}.cap(time.Second).delay)
	require.Zero(t, verdict{again: true, delay: time.Hour}.cap(-time.Second).delay)
}
