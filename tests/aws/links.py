"""Models of the connections between services that the local AWS lacks, after AWS's documentation. They are models, not AWS.

- SES to EventBridge to Kinesis: the deployed rule's pattern and target decide, as they would on AWS. Not modelled: the role, the rule's
  own reattempts, its dead-letter queue.
- The stream's trigger: the deployed mapping's settings decide batch size, bisection, maximum age and failure destination. The maximum age
  applies to every record that Lambda would send to the function: one that waited longer, while the mapping was paused or the function
  throttled, goes to the failure destination without an attempt. Not modelled: a limit on attempts, Lambda's pauses between attempts,
  and the end of a shard. Batches of one shard are delivered one after the other.
- A topic's function: SNS's work ends when Lambda has accepted the event. Lambda invokes the function up to three times, as the function's
  settings say, then sends the event unchanged to the function's dead-letter queue, or discards it if there is none. The local AWS
  invokes once. Not modelled: the pauses of one and two minutes, throttling, the event's age, and the subscription's own dead-letter
  queue, which gets only what SNS cannot deliver to Lambda.
- The Kafka trigger: an invocation carries records of several partitions and is repeated unchanged until it succeeds. There is no
  Kafka: partitions are lists.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html, .../services-kinesis-parameters.html,
.../services-kinesis-batchfailurereporting.html, .../invocation-async-error-handling.html, .../invocation-async-retain-records.html
and .../with-msk.html
"""

import base64
import datetime
import itertools
import json
import random
import time
import uuid

DETAIL_TYPES = {
    "Send": "Email Sent",
    "Delivery": "Email Delivered",
    "Bounce": "Email Bounced",
    "Complaint": "Email Complaint Received",
    "Reject": "Email Rejected",
    "Open": "Email Opened",
    "Click": "Email Clicked",
    "Rendering Failure": "Email Rendering Failed",
    "DeliveryDelay": "Email Delivery Delayed",
    "Subscription": "Email Subscribed",
}
# The largest payload of a synchronous invocation.
PAYLOAD_BYTES = 6 << 20
# The pause between a failure and the next attempt.
PAUSE_SECONDS = 0.1


