package async

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// TestLatestConfigurationCounts: of what is known, and what the bucket of an earlier release has.
func TestLatestConfigurationCounts(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	set := func(age, seconds int) *Configuration {
		return &Configuration{AgeSeconds: age, Modified: at.Add(time.Duration(seconds) * time.Second).Format(time.RFC3339)}
	}
	marker := func(seconds float64) *nats.RawStreamMsg {
		return &nats.RawStreamMsg{Time: at.Add(time.Duration(seconds * float64(time.Second)))}
	}
	for name, c := range map[string]struct {
		known  *Configuration
		theirs *mirrored
		msg    *nats.RawStreamMsg
		want   agreement
	}{
		"neither":                          {want: nothing},
		"never set there":                  {known: set(1, 0), want: give},
		"removed there, not known":         {msg: marker(1), want: nothing},
		"removed there after it was set":   {known: set(1, 0), msg: marker(1), want: take},
		"removed there in the same second": {known: set(1, 0), msg: marker(0.9), want: wait},
		"set after it was removed there":   {known: set(1, 2), msg: marker(1.9), want: give},
		"set there only":                   {theirs: &mirrored{set(1, 0), false}, msg: marker(0), want: take},
		"the same":                         {known: set(1, 0), theirs: &mirrored{set(1, 0), false}, msg: marker(0), want: nothing},
		"newer there":                      {known: set(1, 0), theirs: &mirrored{set(2, 1), false}, msg: marker(1), want: take},
		"another there in the same second": {known: set(1, 0), theirs: &mirrored{set(2, 0), false}, msg: marker(0), want: wait},
		"older there":                      {known: set(1, 1), theirs: &mirrored{set(2, 0), false}, msg: marker(0), want: give},
		"mirrored":                         {known: set(1, 0), theirs: &mirrored{set(1, 0), true}, msg: marker(0), want: nothing},
		"mirrored before another was set":  {known: set(1, 1), theirs: &mirrored{set(2, 0), true}, msg: marker(0), want: give},
		"removed after it was mirrored":    {theirs: &mirrored{set(1, 0), true}, msg: marker(0), want: give},
	} {
		require.Equal(t, c.want, decide(c.known, c.theirs, c.msg), name)
	}
}

// TestConfigurationsOfBothReleasesAgree: what was set last counts at both, when the queue is opened and from then on.
func TestConfigurationsOfBothReleasesAgree(t *testing.T) {
	s := startServer(t, t.TempDir())
	now := time.Now().Truncate(time.Second)
	at := func(seconds int) time.Time { return now.Add(time.Duration(seconds) * time.Second) }
	set := func(q *Queue, alias string, age int) {
		t.Helper()
		_, err := q.SetConfiguration(t.Context(), "latest", alias, "urn:"+alias, &Configuration{AgeSeconds: age})
		require.NoError(t, err)
	}
	before := open(t, s, &testFunction{}, soon, func(c *Config) { c.Now = func() time.Time { return at(-60) } })
	before.Pause()
	for i, alias := range []string{"newer", "older", "removed", "ours", ""} {
		set(before, alias, 100+i)
	}
	o := newEarlier(t, s)
	defer o.stay()()
	o.configure("newer", 200, at(-30))
	o.configure("older", 201, at(-90))
	o.configure("removed", 202, at(-90))
	o.configure("removed", 0, now)
	o.configure("theirs", 203, at(-90))
	q, other := open(t, s, &testFunction{}, soon), open(t, s, &testFunction{}, soon)
	age := func(q *Queue, alias string) int {
		c, err := q.Configuration(t.Context(), "latest", alias)
		if err != nil {
			return 0
		}
		return c.AgeSeconds
	}
	for alias, want := range map[string]int{"newer": 200, "older": 101, "removed": 0, "ours": 103, "theirs": 203, "": 104} {
		require.Equal(t, want, age(q, alias), "%q when the queue is opened", alias)
		require.Equal(t, want, age(other, alias), "%q when the queue is opened", alias)
		require.Equal(t, want, o.age(alias), "%q at an agent of the earlier release", alias)
	}
	everywhere := func(alias string, want int) {
		t.Helper()
		require.Eventually(t, func() bool {
			return age(q, alias) == want && age(other, alias) == want && o.age(alias) == want
		}, patience, 5*time.Millisecond, "%q to be %d, is %d, %d, %d", alias, want, age(q, alias), age(other, alias), o.age(alias))
	}
	o.configure("newer", 300, time.Now())
	everywhere("newer", 300)
	set(q, "newer", 301)
	everywhere("newer", 301)
	require.NoError(t, other.DeleteConfiguration(t.Context(), "latest", "newer"))
	everywhere("newer", 0)
	o.configure("newer", 302, time.Now())
	everywhere("newer", 302)
	o.configure("newer", 0, now)
	everywhere("newer", 0)
	set(q, "newer", 303)
	everywhere("newer", 303)
	set(other, "new", 304)
	everywhere("new", 304)
}
