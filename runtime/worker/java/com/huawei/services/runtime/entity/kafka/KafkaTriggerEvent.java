package com.huawei.services.runtime.entity.kafka;

import gantry.worker.Shown;

/** The event of Kafka. */
public class KafkaTriggerEvent {
    private String event_version;
    private String region;
    private String event_time;
    private String trigger_type;
    private String instance_id;
    private KafkaRecord[] records;

    public String getEventVersion() {
        return event_version;
    }

    public String getRegion() {
        return region;
    }

    public String getEventTime() {
        return event_time;
    }

    public String getTriggerType() {
        return trigger_type;
    }

    public String getInstanceId() {
        return instance_id;
    }

    public KafkaRecord[] getRecords() {
        return records;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
