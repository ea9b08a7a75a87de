"""Measures each function's size, and the time from its process's start to its first response on a local Runtime API.

    python start.py --root SOURCE_TREE --binaries FOLDER [--starts 40]

FOLDER contains the functions and `examples/do_nothing`, which shows the cost of the runtime itself. "idle" is an invocation that calls no AWS service;
"first call" is one that makes its first calls, to a local store that answers immediately and holds only the secrets of an installation.
"""

import argparse
import base64
import http.server
import json
import os
import pathlib
import statistics
import subprocess
import threading
import time

ENVIRONMENT = {
    "aggregate": {"TABLE_NAME": "t"},
    "api": {"TABLE_NAME": "t"},
    "compact": {"TABLE_NAME": "t"},
    "detect": {"TABLE_NAME": "t", "ALERT_TOPIC_ARN": "arn:aws:sns:us-east-1:000000000000:alerts", "STREAM_NAME": "s"},
    "forward": {"STREAM_NAME": "s"},
    "examples/do_nothing": {},
}
# The invocations: where possible one without AWS calls, and one with.
IDLE = {
    "aggregate": b'{"Records":[]}',
    "forward": b"[]",
    "examples/do_nothing": b"{}",
}
CALLING = {
    "aggregate": "kinesis-lambda.json",
    "api": "api-query.json",
    "compact": "schedule.json",
    "detect": "schedule.json",
    "forward": "ses-send.json",
}
HEALTH = {"version": "2.0", "routeKey": "$default", "rawPath": "/healthz", "rawQueryString": "", "headers": {}, "isBase64Encoded": False}
HEALTH["requestContext"] = {
    "accountId": "000000000000",
    "apiId": "a",
    "domainName": "localhost",
    "domainPrefix": "a",
    "http": {"method": "GET", "path": "/healthz", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "start"},
    "requestId": "1",
    "routeKey": "$default",
    "stage": "$default",
    "time": "25/Nov/2026:00:00:00 +0000",
    "timeEpoch": 1795564800000,
}
SECRETS = {"pk": {"S": "secrets"}, "sk": {"S": "1"}, "body": {"B": base64.b64encode(bytes(48)).decode()}, "version": {"N": "1"}}
EMPTY = {
    "Query": {"Items": [], "Count": 0, "ScannedCount": 0},
    "BatchGetItem": {"Responses": {}, "UnprocessedKeys": {}},
    "BatchWriteItem": {"UnprocessedItems": {}},
    "PutRecords": {"FailedRecordCount": 0, "Records": [{"SequenceNumber": "1", "ShardId": "shardId-000000000000"}]},
}


class Local(http.server.BaseHTTPRequestHandler):
    """The Lambda Runtime API, which serves one invocation at a time, and an empty AWS."""

    protocol_version = "HTTP/1.1"
    # With Nagle's algorithm the second half of a reply would wait for the acknowledgement of the first.
    disable_nagle_algorithm = True
    payload, answered, response = b"{}", threading.Event(), b""

    def do_GET(self):
        if Local.answered.is_set():
            # There is no second invocation.
            time.sleep(60)
        headers = {"Lambda-Runtime-Aws-Request-Id": "1", "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 60_000)}
        headers["Lambda-Runtime-Invoked-Function-Arn"] = "arn:aws:lambda:us-east-1:000000000000:function:f"
        self.answer(Local.payload, headers)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path.startswith("/2018-06-01/runtime"):
            Local.response, Local.at, Local.path = body, time.perf_counter(), self.path
            self.answer(b"{}")
            Local.answered.set()
        else:
            operation = (self.headers.get("x-amz-target") or ".").rsplit(".", 1)[1]
            answer = EMPTY.get(operation, {})
            if operation == "BatchGetItem" and b'"secrets"' in body:
                answer = {"Responses": {"t": [SECRETS]}, "UnprocessedKeys": {}}
            self.answer(json.dumps(answer).encode())

    def answer(self, body, headers=()):
        head = {"Content-Type": "application/json", "Content-Length": len(body), **dict(headers)}
        lines = [f"{name}: {value}\r\n" for name, value in head.items()]
        self.wfile.write(f"HTTP/1.1 200 OK\r\n{''.join(lines)}\r\n".encode() + body)


class Server(http.server.ThreadingHTTPServer):
    """Ignores connections that a killed process left open."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


def start(program, environment, payload, port):
    """Starts a function. Returns the milliseconds to its first response."""
    Local.payload, Local.response = payload, b""
    Local.answered.clear()
    of_lambda = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_LOG_STREAM_NAME": "l",
        "AWS_LAMBDA_LOG_GROUP_NAME": "g",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "HOME": "/nonexistent",
    }
    begun = time.perf_counter()
    process = subprocess.Popen([program], env={**of_lambda, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert Local.answered.wait(10), f"{program} does not respond"
        assert Local.path.endswith("/response"), (program, Local.path, Local.response[:500])
        return (Local.at - begun) * 1000
    finally:
        process.kill()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    parser.add_argument("--starts", type=int, default=40)
    options = parser.parse_args()
    server = Server(("127.0.0.1", 0), Local)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    payloads = {name: {"idle": payload} for name, payload in IDLE.items()}
    payloads["api"] = {"idle": json.dumps(HEALTH).encode()}
    for name, sample in CALLING.items():
        payloads.setdefault(name, {})["first call"] = (options.root / "events" / sample).read_bytes()
    took = {}
    # The functions take turns, so that other load on the machine affects all of them alike.
    for _ in range(options.starts):
        for name, asked in payloads.items():
            for kind, payload in asked.items():
                program = options.binaries / name
                taken = start(program, ENVIRONMENT[name], payload, server.server_port)
                took.setdefault((name, kind), []).append(taken)
    nothing = statistics.median(took["examples/do_nothing", "idle"])
    print("| function | MB | invocation | median ms | minimum ms | relative to an empty function |\n|---|---|---|---|---|---|")
    for (name, kind), times in sorted(took.items()):
        size, median = os.path.getsize(options.binaries / name) / 1e6, statistics.median(times)
        print(f"| {pathlib.Path(name).name} | {size:.1f} | {kind} | {median:.1f} | {min(times):.1f} | {median / nothing:.1f} |")


if __name__ == "__main__":
    main()
