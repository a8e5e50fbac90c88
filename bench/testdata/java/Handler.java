import com.google.gson.JsonObject;
import com.huawei.services.runtime.Context;

/** The function, which the plain server calls as well. */
public class Handler {
  public JsonObject handle(JsonObject event, Context context) {
    JsonObject answer = new JsonObject();
    answer.addProperty("statusCode", 200);
    answer.add("body", event.get("name"));
    return answer;
  }
}
