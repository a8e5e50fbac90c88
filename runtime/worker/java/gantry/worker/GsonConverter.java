package gantry.worker;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import java.lang.reflect.Type;
import java.util.Collection;
import java.util.Map;

/** Is defined by a loader below the function's, so that Gson is the function's own if it brings one. */
public final class GsonConverter implements Converter {
    private final Gson gson = new Gson();

    @Override
    public Object read(String json, Type type) {
        return gson.fromJson(json, type);
    }

    @Override
    public String write(Object value) {
        if (value instanceof JsonElement) {
            return gson.toJson((JsonElement) value);
        }
        return gson.toJson(value, shown(value));
    }

    /** Gson writes null for anonymous classes, such as new HashMap() {{ ... }}: their superclass stands in. */
    private static Class<?> shown(Object value) {
        Class<?> type = value.getClass();
        while (type.isAnonymousClass() && type.getSuperclass() != null) {
            if (value instanceof Map) {
                return Map.class;
            }
            if (value instanceof Collection) {
                return Collection.class;
            }
            type = type.getSuperclass();
        }
        return type;
    }
}
