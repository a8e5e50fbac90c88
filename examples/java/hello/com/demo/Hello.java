package com.demo;

import com.google.gson.JsonObject;
import com.huawei.services.runtime.Context;
import java.util.Collections;
import java.util.Map;

/**
 * Build it with examples/java/hello/build.sh /tmp/hello, run it with
 * bin/bootstrap serve --code /tmp/hello --handler com.demo.Hello.handler --initializer com.demo.Hello.initializer
 * and call it with: curl localhost:8000/invoke -d '{"name":"you"}'
 */
public class Hello {
    /** What API Gateway asks for; results become JSON by their fields. */
    static class Answer {
        final int statusCode = 200;
        final Map<String, String> headers = Collections.singletonMap("Content-Type", "text/plain");
        final String body;
        final boolean isBase64Encoded = false;

        Answer(String body) {
            this.body = body;
        }
    }

    /** Runs once per worker, before the first call: the place for connections. */
    public void initializer(Context context) {
        context.getLogger().info("ready for " + context.getFunctionName());
    }

    public Answer handler(JsonObject event, Context context) {
        context.getLogger().info("hello from request " + context.getRequestID());
        return new Answer("Hello, " + (event.has("name") ? event.get("name").getAsString() : "world"));
    }
}
