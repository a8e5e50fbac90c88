package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// triggered is what functions in two languages read of the events, in the way of the platform's own samples.
var triggered = []struct {
	trigger string
	sets    []string
	want    string
}{
	{"apig", []string{"method=POST", "path=/orders", "query.page=2", "header.Content-Type=text/plain", "body=grün"}, `["POST","/orders","2","text/plain","grün"]`},
	{"apig", nil, `["GET","/",null,null,""]`},
	{"apig-console", []string{"method=POST", "body=hi"}, `["POST","/apig-event-template",null,null,"hi"]`},
	{"timer", []string{`event={"job":"nightly"}`}, `["v1.0","TIMER","Timer_001","nightly"]`},
	{"obs", []string{"bucket=photos", "key=a b/ü+.jpg", "size=7", "event=ObjectRemoved:Delete"}, `["photos","arn:fss:s3:::photos","a b/ü+.jpg",8,"ObjectRemoved:Delete"]`},
	{"smn", []string{"topic=alarms", "subject=disk", "message=full"}, `["alarms","disk","full",null]`},
	{"lts", []string{"message=it said \"no\"", "lts.data.logs.0.line_no=5", "host=h1"}, `["it said \"no\"",6,"h1"]`},
	{"cts", []string{"service=ECS", "trace=deleteServer", "user=ada", "code=200"}, `["ECS","deleteServer","ada",201]`},
	{"dds", []string{`document={"name":"Ada","n":1}`, "db=shop", "coll=people"}, `["insert","Ada",2,"shop.people"]`},
	{"gaussmongo", []string{`document={"name":"Ada","n":1}`, "event=update"}, `["\"update\"","Ada",2,"my-db.my-collection"]`},
	{"dis", []string{"stream=s1", "data=one\ntwo"}, `["s1","one\ntwo"]`},
	{"kafka", []string{`messages=["a","b"]`, "topic=t1"}, `["KAFKA","t1","a,b"]`},
	{"rocketmq", []string{`messages=["a","b"]`, "topic=t1"}, `["ROCKETMQ","t1","a,b"]`},
	{"rabbitmq", []string{"message=a", "topic=x1"}, `["RABBITMQ","x1","a"]`},
}

const triggeredInJavaScript = `
const base64 = (s) => Buffer.from(s, 'base64').toString('utf8');
const document = (r, d) => [r.event_name, JSON.parse(d.full_document).name, JSON.parse(d.full_document).n + 1,
  JSON.parse(d.ns).db + '.' + JSON.parse(d.ns).coll];
exports.handler = async (event, context) => {
  if (event.httpMethod) {
    let body = event.body;
    if (event.isBase64Encoded && Buffer.from(body, 'base64').toString('base64') === body) body = base64(body);
    return [event.httpMethod, event.path, event.queryStringParameters.page || null, event.headers['content-type'] || null, body];
  }
  if (event.trigger_type === 'TIMER') {
    if (!(Math.abs(Date.now() - new Date(event.time)) < 600000)) throw new Error('time ' + event.time);
    return [event.version, event.trigger_type, event.trigger_name, JSON.parse(event.user_event).job];
  }
  if (event.Records) {
    const { s3, eventName } = event.Records[0];
    return [s3.bucket.name, s3.bucket.arn, decodeURIComponent(s3.object.key), s3.object.size + 1, eventName];
  }
  if (event.record) {
    const { smn } = event.record[0];
    return [smn.topic_urn.split(':').pop(), smn.subject, smn.message, smn.message_attributes];
  }
  if (event.lts) {
    const [line] = JSON.parse(JSON.parse(base64(event.lts.data)).logs);
    return [line.message, line.line_no + 1, line.host_name];
  }
  if (event.cts) return [event.cts.service_type, event.cts.trace_name, event.cts.user.name, event.cts.code + 1];
  if (event.Message) return [event.StreamName, base64(event.Message.records[0].data)];
  const r = event.records[0];
  if (r.dds || r.gauss_mongo) return document(r, r.dds || r.gauss_mongo);
  return [event.trigger_type, r.topic_id || r.exchange, r.messages.join()];
};
`

