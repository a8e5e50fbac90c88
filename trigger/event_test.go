package trigger

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// inner says which texts of an event hold JSON, and how: the test decodes them by itself.
var inner = map[string]func(t *testing.T, s string) []byte{
	"lts.data":                            fromBase64,
	"lts.data.logs":                       plain,
	"records.0.dds.token":                 plain,
	"records.0.dds.full_document":         plain,
	"records.0.dds.ns":                    plain,
	"records.0.event_name":                quotedOnly,
	"records.0.gauss_mongo.full_document": plain,
	"records.0.gauss_mongo.ns":            plain,
	"records.0.gauss_mongo.token":         plain,
	"vernier":                             plain,
}

func plain(_ *testing.T, s string) []byte { return []byte(s) }

// quotedOnly is for the event_name of Mongo alone, which has quotation marks in it.
func quotedOnly(_ *testing.T, s string) []byte {
	if strings.HasPrefix(s, `"`) {
		return []byte(s)
	}
	return nil
}

func fromBase64(t *testing.T, s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	require.NoError(t, err)
	return b
}

// anyKeys are objects whose keys are the caller's or the user's own.
var anyKeys = []string{
	"headers", "queryStringParameters", "pathParameters", "cts.request", "cts.response", "vernier",
	"records.0.dds.token", "records.0.dds.full_document", "records.0.gauss_mongo.token",
	"records.0.gauss_mongo.full_document",
}

// typesOf lists the type at each path of a JSON value, with that of what is encoded in its texts.
func typesOf(t *testing.T, path string, v any, types map[string]string) {
	t.Helper()
	below := func(key string) string { return strings.TrimPrefix(path+"."+key, ".") }
	types[path] = fmt.Sprintf("%T", v)
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if slices.Contains(anyKeys, path) {
				types[below("*")] = fmt.Sprintf("%T", value)
				continue
			}
			typesOf(t, below(key), value, types)
		}
	case []any:
		require.NotEmpty(t, v, path)
		for _, value := range v {
			typesOf(t, below("0"), value, types)
		}
	case string:
		if decode := inner[path]; decode != nil {
			if text := decode(t, v); text != nil {
				typesOf(t, path+" decoded", decoded(t, text), types)
			}
		}
	}
}

func decoded(t *testing.T, b []byte) (v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(b, &v), "%s", b)
	return v
}

func sample(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	require.NoError(t, err)
	return b
}

// written is a new event with values set: path, value, path, value.
func written(t *testing.T, name string, sets ...string) []byte {
	t.Helper()
	trigger, err := Find(name)
	require.NoError(t, err)
	e, err := trigger.New(time.Now())
	require.NoError(t, err)
	for i := 0; i < len(sets); i += 2 {
		require.NoError(t, e.Set(sets[i], sets[i+1]), "%v", sets)
	}
	b, err := e.JSON()
	require.NoError(t, err)
	return b
}

// TestEveryEventHasTheFieldsAndTypesOfThePlatformsSample: no more and no fewer, also within what is encoded.
func TestEveryEventHasTheFieldsAndTypesOfThePlatformsSample(t *testing.T) {
	for _, trigger := range All() {
		want, got := map[string]string{}, map[string]string{}
		typesOf(t, "", decoded(t, sample(t, trigger.Name)), want)
		typesOf(t, "", decoded(t, written(t, trigger.Name, example[trigger.Name]...)), got)
		for _, types := range []map[string]string{want, got} { // what is in the user's own parts is no field of the event
			maps.DeleteFunc(types, func(path, _ string) bool { return strings.Contains(path, "decoded._") })
		}
		require.Equal(t, want, got, trigger.Name)
	}
	samples, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.Len(t, samples, len(All())+1, "and the short one of CTS")
}

// example are values without which an event has empty objects where the sample has none.
var example = map[string][]string{
	"apig":         {"query.a", "b", "param.", "c"},
	"apig-console": {"param.path", "value"},
}

