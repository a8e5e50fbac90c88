package com.huawei.services.runtime.entity.dis;

import gantry.worker.Shown;

/** The event of the Data Ingestion Service. */
public class DISTriggerEvent {
    private String ShardID;
    private DISMessage Message;
    private String Tag;
    private String StreamName;

    public String getShardID() {
        return ShardID;
    }

    public DISMessage getMessage() {
        return Message;
    }

    public String getTag() {
        return Tag;
    }

    public String getStreamName() {
        return StreamName;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
