package com.huawei.services.runtime.entity.cts;

import gantry.worker.Shown;
import java.util.LinkedHashMap;
import java.util.Map;

/** One record. */
public class CTS {
    private String time;
    private User user;
    private Object request;
    private Object response;
    private String code;
    private String service_type;
    private String resource_type;
    private String resource_name;
    private String resource_id;
    private String source_ip;
    private String trace_name;
    private String trace_type;
    private String trace_id;
    private String trace_status;
    private String record_time;

    public String getTime() {
        return time;
    }

    public User getUser() {
        return user;
    }

    public String getServiceType() {
        return service_type;
    }

    public String getResourceType() {
        return resource_type;
    }

    public String getResourceName() {
        return resource_name;
    }

    public String getResourceId() {
        return resource_id;
    }

    public String getSourceIp() {
        return source_ip;
    }

    public String getTraceName() {
        return trace_name;
    }

    public String getTraceType() {
        return trace_type;
    }

    public String getTraceId() {
        return trace_id;
    }

    public String getTraceStatus() {
        return trace_status;
    }

    public String getRecordTime() {
        return record_time;
    }

    /** The request, empty if it is no object. */
    public Map<String, String> getRequest() {
        return texts(request);
    }

    /** The response, empty if it is no object. */
    public Map<String, String> getResponse() {
        return texts(response);
    }

    /** The HTTP status, 0 if the record has none: it may be a text. */
    public int getCode() {
        return code == null || code.isEmpty() ? 0 : (int) Double.parseDouble(code);
    }

    private static Map<String, String> texts(Object from) {
        Map<String, String> texts = new LinkedHashMap<>();
        if (from instanceof Map) {
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) from).entrySet()) {
                texts.put(String.valueOf(entry.getKey()), String.valueOf(entry.getValue()));
            }
        }
        return texts;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
