package timer

import (
	"gantry/timer/zone"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// one reads a list with one timer, whose zone is a packed one: the system's may be of another version.
func one(t testing.TB, text string) *Timer {
	t.Helper()
	all, err := Parse(text)
	require.NoError(t, err)
	require.Len(t, all, 1)
	if all[0].zone != nil {
		all[0].zone, err = zone.Packed(all[0].zone.String())
		require.NoError(t, err)
	}
	all[0].In(time.UTC)
	return all[0]
}

// runs are the ticks of a schedule between two times, as its clock shows them.
func runs(t testing.TB, text, from, to string) (all []string) {
	t.Helper()
	x := one(t, text)
	end := moment(t, to)
	for at := x.Next(moment(t, from)); !at.IsZero() && !at.After(end); at = x.Next(at) {
		all = append(all, at.Format(time.RFC3339Nano))
	}
	return all
}

func moment(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	require.NoError(t, err)
	return at
}

func TestSchedulesRunWhenThePlatformSays(t *testing.T) {
	for _, c := range []struct {
		schedule, from, to string
		want               []string
	}{
		{"@every 20m", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z", []string{"2026-01-01T00:20:00Z", "2026-01-01T00:40:00Z", "2026-01-01T01:00:00Z"}},
		{"@every 1.5s", "2026-01-01T00:00:00.1Z", "2026-01-01T00:00:03Z", []string{"2026-01-01T00:00:01.5Z", "2026-01-01T00:00:03Z"}},
		{"@every 100ms", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.2Z", []string{"2026-01-01T00:00:00.1Z", "2026-01-01T00:00:00.2Z"}},
		{"@every 12h", "1969-12-31T01:00:00Z", "1970-01-01T00:00:00Z", []string{"1969-12-31T12:00:00Z", "1970-01-01T00:00:00Z"}},
		{"0 30 8 * * 1-5", "2026-11-27T08:30:00Z", "2026-12-01T08:30:00Z", []string{"2026-11-30T08:30:00Z", "2026-12-01T08:30:00Z"}},
		{"0 30 8 * *", "2026-11-27T08:30:00Z", "2026-11-29T08:30:00Z", []string{"2026-11-28T08:30:00Z", "2026-11-29T08:30:00Z"}},
		{"0 0 0 ? JAN sun", "2026-01-01T00:00:00Z", "2026-01-11T00:00:00Z", []string{"2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"}},
		{"0 0 0 13 * FRI", "2026-02-01T00:00:00Z", "2026-02-13T00:00:00Z", []string{"2026-02-06T00:00:00Z", "2026-02-13T00:00:00Z"}},
		{"0 0 0 29 2 ?", "2025-01-01T00:00:00Z", "2032-12-01T00:00:00Z", []string{"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
		{"15,45 0/30 1 1 1 ?", "2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z", []string{"2026-01-01T01:00:15Z", "2026-01-01T01:00:45Z", "2026-01-01T01:30:15Z", "2026-01-01T01:30:45Z"}},
		{"CRON_TZ=Asia/Shanghai 0 30 8 1 6 ?", "2023-01-01T00:00:00Z", "2023-12-31T00:00:00Z", []string{"2023-06-01T08:30:00+08:00"}},
	} {
		require.Equal(t, c.want, runs(t, c.schedule, c.from, c.to), c.schedule)
	}
}

// TestTimesInTheGapOfSummerTimeAreSkippedAndDoubledOnesRunOnce: and schedules of every hour follow the hours that pass.
func TestTimesInTheGapOfSummerTimeAreSkippedAndDoubledOnesRunOnce(t *testing.T) {
	for _, c := range []struct {
		schedule, from, to string
		want               []string
	}{
		{"CRON_TZ=Europe/Berlin 0 30 2 * * ?", "2026-03-28T00:00:00Z", "2026-03-30T12:00:00Z", []string{"2026-03-28T02:30:00+01:00", "2026-03-30T02:30:00+02:00"}},
		{"CRON_TZ=Europe/Berlin 0 0 2,3 * * ?", "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z", []string{"2026-03-29T03:00:00+02:00"}},
		{"CRON_TZ=Europe/Berlin 0 30 2 * * ?", "2026-10-24T00:00:00Z", "2026-10-26T12:00:00Z", []string{"2026-10-24T02:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
		{"CRON_TZ=Europe/Berlin 0 30 1-3 * * ?", "2026-10-24T22:00:00Z", "2026-10-25T12:00:00Z", []string{"2026-10-25T01:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T03:30:00+01:00"}},
		{"CRON_TZ=America/New_York 0 30 1 * * ?", "2026-10-31T12:00:00Z", "2026-11-02T12:00:00Z", []string{"2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"}},
		{"CRON_TZ=America/New_York 0 30 * * * ?", "2026-11-01T04:00:00Z", "2026-11-01T07:30:00Z", []string{"2026-11-01T00:30:00-04:00", "2026-11-01T01:30:00-04:00", "2026-11-01T01:30:00-05:00", "2026-11-01T02:30:00-05:00"}},
		{"CRON_TZ=America/New_York 0 30 * * * ?", "2026-03-08T05:00:00Z", "2026-03-08T08:00:00Z", []string{"2026-03-08T00:30:00-05:00", "2026-03-08T01:30:00-05:00", "2026-03-08T03:30:00-04:00"}},
		// Half an hour, southern summer, midnight in the gap, the last day of a leap year.
		{"CRON_TZ=Australia/Lord_Howe 0 15,45 1,2 * * ?", "2026-04-04T13:00:00Z", "2026-04-04T17:00:00Z", []string{"2026-04-05T01:15:00+11:00", "2026-04-05T01:45:00+11:00", "2026-04-05T02:15:00+10:30", "2026-04-05T02:45:00+10:30"}},
		{"CRON_TZ=Australia/Lord_Howe 0 15,45 2 * * ?", "2026-10-03T12:00:00Z", "2026-10-03T17:00:00Z", []string{"2026-10-04T02:45:00+11:00"}},
		{"CRON_TZ=America/Santiago 0 0 0 * * ?", "2026-09-05T00:00:00Z", "2026-09-07T12:00:00Z", []string{"2026-09-05T00:00:00-04:00", "2026-09-07T00:00:00-03:00"}},
		{"CRON_TZ=Europe/Berlin 0 0 12 * * ?", "2028-12-30T12:00:00Z", "2029-01-01T12:00:00Z", []string{"2028-12-31T12:00:00+01:00", "2029-01-01T12:00:00+01:00"}},
	} {
		require.Equal(t, c.want, runs(t, c.schedule, c.from, c.to), "%s from %s", c.schedule, c.from)
	}
}

// TestNextFromWithinADoubledHour: an agent that starts in the second hour does not run what the first one had.
func TestNextFromWithinADoubledHour(t *testing.T) {
	require.Equal(t, []string{"2026-10-26T02:30:00+01:00"}, runs(t, "CRON_TZ=Europe/Berlin 0 30 2 * * ?", "2026-10-25T01:10:00Z", "2026-10-26T12:00:00Z"))
}

func TestWrongSchedulesNameTheFieldAndWhatWouldBeRight(t *testing.T) {
	for text, want := range map[string][]string{
		"60 * * * * *":                 {`the second is "60"`, "want *, or 0 to 59"},
		"0 61 * * * *":                 {`the minute is "61"`, "0 to 59"},
		"0 0 24 * * *":                 {`the hour is "24"`, "0 to 23"},
		"0 0 0 0 * *":                  {`the day of month is "0"`, "1 to 31", "or ?"},
		"0 0 0 1 13 *":                 {`the month is "13"`, "1 to 12 or JAN to DEC"},
		"0 0 0 * * 7":                  {`the day of week is "7"`, "0 to 6 or SUN to SAT, from Sunday on"},
		"0 0 0 * * FRY":                {`the day of week is "FRY"`, "neither a number nor a name"},
		"0 0 0 L * ?":                  {`the day of month is "L"`},
		"? * * * * *":                  {`the second is "?"`, "only for a day"},
		"0 ,5 * * * *":                 {`the minute is ",5"`, "empty"},
		"0 *-5 * * * *":                {`the minute is "*-5"`, "a star stands alone"},
		"0 */0 * * * *":                {`the minute is "*/0"`},
		"0 5/ * * * *":                 {`the minute is "5/"`, "the step is missing"},
		"0 0 0 30 2 ?":                 {"it would never run"},
		"0 0 0 31 4,6,9,11 ?":          {"it would never run"},
		"0 9 * * MON":                  {`the month is "MON"`, `as in cron, write "0 0 9 * * MON"`},
		"hourly":                       {"it has 1 field, want"},
		"* * *":                        {"it has 3 fields", "five or six"},
		"0 0 0 1 1 ? 2027":             {"it has 7 fields"},
		"@every 0s":                    {"@every 0s is outside of 10ms to 8784h"},
		"@every -1s":                   {"outside"},
		"@every":                       {`@every is followed by ""`, "ms, s, m, h"},
		"@every 5":                     {`followed by "5"`},
		"@daily":                       {`write "0 0 0 * * ?"`},
		"@reboot":                      {"is no schedule"},
		"CRON_TZ=Mars/X 0 0 2 * * ?":   {`there is no time zone "Mars/X"`},
		"CRON_TZ= 0 0 2 * * ?":         {"the name of the time zone is empty"},
		"CRON_TZ=Asia/Shanghai":        {"there is no schedule"},
		"TZ=Asia/Shanghai 0 0 2 * * ?": {"written CRON_TZ=Asia/Shanghai"},
		"a=;text":                      {"timer a", "there is no schedule"},
		"":                             {"there is no timer in it"},
	} {
		_, err := Parse(text)
		for _, w := range want {
			require.ErrorContains(t, err, w, text)
		}
	}
}

func TestBothReadingsOfFieldsThatMayBeMeantOtherwise(t *testing.T) {
	now := moment(t, "2026-11-27T12:00:00Z")
	for text, want := range map[string][]string{
		"*/5 * * * *":    {"five fields are read as the platform reads them", "next 2026-11-27T12:00:05Z and 2026-11-27T12:00:10Z", `write "0 */5 * * * *": next 2026-11-27T12:05:00Z and 2026-11-27T12:10:00Z`},
		"30 8 * * 1-5":   {"next 2027-01-01T00:08:30Z", `write "0 30 8 * * 1-5": next 2026-11-30T08:30:00Z`},
		"*/5 * * * * *":  {"six fields are read as the platform reads them", `write "0 */5 * * * *"`},
		"30 8 * * 1-5 *": {"six fields are read", `write "0 30 8 * * 1-5"`},
	} {
		all := one(t, text).Warnings(now)
		require.NotEmpty(t, all, text)
		for _, w := range want {
			require.Contains(t, all[0], w, text)
		}
	}
	for _, text := range []string{"0 30 8 * * 1-5", "30 0 2 * * ?", "0 */5 * * * *", "@every 1m", "CRON_TZ=Asia/Shanghai 0 0 2 * * ?"} {
		require.Empty(t, one(t, text).Warnings(now), text)
	}
}

func TestWarningsOfSchedulesThatSurprise(t *testing.T) {
	now := moment(t, "2026-01-01T00:00:00Z")
	for text, want := range map[string]string{
		"@every 1500ms":                       "the platform counts whole seconds",
		"0 */90 1 * * *":                      "the step 90 is wider than the minute",
		"0 0 0 13 * FRI":                      "on every day that one of them fits",
		"CRON_TZ=Europe/Berlin 0 30 2 * * ?":  "on 2026-03-29 the clock of Europe/Berlin is set forward: 02:30:00 does not come, and it does not run\non 2026-10-25 the clock of Europe/Berlin is set back: 02:30:00 comes twice, and it runs the first time only",
		"CRON_TZ=Europe/Berlin 0 30 12 * * ?": "",
	} {
		all := strings.Join(one(t, text).Warnings(now), "\n")
		require.True(t, want == all || want != "" && strings.Contains(all, want), "%s: %q", text, all)
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"@every 1m", "a=0 0 2 * * ?;x", `[{"name":"a","schedule":"*/5 * * * *"}]`, "CRON_TZ=UTC 1-2/3,4 0 0 1 1 ?"} {
		f.Add(text)
	}
	now := time.Date(2026, 3, 29, 0, 59, 59, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		all, err := Parse(text)
		if err != nil {
			return
		}
		for _, x := range all {
			x.In(time.UTC)
			if next := x.Next(now); !next.IsZero() && !next.After(now) {
				t.Fatalf("%q: %s is not after %s", text, next, now)
			}
			x.Warnings(now)
			x.Event(now)
		}
	})
}
