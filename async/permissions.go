package async

import (
	"fmt"
	fncontext "gantry/context"
	"slices"
	"strings"
)

// Permissions returns the subjects that a user of a cluster needs who may see one function alone: those that it has to
// publish to, and those that it has to subscribe to, each sorted. shards is the number of streams of events as the
// first agent has made them, 1 to MaxShards; 0 means 1. "bootstrap permissions" prints them, docs/ASYNC.md explains
// them.
func Permissions(f *fncontext.Function, shards int) (publish, subscribe []string) {
	k := key(f)
	publish = append(Services(f, shards), prefixOf(k)+".>", inboxOf(k)+".>")
	slices.Sort(publish)
	return publish, []string{inboxOf(k) + ".>", prefixOf(k) + ".>"}
}

// Services returns the subjects of Permissions that the servers answer, sorted: an account of the function's own
// imports them. The rest stays between the function's agents.
func Services(f *fncontext.Function, shards int) []string {
	k := key(f)
	l := sharedLayout(k, max(shards, 1))
	read := func(stream, subject string) string { return "$JS.API.DIRECT.GET." + stream + "." + subject }
	subjects := []string{
		l.event + "*", l.notify + "*", l.record + "*", functionSubject + k,
		read(functionStream, layoutSubject), read(functionStream, functionSubject+k),
		read(l.events, l.event+"*"), read(l.outbox, l.notify+"*"), read(l.records, l.record+"*"),
	}
	consumer := func(stream, name, filter string) {
		at := stream + "." + name
		subjects = append(subjects, "$JS.API.CONSUMER.CREATE."+at+"."+filter, "$JS.API.CONSUMER.MSG.NEXT."+at,
			"$JS.API.CONSUMER.DELETE."+at)
	}
	consumer(l.events, k, l.event+"*")
	consumer(l.outbox, k, l.notify+"*")
	consumer(l.events, k+listing, l.event+"*")
	consumer(l.records, k+listing, l.record+"*")
	for _, stream := range []string{l.events, l.outbox} {
		subjects = append(subjects, "$JS.API.CONSUMER.INFO."+stream+"."+k, "$JS.ACK."+stream+"."+k+".>")
	}
	slices.Sort(subjects)
	return subjects
}

// Imports returns what keeps a function apart in an account of its own: the exports of the account with the streams and
// the imports of the function's, each an entry of a configuration of nats-server. A user's permissions alone do not
// keep a hostile client out.
func Imports(f *fncontext.Function, shards int, streams, own string) (exports, imports []string) {
	entry := func(subject, more, to string) {
		exports = append(exports, fmt.Sprintf("{service: %q, accounts: [%q]%s}", subject, own, more))
		imports = append(imports, fmt.Sprintf("{service: {account: %q, subject: %q}%s}", streams, subject, to))
	}
	for _, subject := range Services(f, shards) {
		more := ""
		if strings.Contains(subject, ".CONSUMER.MSG.NEXT.") {
			more = ", response_type: stream"
		}
		entry(subject, more, "")
	}
	// Without an import of this subject the server answers itself, to all of JetStream, that the account has none.
	entry(nothingSubject, "", `, to: "$JS.API.INFO"`)
	return exports, imports
}

// nothingSubject is a subject that no service answers.
const nothingSubject = "gantry.nothing"
