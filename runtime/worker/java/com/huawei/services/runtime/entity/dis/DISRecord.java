package com.huawei.services.runtime.entity.dis;

import gantry.worker.Shown;

/** One record of a stream. */
public class DISRecord {
    private String partition_key;
    private String data;
    private String sequence_number;

    public String getPartitionKey() {
        return partition_key;
    }

    public String getData() {
        return data;
    }

    public String getSequenceNumber() {
        return sequence_number;
    }

    /** The data behind its Base64 encoding. */
    public String getRawData() {
        return Shown.decoded(data);
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
