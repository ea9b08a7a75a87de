"""Deploys the stack to a local AWS, sends events from every source, injects faults, and compares the API's answers with a plain count.

    python walk.py --root SOURCE_TREE --binaries FOLDER --mailgauge PROGRAM --scratch FOLDER

Prints a line for each step that passes, and stops with an error at the first that fails. Each step also checks that its faults were injected, since
a fault that never happens would let it pass.
"""

import argparse
import base64
import contextlib
import gzip
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading
import time

from cloud import CREDENTIALS, REGION, Cloud, http
from deploy import adopt, delete, deploy, package, read_template, resource, update
from links import PAYLOAD_BYTES, EventBridgeRules, KafkaTrigger, Topic, Trigger, envelope
from model import METRICS, totals
from series import DATABASE, TABLE, Timestream, VictoriaMetrics

SEED = 20261125
ANSI = re.compile("\x1b\\[[0-9;]*m")


class Walk:
    """One deployment, and the events sent to it so far."""

    def __init__(self, cloud, options, parameters):
        self.cloud, self.options, self.parameters = cloud, options, parameters
        self.template = package(cloud, read_template(options.root / "template.yaml"), options.binaries)
        self.outputs = deploy(cloud, self.template, **parameters)
        self.trigger = Trigger(cloud, resource(cloud, "AggregateTrigger"))
        self.event_bridge = EventBridgeRules(cloud)
        self.kinesis, self.lambda_ = cloud.client("kinesis"), cloud.client("lambda")
        self.sent = []
        self.random = random.Random(SEED)
        self.key = self.make_key("operator")

    def simulate(self, minutes, tenants=3, emails=20, seed=1):
        """Simulated events of the last minutes."""
        start = time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(time.time() - minutes * 60))
        command = [self.options.mailgauge, "simulate", "--tenants", tenants, "--emails-per-minute", emails]
        command += ["--minutes", minutes, "--start", start, "--seed", seed, "--out", "-"]
        done = subprocess.run([str(word) for word in command], check=True, capture_output=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def program(self, *arguments):
        """Runs `mailgauge` against the deployment, as an operator would. Returns its output."""
        aws = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.cloud.faults_port}", **CREDENTIALS, "PATH": os.environ["PATH"]}
        command = [str(word) for word in (self.options.mailgauge, *arguments)]
        done = subprocess.run(command, env=aws, capture_output=True)
        assert done.returncode == 0, (command, done.stderr.decode())
        return done.stdout.decode()

    def make_key(self, grant):
        """Makes an API key by invoking the function `api` directly."""
        request = {"make_key": {"name": "walk", "grant": grant}}
        reply = self.lambda_.invoke(FunctionName=resource(self.cloud, "ApiFunction"), Payload=json.dumps(request).encode())
        answer = json.loads(reply["Payload"].read())
        assert "FunctionError" not in reply, answer
        return answer["key"]

    def ask(self, path, key=None, method=None, **question):
        """Calls the API through the gateway."""
        host = self.outputs["ApiUrl"].removeprefix("http://")
        headers = {"host": host, "authorization": f"Bearer {key or self.key}"}
        body = question or None
        return http(f"http://127.0.0.1:{self.cloud.aws_port}{path}", body, method or ("POST" if body else "GET"), headers)

    def counted(self, key=None):
        """The API's counts, by tenant and metric."""
        question = {"metrics": METRICS, "from": "-7d", "to": "now", "granularity": "total", "limit": 1000}
        if key is None:
            question["group_by"] = ["tenant"]
        status, reply = self.ask("/v1/query", key, **question)
        assert status == 200, (status, reply)
        rows = json.loads(reply)["rows"]
        return {row["group"].get("tenant", "mine"): {name: row["metrics"][name] for name in METRICS} for row in rows}

    def put(self, records):
        """Puts raw records on the stream."""
        for start in range(0, len(records), 500):
            batch = [{"Data": data, "PartitionKey": str(number)} for number, data in enumerate(records[start : start + 500])]
            reply = self.kinesis.put_records(StreamARN=self.outputs["StreamArn"], Records=batch)
            assert reply["FailedRecordCount"] == 0, reply

    def put_events(self, events):
        self.sent += events
        self.put([json.dumps(event).encode() for event in events])

    def compare(self, what):
        """Compares the API with the plain count, and checks the proof of counting."""
        expected, counted = totals(self.sent), self.counted()
        assert counted == expected, f"{what}: counted {counted}, expected {expected}"
        status, reply = self.ask(f"/v1/reconcile?from={stamp_ago(7 * 86400)}&to={stamp_ago(-3600)}")
        assert status == 200, (status, reply)
        proof = json.loads(reply)
        assert proof["drift"] == 0, proof
        print(f"ok: {what}: {sum(map(sum, (row.values() for row in counted.values())))} counts, drift 0", flush=True)

    def items_written(self):
        """The number of items that commits wrote, from the log of the function `aggregate`."""
        return sum(int(items) for items in re.findall(r"batch\.items=(\d+)", self.log()))

    def log(self):
        """The logs of all functions."""
        return ANSI.sub("", (self.options.scratch / "ministack.log").read_text(errors="replace"))

    def detect(self):
        """Runs detection once. Returns its result, or None if it failed."""
        reply = self.lambda_.invoke(FunctionName=resource(self.cloud, "DetectFunction"), Payload=b"{}")
        answer = json.loads(reply["Payload"].read())
        return None if "FunctionError" in reply else answer

    def compact(self):
        reply = self.lambda_.invoke(FunctionName=resource(self.cloud, "CompactFunction"), Payload=b"{}")
        answer = json.loads(reply["Payload"].read())
        assert "FunctionError" not in reply, answer


