package gantry.worker;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The user's function: its class, which is instantiated once, its handler and its hooks. */
final class Function {
    private static final String SIGNATURE = "public R method(T event, Context context)";

    private final FunctionLoader loader;
    private final Map<String, Object> instances = new LinkedHashMap<>();
    private Object instance;
    private Method handler;
    private Type parameter;
    private Converter converter;

    private Function(FunctionLoader loader) {
        this.loader = loader;
    }

    /** Loads the handler's class, which runs its static initialisers, and makes its one instance. */
    static Function load() throws Throwable {
        FunctionLoader loader = FunctionLoader.of(new File(FunctionContext.setting("RUNTIME_CODE_ROOT")));
        Thread.currentThread().setContextClassLoader(loader);
        Function function = new Function(loader);
        String[] name = split("RUNTIME_HANDLER");
        Class<?> type = function.typeOf(name);
        function.handler = function.find(type, name[1], "RUNTIME_HANDLER (--handler)");
        function.parameter = function.handler.getGenericParameterTypes()[0];
        function.instance = function.instanceOf(type, function.handler);
        if (function.parameter != String.class) {
            function.prepare();
        }
        return function;
    }

    /** Loads Gson before the first call, which would take a tenth of a second longer otherwise. */
    private void prepare() {
        try {
            converter().write(converter().read("{}", Object.class));
        } catch (ReflectiveOperationException | RuntimeException | LinkageError e) {
            converter = null; // the function's Gson is not whole: the first call that needs it says so
        }
    }

    FunctionLoader loader() {
        return loader;
    }

    private static String[] split(String setting) throws FunctionError {
        String value = FunctionContext.setting(setting);
        int dot = value.lastIndexOf('.');
        if (dot <= 0 || dot == value.length() - 1) {
            throw new FunctionError("java.lang.ClassNotFoundException",
                setting + " '" + value + "' is no package.Class.method", null);
        }
        return new String[] {value.substring(0, dot), value.substring(dot + 1)};
    }

    private Class<?> typeOf(String[] name) throws FunctionError {
        try {
            return Class.forName(name[0], true, loader);
        } catch (ClassNotFoundException e) {
            throw new FunctionError("java.lang.ClassNotFoundException", "class '" + name[0]
                + "' not found in the code folder", new Candidates(loader.jars).hint(name[0], name[1]));
        } catch (NoClassDefFoundError e) { // the name of a class in other letters, which a folder may find
            if (String.valueOf(e.getMessage()).contains("wrong name")) {
                throw new FunctionError("java.lang.ClassNotFoundException", "class '" + name[0]
                    + "' not found in the code folder: " + e.getMessage(), null);
            }
            throw e;
        }
    }

    private Object instanceOf(Class<?> type, Method method) throws Throwable {
        if (Modifier.isStatic(method.getModifiers())) {
            return null;
        }
        Object found = instances.get(type.getName());
        if (found == null) {
            try {
                Constructor<?> constructor = type.getDeclaredConstructor();
                constructor.setAccessible(true);
                found = constructor.newInstance();
            } catch (NoSuchMethodException | InstantiationException e) {
                throw new FunctionError("java.lang.InstantiationException", "class '" + type.getName()
                    + "' cannot be instantiated: it needs a public constructor without parameters"
                    + (Modifier.isAbstract(type.getModifiers()) ? ", and may not be abstract" : ""), null);
            } catch (InvocationTargetException e) {
                throw e.getCause();
            }
            instances.put(type.getName(), found);
        }
        return found;
    }

    private static boolean isContext(Class<?> type) {
        return type.isInterface() && type.isAssignableFrom(FunctionContext.class);
    }

    private static boolean isHandler(Method m) {
        Class<?>[] types = m.getParameterTypes();
        return types.length == 2 && isContext(types[1]) && !isContext(types[0]) && Modifier.isPublic(m.getModifiers())
            && !m.isSynthetic();
    }

    private Method find(Class<?> type, String name, String setting) throws FunctionError {
        List<Method> fitting = new ArrayList<>();
        List<String> handlers = new ArrayList<>();
        for (Method m : type.getMethods()) {
            if (isHandler(m) && m.getDeclaringClass() != Object.class) {
                handlers.add(m.getName());
                if (m.getName().equals(name)) {
                    fitting.add(m);
                }
            }
        }
        if (fitting.size() == 1) {
            fitting.get(0).setAccessible(true); // its class need not be public
            return fitting.get(0);
        }
        if (fitting.size() > 1) {
            throw new FunctionError("java.lang.NoSuchMethodException", "class '" + type.getName() + "' has "
                + fitting.size() + " methods '" + name + "' that take an event and a Context: only one may", null);
        }
        Method other = named(type, name);
        if (other != null) {
            throw new FunctionError("java.lang.NoSuchMethodException", "handler '" + name + "' has a wrong signature: "
                + other + "; it has to be " + SIGNATURE, wrongContext(other));
        }
        throw new FunctionError("java.lang.NoSuchMethodException", "handler '" + name + "' not found in class '"
            + type.getName() + "'", handlers.isEmpty() ? "the class has no method " + SIGNATURE
            : "the class has: " + String.join(", ", handlers) + "; set " + setting + " to " + type.getName() + "."
                + handlers.get(0));
    }

