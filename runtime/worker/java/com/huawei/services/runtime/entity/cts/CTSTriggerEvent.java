package com.huawei.services.runtime.entity.cts;

import gantry.worker.Shown;

/** The event of the Cloud Trace Service. */
public class CTSTriggerEvent {
    private CTS cts;

    public CTS getCts() {
        return cts;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
