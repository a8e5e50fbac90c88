package com.huawei.services.runtime.entity.lts;

import gantry.worker.Shown;

/** Lines of a log, as JSON that is encoded by Base64. */
public class LTSBody {
    private String data;

    public String getData() {
        return data;
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