def events_of_every_source_are_counted(walk):
    events = walk.simulate(minutes=30)
    by_rule, by_topic, by_forward, raw, lines = (events[place::5] for place in range(5))
    walk.sent += events
    noise = {**envelope(events[0]), "detail-type": "AWS API Call via CloudTrail", "detail": {"version": "1.0"}}
    put = walk.event_bridge.put([noise] + [envelope(event) for event in by_rule])
    assert put == len(by_rule), "the rules must not match other events"
    sns = walk.cloud.client("sns")
    for start in range(0, len(by_topic), 10):
        entries = [{"Id": str(number), "Message": json.dumps(event)} for number, event in enumerate(by_topic[start : start + 10])]
        assert not sns.publish_batch(TopicArn=walk.outputs["EventsTopicArn"], PublishBatchRequestEntries=entries)["Failed"]
    forward(walk, by_forward)
    walk.put([json.dumps(event).encode() for event in raw])
    walk.put([gzip.compress("\n".join(json.dumps(event) for event in lines).encode())])
    # SNS delivers asynchronously.
    wait_for(lambda: forwarded(walk) >= len(by_topic) + len(by_forward), "the function forward puts all events on the stream")
    walk.trigger.drain()
    walk.compare("events by EventBridge, SNS and Firehose, raw and compressed")


def forward(walk, events):
    """Invokes the function as a Firehose transformation, which must return each record unchanged."""
    now = int(time.time() * 1000)
    records = [
        {"recordId": str(number), "approximateArrivalTimestamp": now, "data": base64.b64encode(json.dumps(event).encode()).decode()}
        for number, event in enumerate(events)
    ]
    request = {"invocationId": "1", "deliveryStreamArn": "arn:aws:firehose:us-east-1:000000000000:deliverystream/archive", "region": "us-east-1", "records": records}
    reply = walk.lambda_.invoke(FunctionName=walk.outputs["ForwardFunctionArn"], Payload=json.dumps(request).encode())
    answer = json.loads(reply["Payload"].read())
    assert "FunctionError" not in reply, answer
    assert [record["result"] for record in answer["records"]] == ["Ok"] * len(records), answer
    assert [record["data"] for record in answer["records"]] == [record["data"] for record in records]


def forwarded(walk):
    """The number of records that the function `forward` put on the stream. At this point all other records have an envelope."""
    return walk.trigger.waiting_records() - len(walk.sent[0::5]) - len(walk.sent[3::5]) - 1


def wait_for(holds, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)


def replayed_stream_changes_no_count(walk):
    walk.trigger.rewind()
    walk.trigger.batch_size = 37
    walk.trigger.drain()
    walk.trigger.batch_size = walk.trigger.mapping["BatchSize"]
    walk.compare("the whole stream replayed in other batches")


