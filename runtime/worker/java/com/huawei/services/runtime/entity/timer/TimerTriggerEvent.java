package com.huawei.services.runtime.entity.timer;

import gantry.worker.Shown;

/** The event of a timer. */
public class TimerTriggerEvent {
    private String version;
    private String time;
    private String trigger_type;
    private String trigger_name;
    private String user_event;

    public String getVersion() {
        return version;
    }

    public String getTime() {
        return time;
    }

    public String getTriggerType() {
        return trigger_type;
    }

    public String getTriggerName() {
        return trigger_name;
    }

    public String getUserEvent() {
        return user_event;
    }

    @Override
    public String toString() {
        return Shown.of(this);
    }
}