def envelope(event):
    """An SES event as EventBridge carries it."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": DETAIL_TYPES[event["eventType"]],
        "source": "aws.ses",
        "account": "000000000000",
        "time": event["mail"]["timestamp"],
        "region": "us-east-1",
        "resources": [],
        "detail": event,
    }


class EventBridgeRules:
    """Delivers envelopes to the targets of every deployed rule that matches them."""

    def __init__(self, cloud):
        self.events, self.kinesis = cloud.client("events"), cloud.client("kinesis")
        self.rules = []
        for rule in self.events.list_rules()["Rules"]:
            if "EventPattern" in rule:
                targets = self.events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
                self.rules.append((rule["EventPattern"], targets))

    def put(self, envelopes):
        """Puts each envelope on the streams of the matching rules. Returns the number of records."""
        records = {}
        for event in envelopes:
            for pattern, targets in self.rules:
                if not self.events.test_event_pattern(EventPattern=pattern, Event=json.dumps(event))["Result"]:
                    continue
                for target in targets:
                    path = target.get("KinesisParameters", {}).get("PartitionKeyPath", "$.id")
                    key = by_path(event, path)
                    record = {"Data": json.dumps(event).encode(), "PartitionKey": key}
                    records.setdefault(target["Arn"], []).append(record)
        put = 0
        for stream, batch in records.items():
            for start in range(0, len(batch), 500):
                reply = self.kinesis.put_records(StreamARN=stream, Records=batch[start : start + 500])
                assert reply["FailedRecordCount"] == 0, reply
            put += len(batch)
        return put


def by_path(event, path):
    for name in path.removeprefix("$.").split("."):
        event = event[name]
    return event


class Batch:
    """Records of one shard that are delivered together, the number of attempts, and the error of the last one."""

    def __init__(self, records, attempts=0, failure=None):
        self.records, self.attempts, self.failure = records, attempts, failure

    def cut(self, at):
        """Splits the batch at a position into two."""
        return [Batch(records, self.attempts, self.failure) for records in (self.records[:at], self.records[at:])]


class Trigger:
    """The deployed event source mapping from the stream to the function, run by this process."""

    def __init__(self, cloud, mapping_id):
        self.lambda_, self.kinesis, self.s3 = cloud.client("lambda"), cloud.client("kinesis"), cloud.client("s3")
        # Disabled before the first record, since otherwise the local AWS's own poller would compete with this one.
        self.lambda_.update_event_source_mapping(UUID=mapping_id, Enabled=False)
        mappings = self.lambda_.list_event_source_mappings()["EventSourceMappings"]
        self.mapping = next(mapping for mapping in mappings if mapping["UUID"] == mapping_id)
        self.stream = self.mapping["EventSourceArn"]
        self.random = random.Random(0)
        self.positions = {}
        self.waiting = {}
        self.invocations = self.failures = self.set_aside = 0
        self.now = time.time
        # For tests: cuts batches smaller than the mapping would.
        self.batch_size = self.mapping["BatchSize"]
        # For tests: how old a record may be, in seconds; -1 for any age.
        self.max_age = self.mapping.get("MaximumRecordAgeInSeconds", -1)

    def rewind(self):
        """Starts from the beginning, as if the mapping had been created again: everything is delivered once more."""
        self.positions, self.waiting = {}, {}

    def drain(self, seconds=120, sizes=None):
        """Polls all shards until nothing is left. With `sizes`, each batch has a random size between these bounds."""
        deadline = time.monotonic() + seconds
        while True:
            if sizes:
                self.batch_size = self.random.randint(*sizes)
            busy = False
            for shard in self.shards():
                busy |= self.poll(shard)
            if not busy:
                return
            assert time.monotonic() < deadline, f"records are still waiting after {seconds} s: {self.waiting}"

    def waiting_records(self):
        """The number of records that were not read yet."""
        count = 0
        for shard in self.shards():
            position = dict(self.positions)
            while records := self.read(shard):
                count += len(records)
            self.positions = position
        return count

    def shards(self):
        return [shard["ShardId"] for shard in self.kinesis.list_shards(StreamARN=self.stream)["Shards"]]

    def poll(self, shard):
        """Makes one attempt at one batch of a shard. Returns whether there was a batch."""
        batches = self.waiting.setdefault(shard, [])
        if not batches:
            records = self.read(shard)
            if records:
                batches.append(Batch(records))
        if not batches:
            return False
        batch = batches.pop(0)
        too_old, batch = batch.cut(self.too_old(batch.records))
        if too_old.records:
            self.to_destination(shard, too_old)
        if not batch.records:
            return True
        batch.attempts += 1
        batch.failure = self.invoke(shard, batch.records)
        if batch.failure is None:
            return True
        self.failures += 1
        time.sleep(PAUSE_SECONDS)
        batches[:0] = self.after_failure(batch)
        return True

    def too_old(self, records):
        """The number of records at the front that exceed the maximum age, which Lambda does not send to the function."""
        if self.max_age == -1:
            return 0
        oldest = self.now() - self.max_age
        return sum(1 for _ in itertools.takewhile(lambda record: record["ApproximateArrivalTimestamp"].timestamp() < oldest, records))

    def after_failure(self, batch):
        """The batches that replace one that failed."""
        if self.mapping["BisectBatchOnFunctionError"] and len(batch.records) > 1:
            return batch.cut(len(batch.records) // 2)
        return [batch]

    def read(self, shard):
        if shard not in self.positions:
            start = {"ShardIteratorType": "TRIM_HORIZON"}
        else:
            start = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": self.positions[shard]}
        iterator = self.kinesis.get_shard_iterator(StreamARN=self.stream, ShardId=shard, **start)["ShardIterator"]
        records = self.kinesis.get_records(ShardIterator=iterator, Limit=min(self.batch_size, 10000))["Records"]
        fitting, size = [], 0
        for record in records:
            size += len(record["Data"]) * 4 // 3 + 600
            if fitting and size > PAYLOAD_BYTES:
                break
            fitting.append(record)
        if fitting:
            self.positions[shard] = fitting[-1]["SequenceNumber"]
        return fitting

    def event(self, shard, records):
        """The records in the format in which Lambda passes them to a function."""
        return {
            "Records": [
                {
                    "kinesis": {
                        "kinesisSchemaVersion": "1.0",
                        "partitionKey": record["PartitionKey"],
                        "sequenceNumber": record["SequenceNumber"],
                        "data": base64.b64encode(record["Data"]).decode(),
                        "approximateArrivalTimestamp": record["ApproximateArrivalTimestamp"].timestamp(),
                    },
                    "eventSource": "aws:kinesis",
                    "eventVersion": "1.0",
                    "eventID": f"{shard}:{record['SequenceNumber']}",
                    "eventName": "aws:kinesis:record",
                    "invokeIdentityArn": "arn:aws:iam::000000000000:role/aggregate",
                    "awsRegion": "us-east-1",
                    "eventSourceARN": self.stream,
                }
                for record in records
            ]
        }

    def invoke(self, shard, records):
        """Invokes the function. Returns its error, or None if it succeeded."""
        self.invocations += 1
        payload = json.dumps(self.event(shard, records)).encode()
        reply = self.lambda_.invoke(FunctionName=self.mapping["FunctionArn"], Payload=payload)
        answer = reply["Payload"].read().decode()
        return f"{reply['FunctionError']}: {answer}" if "FunctionError" in reply else None

    def to_destination(self, shard, batch):
        """Writes the whole batch with its last error to the bucket, in the format of an S3 failure destination."""
        self.set_aside += 1
        bucket = self.mapping["DestinationConfig"]["OnFailure"]["Destination"].rsplit(":", 1)[1]
        now = datetime.datetime.now(datetime.timezone.utc)
        document = {
            "requestContext": {
                "condition": "RecordAgeExceeded",
                "functionArn": self.mapping["FunctionArn"],
                "approximateInvokeCount": batch.attempts,
            },
            # A batch without an attempt has no response.
            **({"responseContext": {"statusCode": 200, "functionError": batch.failure[:1000]}} if batch.attempts else {}),
            "version": "1.0",
            "timestamp": now.isoformat(),
            "KinesisBatchInfo": {
                "shardId": shard,
                "startSequenceNumber": batch.records[0]["SequenceNumber"],
                "endSequenceNumber": batch.records[-1]["SequenceNumber"],
                "batchSize": len(batch.records),
                "streamArn": self.stream,
            },
            "payload": json.dumps(self.event(shard, batch.records)),
        }
        key = f"aws/lambda/{self.mapping['UUID']}/{shard}/{now:%Y/%m/%d}/{now:%Y-%m-%dT%H.%M.%S}-{uuid.uuid4()}"
        self.s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(document).encode())


class Topic:
    """Delivers a topic's messages to the function that subscribes to it, in place of SNS and Lambda."""

    def __init__(self, cloud, topic):
        self.lambda_, self.sqs, self.topic = cloud.client("lambda"), cloud.client("sqs"), topic
        subscriptions = cloud.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        [self.subscription] = [one for one in subscriptions if one["Protocol"] == "lambda"]
        function = self.lambda_.get_function_configuration(FunctionName=self.subscription["Endpoint"])
        self.function = function["FunctionArn"]
        self.queue = function.get("DeadLetterConfig", {}).get("TargetArn")
        self.attempts = 1 + self.reattempts()
        self.invocations = 0

    def reattempts(self):
        """The number of reattempts: two unless the function's settings say otherwise."""
        try:
            return self.lambda_.get_function_event_invoke_config(FunctionName=self.function, Qualifier="$LATEST")["MaximumRetryAttempts"]
        except self.lambda_.exceptions.ResourceNotFoundException:
            return 2

    def publish(self, messages):
        """Delivers each message as SNS does, and waits until Lambda is done with it."""
        for message in messages:
            payload = json.dumps(self.event(message))
            for _ in range(self.attempts):
                failure = self.invoke(payload)
                if failure is None:
                    break
                time.sleep(PAUSE_SECONDS)
            if failure is not None and self.queue:
                self.to_queue(payload, failure)

    def invoke(self, payload):
        """Invokes the function. Returns its error, or None if it succeeded."""
        self.invocations += 1
        reply = self.lambda_.invoke(FunctionName=self.function, Payload=payload.encode())
        answer = reply["Payload"].read().decode()
        return answer if "FunctionError" in reply else None

    def to_queue(self, payload, failure):
        """Sends the unchanged event to the dead-letter queue, with the error in the attributes."""
        url = self.sqs.get_queue_url(QueueName=self.queue.rsplit(":", 1)[1])["QueueUrl"]
        attributes = {
            "RequestID": {"DataType": "String", "StringValue": str(uuid.uuid4())},
            "ErrorCode": {"DataType": "Number", "StringValue": "200"},
            "ErrorMessage": {"DataType": "String", "StringValue": failure[:1024]},
        }
        self.sqs.send_message(QueueUrl=url, MessageBody=payload, MessageAttributes=attributes)

    def event(self, message):
        """A message in the format in which SNS passes it to a function."""
        now = datetime.datetime.now(datetime.timezone.utc)
        notification = {
            "Type": "Notification",
            "MessageId": str(uuid.uuid4()),
            "TopicArn": self.topic,
            "Subject": "Amazon SES Email Event Notification",
            "Message": message,
            "Timestamp": f"{now:%Y-%m-%dT%H:%M:%S.000Z}",
            "SignatureVersion": "1",
            "Signature": "RVhBTVBMRQ==",
            "SigningCertUrl": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0000.pem",
            "UnsubscribeUrl": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
            "MessageAttributes": {},
        }
        subscription = self.subscription["SubscriptionArn"]
        return {"Records": [{"EventVersion": "1.0", "EventSubscriptionArn": subscription, "EventSource": "aws:sns", "Sns": notification}]}


