"""A Python function for the platform's custom runtime, which the agent is: put bin/bootstrap into this folder as
bootstrap, zip both, and create a function with the runtime "Custom" of it. To try it here, with one agent as the
platform and the other as the custom runtime:

    cp -r examples/poll /tmp/poll && cp bin/bootstrap /tmp/poll/bootstrap
    bin/bootstrap serve --code /tmp/poll --runtime custom
    curl localhost:8000/invoke -d '{"name":"you"}'
"""


def handler(event, context):
    context.getLogger().info("hello from request %s", context.getRequestID())
    return {"statusCode": 200, "headers": {}, "body": "Hello, " + event.get("name", "world"), "isBase64Encoded": False}
