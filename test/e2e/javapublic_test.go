package e2e

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// javaTriggers has a handler for each class of event that the platform's documents name.
const javaTriggers = `package com.demo;
import com.huawei.services.runtime.Context;
import com.huawei.services.runtime.entity.apig.*;
import com.huawei.services.runtime.entity.cts.*;
import com.huawei.services.runtime.entity.dis.*;
import com.huawei.services.runtime.entity.dms.*;
import com.huawei.services.runtime.entity.kafka.*;
import com.huawei.services.runtime.entity.lts.*;
import com.huawei.services.runtime.entity.smn.*;
import com.huawei.services.runtime.entity.timer.*;
import java.util.*;
public class TriggerTests {
    public APIGTriggerResponse apigTest(APIGTriggerEvent e, Context c) {
        APIGTriggerResponse answer = new APIGTriggerResponse(201, Collections.singletonMap("a", "b"), e.getHttpMethod() + e.getPath() + e.getQueryStringParameters().get("q") + e.getRequestContext().getStage());
        answer.addHeader("type", e.getHeaders().get("type"));
        answer.removeHeader("a");
        return answer;
    }
    public String apigBody(APIGTriggerEvent e, Context c) { return e.isBase64Encoded() + " " + e.getBody() + " " + e.getRawBody() + " " + e.getUserData() + " " + e.getPathParameters(); }
    public Object apigText(APIGTriggerEvent e, Context c) throws Exception {
        APIGTriggerResponse answer = new APIGTriggerResponse();
        if (e.getBody() == null) { answer.setBase64EncodedBody("grüße"); }
        return answer;
    }
    public String apigShown(APIGTriggerEvent e, Context c) { return e.toString(); }
    public String smnTest(SMNTriggerEvent e, Context c) { SMNRecord r = e.getRecord()[0]; return r.getEventVersion() + r.getEventSource() + r.getSmn().getSubject() + r.getSmn().getMessage() + r.getSmn().getMessageAttributes(); }
    public String dmsTest(DMSTriggerEvent e, Context c) { return e.getQueueId() + e.getMessages()[0].getBody() + e.getMessages()[0].getAttributes().get("k"); }
    public String timerTest(TimerTriggerEvent e, Context c) { return e.getTriggerType() + e.getTriggerName() + e.getUserEvent() + e.getVersion(); }
    public String disTest(DISTriggerEvent e, Context c) throws java.io.UnsupportedEncodingException {
        System.out.println(e);
        return e.getShardID() + e.getTag() + e.getStreamName() + e.getMessage().getRecords()[0].getRawData() + e.getMessage().getRecords()[0].getPartitionKey();
    }
    public String ltsTest(LTSTriggerEvent e, Context c) { return e.getLts().getRawData(); }
    public String kafkaTest(KafkaTriggerEvent e, Context c) { return e.getTriggerType() + e.getRecords()[0].getTopicId() + e.getRecords()[0].getMessages()[0]; }
    public String ctsTest(CTSTriggerEvent e, Context c) { CTS r = e.getCts(); return r.getCode() + r.getTraceName() + r.getUser().getDomain().getName() + r.getRequest() + r.getResponse(); }
}
`

