package settings

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// loadTimers loads the settings of a function in a folder with such a file.
func loadTimers(t *testing.T, file string, f Facts, env ...string) (*Config, error) {
	t.Helper()
	code := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(code, file), []byte("#!/bin/sh\n"), 0o755))
	f.CWD = code
	return Load(append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + code, "RUNTIME_CODE_ROOT=" + code}, env...), nil, f)
}

func TestTimersOfVariableAndFileTogether(t *testing.T) {
	file := filepath.Join(t.TempDir(), "timers")
	require.NoError(t, os.WriteFile(file, []byte("\xef\xbb\xbf# more\nb=CRON_TZ=Asia/Tokyo 0 0 2 * * ?;x\n"), 0o600))
	c, err := loadTimers(t, "index.js", Facts{}, "GANTRY_TIMER=@every 1m", "GANTRY_TIMER_FILE="+file, "TZ=:Europe/Berlin")
	require.NoError(t, err)
	require.Len(t, c.Timers, 2)
	require.Equal(t, []string{"Timer_001", "b"}, []string{c.Timers[0].Name, c.Timers[1].Name})
	require.Equal(t, []string{"Europe/Berlin", "Asia/Tokyo"}, []string{c.Timers[0].Zone().String(), c.Timers[1].Zone().String()})
	_, err = loadTimers(t, "index.js", Facts{}, "GANTRY_TIMER=b=@every 1m", "GANTRY_TIMER_FILE="+file)
	require.ErrorContains(t, err, `GANTRY_TIMER and GANTRY_TIMER_FILE: two timers have the name "b"`)
	require.NoError(t, os.WriteFile(file, []byte("x=@every"), 0o600))
	_, err = loadTimers(t, "index.js", Facts{}, "GANTRY_TIMER_FILE="+file)
	require.ErrorContains(t, err, "GANTRY_TIMER_FILE: "+file+": line 1, timer x")
}

func TestZoneOfTimersIsThatOfTZ(t *testing.T) {
	c, err := loadTimers(t, "index.js", Facts{}, "GANTRY_TIMER=@every 1m", "TZ=Nowhere/Town")
	require.NoError(t, err)
	require.Equal(t, time.UTC, c.Timers[0].Zone())
	require.Contains(t, c.Remarks, `TZ=Nowhere/Town: there is no time zone "Nowhere/Town", want a name like Asia/Shanghai, Europe/Berlin or UTC; timers without CRON_TZ run in UTC`)
	c, err = loadTimers(t, "index.js", Facts{}, "GANTRY_TIMER=@every 1m")
	require.NoError(t, err)
	require.Equal(t, time.Local, c.Timers[0].Zone())
}

// TestTimersAreForEventsThatTheAgentTakes: not for HTTP functions, and not where a platform calls.
func TestTimersAreForEventsThatTheAgentTakes(t *testing.T) {
	_, err := loadTimers(t, "bootstrap", Facts{}, "GANTRY_TIMER=@every 1m", "GANTRY_RUNTIME=http")
	require.ErrorContains(t, err, "GANTRY_TIMER is for functions that take events")
	c, err := loadTimers(t, "index.js", Facts{Poll: true}, "GANTRY_TIMER=@every 1m", "RUNTIME_API_ADDR=127.0.0.1:1")
	require.NoError(t, err)
	require.Empty(t, c.Timers)
	require.Contains(t, c.Remarks, "GANTRY_TIMER and GANTRY_TIMER_FILE have no effect here: the platform calls this function, and has timers of its own")
}

func TestEventOfATimerFitsTheQueue(t *testing.T) {
	file := filepath.Join(t.TempDir(), "timers")
	require.NoError(t, os.WriteFile(file, append([]byte("big=@every 1m;"), make([]byte, 260<<10)...), 0o600))
	_, err := loadTimers(t, "index.js", Facts{}, "GANTRY_TIMER_FILE="+file)
	require.ErrorContains(t, err, "timer big: its event has ")
}

// TestErrorsShowTheBeginningOfALongValue: a list of timers may have megabytes.
func TestErrorsShowTheBeginningOfALongValue(t *testing.T) {
	_, err := loadTimers(t, "index.js", Facts{}, "GANTRY_TIMER=a=@every 1x;ä"+strings.Repeat("ä", 100_000))
	require.ErrorContains(t, err, `GANTRY_TIMER: "a=@every 1x;ää`)
	require.ErrorContains(t, err, `ä"…, from the environment: line 1, timer a: @every is followed by "1x"`)
	require.Less(t, len(err.Error()), 1000)
}
