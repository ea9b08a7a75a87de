"""Runs microburst, the proxy that injects faults, with two changes: it accepts bodies as large as AWS does (by default it refuses more than a
megabyte), and it lists each function and action that was called in the file `CALLS`."""

import os
import re
import sys

import aiohttp.web
from microburst.cli import main

SERVICES = {"DynamoDB": "dynamodb", "Kinesis": "kinesis", "Timestream": "timestream", "secretsmanager": "secretsmanager"}
seen = set()
Application = aiohttp.web.Application


@aiohttp.web.middleware
async def note(request, handler):
    """Records the caller, which sets AWS_SDK_UA_APP_ID, and the action, which is in a header or in a form field."""
    agent = request.headers.get("User-Agent", "") + " " + request.headers.get("X-Amz-User-Agent", "")
    if named := re.search(r"\bapp/([\w-]+)", agent):
        service, _, action = request.headers.get("X-Amz-Target", "").partition(".")
        service = SERVICES.get(service.split("_")[0])
        if " api/sns/" in agent:
            body = await request.content.read()
            # The proxy reads the body again from its beginning.
            request.content.unread_data(body)
            service, action = "sns", re.search(rb"\bAction=(\w+)", body)[1].decode()
        if " api/lambda/" in agent and request.path.endswith("/invocations"):
            service, action = "lambda", "InvokeFunction"
        line = f"{named[1]} {service}:{action}\n"
        if service and line not in seen:
            seen.add(line)
            with open(os.environ["CALLS"], "a") as calls:
                calls.write(line)
    return await handler(request)


def application(*arguments, middlewares=(), **options):
    return Application(*arguments, middlewares=[note, *middlewares], client_max_size=32 << 20, **options)


aiohttp.web.Application = application

if __name__ == "__main__":
    sys.exit(main())
