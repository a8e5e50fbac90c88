package async

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	fncontext "gantry/context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// layout says where the events, outcome messages and records of one function lie. Functions of one JetStream share
// streams; in earlier releases each had streams of its own, and the agents empty those (separate.go).
type layout struct {
	// events, outbox and records are names of streams.
	events, outbox, records string
	// event, notify and record are subjects up to the request id.
	event, notify, record string
	// runner and outgoing are the consumers of events and of outcome messages, which all agents of the function share.
	runner, outgoing jetstream.Consumer
	// shared says that the streams hold other functions' messages too, and that a message stays until it is removed.
	shared bool
}

// ownRecords reports whether the records lie in a bucket of an earlier release.
func (l *layout) ownRecords() bool { return l.records != recordStream }

// Streams that functions share, and the subjects in them. Events and outcome messages lie in shards, records and what
// is known of the functions in one stream each.
const (
	recordStream   = "gantry_records"
	functionStream = "gantry_functions"
	recordSubject  = "gantry.record."
	// functionSubject has one message for each function, and the layout's.
	functionSubject = "gantry.function."
	layoutSubject   = functionSubject + "layout"
)

func eventStream(shard int) string { return fmt.Sprintf("gantry_events_%d", shard) }

func outcomeStream(shard int) string { return fmt.Sprintf("gantry_outcomes_%d", shard) }

func shardSubject(shard int, key, kind string) string {
	return fmt.Sprintf("gantry.queue.%d.%s.%s.", shard, key, kind)
}

// shardOf is the shard of a function; every agent has to come to the same one.
func shardOf(key string, shards int) int {
	sum, err := hex.DecodeString(key)
	if err != nil || len(sum) < 8 { // keys are made here alone
		return 0
	}
	return int(binary.BigEndian.Uint64(sum) % uint64(shards))
}

// sharedLayout is where the things of the function with that key lie among so many shards.
func sharedLayout(key string, shards int) *layout {
	shard := shardOf(key, shards)
	return &layout{
		events: eventStream(shard), outbox: outcomeStream(shard), records: recordStream,
		event: shardSubject(shard, key, "event"), notify: shardSubject(shard, key, "outcome"),
		record: recordSubject + key + ".", shared: true,
	}
}

// tombstone replaces a message that a confined agent removes, for tombstoneAge, the least that JetStream takes.
const (
	headerTombstone = "Gantry-Removed"
	tombstoneAge    = time.Second
)

func isTombstone(h nats.Header) bool { return h.Get(headerTombstone) != "" }

// arrangement is how the shared streams were made; the first agent stores it, and all others follow it.
type arrangement struct {
	Shards   int `json:"shards"`
	Replicas int `json:"replicas"`
}

// MaxShards is the largest number of shards.
const MaxShards = 64

// prefixOf begins the subjects by which the agents of the function with that key are asked.
func prefixOf(key string) string { return "gantry." + key }

// inboxOf begins the subjects of the answers to that function's agents.
func inboxOf(key string) string { return "_INBOX." + key }

// listing ends the name of the consumer with which a confined agent lists.
const listing = "_list"

// key names what belongs to one function and version on a cluster.
func key(f *fncontext.Function) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{f.Region, f.Project, f.Package, f.Name, f.Version}, "\n")))
	return hex.EncodeToString(sum[:8])
}

func separateName(key string) string { return "gantry_" + key }

func isSeparateEvents(stream string) bool {
	return strings.HasPrefix(stream, "gantry_") && strings.HasSuffix(stream, "_events")
}

// separateLayout is where an earlier release has the things of the function with that key.
func separateLayout(key string) *layout {
	name, prefix := separateName(key), prefixOf(key)
	return &layout{
		events: name + "_events", outbox: name + "_notifications", records: "KV_" + name + "_records",
		event: prefix + ".event.", notify: prefix + ".notify.", record: "$KV." + name + "_records.",
	}
}

// function is what the servers know of a function, whether or not it has an agent: one message.
type function struct {
	URN string `json:"urn"`
	// Configurations is by configurationKey.
	Configurations map[string]*Configuration `json:"configurations,omitempty"`
	// revision is the message's number, 0 for none.
	revision uint64
}
