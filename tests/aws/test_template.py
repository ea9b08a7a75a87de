"""Checks that `template.yaml` loses no event, and that deleting the stack removes nothing that mail or counts depend on.

    python -m unittest test_template

Each test checks all resources of a type, so that one added later must follow the same rule.
"""

import pathlib
import re
import unittest

from deploy import read_template

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATE = read_template(ROOT / "template.yaml")
RESOURCES = TEMPLATE["Resources"]
# The longest time that Lambda keeps an event of an asynchronous invocation, and the most retries.
MAX_EVENT_AGE_SECONDS = 6 * 3600
MAX_RETRIES = 2
FOURTEEN_DAYS_SECONDS = 14 * 86400
RETAINING_POLICIES = ("Retain", "RetainExceptOnCreate")
# Services that invoke a function asynchronously: they pass the event on and do not see whether the function fails.
ASYNCHRONOUS = {"sns.amazonaws.com", "events.amazonaws.com", "s3.amazonaws.com", "ses.amazonaws.com"}
# Resources whose deletion would lose data, or break sending, which continues after the stack is deleted.
HOLDS_DATA = {
    "AWS::SES::ConfigurationSet",
    "AWS::Kinesis::Stream",
    "AWS::SQS::Queue",
    "AWS::S3::Bucket",
    "AWS::DynamoDB::Table",
    "AWS::Timestream::Database",
    "AWS::Timestream::Table",
}
# Resources that a new deployment creates again as they were. Logs are copies for people and are deleted on purpose.
IS_RECREATED = {
    "AWS::ApiGatewayV2::Api",
    "AWS::ApiGatewayV2::Integration",
    "AWS::ApiGatewayV2::Route",
    "AWS::ApiGatewayV2::Stage",
    "AWS::CloudWatch::Alarm",
    "AWS::Events::Rule",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Permission",
    "AWS::Logs::LogGroup",
    "AWS::Logs::MetricFilter",
    "AWS::SES::ConfigurationSetEventDestination",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::Serverless::Function",
}
# The properties that give a resource a fixed name.
NAMES = {"Name", "BucketName", "QueueName", "TableName", "DatabaseName"}


def of_type(*types):
    """The resources of some types, by logical id."""
    return {name: resource for name, resource in RESOURCES.items() if resource["Type"] in types}


def properties(name):
    return RESOURCES[name].get("Properties", {})


def named(value):
    """The logical id in a `Ref` or `GetAtt`; None for any other value."""
    if isinstance(value, dict):
        return value.get("Ref") or (value.get("Fn::GetAtt") or [None])[0]
    return None


def schedules(function):
    """The schedules of a function of the template."""
    events = properties(function).get("Events", {}).values()
    return [event["Properties"] for event in events if event["Type"] in ("Schedule", "ScheduleV2")]


def invoked_by_events():
    """Functions that a topic or another service invokes asynchronously with events that must not be lost."""
    found = {named(one["Properties"]["Endpoint"]) for one in of_type("AWS::SNS::Subscription").values() if one["Properties"]["Protocol"] == "lambda"}
    for permission in of_type("AWS::Lambda::Permission").values():
        if permission["Properties"]["Principal"] in ASYNCHRONOUS:
            found.add(named(permission["Properties"]["FunctionName"]))
    return found


def period_seconds(schedule):
    """The period of a `rate(...)` schedule, in seconds."""
    number, unit = re.fullmatch(r"rate\((\d+) (minute|hour)s?\)", schedule).groups()
    return int(number) * {"minute": 60, "hour": 3600}[unit]


def statements(role):
    """The Allow statements in the inline policies of a role."""
    documents = [policy["PolicyDocument"] for policy in properties(role)["Policies"] if "PolicyDocument" in policy]
    return [statement for document in documents for statement in document["Statement"] if statement.get("Effect") == "Allow"]


def listed(value):
    return value if isinstance(value, list) else [value]


def alarms_on(metric, dimension, resource):
    """Alarms on a metric of a resource."""
    found = []
    for alarm in of_type("AWS::CloudWatch::Alarm").values():
        watched = {one["Name"]: named(one["Value"]) for one in alarm["Properties"].get("Dimensions", [])}
        if alarm["Properties"].get("MetricName") == metric and watched.get(dimension) == resource:
            found.append(alarm["Properties"])
    return found


def dead_letter_queues():
    """The dead-letter queues of rules, subscriptions and functions."""
    found = set()
    for rule in of_type("AWS::Events::Rule").values():
        found |= {named(target.get("DeadLetterConfig", {}).get("Arn")) for target in rule["Properties"]["Targets"]}
    for subscription in of_type("AWS::SNS::Subscription").values():
        found.add(named(subscription["Properties"].get("RedrivePolicy", {}).get("deadLetterTargetArn")))
    for function in of_type("AWS::Serverless::Function"):
        found.add(named(properties(function).get("DeadLetterQueue", {}).get("TargetArn")))
    return found - {None}


