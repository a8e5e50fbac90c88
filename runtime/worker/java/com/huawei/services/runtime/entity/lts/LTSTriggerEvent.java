package com.huawei.services.runtime.entity.lts;

import gantry.worker.Shown;

/** The event of the Log Tank Service. */
public class LTSTriggerEvent {
    private LTSBody lts;

    public LTSBody getLts() {
        return lts;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
