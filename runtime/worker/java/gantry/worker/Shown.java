package gantry.worker;

import java.lang.reflect.Array;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.StringJoiner;

/** Texts of the event classes, com.huawei.services.runtime.entity. */
public final class Shown {
    private Shown() {}

    /** The name of the object's class, and its fields in braces. */
    public static String of(Object object) {
        StringJoiner fields = new StringJoiner(", ", object.getClass().getSimpleName() + "{", "}");
        for (Field field : object.getClass().getDeclaredFields()) {
            if (Modifier.isStatic(field.getModifiers()) || field.isSynthetic()) {
                continue;
            }
            try {
                field.setAccessible(true);
                fields.add(field.getName() + "=" + text(field.get(object)));
            } catch (IllegalAccessException e) {
                throw new IllegalStateException(e); // it has just been made accessible
            }
        }
        return fields.toString();
    }

    private static String text(Object value) {
        if (value == null || !value.getClass().isArray()) {
            return String.valueOf(value);
        }
        StringJoiner all = new StringJoiner(", ", "[", "]");
        for (int i = 0; i < Array.getLength(value); i++) {
            all.add(text(Array.get(value, i)));
        }
        return all.toString();
    }

    /** The text behind a Base64 encoding, which may have line ends; what is no Base64 as it is, null for null. */
    public static String decoded(String text) {
        if (text == null) {
            return null;
        }
        try {
            byte[] bytes = Base64.getDecoder().decode(text.replaceAll("[\r\n]", ""));
            return new String(bytes, StandardCharsets.UTF_8);
        } catch (IllegalArgumentException e) { // events of the console have a plain body that says it is encoded
            return text;
        }
    }
}