class KafkaTrigger:
    """The partitions of a topic, and Lambda's trigger that reads them."""

    TOPIC = "mail"

    def __init__(self, cloud, function, partitions):
        self.lambda_, self.function = cloud.client("lambda"), function
        self.partitions = [[] for _ in range(partitions)]
        self.offsets = [0] * partitions
        self.random = random.Random(1)
        self.failures = 0

    def put(self, partition, value):
        self.partitions[partition].append(value)

    def rewind(self):
        """Starts from the beginning, as if the consumer group had lost its offsets."""
        self.offsets = [0] * len(self.partitions)

    def drain(self, most, seconds=120):
        """Delivers everything, in invocations of at most `most` records of each partition."""
        deadline = time.monotonic() + seconds
        while True:
            ends = [min(offset + self.random.randint(0, most), len(held)) for offset, held in zip(self.offsets, self.partitions)]
            if ends != self.offsets:
                payload = json.dumps(self.event(ends)).encode()
                while not self.succeeds(payload):
                    self.failures += 1
                    assert time.monotonic() < deadline, f"records of Kafka are still waiting after {seconds} s"
                    time.sleep(PAUSE_SECONDS)
                self.offsets = ends
            elif all(offset == len(held) for offset, held in zip(self.offsets, self.partitions)):
                return

    def succeeds(self, payload):
        reply = self.lambda_.invoke(FunctionName=self.function, Payload=payload)
        reply["Payload"].read()
        return "FunctionError" not in reply

    def event(self, ends):
        now = int(time.time() * 1000)
        records = {}
        for number, (offset, end, held) in enumerate(zip(self.offsets, ends, self.partitions)):
            if offset < end:
                records[f"{self.TOPIC}-{number}"] = [
                    {
                        "topic": self.TOPIC,
                        "partition": number,
                        "offset": at,
                        "timestamp": now,
                        "timestampType": "CREATE_TIME",
                        "value": base64.b64encode(held[at]).decode(),
                        "headers": [],
                    }
                    for at in range(offset, end)
                ]
        return {
            "eventSource": "aws:kafka",
            "eventSourceArn": "arn:aws:kafka:us-east-1:000000000000:cluster/mail/5c3f0b7e-0000-4000-8000-000000000000-1",
            "bootstrapServers": "b-1.mail.example.com:9098",
            "records": records,
        }
