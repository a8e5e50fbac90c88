import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Executors;

public class Server {
    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "8000"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.createContext("/", Server::serve);
        server.setExecutor(Executors.newCachedThreadPool());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("asked to end")));
        server.start();
    }

    static void serve(HttpExchange x) throws IOException {
        byte[] body = x.getRequestBody().readAllBytes();
        switch (x.getRequestURI().getPath()) {
            case "/": answer(x, 200, "text/plain", "hello"); break;
            case "/echo": answer(x, 200, "application/json", echo(x, body)); break;
            case "/json": answer(x, 201, "application/json", "{\"got\":" + text(body) + "}"); break;
            case "/form": answer(x, 200, "application/json", form(text(body))); break;
            case "/redirect":
                x.getResponseHeaders().set("Location", "/elsewhere?x=1");
                x.sendResponseHeaders(302, -1);
                x.close();
                break;
            case "/cookies":
                x.getResponseHeaders().add("Set-Cookie", "session=abc; HttpOnly");
                x.getResponseHeaders().add("Set-Cookie", "theme=dark");
                answer(x, 200, "text/plain", "set");
                break;
            case "/204": x.sendResponseHeaders(204, -1); x.close(); break;
            case "/etag":
                x.getResponseHeaders().set("ETag", "\"v1\"");
                if ("\"v1\"".equals(x.getRequestHeaders().getFirst("If-None-Match"))) {
                    x.sendResponseHeaders(304, -1);
                    x.close();
                    break;
                }
                answer(x, 200, "text/plain", "tagged");
                break;
            case "/large": answer(x, 200, "text/plain", "compress me ".repeat(10000)); break;
            case "/chunks":
                x.sendResponseHeaders(200, 0);
                x.getResponseBody().write("one ".getBytes());
                x.getResponseBody().flush();
                x.getResponseBody().write("two".getBytes());
                x.close();
                break;
            case "/error": answer(x, 500, "text/plain", "on purpose"); break;
            case "/exit": Runtime.getRuntime().halt(3); break;
            default: answer(x, 404, "text/html", "<h1>404 Not Found</h1>");
        }
    }

    static void answer(HttpExchange x, int status, String type, String text) throws IOException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        x.getResponseHeaders().set("Content-Type", type);
        if (x.getRequestMethod().equals("HEAD")) {
            x.getResponseHeaders().set("Content-Length", "" + bytes.length);
            x.sendResponseHeaders(status, -1);
        } else {
            x.sendResponseHeaders(status, bytes.length);
            x.getResponseBody().write(bytes);
        }
        x.close();
    }

    static String echo(HttpExchange x, byte[] body) throws IOException {
        Map<String, String> headers = new TreeMap<>();
        x.getRequestHeaders().forEach((name, values) -> headers.put(name.toLowerCase(), String.join(", ", values)));
        StringBuilder all = new StringBuilder();
        headers.forEach((name, value) -> {
            all.append(all.length() > 0 ? "," : "").append(quote(name)).append(":").append(quote(value));
        });
        try {
            String hash = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(body));
            return "{\"method\":" + quote(x.getRequestMethod()) + ",\"url\":" + quote(x.getRequestURI().toString())
                + ",\"headers\":{" + all + "},\"size\":" + body.length + ",\"hash\":" + quote(hash) + "}";
        } catch (java.security.NoSuchAlgorithmException e) {
            throw new IOException(e);
        }
    }

    static String text(byte[] body) {
        return new String(body, StandardCharsets.UTF_8);
    }

    static String form(String text) {
        StringBuilder all = new StringBuilder();
        for (String pair : text.split("&")) {
            String[] parts = pair.split("=", 2);
            all.append(all.length() > 0 ? "," : "").append(quote(parts[0])).append(":")
                .append(quote(URLDecoder.decode(parts[1], StandardCharsets.UTF_8)));
        }
        return "{\"got\":{" + all + "}}";
    }

    static String quote(String text) {
        return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
    }
}