def unreadable_records_do_not_affect_others(walk):
    events = walk.simulate(minutes=5, seed=2)
    walk.sent += events
    records = [json.dumps(event).encode() for event in events]
    records[len(records) // 2 : len(records) // 2] = [b'{"eventType":"Bounce","mail":', b"\xff\xfe", b""]
    walk.put(records)
    failures = walk.trigger.failures
    walk.trigger.drain()
    assert walk.trigger.failures == failures, "an unreadable record must not fail its batch"
    walk.compare("a batch with unreadable records")


FAULTS = {
    "writes are throttled": {"operation": "BatchWriteItem", "times": 3, "error": {"code": "ProvisionedThroughputExceededException"}},
    "conditional writes are throttled": {"operation": "PutItem", "times": 3, "error": {"code": "ThrottlingException"}},
    "reads are throttled": {"operation": "Query", "times": 3, "error": {"code": "ProvisionedThroughputExceededException"}},
    "the store fails for a while": {"times": 8, "error": {"code": "InternalServerError", "status": 500}},
    "connections break": {"times": 4, "reset": True},
    "answers are lost after the write": {"operation": "BatchWriteItem", "times": 2, "response": {"abort_bytes": 0}},
    "answers of conditional writes are lost": {"operation": "PutItem", "times": 4, "response": {"abort_bytes": 0}},
    "the store is slow": {"times": 5, "latency": {"min": 300, "max": 800}},
}


def each_fault_leaves_counts_exact(walk):
    for number, (what, rule) in enumerate(FAULTS.items()):
        before = walk.cloud.fired()
        events = walk.simulate(minutes=3, seed=100 + number)
        walk.cloud.set_faults([{"service": "dynamodb", **rule}])
        walk.put_events(events)
        walk.trigger.drain()
        walk.cloud.set_faults([])
        fired = walk.cloud.fired() - before
        assert fired > 0, f"{what}: no fault was injected, so this step proves nothing"
        walk.compare(f"{what} ({fired} faults)")


def killed_function_counts_each_event_once(walk):
    """Kills the function with SIGKILL at random moments, in the middle of batches."""
    walk.put_events(walk.simulate(minutes=20, seed=200))
    walk.trigger.batch_size = 150
    with Killer(walk, kills=4) as killer:
        walk.trigger.drain(seconds=240)
    assert killer.kills > 0 and walk.trigger.failures > 0, "no kill interrupted a batch, so this step proves nothing"
    walk.trigger.batch_size = walk.trigger.mapping["BatchSize"]
    walk.compare(f"the function killed {killer.kills} times during batches")


class Killer:
    """Kills the function `aggregate` at intervals while it is in use."""

    def __init__(self, walk, kills):
        self.walk, self.most, self.kills, self.ended = walk, kills, 0, threading.Event()
        self.name = resource(walk.cloud, "AggregateFunction")
        # The lease of a killed attempt ends at its deadline, so a short deadline keeps the test short.
        walk.lambda_.update_function_configuration(FunctionName=self.name, Timeout=5)
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while self.kills < self.most and not self.ended.wait(self.walk.random.uniform(0.05, 0.4)):
            for process in functions(self.name):
                os.kill(process, signal.SIGKILL)
                self.kills += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


# Three of ten calls fail, in all possible ways.
STORM = [
    # Longer than the timeout of an attempt. Rare enough to keep the test short, frequent enough to happen.
    {"probability": 0.05, "times": 4, "latency": {"min": 2600, "max": 3000}},
    {"probability": 0.08, "error": {"code": "ThrottlingException"}},
    {"probability": 0.08, "error": {"code": "InternalServerError", "status": 500}},
    {"probability": 0.08, "reset": True},
    {"probability": 0.06, "response": {"abort_bytes": 0}},
]


def combined_faults_leave_counts_exact(walk):
    """Sends many events to the stream and to the function forward while calls fail, functions are killed and batches are cut differently; then replays everything."""
    emails = walk.options.events // 240 + 1
    events = walk.simulate(minutes=120, emails=emails, seed=400)[: walk.options.events]
    assert len(events) == walk.options.events, len(events)
    before, calls, logged = walk.cloud.fired_by_rule(), walk.cloud.calls("dynamodb"), walk.items_written()
    walk.cloud.set_faults(STORM)
    walk.put_events(events[::2])
    forward_in_pieces(walk, events[1::2])
    with Killer(walk, kills=6) as killer:
        walk.trigger.drain(seconds=900, sizes=(200, 4000))
    items, calls = walk.items_written() - logged, walk.cloud.calls("dynamodb") - calls
    walk.trigger.rewind()
    walk.trigger.drain(seconds=900, sizes=(200, 4000))
    walk.cloud.set_faults([])
    fired = {rule: count for rule, count in walk.cloud.fired_by_rule().items() if rule not in before}
    assert killer.kills > 0 and len(fired) >= len(STORM), f"not every fault fired: {killer.kills} kills, {fired}"
    walk.compare(f"{len(events)} events under combined faults ({sum(fired.values())} faults, {killer.kills} kills, {walk.trigger.failures} failed batches)")
    per = 1000 / len(events)
    print(f"    per 1,000 events: {items * per:.1f} items written, {calls * per:.1f} DynamoDB calls", flush=True)


def forward_in_pieces(walk, events):
    """Sends events by direct invocation. Failed calls are repeated, so events may be on the stream twice."""
    walk.sent += events
    waiting = [events[start : start + 500] for start in range(0, len(events), 500)]
    deadline = time.monotonic() + 300
    while waiting:
        assert time.monotonic() < deadline, "the function forward keeps failing"
        reply = walk.lambda_.invoke(FunctionName=walk.outputs["ForwardFunctionArn"], Payload=json.dumps(waiting[0]).encode())
        reply["Payload"].read()
        if "FunctionError" not in reply:
            waiting.pop(0)


def functions(name):
    """The processes that run a function, found by the environment that Lambda gives them."""
    mark = f"AWS_LAMBDA_FUNCTION_NAME={name}".encode()
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                if os.readlink(entry / "exe").endswith("bootstrap"):
                    yield int(entry.name)
        except OSError:
            continue


def kafka_topic_is_counted(walk):
    """Counts a Kafka topic while calls fail, then replays it in other batches, with the function that also serves the stream."""
    events = walk.simulate(minutes=20, seed=600)
    walk.sent += events
    topic = KafkaTrigger(walk.cloud, resource(walk.cloud, "AggregateFunction"), partitions=3)
    for event in events:
        # All events of a message are in one partition, as with a producer that uses the message ID as key.
        topic.put(sum(event["mail"]["messageId"].encode()) % 3, json.dumps(event).encode())
    before = walk.cloud.fired()
    walk.cloud.set_faults(STORM)
    topic.drain(most=120)
    walk.cloud.set_faults([])
    fired = walk.cloud.fired() - before
    assert fired > 0, "no fault was injected, so this step proves nothing"
    topic.rewind()
    topic.drain(most=37)
    walk.compare(f"three Kafka partitions, counted and replayed ({fired} faults, {topic.failures} failed invocations)")


# The most memory that the function may need for the largest possible invocation.
PEAK_BYTES = 96 << 20


def full_batch_fits_in_memory(walk):
    events = walk.simulate(minutes=60, emails=30, seed=700)
    records, size = [], 0
    for number, event in enumerate(events):
        data = json.dumps(event).encode()
        size += len(data) * 4 // 3 + 600
        if size > PAYLOAD_BYTES:
            events = events[:number]
            break
        records.append(data)
    assert size > PAYLOAD_BYTES, f"the events do not fill a batch: {size} bytes"
    walk.sent += events
    walk.put(records)
    # A fresh process, without the memory of earlier invocations.
    name = resource(walk.cloud, "AggregateFunction")
    for process in functions(name):
        os.kill(process, signal.SIGKILL)
    walk.trigger.drain()
    peak = max(peak_bytes(process) for process in functions(name))
    assert peak <= PEAK_BYTES, f"peak memory of {peak} bytes, allowed are {PEAK_BYTES}"
    walk.compare(f"{len(records)} records in one batch of 6 MB, {peak / (1 << 20):.0f} MiB of peak memory")


def peak_bytes(process):
    """The peak resident memory of a process."""
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10


def batches_given_up_are_put_back(walk):
    """An outage lasts longer than the maximum record age: batches go to the bucket, attempted or not, and are put back on the stream from there."""
    assert walk.trigger.max_age == -1, "the template must not limit the age of records"
    events = walk.simulate(minutes=3, seed=300)
    walk.cloud.set_faults([{"service": "dynamodb", "error": {"code": "InternalServerError", "status": 500}}])
    walk.put_events(events)
    failures = walk.trigger.failures
    walk.trigger.poll(walk.trigger.shards()[0])
    assert walk.trigger.failures == failures + 1, "no batch failed"
    walk.trigger.max_age = 0
    walk.trigger.drain()
    walk.trigger.max_age = -1
    walk.cloud.set_faults([])
    assert walk.trigger.failures == failures + 1, "records that are too old must not be attempted"
    s3, bucket = walk.cloud.client("s3"), walk.outputs["FailedBatchesBucket"]
    objects = s3.list_objects_v2(Bucket=bucket)["Contents"]
    folder = walk.options.scratch / "set-aside"
    attempts = set()
    for one in objects:
        path = folder / one["Key"]
        path.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, one["Key"], str(path))
        attempts.add(json.loads(path.read_text())["requestContext"]["approximateInvokeCount"])
    assert attempts == {0, 1}, f"expected batches with and without an attempt: {attempts}"
    walk.program("ingest", folder, "--to", f"kinesis://{stream_name(walk)}", "--journal", walk.options.scratch / "journal.json")
    walk.trigger.drain()
    walk.compare(f"{len(objects)} failed batches put back on the stream")


