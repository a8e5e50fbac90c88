package trigger

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// at is the value at a path of the JSON of an event; a part in brackets decodes: [64] Base64, [json] a text with JSON.
func at(t *testing.T, b []byte, path string) any {
	t.Helper()
	v := decoded(t, b)
	for key := range strings.SplitSeq(path, "/") {
		switch x := v.(type) {
		case map[string]any:
			require.Contains(t, x, key, path)
			v = x[key]
		case []any:
			i := int(key[0] - '0')
			require.Greater(t, len(x), i, path)
			v = x[i]
		case string:
			if key == "[64]" {
				v = string(fromBase64(t, x))
			} else {
				v = decoded(t, []byte(x))
			}
		}
	}
	return v
}

// TestValuesAreSetAndEncodedAsTheEventHasThem: text, number or JSON as the event has it, and each encoding.
func TestValuesAreSetAndEncodedAsTheEventHasThem(t *testing.T) {
	logs := "lts/data/[64]/[json]/logs/[json]"
	for _, c := range []struct {
		trigger    string
		sets       []string
		path, want string // the wanted value as JSON
	}{
		{"apig", []string{"body", `{"a":"ü"}`}, "body/[64]", `"{\"a\":\"ü\"}"`},
		{"apig", []string{"body", "\xff\x00"}, "body", `"/wA="`},
		{"apig", nil, "body", `""`},
		{"apig", []string{"body", "hi", "isBase64Encoded", "false"}, "body", `"hi"`},
		{"apig", []string{"isBase64Encoded", "false"}, "isBase64Encoded", `false`},
		{"apig", []string{"header.X-A.B", "5"}, "headers/x-a.b", `"5"`},
		{"apig", []string{"headers", `{"Only":"one"}`}, "headers", `{"only":"one"}`},
		{"apig", []string{"query.a.b", "1"}, "queryStringParameters", `{"a.b":"1"}`},
		{"apig", []string{"param.", "x/y", "param.id", "7"}, "pathParameters", `{"":"x/y","id":"7"}`},
		{"apig", []string{"method", "POST", "path", "/a"}, "httpMethod", `"POST"`},
		{"apig", []string{"ip", "192.0.2.9"}, "requestContext/sourceIp", `"192.0.2.9"`},
		{"apig-console", []string{"body", "hi"}, "body", `"hi"`},
		{"timer", []string{"event", `{"a":1}`}, "user_event", `"{\"a\":1}"`},
		{"timer", []string{"event", `{"a":1,"a":2}`}, "user_event", `"{\"a\":1,\"a\":2}"`},
		{"timer", []string{"event", "true"}, "user_event", `"true"`},
		{"obs", []string{"key", "a b/ü+%.txt"}, "Records/0/s3/object/key", `"a%20b%2F%C3%BC%2B%25.txt"`},
		{"obs", []string{"bucket", "photos"}, "Records/0/s3/bucket/arn", `"arn:fss:s3:::photos"`},
		{"obs", []string{"Records.0.s3.bucket.arn", "x", "bucket", "photos"}, "Records/0/s3/bucket/arn", `"x"`},
		{"obs", []string{"bucket", "<=name><uuid>"}, "Records/0/s3/bucket/name", `"<=name><uuid>"`},
		{"obs", []string{"size", "7"}, "Records/0/s3/object/size", `7`},
		{"obs", []string{"Records.1.s3.object.key", "b"}, "Records/1/s3/object/key", `"b"`},
		{"obs", []string{"Records.1.s3.object.key", "b"}, "Records/0/s3/object/key", `"folder%2Ffile.txt"`},
		{"obs", []string{"Records", `[{"s3":{"object":{"key":"x y"}}}]`}, "Records/0/s3/object/key", `"x%20y"`},
		{"obs", []string{"Records", `[{"s3":{"object":{"key":"x y"}}}]`}, "Records/0/eventVersion", `"2.0"`},
		{"obs", []string{"Records.0.s3.object.etag", "x"}, "Records/0/s3/object/etag", `"x"`},
		{"smn", []string{"topic", "alarms"}, "record/0/smn/topic_urn", `"urn:smn:cn-north-4:00000000000000000000000000000000:alarms"`},
		{"smn", []string{"topic", "urn:smn:a:b:c"}, "record/0/smn/topic_urn", `"urn:smn:a:b:c"`},
		{"smn", []string{"record.0.smn.message_attributes", "null"}, "record/0/smn/message_attributes", `null`},
		{"smn", []string{"record.0.smn.message_attributes.a", "1"}, "record/0/smn/message_attributes", `{"a":1}`},
		{"smn", []string{"record.0.smn.message_attributes", "x"}, "record/0/smn/message_attributes", `"x"`},
		{"lts", []string{"message", `he "said"`}, logs + "/0/message", `"he \"said\""`},
		{"lts", []string{"lts.data.logs.1.message", "two"}, logs + "/1/message", `"two"`},
		{"lts", []string{"logs", `[{"line_no":5},{"line_no":6}]`}, logs + "/1/line_no", `6`},
		{"lts", []string{"lts.data", `{"owner":"me","logs":[{"message":"m"}]}`}, logs + "/0/message", `"m"`},
		{"lts", []string{"lts.data", `{"logs":"[{\"message\":\"m\"}]"}`}, logs + "/0/message", `"m"`},
		{"cts", []string{"code", "200"}, "cts/code", `200`},
		{"cts", []string{"code", "OK"}, "cts/code", `"OK"`},
		{"cts", []string{"code", `"200"`}, "cts/code", `"200"`},
		{"cts", []string{"cts.request", "text"}, "cts/request", `"text"`},
		{"cts", []string{"cts.request.a.b", "1", "cts.request.c", "x"}, "cts/request", `{"a":{"b":1},"c":"x"}`},
		{"cts", []string{"cts.read_only", "true"}, "cts/read_only", `true`},
		{"dds", []string{"document", `{"a":[1]}`}, "records/0/dds/full_document/[json]", `{"a":[1]}`},
		{"dds", []string{"document", `{"l":[1]}`, "document.l.1", "x"}, "records/0/dds/full_document/[json]", `{"l":[1,"x"]}`},
		{"dds", []string{"document", `{}`, `document.a\.b`, "1"}, "records/0/dds/full_document/[json]", `{"a.b":1}`},
		{"dds", []string{"document", `"{\"a\":1}"`}, "records/0/dds/full_document/[json]", `{"a":1}`},
		{"dds", []string{"db", "shop"}, "records/0/dds/ns", `"{\"db\":\"shop\",\"coll\":\"my-collection\"}"`},
		{"gaussmongo", []string{"event", "delete"}, "records/0/event_name", `"\"delete\""`},
		{"dis", []string{"data", "{\"a\":1}\n"}, "Message/records/0/data/[64]", `"{\"a\":1}\n"`},
		{"kafka", []string{"messages", `["a","b"]`, "messages.2", "c"}, "records/0/messages", `["a","b","c"]`},
		{"kafka", []string{"message", "<b>&"}, "records/0/messages/0", `"<b>&"`},
		{"kafka", []string{"messages", `[]`}, "records/0/messages", `[]`},
		{"kafka", []string{"event_time", "5"}, "event_time", `5`},
	} {
		got, err := json.Marshal(at(t, written(t, c.trigger, c.sets...), c.path))
		require.NoError(t, err)
		require.JSONEq(t, c.want, string(got), "%s %v", c.trigger, c.sets)
	}
	require.Contains(t, string(written(t, "smn", "topic", "alarms")), `:alarms:`, "the subscription is of the same topic")
	require.Contains(t, string(written(t, "kafka", "message", "<b>&")), `"<b>&"`, "people read it")
	require.NotEqual(t, at(t, written(t, "lts", "lts.data.logs.1.message", "x"), "lts/data/[64]/[json]/logs/[json]/0/log_uid"),
		at(t, written(t, "lts", "lts.data.logs.1.message", "x"), "lts/data/[64]/[json]/logs/[json]/1/log_uid"))
}

