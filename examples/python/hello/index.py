"""Run it with: bin/bootstrap serve --code examples/python/hello
and call it with: curl localhost:8000/invoke -d '{"name":"you"}'"""


def initializer(context):
    """Runs once per worker, before the first call, with --initializer index.initializer: the place for connections."""
    context.getLogger().info("ready for %s", context.getFunctionName())


def handler(event, context):
    context.getLogger().info("hello from request %s", context.getRequestID())
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "text/plain"},
        "body": "Hello, " + event.get("name", "world"),
        "isBase64Encoded": False,
    }