const triggeredInPython = `
import base64, json, urllib.parse

def decode(data):
    return base64.b64decode(data).decode("utf-8")

def handler(event, context):
    if "httpMethod" in event:
        body = event["body"]
        if event["isBase64Encoded"]:
            try:
                body = base64.b64decode(body, validate=True).decode("utf-8")
            except ValueError:
                pass
        return [event["httpMethod"], event["path"], event["queryStringParameters"].get("page"),
                event["headers"].get("content-type"), body]
    if event.get("trigger_type") == "TIMER":
        return [event["version"], event["trigger_type"], event["trigger_name"], json.loads(event["user_event"])["job"]]
    if "Records" in event:
        r = event["Records"][0]
        s3 = r["s3"]
        return [s3["bucket"]["name"], s3["bucket"]["arn"], urllib.parse.unquote(s3["object"]["key"]),
                s3["object"]["size"] + 1, r["eventName"]]
    if "record" in event:
        smn = event["record"][0]["smn"]
        return [smn["topic_urn"].split(":")[-1], smn["subject"], smn["message"], smn["message_attributes"]]
    if "lts" in event:
        line = json.loads(json.loads(decode(event["lts"]["data"]))["logs"])[0]
        return [line["message"], line["line_no"] + 1, line["host_name"]]
    if "cts" in event:
        cts = event["cts"]
        return [cts["service_type"], cts["trace_name"], cts["user"]["name"], cts["code"] + 1]
    if "Message" in event:
        return [event["StreamName"], decode(event["Message"]["records"][0]["data"])]
    r = event["records"][0]
    d = r.get("dds") or r.get("gauss_mongo")
    if d:
        document, ns = json.loads(d["full_document"]), json.loads(d["ns"])
        return [r["event_name"], document["name"], document["n"] + 1, ns["db"] + "." + ns["coll"]]
    return [event["trigger_type"], r.get("topic_id") or r["exchange"], ",".join(r["messages"])]
`

// TestFunctionsReadTheEventOfEveryTrigger: with invoke --trigger, and as files of the command event, in one run.
func TestFunctionsReadTheEventOfEveryTrigger(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"nodejs": {"index.js": triggeredInJavaScript}, "python": {"index.py": triggeredInPython},
	} {
		dir := writeFiles(t, files)
		var args, want []string
		for i, c := range triggered {
			var sets []string
			for _, set := range c.sets {
				sets = append(sets, "--set", set)
			}
			text, err := exec.Command(program(t), append([]string{"event", c.trigger}, sets...)...).Output()
			require.NoError(t, err, c.trigger)
			file := filepath.Join(dir, fmt.Sprintf("%d-%s.json", i, c.trigger))
			require.NoError(t, os.WriteFile(file, text, 0o600))
			args, want = append(args, "--event", file), append(want, c.want)
		}
		got := runInvoke(t, dir, append(args, "--runtime", name, "--quiet"))
		require.Equal(t, 0, got.code, "%s: %s%s", name, got.stdout, got.stderr)
		lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
		require.Len(t, lines, len(want))
		for i := range want {
			require.JSONEq(t, want[i], lines[i], "%s: %s", name, triggered[i].trigger)
		}

		body := filepath.Join(dir, "body")
		require.NoError(t, os.WriteFile(body, []byte("two\nlines\n"), 0o600))
		got = runInvoke(t, dir, []string{"--runtime", name, "--trigger", "apig", "--set", "method=PUT", "--set", "body=@" + body})
		require.Equal(t, 0, got.code, got.stderr)
		require.JSONEq(t, `["PUT","/",null,null,"two\nlines\n"]`, got.stdout)
	}
}

// TestPageOnTriggersPrintsWhatItSays runs the section Events of docs/TRIGGERS.md in an empty folder, with the program as
// gantry in PATH.
func TestPageOnTriggersPrintsWhatItSays(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/TRIGGERS.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(page), "\n## Events\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := blocksOf(t, "docs/TRIGGERS.md, Events", section, "sh run")
	requireOutputs(t, blocks, shell(t, blocks, installed(t)...))
}

// TestInvokeOfATriggerIsACallLikeAnyOther: with an expectation, a JUnit file with the trigger's name, and a running agent.
func TestInvokeOfATriggerIsACallLikeAnyOther(t *testing.T) {
	t.Parallel()
	r := start(t, writeFiles(t, map[string]string{"index.js": "exports.handler = async (event, context) => event;"}))
	file := filepath.Join(r.dir, "results.xml")
	got := runInvoke(t, r.dir, []string{
		"--to", strings.TrimPrefix(r.url, "http://"), "--trigger", "timer", "--set", "event=nightly", "--junit", file,
		"--expect", `{"trigger_type": "TIMER", "user_event": "nightly", "$more": true}`,
	})
	require.Equal(t, 0, got.code, got.stderr)
	var event map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &event))
	require.Equal(t, "nightly", event["user_event"])
	suites := readJUnit(t, file)
	require.Equal(t, "timer", suites.Suites[0].Cases[0].Name)
}
