"""Checks that the models in `links.py` behave as AWS documents, with in-memory stand-ins for AWS.

    python -m unittest test_links
"""

import base64
import datetime
import io
import json
import unittest
from unittest import mock

import links
from links import Topic, Trigger

HOUR = 3600
NOW = 1_790_000_000.0
SHARD = "shardId-000000000000"
STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/events"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:letters"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"


class Stream:
    """A stream of one shard, with records of the given ages in seconds."""

    def __init__(self, ages):
        self.records = [
            {
                "Data": f"record {number}".encode(),
                "PartitionKey": "key",
                "SequenceNumber": str(number),
                "ApproximateArrivalTimestamp": datetime.datetime.fromtimestamp(NOW - age, datetime.timezone.utc),
            }
            for number, age in enumerate(ages)
        ]

    def list_shards(self, **_):
        return {"Shards": [{"ShardId": SHARD}]}

    def get_shard_iterator(self, ShardIteratorType, StartingSequenceNumber=None, **_):
        return {"ShardIterator": 0 if ShardIteratorType == "TRIM_HORIZON" else int(StartingSequenceNumber) + 1}

    def get_records(self, ShardIterator, Limit):
        return {"Records": self.records[ShardIterator:][:Limit]}


class Function:
    """A function that fails the given number of first invocations, and records the event of each invocation."""

    def __init__(self, failures=0, dead_letters=True, **mapping):
        self.failures, self.invocations = failures, []
        self.dead_letters = {"DeadLetterConfig": {"TargetArn": QUEUE}} if dead_letters else {}
        destination = {"OnFailure": {"Destination": "arn:aws:s3:::failed"}}
        self.mapping = {"UUID": "m", "EventSourceArn": STREAM, "FunctionArn": FUNCTION, "BatchSize": 100, "DestinationConfig": destination}
        self.mapping |= {"BisectBatchOnFunctionError": False, **mapping}

    def update_event_source_mapping(self, **_):
        pass

    def list_event_source_mappings(self):
        return {"EventSourceMappings": [self.mapping]}

    def get_function_configuration(self, **_):
        return {"FunctionArn": FUNCTION, **self.dead_letters}

    def get_function_event_invoke_config(self, **_):
        return {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 21600}

    def invoke(self, Payload, **_):
        self.invocations.append(json.loads(Payload))
        failed = len(self.invocations) <= self.failures
        return {"Payload": io.BytesIO(b'{"errorMessage":"no"}'), **({"FunctionError": "Unhandled"} if failed else {})}


class Bucket:
    def __init__(self):
        self.objects = []

    def put_object(self, Bucket, Body, **_):
        assert Bucket == "failed"
        self.objects.append(json.loads(Body))


class Queue:
    def __init__(self):
        self.messages = []

    def get_queue_url(self, QueueName):
        return {"QueueUrl": QueueName}

    def send_message(self, QueueUrl, MessageBody, MessageAttributes):
        assert QueueUrl == "letters"
        self.messages.append((MessageBody, MessageAttributes))


class Subscriptions:
    """A topic whose only subscription is a function."""

    def list_subscriptions_by_topic(self, TopicArn):
        return {"Subscriptions": [{"Protocol": "lambda", "Endpoint": FUNCTION, "SubscriptionArn": f"{TopicArn}:s", "TopicArn": TopicArn}]}


class Cloud:
    def __init__(self, function, ages=()):
        self.clients = {"lambda": function, "kinesis": Stream(ages), "s3": Bucket(), "sqs": Queue(), "sns": Subscriptions()}

    def client(self, service):
        return self.clients[service]


def data_of(event):
    """The data of a batch's records."""
    return [base64.b64decode(record["kinesis"]["data"]).decode() for record in event["Records"]]


