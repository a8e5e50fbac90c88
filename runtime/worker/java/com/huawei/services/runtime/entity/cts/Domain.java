package com.huawei.services.runtime.entity.cts;

import gantry.worker.Shown;

/** The domain of a user. */
public class Domain {
    private String name;
    private String id;

    public String getName() {
        return name;
    }

    public String getId() {
        return id;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