def events_that_forward_fails_on_are_kept_and_put_back(walk):
    """The stream accepts no records while Lambda retries: the events wait in the function's queue, from where an operator puts them back."""
    events = walk.simulate(minutes=2, seed=500)[:10]
    walk.sent += events
    topic, before = Topic(walk.cloud, walk.outputs["EventsTopicArn"]), walk.cloud.fired()
    # An error that the client does not retry, so that each invocation fails at once.
    walk.cloud.set_faults([{"service": "kinesis", "operation": "PutRecords", "error": {"code": "KMSAccessDeniedException", "status": 400}}])
    topic.publish([json.dumps(event) for event in events])
    walk.cloud.set_faults([])
    assert topic.invocations == 3 * len(events), topic.invocations
    assert walk.cloud.fired() > before, "no fault was injected, so this step proves nothing"
    assert walk.trigger.waiting_records() == 0, "records reached the stream although it refused them"
    sqs, queue = walk.cloud.client("sqs"), walk.outputs.get("UnforwardedEventsQueue")
    assert queue, "no queue receives the events that the function forward failed on"
    letters, count = walk.options.scratch / "letters.json", 0
    with letters.open("w") as file:
        # As `aws sqs receive-message` prints them.
        while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=600).get("Messages"):
            json.dump({"Messages": messages}, file, indent=4)
            file.write("\n")
            count += len(messages)
    assert count == len(events), f"{count} of {len(events)} events wait in the queue"
    walk.program("ingest", letters, "--to", f"kinesis://{stream_name(walk)}", "--journal", walk.options.scratch / "journal.json")
    assert walk.trigger.waiting_records() == len(events), "each event must become one record"
    walk.trigger.drain()
    walk.compare(f"{count} events that the function forward failed on three times, put on the stream again")