@mock.patch.object(links, "PAUSE_SECONDS", 0)
class StreamTriggerTest(unittest.TestCase):
    def trigger(self, function, ages):
        cloud = Cloud(function, ages)
        trigger = Trigger(cloud, "m")
        trigger.now = lambda: NOW
        return trigger, cloud.client("s3").objects

    def test_record_older_than_the_maximum_age_goes_to_the_destination_without_an_attempt(self):
        # As after the mapping was paused, or the function throttled, for four hours.
        function = Function(MaximumRecordAgeInSeconds=3 * HOUR)
        trigger, set_aside = self.trigger(function, ages=[4 * HOUR, 3 * HOUR + 1, 3 * HOUR - 1, 0])
        trigger.drain()
        self.assertEqual([data_of(event) for event in function.invocations], [["record 2", "record 3"]])
        self.assertEqual([data_of(json.loads(one["payload"])) for one in set_aside], [["record 0", "record 1"]])
        self.assertEqual(set_aside[0]["requestContext"]["approximateInvokeCount"], 0)
        self.assertNotIn("responseContext", set_aside[0])
        self.assertEqual(set_aside[0]["KinesisBatchInfo"]["batchSize"], 2)

    def test_without_a_maximum_age_every_retained_record_is_attempted(self):
        for unlimited in ({"MaximumRecordAgeInSeconds": -1}, {}):
            function = Function(**unlimited)
            trigger, set_aside = self.trigger(function, ages=[8760 * HOUR, 4 * HOUR, 0])
            trigger.drain()
            self.assertEqual([data_of(event) for event in function.invocations], [["record 0", "record 1", "record 2"]])
            self.assertEqual(set_aside, [])

    def test_batch_that_becomes_too_old_between_attempts_goes_to_the_destination_with_its_error(self):
        function = Function(failures=1, MaximumRecordAgeInSeconds=3 * HOUR)
        trigger, set_aside = self.trigger(function, ages=[HOUR, HOUR])
        self.assertTrue(trigger.poll(SHARD))
        self.assertEqual(set_aside, [])
        trigger.now = lambda: NOW + 3 * HOUR
        trigger.drain()
        self.assertEqual((len(function.invocations), len(set_aside)), (1, 1))
        self.assertEqual(set_aside[0]["requestContext"]["approximateInvokeCount"], 1)
        self.assertIn("Unhandled", set_aside[0]["responseContext"]["functionError"])

    def test_failed_batch_is_retried_until_it_succeeds(self):
        function = Function(failures=3, MaximumRecordAgeInSeconds=-1)
        trigger, set_aside = self.trigger(function, ages=[0, 0])
        trigger.drain()
        self.assertEqual((len(function.invocations), trigger.failures, set_aside), (4, 3, []))

    def test_failed_batch_is_retried_in_halves_in_order(self):
        function = Function(failures=1, MaximumRecordAgeInSeconds=-1, BisectBatchOnFunctionError=True)
        trigger, _ = self.trigger(function, ages=[0, 0, 0])
        trigger.drain()
        halves = [data_of(event) for event in function.invocations]
        self.assertEqual(halves, [["record 0", "record 1", "record 2"], ["record 0"], ["record 1", "record 2"]])


@mock.patch.object(links, "PAUSE_SECONDS", 0)
class TopicFunctionTest(unittest.TestCase):
    def publish(self, function):
        """Publishes one message. Returns what the dead-letter queue got."""
        cloud = Cloud(function)
        Topic(cloud, "arn:aws:sns:us-east-1:000000000000:topic").publish(["hello"])
        return cloud.client("sqs").messages

    def test_event_that_fails_three_times_goes_unchanged_to_the_dead_letter_queue(self):
        function = Function(failures=3)
        [(body, attributes)] = self.publish(function)
        self.assertEqual(len(function.invocations), 3)
        self.assertEqual([json.loads(body)] * 3, function.invocations)
        self.assertEqual(json.loads(body)["Records"][0]["Sns"]["Message"], "hello")
        self.assertEqual(set(attributes), {"RequestID", "ErrorCode", "ErrorMessage"})

    def test_event_that_succeeds_at_a_retry_is_not_queued(self):
        function = Function(failures=2)
        self.assertEqual(self.publish(function), [])
        self.assertEqual(len(function.invocations), 3)

    def test_event_is_discarded_without_a_dead_letter_queue(self):
        function = Function(failures=3, dead_letters=False)
        self.assertEqual(self.publish(function), [])
        self.assertEqual(len(function.invocations), 3)


if __name__ == "__main__":
    unittest.main()
