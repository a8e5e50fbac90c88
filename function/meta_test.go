package function

import (
	"encoding/json"
	"gantry/function/internal/require"
	"testing"
	"time"
)

const fullMeta = `{"requestId":"r","deadline":1767225600000.125,"alias":"a","workflowId":"1","workflowRunId":"2","workflowStateId":"3","traceparent":"t","tracestate":"s","credentials":{"v":1,"accessKey":"a","secretKey":"b","securityAccessKey":"c","securitySecretKey":"d","securityToken":"e","authToken":"f"}}`

// TestScanTakesTheAgentsMetaTheFastWay: what the agent writes takes the fast way.
func TestScanTakesTheAgentsMetaTheFastWay(t *testing.T) {
	for _, meta := range []string{fullMeta, `{"requestId":"r","deadline":1767225600000}`, `{}`} {
		var m callMeta
		require.True(t, m.scan([]byte(meta)), meta)
	}
	for _, meta := range []string{``, `{`, `{"requestId"`, `{"requestId":"r"`, `{"requestId":"r",}`, `{"requestId":"é"}`, `{"requestId":"\u0041"}`, `{"deadline":1e3}`, `{"deadline":01}`, `{"deadline":.5}`, `{"deadline":}`, `{"new":1}`, ` {}`, `{}x`} {
		var m callMeta
		require.False(t, m.scan([]byte(meta)), meta)
	}
	c := &Context{}
	require.NoError(t, c.read([]byte(fullMeta)))
	require.Equal(t, time.UnixMicro(1767225600000125), c.deadline)
}

// FuzzMeta: the fast way and the standard library agree.
func FuzzMeta(f *testing.F) {
	for _, s := range []string{fullMeta, `{"requestId":"r","deadline":0.5}`, `{"requestId":"r","requestId":"s"}`, `{"credentials":{}}`, `{"deadline":1..2}`, `[]`, `{"credentials":{"v":1,"accessKey":"x","accessKey":""}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, meta []byte) {
		var fast, slow callMeta
		if fast.scan(meta) {
			if err := json.Unmarshal(meta, &slow); err != nil {
				t.Fatalf("%s: %v", meta, err)
			}
			if fast != slow {
				t.Fatalf("%s: %+v, want %+v", meta, fast, slow)
			}
		}
		c := &Context{}
		if err := c.read(meta); err == nil && c.deadline.Before(time.Unix(0, 0)) {
			t.Fatalf("%s: deadline %v", meta, c.deadline)
		}
	})
}

func TestFactsOfTheEnvironmentHaveDefaults(t *testing.T) {
	env := map[string]string{"RUNTIME_TIMEOUT": "2.5", "RUNTIME_MEMORY": "x", "RUNTIME_CPU": "-1", "RUNTIME_MAX_RESP_BODY_SIZE": "1e12", "RUNTIME_INITIALIZER_TIMEOUT": ""}
	f := newFacts(func(name string) string { return env[name] })
	require.Equal(t, 2500*time.Millisecond, f.timeout)
	require.Equal(t, 300*time.Second, f.initTimeout)
	require.Zero(t, f.memoryMB)
	require.Zero(t, f.cpuMillis)
	require.Equal(t, 6<<20, f.maxResponse)
	for text, want := range map[string]map[string]string{
		``: nil, `[]`: nil, `{`: nil, `null`: {}, `{}`: {},
		`{"a":"b","n":1.0,"o":{"x":[1]},"t":true,"z":null}`: {"a": "b", "n": "1.0", "o": `{"x":[1]}`, "t": "true", "z": ""},
	} {
		require.Equal(t, want, userData(text), text)
	}
}

func FuzzUserData(f *testing.F) {
	f.Add(`{"a":"b","n":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		if data := userData(text); data != nil && !json.Valid([]byte(text)) {
			t.Fatal(data)
		}
	})
}

func TestVersionIsReadFromTheGoVersion(t *testing.T) {
	for text, want := range map[string]string{"go1.26.8": "1.26.8", "go1.26": "1.26", "go1.26.8 X:nodwarf5": "1.26.8", "devel go1.27-abc Mon": "1.27-abc", "go1.27rc1": "1.27rc1", "odd": "odd"} {
		require.Equal(t, want, version(text))
	}
}
