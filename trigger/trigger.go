// Package trigger knows the events of the platform's triggers: it makes one with fresh ids and times, sets values in it
// with the encodings that it has, and says what is wrong with one that was written by hand. docs/TRIGGERS.md has the
// table.
package trigger

import (
	"fmt"
	"gantry/spelling"
	"strings"
)

// Trigger is a source of events.
type Trigger struct {
	// Name is what commands call it; Title says what it is.
	Name, Title string
	// Async says that the platform calls the function asynchronously, so that its result reaches no caller.
	Async bool
	// Names are short names for the paths that are set most.
	Names []Name
}

// Name is a short name for a path in an event.
type Name struct{ Name, Path string }

// Mode is how the platform calls the function.
func (t *Trigger) Mode() string {
	if t.Async {
		return "async"
	}
	return "sync"
}

var requestNames = []Name{
	{"method", "httpMethod"},
	{"path", "path"},
	{"query", "queryStringParameters"},
	{"header", "headers"},
	{"body", "body"},
	{"param", "pathParameters"},
	{"stage", "requestContext.stage"},
}

var table = []Trigger{
	{
		Name: "apig", Title: "API Gateway: an HTTP request, the body in Base64",
		Names: append([]Name{{"ip", "requestContext.sourceIp"}}, requestNames...),
	},
	{
		Name: "apig-console", Title: "the console's test event for API Gateway, the body as plain text",
		Names: requestNames,
	},
	{
		Name: "timer", Title: "Timer: a schedule", Async: true,
		Names: []Name{{"event", "user_event"}, {"name", "trigger_name"}},
	},
	{
		Name: "obs", Title: "OBS: an object was created or removed", Async: true,
		Names: []Name{
			{"bucket", "Records.0.s3.bucket.name"},
			{"key", "Records.0.s3.object.key"},
			{"size", "Records.0.s3.object.size"},
			{"event", "Records.0.eventName"},
		},
	},
	{
		Name: "smn", Title: "SMN: a notification of a topic", Async: true,
		Names: []Name{
			{"message", "record.0.smn.message"}, {"subject", "record.0.smn.subject"}, {"topic", "record.0.smn.topic_urn"},
		},
	},
	{
		Name: "lts", Title: "LTS: lines of a log", Async: true,
		Names: []Name{
			{"message", "lts.data.logs.0.message"},
			{"logs", "lts.data.logs"},
			{"path", "lts.data.logs.0.path"},
			{"host", "lts.data.logs.0.host_name"},
			{"group", "lts.data.log_group_id"},
			{"topic", "lts.data.log_topic_id"},
		},
	},
	{
		Name: "cts", Title: "CTS: an operation on a cloud resource", Async: true,
		Names: []Name{
			{"trace", "cts.trace_name"},
			{"service", "cts.service_type"},
			{"type", "cts.resource_type"},
			{"resource", "cts.resource_name"},
			{"user", "cts.user.name"},
			{"code", "cts.code"},
			{"time", "cts.time"},
		},
	},
	{Name: "dds", Title: "DDS: a change in a document database", Async: true, Names: documentNames("dds")},
	{
		Name: "gaussmongo", Title: "GeminiDB or GaussDB(for Mongo): a change in a document database", Async: true,
		Names: documentNames("gauss_mongo"),
	},
	{
		Name: "dis", Title: "DIS: records of a stream", Async: true,
		Names: []Name{
			{"data", "Message.records.0.data"},
			{"key", "Message.records.0.partition_key"},
			{"stream", "StreamName"},
			{"shard", "ShardID"},
		},
	},
	{
		Name: "kafka", Title: "Kafka, of DMS or open source: messages of a topic", Async: true,
		Names: messageNames("topic_id", "instance_id"),
	},
	{
		Name: "rocketmq", Title: "RocketMQ of DMS: messages of a topic", Async: true,
		Names: messageNames("topic_id", "instance_id"),
	},
	{
		Name: "rabbitmq", Title: "RabbitMQ of DMS: messages of an exchange", Async: true,
		Names: messageNames("exchange", "records.0.instance_id"),
	},
}

func documentNames(source string) []Name {
	return []Name{
		{"document", "records.0." + source + ".full_document"},
		{"event", "records.0.event_name"},
		{"db", "records.0." + source + ".ns.db"},
		{"coll", "records.0." + source + ".ns.coll"},
	}
}

func messageNames(topic, instance string) []Name {
	return []Name{
		{"message", "records.0.messages.0"},
		{"messages", "records.0.messages"},
		{"topic", "records.0." + topic},
		{"instance", instance},
	}
}

// otherNames are what else users may call a trigger, and its name.
var otherNames = [][2]string{
	{"api", "apig"},
	{"apic", "apig"},
	{"apigw", "apig"},
	{"http", "apig"},
	{"cron", "timer"},
	{"s3", "obs"},
	{"log", "lts"},
	{"trace", "cts"},
	{"mongo", "dds"},
	{"mongodb", "dds"},
	{"geminidb", "gaussmongo"},
	{"gaussdb", "gaussmongo"},
	{"dms", "kafka"},
	{"sns", "smn"},
	{"kinesis", "dis"},
}

// All lists every trigger, in the order of the documentation.
func All() []*Trigger {
	all := make([]*Trigger, len(table))
	for i := range table {
		all[i] = &table[i]
	}
	return all
}

// TriggerNames lists the name of every trigger.
func TriggerNames() []string {
	names := make([]string, len(table))
	for i := range table {
		names[i] = table[i].Name
	}
	return names
}

// Find returns the trigger of that name.
func Find(name string) (*Trigger, error) {
	names := TriggerNames()
	for i := range table {
		if table[i].Name == name {
			return &table[i], nil
		}
	}
	near := nearest(name, names)
	for _, other := range otherNames {
		if normal(name) == normal(other[0]) {
			near = other[1]
		}
	}
	return nil, fmt.Errorf("%.100q is no trigger%s; want one of %s", name, meant(near), strings.Join(names, ", "))
}

// nearest is the name that was probably meant, or nothing.
func nearest(name string, names []string) string {
	for _, n := range names {
		if normal(n) == normal(name) {
			return n
		}
	}
	return spelling.Nearest(name, names)
}

var separators = strings.NewReplacer("_", "", "-", "")

// normal is a name without what is mistaken most: capitals, underscores, the plural.
func normal(name string) string {
	name = strings.ToLower(separators.Replace(name))
	if short := strings.TrimSuffix(name, "s"); len(short) > 1 {
		return short
	}
	return name
}

func meant(near string) string {
	if near == "" {
		return ""
	}
	return "; did you mean " + near + "?"
}
