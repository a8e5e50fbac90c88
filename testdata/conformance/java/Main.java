package conformance;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.huawei.services.runtime.Context;
import com.huawei.services.runtime.RuntimeLogger;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collections;
import java.util.HashMap;
import java.util.Map;

/** The function of the conformance suite: the event's member "do" says what it does. */
public class Main {
    private String ready = "not ready";

    public void initializer(Context context) {
        ready = context.getUserData("ready");
    }

    public void hook(Context context) {
        System.out.println("the hook says goodbye");
    }

    public Object handler(JsonObject event, Context context) throws Exception {
        if (event.has("httpMethod")) {
            byte[] body = Base64.getDecoder().decode(event.get("body").getAsString());
            event = JsonParser.parseString(new String(body, StandardCharsets.UTF_8)).getAsJsonObject();
        }
        if (!event.has("do")) {
            return event.has("pad") ? (Object) event.toString().length() : Collections.singletonMap("event", event);
        }
        String id = context.getRequestID();
        switch (event.get("do").getAsString()) {
            case "value":
                return event.get("value");
            case "text":
                return text(event.get("n").getAsInt());
            case "none":
                return null;
            case "odd":
                return Collections.singletonMap("odd", Double.NaN);
            case "raise":
                throw new IllegalStateException("no luck");
            case "context":
                return contextOf(context);
            case "log":
                return log(context.getLogger());
            case "print":
                System.out.println("out " + id);
                System.err.println("err " + id);
                return "printed";
            case "child":
                run("echo", "child " + id);
                return "done";
            case "flood":
                for (int i = 0; i < event.get("n").getAsInt(); i++) {
                    System.out.println("line " + i);
                }
                return "flooded";
            case "sleep":
                Thread.sleep(event.get("ms").getAsInt());
                System.out.println("woke " + id);
                return "slept";
            case "ready":
                return ready;
            case "loop":
                for (long i = 0;; i++) {
                    ready.length();
                }
            case "exit":
                System.exit(7);
                return null;
            case "kill":
                run("kill", "-9", new File("/proc/self").getCanonicalFile().getName());
                Thread.sleep(60000);
                return null;
            default:
                throw new IllegalArgumentException(event.toString());
        }
    }

    private static String text(int n) {
        char[] text = new char[n];
        Arrays.fill(text, 'x');
        return new String(text);
    }

    private static String log(RuntimeLogger log) {
        log.debug("not shown");
        log.info("i 1");
        log.warn("w");
        log.error("e");
        return "logged";
    }

    private static void run(String... command) throws IOException, InterruptedException {
        new ProcessBuilder(command).inheritIO().start().waitFor();
    }

    private static Map<String, Object> contextOf(Context c) {
        Map<String, Object> seen = new HashMap<>();
        int left = c.getRemainingTimeInMilliSeconds();
        seen.put("id", c.getRequestID());
        seen.put("left", left > 0 && left <= 10000);
        seen.put("name", c.getFunctionName());
        seen.put("version", c.getVersion());
        seen.put("package", c.getPackage());
        seen.put("project", c.getProjectID());
        seen.put("memory", String.valueOf(c.getMemorySize()));
        seen.put("cpu", String.valueOf(c.getCPUNumber()));
        seen.put("timeout", String.valueOf(c.getRunningTimeInSeconds()));
        seen.put("data", c.getUserData("from"));
        seen.put("alias", c.getAlias());
        seen.put("keys", String.join(" ", c.getSecurityAccessKey(), c.getSecuritySecretKey(), c.getSecurityToken(),
            c.getToken()));
        return seen;
    }
}
