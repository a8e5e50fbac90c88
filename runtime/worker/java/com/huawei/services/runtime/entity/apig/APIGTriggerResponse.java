package com.huawei.services.runtime.entity.apig;

import gantry.worker.Shown;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;

/** The answer to API Gateway. */
public class APIGTriggerResponse {
    private String body;
    private Map<String, String> headers;
    private int statusCode;
    private boolean isBase64Encoded;

    public String getBody() {
        return body;
    }

    public void setBody(String body) {
        this.body = body;
    }

    public Map<String, String> getHeaders() {
        return headers;
    }

    public void setHeaders(Map<String, String> headers) {
        this.headers = headers;
    }

    public int getStatusCode() {
        return statusCode;
    }

    public void setStatusCode(int statusCode) {
        this.statusCode = statusCode;
    }

    public boolean isBase64Encoded() {
        return isBase64Encoded;
    }

    public void setBase64Encoded(boolean isBase64Encoded) {
        this.isBase64Encoded = isBase64Encoded;
    }

    /** An empty answer with the status 200. */
    public APIGTriggerResponse() {
        this(200, null, "");
    }

    public APIGTriggerResponse(int statusCode, Map<String, String> headers, String body) {
        this(statusCode, headers, false, body);
    }

    public APIGTriggerResponse(int statusCode, Map<String, String> headers, boolean isBase64Encoded, String body) {
        this.statusCode = statusCode;
        this.headers = headers;
        this.isBase64Encoded = isBase64Encoded;
        this.body = body;
    }

    /** Sets the Base64 encoding of a text as the body, and says so. */
    public void setBase64EncodedBody(String text) {
        body = Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
        isBase64Encoded = true;
    }

    public void addHeader(String name, String value) {
        change().put(name, value);
    }

    public void addHeaders(Map<String, String> more) {
        change().putAll(more);
    }

    public void removeHeader(String name) {
        change().remove(name);
    }

    /** The headers, as a map that may be changed: that of the caller need not be one. */
    private Map<String, String> change() {
        headers = headers == null ? new HashMap<>() : new HashMap<>(headers);
        return headers;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