class EventsRuleTest(unittest.TestCase):
    def matched(self):
        """The detail types of SES that reach the stream: full names, and what names begin with."""
        found = set()
        for rule in of_type("AWS::Events::Rule").values():
            if rule["Properties"]["EventPattern"].get("source") == ["aws.ses"]:
                for one in rule["Properties"]["EventPattern"]["detail-type"]:
                    found.add(one["prefix"] + "*" if isinstance(one, dict) else one)
        return found

    def test_mail_and_what_ses_says_about_sending_reach_the_stream(self):
        status = {"Sending Status Enabled", "Sending Status Disabled"}
        self.assertEqual(self.matched(), {"Email *", "Advisor Recommendation Status *"} | status)

    def test_events_without_a_message_are_keyed_by_their_own_id(self):
        # Without the parameter EventBridge takes the event's ID; a path that leads nowhere is no partition key.
        for name, rule in of_type("AWS::Events::Rule").items():
            about_mail = any(isinstance(one, dict) and one["prefix"] == "Email " for one in rule["Properties"]["EventPattern"].get("detail-type", []))
            for target in rule["Properties"]["Targets"]:
                with self.subTest(name):
                    self.assertEqual("KinesisParameters" in target, about_mail)

    def test_every_rule_may_use_its_dead_letter_queue_and_has_an_alarm(self):
        policy = properties("UndeliveredEventsPolicy")["PolicyDocument"]["Statement"][0]
        allowed = {named(arn) for arn in listed(policy["Condition"]["ArnEquals"]["aws:SourceArn"])}
        rules = set(of_type("AWS::Events::Rule"))
        self.assertEqual(allowed, rules)
        for rule in rules:
            with self.subTest(rule):
                self.assertEqual(len(alarms_on("FailedInvocations", "RuleName", rule)), 1)


class AsynchronousInvocationTest(unittest.TestCase):
    def test_event_that_a_function_fails_on_goes_to_a_queue(self):
        functions = invoked_by_events()
        self.assertIn("ForwardFunction", functions)
        for function in functions:
            with self.subTest(function):
                queue = properties(function).get("DeadLetterQueue")
                self.assertIsNotNone(queue, "Lambda discards an event after three failed attempts")
                self.assertEqual(queue["Type"], "SQS")
                self.assertIn(named(queue["TargetArn"]), of_type("AWS::SQS::Queue"))

    def test_event_is_retried_as_long_as_lambda_allows(self):
        for function in invoked_by_events():
            with self.subTest(function):
                kept = properties(function).get("EventInvokeConfig", {})
                self.assertEqual(kept.get("MaximumEventAgeInSeconds"), MAX_EVENT_AGE_SECONDS)
                self.assertEqual(kept.get("MaximumRetryAttempts"), MAX_RETRIES)

    def test_role_of_a_function_may_write_to_its_dead_letter_queue(self):
        # SAM adds this permission only to roles that it creates itself.
        for function in invoked_by_events():
            with self.subTest(function):
                queue = named(properties(function)["DeadLetterQueue"]["TargetArn"])
                allowed = [one for one in statements(named(properties(function)["Role"])) if "sqs:SendMessage" in listed(one["Action"])]
                self.assertEqual([named(resource) for one in allowed for resource in listed(one["Resource"])], [queue])

    def test_every_dead_letter_queue_has_an_alarm_and_retains_two_weeks(self):
        queues = dead_letter_queues()
        self.assertGreaterEqual(len(queues), 3)
        for queue in queues:
            with self.subTest(queue):
                self.assertEqual(properties(queue)["MessageRetentionPeriod"], FOURTEEN_DAYS_SECONDS)
                alarms = alarms_on("ApproximateNumberOfMessagesVisible", "QueueName", queue)
                self.assertEqual([(one["EvaluationPeriods"], one["Threshold"], one["Statistic"]) for one in alarms], [(1, 0, "Maximum")])
                self.assertTrue(alarms[0]["AlarmActions"])

    def test_events_that_a_dead_letter_queue_refuses_raise_an_alarm(self):
        for function in invoked_by_events():
            with self.subTest(function):
                alarms = alarms_on("DeadLetterErrors", "FunctionName", function)
                self.assertEqual([(one["EvaluationPeriods"], one["Threshold"]) for one in alarms], [(1, 0)])

    def test_every_dead_letter_queue_is_an_output(self):
        outputs = {named(output["Value"]) for output in TEMPLATE["Outputs"].values()}
        self.assertEqual(dead_letter_queues() - outputs, set())

    def test_scheduled_run_is_neither_retried_nor_kept_until_the_next_one(self):
        scheduled = {function: schedules(function) for function in of_type("AWS::Serverless::Function") if schedules(function)}
        self.assertEqual(set(scheduled), {"CompactFunction", "DetectFunction"})
        for function, triggers in scheduled.items():
            for trigger in triggers:
                with self.subTest(function):
                    period = period_seconds(trigger["Schedule"])
                    for kept in (properties(function).get("EventInvokeConfig", {}), trigger.get("RetryPolicy", {})):
                        self.assertEqual(kept.get("MaximumRetryAttempts"), 0)
                        self.assertLessEqual(kept.get("MaximumEventAgeInSeconds", 86400), period)