def influxdb_export_equals_the_api(walk):
    """Compares everything counted so far with what was exported in InfluxDB's line protocol."""
    wait_for_sink(walk, "influxdb")
    assert_same_totals(with_all_tenants(walk, walk.server.sums(METRICS)), walk.counted())
    print("ok: the server for line protocol has the totals of the API", flush=True)


def timestream_export_equals_the_api(walk):
    """Changes the time-series store: the new one is filled with the retained counts while it throttles, and gets new counts."""
    table = Timestream(walk.cloud)
    for function in ("AggregateFunction", "CompactFunction"):
        name = resource(walk.cloud, function)
        held = walk.lambda_.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        settings = {**held, "SINK": "timestream", "TIMESTREAM_DATABASE": DATABASE, "TIMESTREAM_TABLE": TABLE}
        walk.lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": settings})
    before = walk.cloud.fired()
    walk.cloud.set_faults(
        [
            {"service": "*", "operation": "WriteRecords", "times": 8, "error": {"code": "ThrottlingException"}},
            {"service": "*", "operation": "WriteRecords", "times": 2, "response": {"abort_bytes": 0}},
        ]
    )
    walk.put_events(walk.simulate(minutes=5, seed=500))
    failures = walk.trigger.failures
    walk.trigger.drain()
    assert walk.trigger.failures == failures, "a failing time-series store must not fail a batch"
    wait_for_sink(walk, "timestream")
    walk.cloud.set_faults([])
    fired = walk.cloud.fired() - before
    assert fired > 0, "no fault was injected, so this step proves nothing"
    assert_same_totals(with_all_tenants(walk, table.sums(METRICS)), walk.counted())
    walk.compare(f"Timestream, chosen later, has the totals of the API ({fired} faults)")


def assert_same_totals(stored, counted):
    differ = {tenant: (stored[tenant], counted[tenant]) for tenant in counted if stored[tenant] != counted[tenant]}
    assert not differ, f"the time-series store and the API differ: {differ}"


def wait_for_sink(walk, name):
    """Lets the function compact bring a time-series store up to date."""
    status = ["sink", "status", "--sink", name, "--table", resource(walk.cloud, "Table"), "--format", "json"]
    deadline = time.monotonic() + 120
    while any(shard["batches_behind"] for shard in json.loads(walk.program(*status))):
        assert time.monotonic() < deadline, walk.program(*status)
        walk.compact()


def with_all_tenants(walk, sums):
    """The sums in the form of the API's counts, including tenants without any compared count."""
    return {tenant: sums.get(tenant, dict.fromkeys(METRICS, 0)) for tenant in walk.counted()}


def stream_name(walk):
    return walk.outputs["StreamArn"].rsplit("/", 1)[1]


def compaction_changes_no_count(walk):
    before = walk.counted()
    walk.compact()
    assert walk.counted() == before
    walk.compare("after compaction")


def broken_limit_is_notified_once(walk):
    """A broken limit causes one message, and none while it stays broken, even if publishing fails first or a run is repeated."""
    sqs, sns = walk.cloud.client("sqs"), walk.cloud.client("sns")
    walk.pager = sqs.create_queue(QueueName="pager")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=walk.pager, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"kind": ["limit"], "tenant": ["bouncing"], "schema": ["1"]})
    sns.subscribe(TopicArn=walk.outputs["AlertTopicArn"], Protocol="sqs", Endpoint=arn, Attributes={"FilterPolicy": policy})
    # Lets the alert be resolved within minutes.
    status, reply = walk.ask("/v1/rules", method="PUT", clear_minutes=1)
    assert status == 200, (status, reply)
    walk.put_events(mailing(walk, "bouncing", sends=400, bounces=60))
    walk.trigger.drain()
    walk.cloud.set_faults([{"service": "sns", "operation": "Publish", "times": 50, "error": {"code": "InternalError", "status": 500}}])
    before = walk.cloud.fired()
    assert walk.detect() is None, "detection succeeded although the topic failed"
    walk.cloud.set_faults([])
    assert walk.cloud.fired() > before, "publishing did not fail, so this step proves nothing"
    for _ in range(3):
        assert walk.detect() is not None
    assert "share of the counts did not come" not in walk.log(), "a group of tenants was not read by the function collect"
    walk.notifications = notifications(walk)
    states = [(one["tenant"], one["metric"], one["state"], one["sequence"]) for one in walk.notifications]
    assert states == [("bouncing", "delivery_rate", "firing", 1)], walk.notifications
    # The first minutes of the mailing are sufficient evidence, because nearly all of its mail bounced.
    assert walk.notifications[0]["value"] < 0.95 and 8 <= walk.notifications[0]["denominator"] <= 400, walk.notifications
    # Enough good mail to bring the rates back to normal, which resolves the alert some steps later.
    walk.put_events(mailing(walk, "bouncing", sends=4200, bounces=0, ago=0))
    walk.trigger.drain()
    walk.recovered = time.monotonic()
    walk.compare("a broken limit, notified once")