    /** A Context that is none of the platform's, or null. */
    private static String wrongContext(Method m) {
        Class<?>[] types = m.getParameterTypes();
        if (types.length == 2 && types[1].getSimpleName().equals("Context") && !isContext(types[1])) {
            return types[1].getName() + " is another Context: import com.huawei.services.runtime.Context"
                + " or com.opentelekomcloud.services.runtime.Context";
        }
        return null;
    }

    private static Method named(Class<?> type, String name) {
        for (Class<?> t = type; t != null && t != Object.class; t = t.getSuperclass()) {
            for (Method m : t.getDeclaredMethods()) {
                if (m.getName().equals(name) && !m.isSynthetic()) {
                    return m;
                }
            }
        }
        return null;
    }

    /** Calls the handler and returns its result. What the event lacks is an EventError. */
    Object invoke(byte[] payload, FunctionContext context) throws Throwable {
        return call(handler, instance, event(payload), context);
    }

    private static Object call(Method method, Object on, Object... arguments) throws Throwable {
        try {
            return method.invoke(on, arguments);
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }

    /** Says that an event is no JSON, or not of the handler's type. */
    static final class EventError extends Exception {
        private static final long serialVersionUID = 1;

        EventError(String message, Throwable cause) {
            super(message, cause);
        }
    }

    private Object event(byte[] payload) throws Throwable {
        String text = payload.length == 0 ? "{}" : new String(payload, Frames.UTF8);
        if (parameter == String.class) {
            return text;
        }
        try {
            Json.check(text);
            return converter().read(text, parameter);
        } catch (IllegalArgumentException | StackOverflowError e) {
            throw new EventError(e instanceof StackOverflowError ? "the event is nested too deeply" : Errors.message(e), e);
        } catch (RuntimeException e) { // of Gson, whose classes may be the function's
            throw new EventError("the event does not fit " + parameter.getTypeName() + ": " + Errors.message(e), e);
        }
    }

    /** The JSON text of a result. */
    String json(Object value) throws Throwable {
        return converter().write(value);
    }

    private synchronized Converter converter() throws ReflectiveOperationException {
        if (converter == null) {
            Bridge bridge = new Bridge(loader);
            Class<?> type = bridge.loadClass(Bridge.CONVERTER);
            converter = (Converter) type.getConstructor().newInstance();
        }
        return converter;
    }

    /**
     * Defines the converter below the function's loader, so that both see the same Gson. It never takes the function's
     * own copy of the converter, which a function has whose jar has the worker's in it.
     */
    private static final class Bridge extends ClassLoader {
        static final String CONVERTER = "gantry.worker.GsonConverter";

        Bridge(ClassLoader parent) {
            super(parent);
        }

        @Override
        protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
            if (name.equals(Converter.class.getName())) {
                return Converter.class;
            }
            if (name.equals(CONVERTER)) {
                Class<?> loaded = findLoadedClass(name);
                return loaded != null ? loaded : findClass(name);
            }
            return super.loadClass(name, resolve);
        }

        @Override
        protected Class<?> findClass(String name) throws ClassNotFoundException {
            if (!name.equals(CONVERTER)) {
                throw new ClassNotFoundException(name);
            }
            try (InputStream in = Function.class.getResourceAsStream("GsonConverter.class")) {
                ByteArrayOutputStream out = new ByteArrayOutputStream();
                byte[] piece = new byte[4096];
                for (int n = in.read(piece); n > 0; n = in.read(piece)) {
                    out.write(piece, 0, n);
                }
                return defineClass(name, out.toByteArray(), 0, out.size());
            } catch (IOException e) {
                throw new ClassNotFoundException(name, e);
            }
        }
    }

    /** A hook that a setting names, ready to be called. */
    final class Hook {
        private final Method method;
        private final Object on;

        private Hook(Method method, Object on) {
            this.method = method;
            this.on = on;
        }

        Object call(FunctionContext context) throws Throwable {
            Object[] arguments = method.getParameterTypes().length == 0 ? new Object[0] : new Object[] {context};
            return Function.call(method, on, arguments);
        }
    }

    /** Finds a hook; result is the type it has to return, null for any. */
    Hook hook(String what, String setting, Class<?> result) throws Throwable {
        String[] name = split(setting);
        Class<?> type = typeOf(name);
        Method method = null;
        for (Method m : type.getMethods()) {
            Class<?>[] types = m.getParameterTypes();
            boolean fits = types.length == 0 || result == null && types.length == 1 && isContext(types[0]);
            if (m.getName().equals(name[1]) && fits && (method == null || types.length == 1)) {
                method = m;
            }
        }
        boolean returns = method != null && (result == null || method.getReturnType() == result);
        if (!returns) {
            String wanted = result == null ? "public void " + name[1] + "(Context context)"
                : "public " + result + " " + name[1] + "()";
            boolean there = named(type, name[1]) != null;
            throw new FunctionError("java.lang.NoSuchMethodException", what + " '" + name[1] + "' "
                + (there ? "has a wrong signature in" : "not found in") + " class '" + type.getName() + "'",
                "write " + wanted + ", or set " + setting + " to another method");
        }
        method.setAccessible(true);
        return new Hook(method, instanceOf(type, method));
    }
}
