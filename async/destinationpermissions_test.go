package async

import (
	"fmt"
	"gantry/async/destination"
	"gantry/fault"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zapcore"

	fncontext "gantry/context"
)

// towards is what F's user needs for the destination G on the same cluster, besides what Permissions has; G's needs
// answer to its agents' questions.
func towards() (own []string, answer string) {
	k := key(named("G"))
	return []string{
		"$JS.API.DIRECT.GET." + functionStream + "." + functionSubject + k, sharedLayout(k, tenantShards).event + "*",
		prefixOf(k) + ".cascade",
	}, inboxOf(key(named("F"))) + ".>"
}

func usersWithDestination() string {
	own, answer := towards()
	add := func(text, name, more string) string { // to the permissions of that user
		before, after, _ := strings.Cut(text, "user: "+name+",")
		return before + "user: " + name + "," + strings.Replace(after, "allow: [", "allow: ["+more+", ", 1)
	}
	return add(add(byUsers("F", "G"), "F", quoted(own)), "G", quoted([]string{answer}))
}

func accountsWithDestination() string {
	own, _ := towards()
	text := byAccounts("F", "G")
	for i, account := range []string{"A", "A", "G"} {
		export := fmt.Sprintf("exports: [{service: %q, accounts: [F]}, ", own[i])
		if account == "A" {
			text = strings.Replace(text, "exports: [", export, 1)
		} else {
			text = strings.Replace(text, "G: {", "G: {"+export+"], ", 1)
		}
		text = strings.Replace(text, "F: {users: [{user: F, password: p}], imports: [", fmt.Sprintf(
			"F: {users: [{user: F, password: p}], imports: [{service: {account: %s, subject: %q}}, ", account, own[i]), 1)
	}
	return text
}

// TestConfinedFunctionReachesItsDestination: with the three more subjects of docs/ASYNC.md an outcome becomes an event
// there, and a recursive cancel follows it.
func TestConfinedFunctionReachesItsDestination(t *testing.T) {
	for name, config := range map[string]string{"users": usersWithDestination(), "accounts": accountsWithDestination()} {
		t.Run(name, func(t *testing.T) {
			s, _ := startConfigured(t, config)
			unconfined(t, s)
			end := make(chan struct{})
			g := &testFunction{}
			g.answer = func(_ int, inv *fncontext.Invocation, _ string) *fault.Error { return g.block(inv, end) }
			other := open(t, s, g, of(s, "G"))
			t.Cleanup(func() { close(end) })
			require.NoError(t, other.Start(t.Context()))
			q := open(t, s, &testFunction{}, of(s, "F"))
			configure(t, q, &Destination{Kind: destination.Function, Param: toG}, nil)
			id := accept(t, q, "{}")
			waitStatus(t, q, id, Success)
			var caused string
			require.Eventually(t, func() bool {
				page, err := other.Records(t.Context(), &Filter{Status: Running, Limit: 1})
				if err != nil || len(page.Records) == 0 {
					return false
				}
				caused = page.Records[0].RequestID
				return true
			}, patience, 10*time.Millisecond)
			require.NoError(t, q.Cancel(t.Context(), id, true))
			waitStatus(t, other, caused, Fail)
		})
	}
}

const toG = `{"func_urn":"urn:fss:r:p:function:default:G:latest"}`

// TestConfinedFunctionWithoutItsDestinationsSubjectsSaysWhatIsRefused: at once, not after the time of a request.
func TestConfinedFunctionWithoutItsDestinationsSubjectsSaysWhatIsRefused(t *testing.T) {
	for name, says := range map[string]string{"users": "permissions violation", "accounts": "no responders"} {
		t.Run(name, func(t *testing.T) {
			s, _ := startConfigured(t, bothTenants[name]("F", "G"))
			unconfined(t, s)
			logs, log := observed()
			q := open(t, s, &testFunction{}, of(s, "F"), log)
			configure(t, q, &Destination{Kind: destination.Function, Param: toG}, nil)
			began := time.Now()
			waitStatus(t, q, accept(t, q, "{}"), Success)
			again := func() bool { return logs.FilterMessageSnippet("an outcome message is tried again").Len() > 0 }
			require.Eventually(t, again, patience, 5*time.Millisecond)
			require.Less(t, time.Since(began), destination.Timeout/2)
			line := logs.FilterMessageSnippet("an outcome message is tried again").All()[0]
			require.Equal(t, zapcore.WarnLevel, line.Level)
			require.Contains(t, line.ContextMap()["error"], says)
			require.Contains(t, line.ContextMap()["error"], "needs three more subjects")
			for _, refused := range logs.FilterMessage("the queue's servers refuse a request of this agent").All() {
				require.Contains(t, refused.ContextMap()["error"], "needs three more subjects")
			}
		})
	}
}