// TestWrongPathsAndValuesAreErrorsThatSayWhatIsRight: and name the path.
func TestWrongPathsAndValuesAreErrorsThatSayWhatIsRight(t *testing.T) {
	for _, c := range []struct{ trigger, path, value, want string }{
		{"obs", "bukket", "x", `the event of obs has no "bukket"; did you mean bucket?; it has bucket, key, size, event, Records`},
		{"obs", "records.0.s3", "x", `the event of obs has no "records"; did you mean Records?; it has`},
		{"obs", "eventTime", "x", `has no "eventTime"; did you mean Records.0.eventTime?; it has`},
		{"obs", "Records.0.s3.object.kez", "x", `Records.0.s3.object has no "kez"; did you mean key?; it has key, size, eTag, etag, versionId, sequencer`},
		{"obs", "Records.0.s3.bucket.ownerIdentity.principalId", "x", `did you mean PrincipalId?`},
		{"obs", "Records.0.userIdentity.PrincipalId", "x", `did you mean principalId?`},
		{"obs", "Records.2.s3", "x", `Records is a list: want an index behind it, from 0 to 1, where 1 adds an element, and not "2"`},
		{"obs", "Records.s3", "x", `and not "s3"`},
		{"obs", "Records.-1", "x", `and not "-1"`},
		{"obs", "size", "big", `Records.0.s3.object.size wants a number, and got "big"`},
		{"obs", "size", "1 2", `wants a number, and got "1 2"`},
		{"obs", "size", `"5"`, `wants a number, and got "\"5\""`},
		{"obs", "Records", "{}", `Records wants a list as JSON, and got "{}"`},
		{"obs", "Records", `[{"s3":{"object":{"size":"7"}}}]`, `Records.0.s3.object.size wants a number, and got the text "7"`},
		{"obs", "Records", `[{"S3":{}}]`, `Records.0 has no "S3"; did you mean s3?`},
		{"obs", "Records", `[{"s3":{},"s3":{}}]`, `the JSON has the key "s3" twice`},
		{"obs", "Records", `[{"a":1,"a":2}]`, `the JSON has the key "a" twice`},
		{"cts", "cts.request", `{"b":{"a":1,"a":2}}`, `the JSON has the key "a" twice`},
		{"obs", "key.x", "1", `Records.0.s3.object.key is text and has no member "x"`},
		{"obs", "", "1", `"" is no path`},
		{"obs", "Records..s3", "1", `"Records..s3" is no path: want keys and indexes with a dot between two of them`},
		{"apig", "isBase64Encoded", "yes", `isBase64Encoded wants true or false, and got "yes"`},
		{"apig", "headers", `{"a":5}`, `headers.a wants text, and got the number 5`},
		{"apig", "headers", `a: b`, `headers wants an object as JSON, and got "a: b"`},
		{"lts", "logs", "x", `lts.data.logs wants a list as JSON, and got "x"`},
		{"kafka", "messages", `[1]`, `records.0.messages.0 wants text, and got the number 1`},
		{"dds", "document", `[1]`, `records.0.dds.full_document wants an object as JSON, and got "[1]"`},
		{"dds", "document", `"x"`, `records.0.dds.full_document wants JSON, written as JSON in a text, and got the text "x"`},
		{"cts", "request", "x", `did you mean cts.request?`},
		{"dds", "document", "x", `records.0.dds.full_document wants an object as JSON, and got "x"`},
		{"dds", "document._id.$oid.x", "1", `is text and has no member "x"`},
	} {
		trigger, err := Find(c.trigger)
		require.NoError(t, err)
		e, err := trigger.New(time.Now())
		require.NoError(t, err)
		err = e.Set(c.path, c.value)
		require.ErrorContains(t, err, c.want, "%s %s", c.trigger, c.path)
	}
}