class StreamTest(unittest.TestCase):
    def mappings(self):
        """The polling triggers, which are separate resources or events of a function."""
        found = {name: one["Properties"] for name, one in of_type("AWS::Lambda::EventSourceMapping").items()}
        for function in of_type("AWS::Serverless::Function"):
            for name, event in properties(function).get("Events", {}).items():
                if event["Type"] in ("Kinesis", "DynamoDB", "MSK", "SelfManagedKafka"):
                    found[f"{function}.{name}"] = event["Properties"]
        return found

    def test_every_record_that_the_stream_retains_is_counted(self):
        # The age also applies to records without an attempt: a longer pause would send all of them to the bucket.
        retention = TEMPLATE["Parameters"]["StreamRetentionHours"]["MaxValue"] * 3600
        mappings = self.mappings()
        self.assertEqual(set(mappings), {"AggregateTrigger", "AggregateKafkaTrigger"})
        for name, mapping in mappings.items():
            with self.subTest(name):
                age = mapping.get("MaximumRecordAgeInSeconds", -1)
                self.assertTrue(age == -1 or age >= retention, f"records older than {age} s are given up without an attempt, but the stream retains {retention} s")

    def test_batch_is_retried_until_it_is_counted(self):
        for name, mapping in self.mappings().items():
            with self.subTest(name):
                self.assertEqual(mapping.get("MaximumRetryAttempts", -1), -1)

    def test_stream_that_is_not_read_raises_an_alarm_long_before_it_loses_events(self):
        shortest = TEMPLATE["Parameters"]["StreamRetentionHours"]["MinValue"] * 3600 * 1000
        alarms = alarms_on("GetRecords.IteratorAgeMilliseconds", "StreamName", "Stream")
        self.assertEqual([one["TreatMissingData"] for one in alarms], ["breaching"])
        self.assertLessEqual(alarms[0]["Threshold"], shortest // 2)


class RetentionTest(unittest.TestCase):
    def test_resources_with_data_are_retained_when_the_stack_deletes_or_replaces_them(self):
        unknown = {resource["Type"] for resource in RESOURCES.values()} - HOLDS_DATA - IS_RECREATED
        self.assertEqual(unknown, set(), "add each new type to HOLDS_DATA or to IS_RECREATED")
        kept = of_type(*HOLDS_DATA)
        self.assertGreaterEqual(len(kept), 9)
        for name, resource in kept.items():
            with self.subTest(name):
                self.assertIn(resource.get("DeletionPolicy"), RETAINING_POLICIES)
                self.assertEqual(resource.get("UpdateReplacePolicy"), "Retain")

    def test_retained_resources_do_not_block_a_new_deployment(self):
        for name, resource in of_type(*HOLDS_DATA).items():
            if resource["Type"] in ("AWS::SES::ConfigurationSet", "AWS::Timestream::Table"):
                continue
            with self.subTest(name):
                self.assertEqual(NAMES & set(resource.get("Properties", {})), set(), "a fixed name would be taken already")
        # The set needs a fixed name, since senders use it. So a failed deployment must not leave it behind, and a new one must be able to use it.
        self.assertEqual(RESOURCES["ConfigurationSet"]["DeletionPolicy"], "RetainExceptOnCreate")

    def test_imported_resources_are_described_as_in_the_template(self):
        adopted = read_template(ROOT / "infra/adopt.yaml")
        self.assertEqual(set(adopted["Resources"]), {"Stream", "Table"})
        for part in ("Resources", "Conditions"):
            for name, described in adopted[part].items():
                self.assertEqual(described, TEMPLATE[part][name], name)
        for name, parameter in adopted["Parameters"].items():
            self.assertEqual(parameter["Default"], TEMPLATE["Parameters"][name]["Default"], name)

    def test_existing_configuration_set_replaces_a_new_one(self):
        self.assertEqual(TEMPLATE["Parameters"]["ExistingConfigurationSet"]["Default"], "")
        condition = RESOURCES["ConfigurationSet"]["Condition"]
        self.assertEqual(TEMPLATE["Conditions"][condition], {"Fn::Equals": [{"Ref": "ExistingConfigurationSet"}, ""]})
        either = {"Fn::If": [condition, {"Ref": "ConfigurationSet"}, {"Ref": "ExistingConfigurationSet"}]}
        self.assertEqual(properties("ConfigurationSetToEventBridge")["ConfigurationSetName"], either)
        self.assertNotIn("Condition", RESOURCES["ConfigurationSetToEventBridge"])
        self.assertEqual(TEMPLATE["Outputs"]["ConfigurationSetName"]["Value"], either)

    def test_replaced_configuration_set_keeps_publishing(self):
        destination = RESOURCES["ConfigurationSetToEventBridge"]
        self.assertEqual(destination.get("UpdateReplacePolicy"), "Retain")
        # Without the stack nothing is counted, so SES need not rewrite links and add a pixel.
        self.assertEqual(destination.get("DeletionPolicy"), "Delete")


if __name__ == "__main__":
    unittest.main()
