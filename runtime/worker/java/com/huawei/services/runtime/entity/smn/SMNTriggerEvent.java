package com.huawei.services.runtime.entity.smn;

import gantry.worker.Shown;

/** The event of the Simple Message Notification service. */
public class SMNTriggerEvent {
    private SMNRecord[] record;

    public SMNRecord[] getRecord() {
        return record;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
