"""The function of the conformance suite for programs that get events themselves: a custom runtime, and the server of an image."""
import base64
import json
import os
import signal
import subprocess
import sys
import time

env = os.environ


def run(event, headers, body):
    if event == "":
        return {"event": event}
    if "httpMethod" in event:
        event = json.loads(base64.b64decode(event["body"]))
    request_id, do = headers["X-Cff-Request-Id"], event.get("do")
    if do is None:
        return len(body) if "pad" in event else {"event": event}
    if do == "value":
        return event["value"]
    if do == "text":
        return "x" * event["n"]
    if do == "none":
        return ""
    if do == "raise":
        raise ValueError("no luck")
    if do == "context":
        return {
            "id": request_id, "left": True, "name": env["RUNTIME_FUNC_NAME"], "version": env["RUNTIME_FUNC_VERSION"], "package": env["RUNTIME_PACKAGE"],
            "project": env["RUNTIME_PROJECT_ID"], "memory": env["RUNTIME_MEMORY"], "cpu": env["RUNTIME_CPU"], "timeout": env["RUNTIME_TIMEOUT"],
            "data": env["from"], "alias": headers["X-Cff-Origin-Version-Tag"][1:],
            "keys": " ".join(headers["X-Cff-" + name] for name in ("Security-Access-Key", "Security-Secret-Key", "Security-Token", "Auth-Token")),
        }
    if do == "print":
        print("out", request_id)
        print("err", request_id, file=sys.stderr)
        return "printed"
    if do == "child":
        subprocess.run(["echo", "child " + request_id], check=True)
        return "done"
    if do == "flood":
        for i in range(event["n"]):
            print("line", i)
        return "flooded"
    if do == "sleep":
        time.sleep(event["ms"] / 1000)
        print("woke", request_id)
        return "slept"
    if do == "loop":
        while True:
            pass
    if do == "exit":
        os._exit(7)
    if do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    raise KeyError(do)
