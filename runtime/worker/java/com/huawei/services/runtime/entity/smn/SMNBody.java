package com.huawei.services.runtime.entity.smn;

import gantry.worker.Shown;
import java.util.Map;

/** What was published. */
public class SMNBody {
    private String topic_urn;
    private String timestamp;
    private Map<String, String> message_attributes;
    private String message;
    private String type;
    private String message_id;
    private String subject;

    public String getTopicUrn() {
        return topic_urn;
    }

    public String getTimestamp() {
        return timestamp;
    }

    public Map<String, String> getMessageAttributes() {
        return message_attributes;
    }

    public String getMessage() {
        return message;
    }

    public String getType() {
        return type;
    }

    public String getMessageId() {
        return message_id;
    }

    public String getSubject() {
        return subject;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
