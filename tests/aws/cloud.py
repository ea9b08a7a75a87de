"""A local AWS: ministack for all services except Timestream, moto for Timestream, and microburst in front of both to inject faults.

The functions reach AWS through microburst, this process directly, so that only the functions' calls fail. All of it is started with
a clean environment: a variable that the template forgets must not be found because the tests' shell has it.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import boto3
import botocore.config

REGION = "us-east-1"
ACCOUNT = "000000000000"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
}
SECONDS_TO_START = 60
BINARIES = pathlib.Path(sys.executable).parent
FAULTS = ("python", str(pathlib.Path(__file__).with_name("faults.py")))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def http(url, body=None, method=None, headers=None, timeout=30):
    """Status and body of a call, also of a refused one."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    if data is not None:
        request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read()


class Cloud:
    """All processes of the local AWS. Leaving the context stops them."""

    def __init__(self, scratch):
        self.scratch = pathlib.Path(scratch)
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.processes = []
        # The calls of each function, as `function service:Action`.
        self.calls_file = str(self.scratch / "calls.txt")
        self.fault_ports = []
        self.aws_port, self.timestream_port = free_port(), free_port()
        self.faults_port, self.timestream_faults_port = free_port(), free_port()

    def __enter__(self):
        try:
            self.start_aws()
            self.start_timestream()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start_aws(self):
        local = "http://127.0.0.1"
        self.start(
            "ministack",
            "ministack",
            GATEWAY_PORT=str(self.aws_port),
            BIND_HOST="127.0.0.1",
            STATE_DIR=str(self.scratch / "state"),
            # These variables are passed on to the functions, whose AWS clients read them.
            AWS_ENDPOINT_URL=f"{local}:{self.faults_port}",
            AWS_ENDPOINT_URL_TIMESTREAM_WRITE=f"{local}:{self.timestream_faults_port}",
        )
        self.start("faults", *FAULTS, "--upstream", f"{local}:{self.aws_port}", "--port", str(self.faults_port), CALLS=self.calls_file)
        self.wait_for(f"{local}:{self.aws_port}/_ministack/health")
        self.wait_for(f"{local}:{self.faults_port}/_microburst/health")
        # The first call through a proxy takes seconds, so it is made here and not by a function.
        self.client("dynamodb", self.faults_port).list_tables()
        self.fault_ports.append(self.faults_port)

    def start_timestream(self):
        local = "http://127.0.0.1"
        upstream, port = f"{local}:{self.timestream_port}", str(self.timestream_faults_port)
        self.start("moto", "moto_server", "-H", "127.0.0.1", "-p", str(self.timestream_port))
        self.start("timestream-faults", *FAULTS, "--upstream", upstream, "--port", port, CALLS=self.calls_file)
        self.wait_for(f"{upstream}/moto-api/")
        self.wait_for(f"{local}:{port}/_microburst/health")
        self.client("timestream-write", self.timestream_faults_port).list_databases()
        self.fault_ports.append(self.timestream_faults_port)

    def start(self, name, *command, **environment):
        home = self.scratch / name
        home.mkdir(exist_ok=True)
        log = open(self.scratch / f"{name}.log", "wb")
        clean = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(home),
            **CREDENTIALS,
        }
        process = subprocess.Popen(
            [BINARIES / command[0], *command[1:]],
            env=clean | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home,
            # A process group of its own, so that the functions that it starts are stopped with it.
            start_new_session=True,
        )
        self.processes.append((name, process))

    def wait_for(self, url):
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            for name, process in self.processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{name} ended at its start; see {self.scratch / name}.log")
            try:
                if http(url, timeout=2)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"{url} did not answer within {SECONDS_TO_START} s; logs are in {self.scratch}")

    def stop(self):
        for _, process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        self.processes = []

    def client(self, service, port=None):
        """A client for this process. It bypasses the fault injection unless a port is given."""
        if port is None:
            port = self.timestream_port if service.startswith("timestream") else self.aws_port
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=botocore.config.Config(read_timeout=120, retries={"max_attempts": 2}, s3={"addressing_style": "path"}),
        )

    def set_faults(self, rules):
        """Replaces the faults on the functions' calls."""
        for port in self.fault_ports:
            status, reply = http(f"http://127.0.0.1:{port}/_microburst/rules", rules, "POST")
            assert status < 300, reply

    def fired(self):
        """The number of faults injected so far."""
        return sum(self.fired_by_rule().values())

    def fired_by_rule(self):
        """The number of injected faults by rule. Setting the same rule again creates a new one."""
        return {(port, rule["id"]): rule["fired"] for port, stats in self.stats() for rule in stats["by_rule"]}

    def calls(self, service):
        """The number of calls of a service by functions so far, including calls that were made to fail."""
        return sum(one["requests"] for _, stats in self.stats() for one in stats["by_service"] if one["service"] == service)

    def stats(self):
        return [(port, json.loads(http(f"http://127.0.0.1:{port}/_microburst/stats")[1])) for port in self.fault_ports]