def resolved_alert_is_notified_once(walk):
    # The minute has ended, its grace period is over, and the rate was good for the minute that the rules require.
    time.sleep(max(0, walk.recovered + 200 - time.monotonic()))
    walk.put_events(mailing(walk, "others", sends=1, bounces=0, ago=60))
    walk.trigger.drain()
    for _ in range(2):
        assert walk.detect() is not None
    states = [(one["id"], one["state"], one["sequence"]) for one in notifications(walk)]
    assert states == [(walk.notifications[0]["id"], "resolved", 2)], states
    key = walk.make_key({"tenant": "bouncing"})
    status, reply = walk.ask("/v1/alerts?state=resolved", key)
    assert status == 200, (status, reply)
    assert [alert["id"] for alert in json.loads(reply)["alerts"]] == [walk.notifications[0]["id"]], reply
    print("ok: the resolved alert, notified once", flush=True)


def notifications(walk):
    """The notifications that have arrived since the last call."""
    sqs, messages = walk.cloud.client("sqs"), []
    while more := sqs.receive_message(QueueUrl=walk.pager, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages"):
        for message in more:
            messages.append(json.loads(json.loads(message["Body"])["Message"]))
            sqs.delete_message(QueueUrl=walk.pager, ReceiptHandle=message["ReceiptHandle"])
    return messages


def mailing(walk, tenant, sends, bounces, ago=1800):
    """Events of a mailing that was sent `ago` seconds ago. The first `bounces` messages bounce permanently, the others are delivered."""
    events = []
    template = next(event for event in walk.sent if event["eventType"] == "Send")
    for number in range(sends):
        at = stamp_ago(max(0, ago - number))
        mail = {**template["mail"], "timestamp": at, "messageId": f"list-{tenant}-{sends}-{number}"}
        mail["tags"] = {**mail["tags"], "tenant": [tenant]}
        mail["destination"] = [f"reader{number}@example.com"]
        events.append({"eventType": "Send", "mail": mail, "send": {}})
        if number < bounces:
            gone = {"emailAddress": f"reader{number}@example.com", "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 no such user"}
            bounce = {"bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": [gone], "timestamp": at, "feedbackId": f"f-{number}"}
            events.append({"eventType": "Bounce", "mail": mail, "bounce": {**bounce, "reportingMTA": "dns; a8-70.smtp-out.amazonses.com"}})
        else:
            delivery = {"timestamp": at, "processingTimeMillis": 900, "recipients": mail["destination"], "smtpResponse": "250 ok", "reportingMTA": "a.smtp"}
            events.append({"eventType": "Delivery", "mail": mail, "delivery": delivery})
    return events


def stamp_ago(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - seconds))


def tenant_key_reads_its_tenant_only(walk):
    expected = totals(walk.sent)
    tenant = sorted(expected)[0]
    key = walk.make_key({"tenant": tenant})
    assert walk.counted(key) == {"mine": expected[tenant]}
    status, _ = walk.ask("/v1/tenants", key)
    assert status == 403, status
    status, _ = walk.ask("/v1/tenants", "mg_wrong")
    assert status == 401, status
    print("ok: a tenant's key reads that tenant only", flush=True)


def doctor_finds_nothing_wrong(walk):
    table = resource(walk.cloud, "Table")
    named = ["--table", table, "--stream", stream_name(walk), "--configuration-set", walk.outputs["ConfigurationSetName"]]
    findings = json.loads(walk.program("doctor", *named, "--format", "json"))
    states = {finding["check"]: finding["state"] for finding in findings}
    expected = {"events arrive": "ok", "shards advance": "ok", "proof of counting": "ok", "keys": "ok", "the stream is counted": "ok", "SES publishes events": "ok"}
    assert {check: states.get(check) for check in expected} == expected, findings
    print(f"ok: doctor ran {len(findings)} checks", flush=True)


