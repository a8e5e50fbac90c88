package gantry.worker;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** The context of one call, under both names of its interface. */
final class FunctionContext
    implements com.huawei.services.runtime.Context, com.opentelekomcloud.services.runtime.Context {
    /** Encrypted user variables, which are not in the environment. */
    static final Map<String, String> ENCRYPTED = new ConcurrentHashMap<>();
    private static final Map<String, String> USER_DATA = userData();

    // Transient, so that a function that writes its context as JSON shows no credentials, and no threads of the worker.
    private final transient Call call;
    private final transient FunctionLogger logger;
    private final transient Map<?, ?> credentials;
    private transient volatile Object state;

    FunctionContext(Call call) {
        this.call = call;
        this.logger = new FunctionLogger(call);
        Object found = call.meta.get("credentials");
        this.credentials = found instanceof Map ? (Map<?, ?>) found : null;
    }

    private static Map<String, String> userData() {
        Map<String, String> values = new ConcurrentHashMap<>();
        try {
            add(values, setting("RUNTIME_USERDATA"));
        } catch (IllegalArgumentException e) {
            values.clear(); // as on the platform: no user data
        }
        return values;
    }

    static void add(Map<String, String> values, String json) {
        Object parsed = json.isEmpty() ? null : Json.parse(json);
        if (parsed instanceof Map) {
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) parsed).entrySet()) {
                if (entry.getValue() != null) {
                    values.put((String) entry.getKey(), String.valueOf(entry.getValue()));
                }
            }
        }
    }

    /** A variable of the environment, empty if it is not there. */
    static String setting(String name) {
        String value = System.getenv(name);
        return value == null ? "" : value;
    }

    private static int number(String name, int fallback) {
        try {
            return (int) Double.parseDouble(setting(name));
        } catch (NumberFormatException e) {
            return fallback;
        }
    }

    private String secret(String name) {
        Object value = credentials == null ? null : credentials.get(name);
        return value instanceof String ? (String) value : "";
    }

    @Override
    public String getRequestID() {
        return call.requestId;
    }

    @Override
    public int getRemainingTimeInMilliSeconds() {
        return (int) Math.max(0, Math.min(Integer.MAX_VALUE, call.deadline - System.currentTimeMillis()));
    }

    @Override
    public String getAccessKey() {
        return secret("accessKey");
    }

    @Override
    public String getSecretKey() {
        return secret("secretKey");
    }

    @Override
    public String getSecurityAccessKey() {
        return secret("securityAccessKey");
    }

    @Override
    public String getSecuritySecretKey() {
        return secret("securitySecretKey");
    }

    @Override
    public String getSecurityToken() {
        return secret("securityToken");
    }

    @Override
    public String getToken() {
        return secret("authToken");
    }

    @Override
    public String getUserData(String name) {
        if (name == null) {
            return null;
        }
        String value = ENCRYPTED.get(name);
        return value == null ? USER_DATA.get(name) : value;
    }

    @Override
    public String getFunctionName() {
        return setting("RUNTIME_FUNC_NAME");
    }

    @Override
    public int getRunningTimeInSeconds() {
        return number("RUNTIME_TIMEOUT", 3);
    }

    @Override
    public String getVersion() {
        return setting("RUNTIME_FUNC_VERSION");
    }

    @Override
    public int getMemorySize() {
        return number("RUNTIME_MEMORY", 0);
    }

    @Override
    public int getCPUNumber() {
        return number("RUNTIME_CPU", 0);
    }

    @Override
    public String getProjectID() {
        return setting("RUNTIME_PROJECT_ID");
    }

    @Override
    public String getPackage() {
        return setting("RUNTIME_PACKAGE");
    }

    @Override
    public FunctionLogger getLogger() {
        return logger;
    }

    @Override
    public String getAlias() {
        return call.text("alias");
    }

    @Override
    public String getWorkflowID() {
        return call.text("workflowId");
    }

    @Override
    public String getWorkflowRunID() {
        return call.text("workflowRunId");
    }

    @Override
    public String getWorkflowStateID() {
        return call.text("workflowStateId");
    }

    @Override
    public Object getState() {
        return state;
    }

    @Override
    public void setState(Object state) {
        this.state = state;
    }

    @Override
    public String getInstanceID() {
        return "";
    }

    @Override
    public String getInvokeID() {
        return "";
    }

    @Override
    public String getInvokeProperty() {
        return "";
    }

    @Override
    public String getTraceID() {
        return call.requestId;
    }
}
