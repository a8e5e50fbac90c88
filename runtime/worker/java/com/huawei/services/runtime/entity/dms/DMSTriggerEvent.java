package com.huawei.services.runtime.entity.dms;

import gantry.worker.Shown;

/** The event of a queue of the Distributed Message Service. */
public class DMSTriggerEvent {
    private String queue_id;
    private String region;
    private String event_type;
    private String consumer_group_id;
    private DMSMessage[] messages;

    public String getQueueId() {
        return queue_id;
    }

    public String getRegion() {
        return region;
    }

    public String getEventType() {
        return event_type;
    }

    public String getConsumerGroupId() {
        return consumer_group_id;
    }

    public DMSMessage[] getMessages() {
        return messages;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