// TestJavaEventClassesFitTheTriggers: a function may use the classes that the platform's documents name without bringing
// them, with the events of the triggers.
func TestJavaEventClassesFitTheTriggers(t *testing.T) {
	t.Parallel()
	dir := javaFunction(t, map[string]string{"TriggerTests.java": javaTriggers})
	const event = "--event"
	for method, c := range map[string]struct {
		args []string
		want string
		says string
	}{
		"apigTest":  {[]string{event, `{"isBase64Encoded":false,"httpMethod":"PUT","path":"/p","queryStringParameters":{"q":"v"},"headers":{"type":"x"},"requestContext":{"stage":"RELEASE"}}`}, `{"body":"PUT/pvRELEASE","headers":{"type":"x"},"statusCode":201,"isBase64Encoded":false}`, ""},
		"apigBody":  {[]string{event, `{"isBase64Encoded":true,"body":"Z3LDvMOfZQ==","user_data":"u","pathParameters":{"":"x"}}`}, "true Z3LDvMOfZQ== grüße u {=x}", ""},
		"apigText":  {[]string{event, `{}`}, `{"body":"Z3LDvMOfZQ\u003d\u003d","statusCode":200,"isBase64Encoded":true}`, ""},
		"apigShown": {[]string{event, `{"path":"/p","requestContext":{"stage":"s"}}`}, "APIGTriggerEvent{isBase64Encoded=false, httpMethod=null, path=/p, body=null, pathParameters=null, requestContext=APIGRequestContext{apiId=null, requestId=null, stage=s, sourceIp=null}, headers=null, queryStringParameters=null, user_data=null}", ""},
		"smnTest":   {[]string{"--trigger", "smn"}, "1.0smnmy subjectmy messagenull", ""},
		"dmsTest":   {[]string{event, `{"queue_id":"q","messages":[{"body":"b","attributes":{"k":"v"}}]}`}, "qbv", ""},
		"timerTest": {[]string{"--trigger", "timer"}, "TIMERTimer_001v1.0", ""},
		"disTest":   {[]string{"--trigger", "dis"}, "shardId-0000000000latestmy-streammy datamy-key", "DISTriggerEvent{ShardID=shardId-0000000000, Message=DISMessage{next_partition_cursor="},
		"ltsTest":   {[]string{event, `{"lts":{"data":"eyJsb2dz\nIjoiW10ifQ=="}}`}, `{"logs":"[]"}`, ""},
		"kafkaTest": {[]string{"--trigger", "kafka"}, "KAFKAmy-topicmy message", ""},
		"ctsTest":   {[]string{"--trigger", "cts"}, "204createFunctionmy-domain{}{}", ""},
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			got := runInvoke(t, dir, append([]string{"--handler", "com.demo.TriggerTests." + method, "--timeout", "60"}, c.args...))
			require.Equal(t, 0, got.code, got.stderr)
			require.Equal(t, c.want, got.stdout)
			require.Contains(t, got.stderr, c.says)
		})
	}
}

// javaShop is a function as public ones are written: interfaces with type parameters, objects with annotations of Gson,
// the context of the other package, state that lives as long as the worker.
const javaShop = `package com.demo.shop;
import com.demo.sdk.*;
import com.google.gson.*;
import com.google.gson.annotations.*;
import com.opentelekomcloud.services.runtime.*;
import java.util.*;
public class Shop implements EventHandler<Shop.Order, JsonObject> {
    public static class Item { String sku; int count; }
    public class Order implements Event {
        @SerializedName("order_id") private String id;
        double amount;
        List<Item> items;
        Map<String, String> labels;
        @JsonAdapter(Upper.class) String note;
        Kind kind;
    }
    enum Kind { @SerializedName("new") NEW, OLD }
    public static class Upper extends TypeAdapter<String> {
        @Override public void write(com.google.gson.stream.JsonWriter out, String s) throws java.io.IOException { out.value(s); }
        @Override public String read(com.google.gson.stream.JsonReader in) throws java.io.IOException { return in.nextString().toUpperCase(Locale.ROOT); }
    }
    private static int calls;
    private String ready = "not ready";
    public void init(Context context) { ready = "ready for " + context.getFunctionName(); context.getLogger().log("initialized"); }
    @Override public JsonObject handleRequest(Order order, Context context) {
        RuntimeLogger log = context.getLogger();
        log.log("as info"); log.debug("dropped"); log.warn("w"); log.error("e");
        log.setLevel("DEBUG"); log.debug("shown"); log.setLevel("nonsense"); log.debug("shown, too"); log.setLevel("INFO");
        context.setState("of the call");
        JsonObject seen = new JsonObject();
        seen.addProperty("order", order.id + order.amount + order.items.get(1).sku + order.labels.get("k") + order.note + order.kind);
        seen.addProperty("calls", ++calls);
        seen.addProperty("ready", ready);
        seen.addProperty("ids", String.join(" ", context.getRequestID().equals(context.getTraceID()) + "", context.getProjectID(), context.getPackage(), context.getVersion(), context.getAlias(), context.getInstanceID() + context.getInvokeID() + context.getInvokeProperty()));
        seen.addProperty("keys", String.join(" ", context.getAccessKey(), context.getSecretKey(), context.getSecurityAccessKey(), context.getSecuritySecretKey(), context.getSecurityToken(), context.getToken()));
        seen.addProperty("limits", context.getRunningTimeInSeconds() + " " + context.getMemorySize() + " " + context.getCPUNumber() + " " + (context.getRemainingTimeInMilliSeconds() > 0));
        seen.addProperty("flow", context.getWorkflowID() + context.getWorkflowRunID() + context.getWorkflowStateID());
        seen.addProperty("data", context.getUserData("K") + System.getenv("K") + context.getUserData("none") + System.getenv("RUNTIME_PROJECT_ID").length());
        seen.addProperty("state", String.valueOf(context.getState()));
        seen.addProperty("context", new GsonBuilder().setPrettyPrinting().create().toJson(context));
        seen.addProperty("folder", new java.io.File(Context.class.getProtectionDomain().getCodeSource().getLocation().getPath()).isFile());
        try { seen.addProperty("event", Class.forName("com.huawei.services.runtime.entity.timer.TimerTriggerEvent").getDeclaredMethods()[0].getName()); } catch (ClassNotFoundException x) { seen.addProperty("event", "none"); }
        return seen;
    }
}
`

