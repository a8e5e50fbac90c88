package com.huawei.services.runtime.entity.kafka;

import gantry.worker.Shown;

/** Messages of one topic. */
public class KafkaRecord {
    private String[] messages;
    private String topic_id;

    public String[] getMessages() {
        return messages;
    }

    public String getTopicId() {
        return topic_id;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