// TestTextThatIsNoUTF8IsRefused: JSON could not carry it, and it would arrive as another text.
func TestTextThatIsNoUTF8IsRefused(t *testing.T) {
	for path, trigger := range map[string]string{"record.0.smn.message": "smn", "headers.a": "apig", "lts.data.logs.0.message": "lts"} {
		of, err := Find(trigger)
		require.NoError(t, err)
		e, err := of.New(time.Now())
		require.NoError(t, err)
		require.NoError(t, e.Set(path, "\xff"))
		_, err = e.JSON()
		require.EqualError(t, err, path+": the value is no UTF-8, which JSON needs; only data in Base64 may be any bytes")
		_, err = e.Indented()
		require.Error(t, err)
	}
	e, err := (&table[0]).New(time.Now())
	require.NoError(t, err)
	require.NoError(t, e.Set("body", "\xff"))
	require.NoError(t, e.Set("isBase64Encoded", "false"))
	_, err = e.JSON()
	require.ErrorContains(t, err, "body: the value is no UTF-8")
}

// TestEveryListedPathCanBeSet: to a value of the type that is listed; the event is still right.
func TestEveryListedPathCanBeSet(t *testing.T) {
	for _, trigger := range All() {
		paths, err := trigger.Paths()
		require.NoError(t, err)
		short := 0
		for _, p := range paths {
			value := "x"
			for begin, v := range map[string]string{
				"a number": "7", "true": "true", "JSON": `{"x":1}`, "a list": `[]`, "an object": `{}`,
			} {
				if strings.HasPrefix(p.Type, begin) {
					value = v
				}
			}
			require.NoError(t, func() error {
				e, err := trigger.New(time.Now())
				require.NoError(t, err)
				return e.Set(p.Path, value)
			}(), p.Path)
			if p.Short != "" {
				short++
				require.NotEmpty(t, written(t, trigger.Name, p.Short, value))
			}
		}
		require.Equal(t, len(trigger.Names), short, "every short name of %s leads to a path", trigger.Name)
	}
}
