package com.huawei.services.runtime.entity.dms;

import gantry.worker.Shown;
import java.util.Map;

/** One message of a queue. */
public class DMSMessage {
    private String body;
    private Map<String, String> attributes;

    public String getBody() {
        return body;
    }

    public Map<String, String> getAttributes() {
        return attributes;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
