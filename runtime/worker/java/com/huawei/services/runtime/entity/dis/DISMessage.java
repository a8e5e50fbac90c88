package com.huawei.services.runtime.entity.dis;

import gantry.worker.Shown;

/** What was read of a stream. */
public class DISMessage {
    private String next_partition_cursor;
    private DISRecord[] records;
    private String millis_behind_latest;

    public String getNextPartitionCursor() {
        return next_partition_cursor;
    }

    public DISRecord[] getRecords() {
        return records;
    }

    public String getMillisBehindLatest() {
        return millis_behind_latest;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
