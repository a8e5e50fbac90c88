package zone

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCopyHasEveryZoneOfGo: each zone that Go has is in the copy, and shows the same times from 2020 on, by the hour
// and to the second around each change of its clock.
func TestCopyHasEveryZoneOfGo(t *testing.T) {
	names, release, err := Names()
	require.NoError(t, err)
	require.Greater(t, len(names), 590)
	root, err := exec.Command("go", "env", "GOROOT").Output()
	require.NoError(t, err)
	folder := filepath.Join(strings.TrimSpace(string(root)), "lib/time")
	script, err := os.ReadFile(filepath.Join(folder, "update.bash"))
	require.NoError(t, err)
	same := strings.Contains(string(script), "DATA="+release+"\n")
	if !same {
		t.Logf("this Go has another version of the zones than %s, which the copy is of: go generate ./timer/zone", release)
	}
	t.Setenv("ZONEINFO", filepath.Join(folder, "zoneinfo.zip"))
	for _, name := range names {
		got, err := Packed(name)
		require.NoError(t, err, name)
		require.Equal(t, name, got.String())
		if !same {
			continue
		}
		want, err := time.LoadLocation(name)
		require.NoError(t, err, name)
		requireSameClock(t, name, got, want)
	}
}

func requireSameClock(t *testing.T, name string, got, want *time.Location) {
	t.Helper()
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for last := time.Date(2045, 1, 1, 0, 0, 0, 0, time.UTC); at.Before(last); {
		g, w := at.In(got), at.In(want)
		require.Equal(t, w.Format(time.RFC3339+" MST"), g.Format(time.RFC3339+" MST"), name)
		_, end := g.ZoneBounds()
		_, wanted := w.ZoneBounds()
		if !end.IsZero() && !end.After(at) { // the last day of a leap year
			at = at.Add(24 * time.Hour)
			continue
		}
		require.True(t, end.Equal(wanted), "%s: the clock changes at %s, want %s", name, end, wanted)
		if end.IsZero() {
			return
		}
		require.Equal(t, end.Add(-1).In(want).Format(time.RFC3339), end.Add(-1).In(got).Format(time.RFC3339), name)
		at = end
	}
}

func TestUnknownZonesAreErrorsThatNameThem(t *testing.T) {
	for _, name := range []string{"Mars/Olympus", "Europe", "2025", "../etc/passwd", "Europe/Berlin/x"} {
		_, err := Load(name)
		require.ErrorContains(t, err, `there is no time zone "`+name+`"`)
	}
	_, err := Load("")
	require.ErrorContains(t, err, "empty")
}

func BenchmarkPacked(b *testing.B) {
	for b.Loop() {
		if _, err := Packed("Pacific/Wallis"); err != nil {
			b.Fatal(err)
		}
	}
}
