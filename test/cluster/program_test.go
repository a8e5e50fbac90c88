package cluster

import (
	"gantry/test/harness"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait, also for a response: a longer one counts as a hang. A request that was lost on its way to
// an agent is redelivered after 30 s, and this machine may be busy.
const patience = 2 * time.Minute

// program is one process under test with a name for messages.
type program struct {
	*harness.Program
	name string
}

// start runs a program in a network namespace, or in the test's own network if ns is nil.
func start(t *testing.T, ns *namespace, name string, env []string, path string, args ...string) *program {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = env
	p := &program{Program: harness.Launch(t, cmd, ns.do), name: name}
	p.Patience = patience
	return p
}

// tail is the end of the program's output, without the lines of each call; for failed tests.
func (p *program) tail() string {
	var kept []string
	for line := range strings.Lines(strings.ToValidUTF8(p.Stderr.String(), "?")) {
		if !strings.Contains(line, "instance state changed") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept[max(0, len(kept)-100):], "")
}

// eventually waits for a condition. It asks at once, and on the test's own goroutine, so that condition may end the
// test.
func eventually(t *testing.T, condition func() bool, format string, args ...any) {
	t.Helper()
	for limit := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			for i := range args { // pointers, to what was seen last
				args[i] = reflect.Indirect(reflect.ValueOf(args[i]))
			}
			require.FailNowf(t, "in vain", "waited for: "+format, args...)
		}
	}
}
