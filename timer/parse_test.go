package timer

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestListsOfTimersAreLinesOrJSON(t *testing.T) {
	type row struct{ Name, Schedule, UserEvent string }
	for text, want := range map[string][]row{
		"@every 1m": {{"Timer_001", "@every 1m", ""}},
		"# of the night\n\n nightly = CRON_TZ=UTC  0 0 2 * * ? ; {\"a\": \"x;y=z\"} \r\n@every 1m;": {
			{"nightly", "CRON_TZ=UTC 0 0 2 * * ?", `{"a": "x;y=z"}`}, {"Timer_002", "@every 1m", ""},
		},
		`[{"schedule":"@every 1m","user_event":"two\nlines; <&>"},{"name":"b","schedule":"0 0 2 * * ?","user_event":{"n": [1, 2]}}]`: {
			{"Timer_001", "@every 1m", "two\nlines; <&>"}, {"b", "0 0 2 * * ?", `{"n":[1,2]}`},
		},
		`{"name":"c.d-e_1","schedule":"@every 1h","user_event":null}`: {{"c.d-e_1", "@every 1h", ""}},
	} {
		all, err := Parse(text)
		require.NoError(t, err, text)
		var got []row
		for _, x := range all {
			got = append(got, row{x.Name, x.Schedule, x.UserEvent})
		}
		require.Equal(t, want, got)
	}
}

func TestWrongListsAreErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a=@every 1m\na=@every 2m":                  `two timers have the name "a"`,
		"a=@every 1m\n\nb=@every":                   "line 3, timer b",
		`[{"schedule":"@every 1m","event":"x"}]`:    `unknown field "event"`,
		`[{"schedule":"@every 1m"}] x`:              "something follows",
		`[{"schedule":"@every 1m"}]]`:               "something follows",
		`[{"schedule":`:                             "want a JSON array",
		`[]`:                                        "there is no timer",
		`[{"name":"a b","schedule":"@every 1m"}]`:   "a name has letters",
		strings.Repeat("x", 65) + "=@every 1m":      "want 64 at most",
		strings.Repeat("@every 1m\n", mostTimers+1): "10001 timers are too many",
		"Timer_002=@every 1m\n@every 1m":            `two timers have the name "Timer_002"`,
	} {
		_, err := Parse(text)
		require.ErrorContains(t, err, want)
	}
}

// TestErrorsAboutLongTextsAreShort: whatever is long in a list, a person has to find the end of the message.
func TestErrorsAboutLongTextsAreShort(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for _, text := range []string{
		long, "@every " + long, "@" + long, "TZ=" + long + " 0 0 2 * * ?", "CRON_TZ=" + long + " 0 0 2 * * ?", "0 0 " + long + " * * ?",
		"0 0 2 * * ? " + strings.Repeat("* ", 50_000), "@every " + strings.Repeat("1ns", 30_000), ";" + long, long + "=@every 1m",
		"@every 1m;" + long + "\n@every 1x", `{"name":"` + long + `","schedule":"@every 1m"}`, `{"` + long + `":1}`,
		"n=@every 1m\nn=@every 1m;" + long, "*/" + long + " * * * * *", strings.Repeat("1,", 50_000) + " * * * * *",
	} {
		_, err := Parse(text)
		require.Error(t, err, "%.50s", text)
		require.Less(t, len(err.Error()), 1500, "%.50s: %.2000s", text, err)
	}
}

func TestEventIsThePlatforms(t *testing.T) {
	x := one(t, "Timer_001=CRON_TZ=Asia/Shanghai 0 30 8 1 6 ?;<text> & \"more\"")
	require.Equal(t,
		`{"version":"v1.0","time":"2023-06-01T08:30:00+08:00","trigger_type":"TIMER","trigger_name":"Timer_001","user_event":"<text> & \"more\""}`,
		string(x.Event(moment(t, "2023-06-01T00:30:00Z"))))
	var e map[string]string
	require.NoError(t, json.Unmarshal(one(t, "@every 1500ms").Event(moment(t, "2023-06-01T00:00:01.5Z")), &e))
	require.Equal(t, "2023-06-01T00:00:01.5Z", e["time"])
}

// TestRequestIDIsOfTimerAndTick: the same at each agent, another one for each tick and timer, with the tick's time.
func TestRequestIDIsOfTimerAndTick(t *testing.T) {
	a, again, b := one(t, "a=@every 1m"), one(t, "a=@every 1m"), one(t, "b=@every 1m")
	tick := moment(t, "2026-01-01T00:00:00.123Z")
	require.Equal(t, a.RequestID(tick), again.RequestID(tick.In(time.FixedZone("", 3600))))
	require.NotEqual(t, a.RequestID(tick), b.RequestID(tick))
	require.NotEqual(t, a.RequestID(tick), a.RequestID(tick.Add(time.Nanosecond)))
	id, err := uuid.Parse(a.RequestID(tick))
	require.NoError(t, err)
	require.Equal(t, uuid.Version(7), id.Version())
	require.Equal(t, uuid.RFC4122, id.Variant())
	sec, nsec := id.Time().UnixTime()
	require.Equal(t, tick.UnixMilli(), time.Unix(sec, nsec).UnixMilli())
}

// TestZoneOfTheAgentIsNamedWithItsAbbreviation: "Local" alone says little.
func TestZoneOfTheAgentIsNamedWithItsAbbreviation(t *testing.T) {
	all, err := Parse("@every 1m\nCRON_TZ=Asia/Shanghai 0 0 2 * * ?")
	require.NoError(t, err)
	now := time.Now()
	local, _ := now.Zone()
	require.Equal(t, "Local ("+local+")", all[0].ZoneName(now))
	require.Equal(t, "Asia/Shanghai", all[1].ZoneName(now))
}
