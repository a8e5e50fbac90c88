import hashlib
import os

from flask import Flask, Response, jsonify, make_response, redirect, request

app = Flask(__name__)


@app.route("/")
def home():
    return "hello"


@app.route("/echo", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
def echo():
    body = request.get_data()
    headers = {name.lower(): value for name, value in request.headers}
    url = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI")
    digest = hashlib.sha256(body).hexdigest()
    return jsonify(method=request.method, url=url, headers=headers, size=len(body), hash=digest)


@app.post("/json")
def document():
    return jsonify(got=request.get_json()), 201


@app.post("/form")
def form():
    return jsonify(got=request.form.to_dict())


@app.get("/redirect")
def elsewhere():
    return redirect("/elsewhere?x=1")


@app.get("/cookies")
def cookies():
    response = make_response("set")
    response.set_cookie("session", 'a b"c', httponly=True)
    response.set_cookie("theme", "dark", max_age=3600)
    response.delete_cookie("old")
    return response


@app.get("/204")
def nothing():
    return "", 204


@app.get("/etag")
def tagged():
    response = make_response("tagged")
    response.set_etag("v1")
    return response.make_conditional(request)


@app.get("/large")
def large():
    return Response("compress me " * 10000, mimetype="text/plain")


@app.get("/chunks")
def chunks():
    return Response(iter(["one ", "two"]), mimetype="text/plain")


@app.get("/error")
def error():
    raise ValueError("on purpose")


@app.get("/exit")
def leave():
    os._exit(5)  # gunicorn takes 3 for the failure of a start


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", 8000)), threaded=True)
