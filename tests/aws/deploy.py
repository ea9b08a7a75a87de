"""Deploys the real `template.yaml` with the real binaries to the local AWS, as `sam deploy` does: packages it and changes a stack."""

import io
import json
import pathlib
import time
import zipfile

import yaml

BUCKET = "packages"


class Tag(yaml.YAMLObject):
    """A CloudFormation short form such as `!Ref x`, kept unchanged."""

    def __init__(self, tag, value):
        self.tag, self.value = tag, value


def _read_tag(loader, suffix, node):
    reader = {
        yaml.ScalarNode: loader.construct_scalar,
        yaml.SequenceNode: lambda node: loader.construct_sequence(node, deep=True),
        yaml.MappingNode: lambda node: loader.construct_mapping(node, deep=True),
    }
    value = reader[type(node)](node)
    if suffix == "Ref" or suffix == "Condition":
        return {suffix: value}
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {f"Fn::{suffix}": value}


class Loader(yaml.SafeLoader):
    """Reads YAML and expands CloudFormation's short forms."""


Loader.add_multi_constructor("!", _read_tag)


def read_template(path):
    return yaml.load(pathlib.Path(path).read_text(), Loader)


def package(cloud, template, binaries):
    """Puts each function's binary into S3 as `bootstrap` and points the template to it."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    for resource in template["Resources"].values():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        properties = resource["Properties"]
        name = resource.pop("Metadata")["BuildProperties"]["Binary"]
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
            entry = zipfile.ZipInfo("bootstrap")
            entry.external_attr = 0o100755 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(entry, (pathlib.Path(binaries) / name).read_bytes(), compresslevel=1)
        s3.put_object(Bucket=BUCKET, Key=name, Body=archive.getvalue())
        properties["CodeUri"] = {"Bucket": BUCKET, "Key": name}
    # The binaries under test are built for this machine.
    template["Globals"]["Function"]["Architectures"] = ["x86_64"]
    return template


def deploy(cloud, template, name="mailgauge", **parameters):
    """Creates the stack. Returns its outputs."""
    cloud.client("cloudformation").create_stack(**described(template, name, parameters))
    return ready(cloud, template, name, "CREATE_COMPLETE")


def update(cloud, template, name="mailgauge", **parameters):
    """Updates the stack, as a second `sam deploy` would. Returns its outputs."""
    cloud.client("cloudformation").update_stack(**described(template, name, parameters))
    return ready(cloud, template, name, "UPDATE_COMPLETE")


def adopt(cloud, template, resources, name="mailgauge"):
    """Creates a stack by importing existing resources, each given by its type, logical id and identifier."""
    cloudformation = cloud.client("cloudformation")
    listed = [{"ResourceType": kind, "LogicalResourceId": logical_id, "ResourceIdentifier": by} for kind, logical_id, by in resources]
    change_set = {"StackName": name, "ChangeSetName": "adopt"}
    cloudformation.create_change_set(**described(template, name, {}), ChangeSetName="adopt", ChangeSetType="IMPORT", ResourcesToImport=listed)
    cloudformation.get_waiter("change_set_create_complete").wait(**change_set, WaiterConfig={"Delay": 1})
    cloudformation.execute_change_set(**change_set)
    ready(cloud, template, name, "IMPORT_COMPLETE")


def described(template, name, parameters):
    return {
        "StackName": name,
        "TemplateBody": json.dumps(template),
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    }


def ready(cloud, template, name, expected):
    """Waits until the stack has the expected status. Returns its outputs."""
    cloudformation = cloud.client("cloudformation")
    deadline = time.monotonic() + 120
    while True:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        if stack["StackStatus"] == expected:
            set_dead_letter_queues(cloud, template, name)
            return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        if "IN_PROGRESS" not in stack["StackStatus"] or time.monotonic() > deadline:
            events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
            reasons = [f"{event['LogicalResourceId']}: {event['ResourceStatusReason']}" for event in events if event.get("ResourceStatusReason")]
            raise RuntimeError(f"the stack is {stack['StackStatus']}: {reasons or stack.get('StackStatusReason')}")
        time.sleep(0.2)


def set_dead_letter_queues(cloud, template, name):
    """Sets the functions' dead-letter queues as in the template, since the local AWS ignores them when it creates a stack."""
    sqs, lambda_ = cloud.client("sqs"), cloud.client("lambda")
    for function, described in template["Resources"].items():
        if queue := described.get("Properties", {}).get("DeadLetterQueue"):
            url = resource(cloud, queue["TargetArn"]["Fn::GetAtt"][0], name)
            arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            lambda_.update_function_configuration(FunctionName=resource(cloud, function, name), DeadLetterConfig={"TargetArn": arn})


def delete(cloud, name="mailgauge"):
    """Deletes the stack, as `sam delete` would."""
    cloudformation = cloud.client("cloudformation")
    stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
    cloudformation.delete_stack(StackName=name)
    deadline = time.monotonic() + 120
    # A deleted stack can be described only by its id.
    while (status := cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]) != "DELETE_COMPLETE":
        assert status == "DELETE_IN_PROGRESS" and time.monotonic() < deadline, f"the stack is {status}"
        time.sleep(0.2)


def resource(cloud, logical_id, name="mailgauge"):
    """The physical name of one of the stack's resources."""
    detail = cloud.client("cloudformation").describe_stack_resource(StackName=name, LogicalResourceId=logical_id)
    return detail["StackResourceDetail"]["PhysicalResourceId"]