def queue_depth_is_reported(walk):
    """A tenant names its queue: each run reports its depth, and a queue that does not exist has no other effect."""
    sqs = walk.cloud.client("sqs")
    outbox = sqs.create_queue(QueueName="outbox")["QueueUrl"]
    for number in range(7):
        sqs.send_message(QueueUrl=outbox, MessageBody=f"mail {number}")
    # The URL has AWS's form; the local AWS finds the queue by its path.
    path = outbox.split("/", 3)[3]
    status, reply = walk.ask("/v1/tenants", id="queueing")
    assert status == 200, (status, reply)
    url = f"https://sqs.{REGION}.amazonaws.com/{path}"
    for queues, expected in [([url.replace("outbox", "gone")], None), ([url], 7), ([], 7)]:
        status, reply = walk.ask("/v1/tenants/queueing", method="PATCH", queues=queues)
        assert status == 200 and json.loads(reply)["queues"] == queues, (status, reply)
        assert walk.detect() is not None
        walk.trigger.drain()
        question = {"metrics": ["queue_depth"], "from": "-1h", "to": "now", "filter": {"dimension": "tenant", "op": "eq", "value": "queueing"}}
        status, reply = walk.ask("/v1/query", **question)
        rows = json.loads(reply)["rows"]
        found = rows[0]["metrics"]["queue_depth"] if rows else None
        assert (status, found) == (200, expected), (queues, status, reply)
    print("ok: the depth of the queue that a tenant names is its queue depth", flush=True)


