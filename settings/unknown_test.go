package settings

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUnknownVariablesAreNamedWithoutTheirValues: what looks like a setting and is none is named, with what was
// probably meant and without its value.
func TestUnknownVariablesAreNamedWithoutTheirValues(t *testing.T) {
	for variable, want := range map[string]string{
		"GANTRY_CONCURENCY=10":            "GANTRY_CONCURENCY is no setting, and has no effect; did you mean GANTRY_CONCURRENCY?",
		"GANTRY_CONCURRENYC=10":           "GANTRY_CONCURRENYC is no setting, and has no effect; did you mean GANTRY_CONCURRENCY?",
		"GANTRY_API_ADR=:1":               "GANTRY_API_ADR is no setting, and has no effect; did you mean GANTRY_API_ADDR?",
		"RUNTIME_API_ADR=:1":              "RUNTIME_API_ADR is no setting, and has no effect; did you mean RUNTIME_API_ADDR?",
		"RUNTIME_TIMOUT=10":               "RUNTIME_TIMOUT is no setting, and has no effect; did you mean RUNTIME_TIMEOUT?",
		"RUNTIME_USER_DATA={}":            "RUNTIME_USER_DATA is no setting, and has no effect; did you mean RUNTIME_USERDATA?",
		"GANTRY_AUTH_TOKEN_FIL=s3cr3t":    "GANTRY_AUTH_TOKEN_FIL is no setting, and has no effect; did you mean GANTRY_AUTH_TOKEN_FILE?",
		"GANTRY_LOG_LEVEL_FILE=/x":        "GANTRY_LOG_LEVEL_FILE is no setting, and has no effect: only secrets are read from files; set GANTRY_LOG_LEVEL",
		"GANTRY_SOMETHING_ELSE=1":         "GANTRY_SOMETHING_ELSE is no setting, and has no effect",
		"GANTRY_PORT=8000":                "GANTRY_PORT is no setting, and has no effect",
		"GANTRY_ADDR=:1":                  "",
		"GANTRY_AUTH_TOKEN_FILE=/x":       "",
		"RUNTIME_LOG_PATH=/home":          "",
		"OTHER_CONCURENCY=10":             "",
		"GANTRY_PORT=tcp://10.0.0.1:80":   "", // what Kubernetes sets for a service that is called gantry
		"GANTRY_SERVICE_HOST=10.0.0.1":    "",
		"GANTRY_SERVICE_PORT_HTTP=80":     "",
		"GANTRY_PORT_8000_TCP_ADDR=10.0.": "",
		"GANTRY_PORT_8000_TCP=tcp://10.0": "",
	} {
		got := unknownVariables(Variables([]string{variable}))
		if want == "" {
			require.Empty(t, got, variable)
			continue
		}
		require.Equal(t, []string{want}, got, variable)
	}
}