// javaSDK stands for a library that comes with the function, with copies of the platform's interfaces, which are not
// used, and a class of events, which is.
var javaSDK = map[string]string{
	"sdk/Event.java":   "package com.demo.sdk;\npublic interface Event { }\n",
	"sdk/Handler.java": "package com.demo.sdk;\nimport com.opentelekomcloud.services.runtime.Context;\npublic interface Handler<I, O> { O handleRequest(I input, Context context); }\n",
	"sdk/EventHandler.java": "package com.demo.sdk;\nimport com.opentelekomcloud.services.runtime.Context;\n" +
		"public interface EventHandler<I extends Event, O> extends Handler<I, O> { @Override O handleRequest(I input, Context context); }\n",
	"runtime/Context.java":         "package com.opentelekomcloud.services.runtime;\npublic interface Context { String getOld(); }\n",
	"timer/TimerTriggerEvent.java": "package com.huawei.services.runtime.entity.timer;\npublic class TimerTriggerEvent { public void own() { } }\n",
	"runtime/RuntimeLogger.java":   "package com.opentelekomcloud.services.runtime;\npublic interface RuntimeLogger { }\n",
}

// TestJavaFunctionsAsTheyAreWrittenRun: with a library in lib/ that has the platform's interfaces, too.
func TestJavaFunctionsAsTheyAreWrittenRun(t *testing.T) {
	t.Parallel()
	needJava(t)
	dir, app, sdk := t.TempDir(), t.TempDir(), t.TempDir()
	compileJava(t, writeFiles(t, javaSDK), sdk)
	jarOf(t, sdk, filepath.Join(dir, "lib", "sdk.jar"))
	compileJava(t, writeFiles(t, map[string]string{"Shop.java": javaShop}), app, sdk) // the interfaces of the worker are found first
	jarOf(t, app, filepath.Join(dir, "app.jar"))
	r := start(t, dir, "RUNTIME_HANDLER=com.demo.shop.Shop.handleRequest", "RUNTIME_INITIALIZER_HANDLER=com.demo.shop.Shop.init",
		"RUNTIME_INITIALIZER_TIMEOUT=60", "RUNTIME_TIMEOUT=60", "RUNTIME_FUNC_NAME=shop", "GANTRY_TRUST_PLATFORM_HEADERS=true",
		`RUNTIME_USERDATA={"K":"v"}`, "RUNTIME_PACKAGE=apps", "RUNTIME_FUNC_VERSION=v7")
	const order = `{"order_id":"o1","amount":290.0,"items":[{"sku":"a","count":1},{"sku":"b","count":2}],"labels":{"k":"l"},"note":"text","kind":"new","more":{}}`
	headers := []string{
		"X-CFF-Access-Key: ak", "X-CFF-Secret-Key: sk", "X-CFF-Security-Access-Key: sak", "X-CFF-Security-Secret-Key: ssk",
		"X-CFF-Security-Token: st", "X-CFF-Auth-Token: at", "X-Cff-Origin-Version-Tag: !blue",
		"X-Cff-Workflow-Id: w", "X-Cff-Workflow-Run-Id: r", "X-Cff-Workflow-State-Id: s",
	}
	for call := range 2 {
		got := r.invoke(order, headers...)
		require.Equal(t, 200, got.status, got.body)
		var seen map[string]any
		require.NoError(t, json.Unmarshal([]byte(got.body), &seen))
		require.Equal(t, map[string]any{
			"order": "o1290.0blTEXTNEW", "calls": float64(call + 1), "ready": "ready for shop",
			"ids": "true 00000000000000000000000000000000 apps v7 blue ", "keys": "ak sk sak ssk st at",
			"limits": "60 512 300 true", "flow": "wrs", "data": "vvnull32", "state": "of the call", "context": "{}", "folder": true, "event": "own",
		}, seen)
	}
	require.Equal(t, 400, r.invoke(`{"amount":"much"}`).status)
	text := r.stdout.String()
	for _, line := range []string{"INFO initialized\n", "INFO as info\n", "WARN w\n", "ERROR e\n", "DEBUG shown\n", "DEBUG shown, too\n"} {
		require.Contains(t, text, line)
	}
	require.NotContains(t, text, "dropped")
}