// TestEventsHaveFreshIDsAndTheTimesOfNow: in the form that each trigger has.
func TestEventsHaveFreshIDsAndTheTimesOfNow(t *testing.T) {
	now := time.Now()
	times := map[string]string{
		"timer":    now.Format("2006-01-02T15:04:05-07:00"),
		"obs":      now.UTC().Format("2006-01-02T15:04:05.000Z"),
		"smn":      now.UTC().Format("2006-01-02T15:04:05Z"),
		"cts":      fmt.Sprint(now.UnixMilli()),
		"lts":      fmt.Sprint(now.UnixMilli()),
		"kafka":    fmt.Sprintf(`"event_time":%d,`, now.Unix()),
		"rocketmq": fmt.Sprintf(`"event_time":%d,`, now.Unix()),
		"rabbitmq": fmt.Sprintf(`"event_time":%d,`, now.Unix()),
	}
	ids := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{24,}`)
	for _, trigger := range All() {
		var texts [2]string
		for i := range texts {
			e, err := trigger.New(now)
			require.NoError(t, err)
			b, err := e.JSON()
			require.NoError(t, err)
			texts[i] = string(b)
			if trigger.Name == "lts" {
				texts[i] = string(fromBase64(t, decoded(t, b).(map[string]any)["lts"].(map[string]any)["data"].(string)))
			}
			require.Contains(t, texts[i], times[trigger.Name], trigger.Name)
			require.NotContains(t, texts[i], "<", "no mark is left")
		}
		before := ids.FindAllString(strings.ReplaceAll(texts[0], strings.Repeat("0", 32), ""), -1)
		require.Equal(t, trigger.Name == "timer", len(before) == 0, trigger.Name)
		for _, id := range before {
			require.NotContains(t, texts[1], id, trigger.Name)
		}
	}
}

// TestUnknownTriggersAreRefusedWithTheOneThatWasMeant: by its letters, or by what it is elsewhere.
func TestUnknownTriggersAreRefusedWithTheOneThatWasMeant(t *testing.T) {
	for name, want := range map[string]string{
		"apg": "apig", "APIG": "apig", "kakfa": "kafka", "s3": "obs", "cron": "timer", "gauss_mongo": "gaussmongo",
		"timers": "timer", "rocket-mq": "rocketmq", "geminidb": "gaussmongo",
	} {
		_, err := Find(name)
		require.EqualError(t, err, fmt.Sprintf("%q is no trigger; did you mean %s?; want one of apig, apig-console, timer, obs, "+
			"smn, lts, cts, dds, gaussmongo, dis, kafka, rocketmq, rabbitmq", name, want))
	}
	_, err := Find("nothing-like-it")
	require.NotContains(t, err.Error(), "did you mean")
}

// TestEventsOverThePlatformsLimitAreRefused: as the event has them, with their encodings.
func TestEventsOverThePlatformsLimitAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		path, want string
		size       int
	}{
		"dis":  {"data", "and an event of dis has 262144 at most", 200 << 10},
		"apig": {"body", "and an event of apig has 6291456 at most", 5 << 20},
	} {
		trigger, err := Find(name)
		require.NoError(t, err)
		e, err := trigger.New(time.Now())
		require.NoError(t, err)
		require.NoError(t, e.Set(c.path, strings.Repeat("x", c.size/2)))
		_, err = e.JSON()
		require.NoError(t, err)
		require.NoError(t, e.Set(c.path, strings.Repeat("x", c.size)))
		_, err = e.JSON()
		require.ErrorContains(t, err, c.want)
	}
}

// TestModesAreThoseOfTheDocumentation: only API Gateway waits for the answer.
func TestModesAreThoseOfTheDocumentation(t *testing.T) {
	for _, trigger := range All() {
		require.Equal(t, strings.HasPrefix(trigger.Name, "apig"), trigger.Mode() == "sync", trigger.Name)
	}
}
