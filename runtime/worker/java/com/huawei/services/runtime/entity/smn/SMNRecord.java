package com.huawei.services.runtime.entity.smn;

import gantry.worker.Shown;

/** One notification. */
public class SMNRecord {
    private String event_version;
    private String event_subscription_urn;
    private String event_source;
    private SMNBody smn;

    public String getEventVersion() {
        return event_version;
    }

    public String getEventSubscriptionUrn() {
        return event_subscription_urn;
    }

    public String getEventSource() {
        return event_source;
    }

    public SMNBody getSmn() {
        return smn;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
