package com.opentelekomcloud.services.runtime;

/** What the platform hands to a function beside the event. Texts that were not set are empty. */
public interface Context {
    String getRequestID();

    /** Milliseconds until the deadline, at least 0. */
    int getRemainingTimeInMilliSeconds();

    String getAccessKey();

    String getSecretKey();

    String getSecurityAccessKey();

    String getSecuritySecretKey();

    String getSecurityToken();

    String getToken();

    /** The value of a user variable, null if there is none of that name. */
    String getUserData(String name);

    String getFunctionName();

    /** The function's timeout in seconds. */
    int getRunningTimeInSeconds();

    String getVersion();

    /** The memory limit in MB. */
    int getMemorySize();

    /** The CPU share in millicores. */
    int getCPUNumber();

    String getProjectID();

    String getPackage();

    RuntimeLogger getLogger();

    String getAlias();

    String getWorkflowID();

    String getWorkflowRunID();

    String getWorkflowStateID();

    Object getState();

    void setState(Object state);

    String getInstanceID();

    String getInvokeID();

    String getInvokeProperty();

    /** The request id. */
    String getTraceID();
}
