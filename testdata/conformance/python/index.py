"""The function of the conformance suite: event["do"] says what it does."""
import base64
import json
import os
import signal
import subprocess
import sys
import time

ready = "not ready"


def initializer(context):
    global ready
    ready = context.getUserData("ready")


def hook(context):
    print("the hook says goodbye")


def handler(event, context):
    if "httpMethod" in event:
        event = json.loads(base64.b64decode(event["body"]))
    request_id, do = context.getRequestID(), event.get("do")
    if do is None:
        return len(json.dumps(event, separators=(",", ":"))) if "pad" in event else {"event": event}
    if do == "value":
        return event["value"]
    if do == "text":
        return "x" * event["n"]
    if do == "none":
        return None
    if do == "odd":
        return b"bytes"
    if do == "raise":
        raise ValueError("no luck")
    if do == "context":
        return {
            "id": request_id, "left": 0 < context.getRemainingTimeInMilliSeconds() <= 10000,
            "name": context.getFunctionName(), "version": context.getVersion(), "package": context.getPackage(), "project": context.getProjectID(),
            "memory": str(context.getMemorySize()), "cpu": str(context.getCPUNumber()), "timeout": str(context.getRunningTimeInSeconds()),
            "data": context.getUserData("from"), "alias": context.getAlias(),
            "keys": " ".join([context.getSecurityAccessKey(), context.getSecuritySecretKey(), context.getSecurityToken(), context.getToken()]),
        }
    if do == "log":
        log = context.getLogger()
        log.debug("not shown")
        log.info("i %d", 1)
        log.warning("w")
        log.error("e")
        return "logged"
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
    if do == "ready":
        return ready
    if do == "loop":
        while True:
            pass
    if do == "exit":
        os._exit(7)
    if do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    raise KeyError(do)