def api_replies_match_openapi(walk):
    """The check that `tests/api.rs` makes of the local process, here through the gateway. It takes a tenth of a second per call, so several run at once.

    Generated requests may erase tenants and change mappings, so no counts are compared afterwards."""
    host = walk.outputs["ApiUrl"].removeprefix("http://")
    described = walk.options.scratch / "openapi.json"
    described.write_bytes(walk.ask("/openapi.json")[1])
    command = [pathlib.Path(sys.executable).with_name("schemathesis"), "--config-file", walk.options.root / "tests/schemathesis.toml"]
    command += ["run", described, "--url", f"http://127.0.0.1:{walk.cloud.aws_port}", "--header", f"host: {host}"]
    command += ["--header", f"Authorization: Bearer {walk.key}", "--phases", "fuzzing", "--max-examples", walk.options.examples]
    fuzzers = []
    for seed in range(walk.options.fuzzers):
        words = [str(word) for word in (*command, "--seed", seed)]
        folder = walk.options.scratch / f"fuzzer-{seed}"
        folder.mkdir()
        fuzzers.append(subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    made = 0
    for fuzzer in fuzzers:
        output = fuzzer.communicate()[0]
        assert fuzzer.returncode == 0, output
        made += int(re.search("([0-9]+) generated", output)[1])
    print(f"ok: {made} generated requests were answered as described", flush=True)


def actions(role):
    """The actions that a role allows, with or without conditions."""
    if isinstance(role, list):
        return {action for part in role for action in actions(part)}
    if not isinstance(role, dict):
        return set()
    own = role.get("Action", []) if role.get("Effect") == "Allow" else []
    return {own} if isinstance(own, str) else {*own, *actions([value for name, value in role.items() if name != "Action"])}


def functions_call_only_allowed_actions(walk):
    """Compares the calls of each function with what the template allows, because no local AWS checks permissions."""
    template = read_template(walk.options.root / "template.yaml")["Resources"]
    called = {}
    for line in pathlib.Path(walk.cloud.calls_file).read_text().splitlines():
        function, action = line.split()
        called.setdefault(function, set()).add(action)
    used = {action for did in called.values() for action in did}
    functions = [resource["Properties"] for resource in template.values() if resource["Type"] == "AWS::Serverless::Function"]
    for function in functions:
        name = function["Environment"]["Variables"]["AWS_SDK_UA_APP_ID"]
        role = function["Role"]["Fn::GetAtt"][0]
        attached = [one["Properties"] for one in template.values() if one["Type"] == "AWS::IAM::Policy"]
        attached = [policy["PolicyDocument"] for policy in attached if {"Ref": role} in policy["Roles"]]
        may = actions([template[role]["Properties"]["Policies"], attached])
        did = called.pop(name)
        assert did and did <= may, f"{name} makes calls that its role does not allow: {did - may}"
        unused = {action for action in may - used if action.startswith("dynamodb:")}
        assert not unused, f"the role of {name} allows calls that no function makes: {unused}"
    assert not called, called
    print(f"ok: {len(functions)} functions made only calls that their roles allow, and the roles allow no other calls of the table", flush=True)


# Resources that must remain after the stack is deleted.
RETAINED = ["ConfigurationSet", "Stream", "Table", "FailedBatches", "UndeliveredEvents", "UndeliveredNotices", "UnforwardedEvents"]


def data_survives_stack_deletion(walk):
    """The configuration set is renamed, the stack is deleted, and a new stack takes over set and table: mail can be sent with each set all
    the time, and no counts or waiting events are lost."""
    ses, sqs = walk.cloud.client("sesv2"), walk.cloud.client("sqs")
    first, counted = resource(walk.cloud, "ConfigurationSet"), walk.counted()
    update(walk.cloud, walk.template, **walk.parameters, ConfigurationSetName="renamed")
    # Mail that is still sent with the first set is counted.
    assert [destinations(ses, name) for name in (first, "renamed")] == [["mailgauge"], ["mailgauge"]]
    kept = {name: resource(walk.cloud, name) for name in RETAINED}
    assert kept["ConfigurationSet"] == "renamed"
    delete(walk.cloud)
    for name in (first, "renamed"):
        assert ses.get_configuration_set(ConfigurationSetName=name)["SendingOptions"]["SendingEnabled"], name
    assert destinations(ses, "renamed") == [], "the set still publishes after the stack was deleted"
    walk.kinesis.describe_stream_summary(StreamName=kept["Stream"])
    walk.cloud.client("dynamodb").describe_table(TableName=kept["Table"])
    walk.cloud.client("s3").head_bucket(Bucket=kept["FailedBatches"])
    for queue in ("UndeliveredEvents", "UndeliveredNotices", "UnforwardedEvents"):
        sqs.get_queue_attributes(QueueUrl=kept[queue], AttributeNames=["QueueArn"])
    # As in infra/README.md, except for the stream, which the local AWS cannot import.
    adopted = read_template(walk.options.root / "infra/adopt.yaml")
    adopted["Resources"].pop("Stream")
    adopt(walk.cloud, adopted, [("AWS::DynamoDB::Table", "Table", {"TableName": kept["Table"]})], "again")
    walk.outputs = update(walk.cloud, walk.template, "again", **walk.parameters, ExistingConfigurationSet="renamed")
    assert (walk.outputs["ConfigurationSetName"], destinations(ses, "renamed")) == ("renamed", ["mailgauge"])
    assert walk.outputs["TableName"] == kept["Table"]
    assert walk.counted() == counted
    print("ok: the configuration set was renamed, the stack deleted and created again; sending never stopped, and no count was lost", flush=True)


def destinations(ses, configuration_set):
    """The names of a set's event destinations."""
    found = ses.get_configuration_set_event_destinations(ConfigurationSetName=configuration_set).get("EventDestinations", [])
    return [destination["Name"] for destination in found]


STEPS = [
    events_of_every_source_are_counted,
    replayed_stream_changes_no_count,
    unreadable_records_do_not_affect_others,
    compaction_changes_no_count,
    broken_limit_is_notified_once,
    each_fault_leaves_counts_exact,
    killed_function_counts_each_event_once,
    combined_faults_leave_counts_exact,
    kafka_topic_is_counted,
    full_batch_fits_in_memory,
    batches_given_up_are_put_back,
    events_that_forward_fails_on_are_kept_and_put_back,
    compaction_changes_no_count,
    resolved_alert_is_notified_once,
    tenant_key_reads_its_tenant_only,
    doctor_finds_nothing_wrong,
    influxdb_export_equals_the_api,
    timestream_export_equals_the_api,
    queue_depth_is_reported,
    api_replies_match_openapi,
    functions_call_only_allowed_actions,
    data_survives_stack_deletion,
]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    parser.add_argument("--mailgauge", type=pathlib.Path, required=True)
    parser.add_argument("--scratch", type=pathlib.Path, required=True)
    parser.add_argument("--victoria-metrics", type=pathlib.Path, help="a server that accepts line protocol; without it, that step is skipped")
    parser.add_argument("--only", nargs="*", help="the steps to run; default: all")
    parser.add_argument("--events", type=int, default=20_000, help="events of the step with combined faults")
    parser.add_argument("--examples", type=int, default=5, help="requests that a fuzzer generates for each call of the API")
    parser.add_argument("--fuzzers", type=int, default=2, help="number of API fuzzers that run in parallel")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        cloud = stack.enter_context(Cloud(options.scratch))
        # Detection reads the counts by two functions, as a large deployment does.
        server, parameters = None, {"DetectionShares": "2"}
        if options.victoria_metrics:
            server = stack.enter_context(VictoriaMetrics(options.victoria_metrics, options.scratch))
            secret = cloud.client("secretsmanager").create_secret(Name="influx", SecretString="a-token")["ARN"]
            parameters |= {"TimeSeriesStore": "InfluxDB", "InfluxUrl": server.url, "InfluxOrg": "o", "InfluxBucket": "b", "InfluxTokenSecretArn": secret}
        walk = Walk(cloud, options, parameters)
        walk.server = server
        for step in STEPS:
            if options.only and step.__name__ not in options.only:
                continue
            if server or step != influxdb_export_equals_the_api:
                step(walk)


if __name__ == "__main__":
    main()
