package com.huawei.services.runtime.entity.cts;

import gantry.worker.Shown;

/** Who did what was recorded. */
public class User {
    private String name;
    private String id;
    private Domain domain;

    public String getName() {
        return name;
    }

    public String getId() {
        return id;
    }

    public Domain getDomain() {
        return domain;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
