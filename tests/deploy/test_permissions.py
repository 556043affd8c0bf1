"""Every function and role of ours has what it needs and no more: each permission is taken away, and something fails.

Calls of functions are judged by MiniStack's IAM, over TLS. What services do with a role is judged by the local
AWS, from what the services document (local/local_aws/permissions.py).
"""

import copy
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from cdk_slurm.rehearsal import LocalAws, Stage
from tests.deploy.lives import loaded, synthesised
from tests.deploy.stack import Stack

DESCRIBED = {
    "kind": "hyperpod",
    "name": "least",
    "region": "us-west-2",
    "availability_zone": "usw2-az4",
    "account": "111122223333",
    "kms_key": "arn:aws:kms:us-west-2:111122223333:key/0123abcd-0123-4567-89ab-0123456789ab",
    "network": {"additional_zones": [{"availability_zone": "usw2-az1", "private_cidr": "10.2.0.0/16"}]},
    "storage": {
        "lustre": {},
        "s3": [
            {"bucket": "someones-data", "mount": "/data", "prefix": "sets/"},
            {"bucket": "someones-results", "mount": "/results", "read_only": False},
        ],
    },
    "data": {"bucket": "new", "removal_policy": "destroy", "associations": [{"path": "/data"}]},
    "hyperpod": {"compute": [{"name": "worker", "type": "ml.c5.large", "count": 1}], "accounting_database": {}},
    "users": [{"name": "alice", "uid": 10001, "gid": 1001}],
    "directory": {
        "uri": "ldaps://ldap.example.com",
        "base_dn": "dc=example,dc=com",
        "bind_dn": "cn=slurm,dc=example,dc=com",
        "bind_secret": "arn:aws:secretsmanager:us-west-2:111122223333:secret:ldap-AbCdEf",
    },
    "studio": {},
    "observability": {
        "workspace": {"removal_policy": "destroy"},
        "alert_emails": ["ml-platform@example.com"],
        "slack": {"workspace_id": "T07EA123LEP", "channel_id": "C07EZ1ABC23"},
        "grafana": {"admins": {"users": ["93670dab11-0a1b2c3d-1111-2222-3333-444455556666"]}},
        "exporters": {"dcgm_image": f"111122223333.dkr.ecr.us-west-2.amazonaws.com/dcgm@sha256:{'0' * 64}"},
    },
}

#: What is given and can be taken away without a failure here, and why it is given all the same.
NOT_SHOWN = {
    # CDK's function closes the bucket to writers while it empties it, and goes on when it may not.
    ("emptying", "s3:PutBucketPolicy"),
    # MiniStack's S3 does not ask KMS whether the writer may use the bucket's key.
    ("upload", "kms:Decrypt"),
    ("upload", "kms:GenerateDataKey"),
    # What IAM Identity Center asks of who gives a role in Grafana is documented for reading only.
    ("dashboards", "sso:CreateApplicationAssignment"),
    ("dashboards", "sso:DeleteApplicationAssignment"),
}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    described = loaded(DESCRIBED)
    assembly = synthesised(described, tmp_path_factory.mktemp("least"))
    with LocalAws(region="us-west-2", account="111122223333", enforce_iam=True) as started:
        started.provide(described)
        stage = Stage(started)
        stage.bootstrap(assembly)
        stage.deploy(assembly)
        yield started


class Role:
    """A role of ours, what it is allowed by policies of ours, and something for which it takes all of it."""

    def __init__(self, aws: LocalAws, path: str, attempt: Callable[[LocalAws], str]) -> None:
        self.aws = aws
        [found] = [one for one in aws.resources() if one["type"] == "AWS::IAM::Role" and path in one["logical_id"]]
        self.name = found["physical_id"]
        self.attempt = attempt

    def policies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name or ARN and document of each policy of ours."""
        iam = self.aws.client("iam")
        for name in iam.list_role_policies(RoleName=self.name)["PolicyNames"]:
            yield name, iam.get_role_policy(RoleName=self.name, PolicyName=name)["PolicyDocument"]
        for one in iam.list_attached_role_policies(RoleName=self.name)["AttachedPolicies"]:
            arn = one["PolicyArn"]
            if not arn.startswith("arn:aws:iam::aws:"):
                version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
                yield arn, iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]

    def write(self, policy: str, document: dict[str, Any]) -> None:
        iam, text = self.aws.client("iam"), json.dumps(document)
        if not policy.startswith("arn:"):
            iam.put_role_policy(RoleName=self.name, PolicyName=policy, PolicyDocument=text)
            return
        former = iam.get_policy(PolicyArn=policy)["Policy"]["DefaultVersionId"]
        iam.create_policy_version(PolicyArn=policy, PolicyDocument=text, SetAsDefault=True)
        iam.delete_policy_version(PolicyArn=policy, VersionId=former)


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def without(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each permission, and the document that lacks it."""
    for number, statement in enumerate(document["Statement"]):
        for action in listed(statement["Action"]) if statement["Effect"] == "Allow" else ():
            less = copy.deepcopy(document)
            # A policy needs a statement, and a statement an action: one that everybody has.
            rest = [one for one in listed(statement["Action"]) if one != action] or ["sts:GetCallerIdentity"]
            less["Statement"][number]["Action"] = rest
            yield action, less


# --- What takes a role's permissions ---


def resource_of(aws: LocalAws, type_: str, logical_id: str = "") -> dict[str, Any]:
    found = [one for one in aws.resources() if one["type"] == type_ and logical_id in one["logical_id"]]
    assert found, f"{type_} {logical_id}"
    return found[0]


def made_again(type_: str, logical_id: str = "") -> Callable[[LocalAws], str]:
    """Make a resource of the deployed stacks once more, in a stack of its own; returns why that failed."""

    def attempt(aws: LocalAws) -> str:
        properties = resource_of(aws, type_, logical_id)["properties"]
        stack = Stack(aws, {"Again": {"Type": type_, "Properties": properties}})
        failures = stack.failures
        stack.delete()
        return failures

    return attempt


def cluster_changed(aws: LocalAws) -> str:
    """Change the count of a group; returns why that failed."""
    client = aws.client("cloudformation")
    template = client.get_template(StackName="least-cluster")["TemplateBody"]
    template = template if isinstance(template, dict) else json.loads(template)
    [cluster] = [one for one in template["Resources"].values() if one["Type"] == "AWS::SageMaker::Cluster"]
    cluster["Properties"]["InstanceGroups"][-1]["InstanceCount"] += 1
    [stack] = client.describe_stacks(StackName="least-cluster")["Stacks"]
    seen = {one["EventId"] for one in client.describe_stack_events(StackName="least-cluster")["StackEvents"]}
    client.update_stack(
        StackName="least-cluster",
        TemplateBody=json.dumps(template),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[{"ParameterKey": one["ParameterKey"], "UsePreviousValue": True} for one in stack["Parameters"]],
    )
    while client.describe_stacks(StackName="least-cluster")["Stacks"][0]["StackStatus"].endswith("IN_PROGRESS"):
        pass
    events = client.describe_stack_events(StackName="least-cluster")["StackEvents"]
    return "\n".join(
        one.get("ResourceStatusReason", "")
        for one in events
        if one["EventId"] not in seen and one["ResourceStatus"].endswith("_FAILED")
    )


def refused(aws: LocalAws) -> str:
    """What services would be refused when they do their work."""
    return "\n".join(aws.refusals())


def dashboards_installed(aws: LocalAws) -> str:
    """Have the function remove all there is and install it again, as CloudFormation does; returns why that failed."""
    properties = resource_of(aws, "Custom::GrafanaDashboards")["properties"]
    amg, id_ = aws.client("grafana"), properties["WorkspaceId"]
    off = {"plugins": {"pluginAdminEnabled": False}, "unifiedAlerting": {"enabled": False}}
    amg.update_workspace_configuration(workspaceId=id_, configuration=json.dumps(off))
    while amg.describe_workspace(workspaceId=id_)["workspace"]["status"] != "ACTIVE":
        time.sleep(0.02)
    with Answers() as answers:
        for kind in ("Delete", "Create"):
            event = {
                "RequestType": kind,
                "RequestId": kind,
                "StackId": "arn:aws:cloudformation:us-west-2:111122223333:stack/x/y",
                "LogicalResourceId": "Again",
                "PhysicalResourceId": f"{id_}/cdk-slurm",
                "ResponseURL": answers.url,
                "ResourceProperties": properties,
            }
            aws.client("lambda").invoke(FunctionName=properties["ServiceToken"], Payload=json.dumps(event))
    return "\n".join(one["Reason"] for one in answers.given if one["Status"] != "SUCCESS")


class Answers:
    """Where a function answers, as CloudFormation's address for it is."""

    def __init__(self) -> None:
        given: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                given.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.given = given
        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> "Answers":
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


ROLES: dict[str, tuple[str, list[Callable[[LocalAws], str]]]] = {
    "upload": ("LifecycleUploadRole", [made_again("Custom::CDKBucketDeployment")]),
    "closing the default security group": (
        "AWS679f53fac002430cb0da5b7982bd2287ServiceRole",
        [made_again("Custom::AWS", "Ingress"), made_again("Custom::AWS", "Egress")],
    ),
    "flow logs": ("FlowLogRole", [made_again("AWS::EC2::FlowLog")]),
    "nodes": ("HyperPodNodeRole", [cluster_changed]),
    "dashboards": ("DashboardsRole", [dashboards_installed, made_again("AWS::Lambda::Function", "Dashboards")]),
    "Grafana": ("GrafanaRole", [refused]),
    "events": ("EventsRole", [refused]),
    "spaces of Studio": ("StudioExecutionRole", [refused]),
}


@pytest.mark.parametrize("name", ROLES)
def test_each_permission_of_a_role_is_needed(aws: LocalAws, name: str):
    logical_id, attempts = ROLES[name]
    failures = {attempt(aws) for attempt in attempts}
    assert failures == {""}, "with everything it works"
    role = Role(aws, logical_id, attempts[0])
    taken, idle = 0, set()
    for policy, document in list(role.policies()):
        for action, less in without(document):
            role.write(policy, less)
            told = "\n".join(attempt(aws) for attempt in attempts).strip()
            role.write(policy, document)
            taken += 1
            if not told:
                idle.add((name, action))
            else:
                assert is_refusal(told), told
    assert taken
    assert idle == {one for one in NOT_SHOWN if one[0] == name}
    assert {attempt(aws) for attempt in attempts} == {""}, "and again when all is given back"


def is_refusal(text: str) -> bool:
    words = (
        "not authorized",
        "AccessDenied",
        "Access Denied",
        "UnauthorizedOperation",
        "returned non-zero exit status",
    )
    return any(word in text for word in words)


def test_each_permission_to_empty_a_bucket_is_needed(aws: LocalAws):
    """They are the bucket's own policy; the function uses them when its resource goes."""
    s3 = aws.client("s3")
    properties = resource_of(aws, "Custom::S3AutoDeleteObjects")["properties"]
    bucket = properties["BucketName"]
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    idle, taken = set(), 0
    for action, less in [("", policy), *without(policy)]:
        with bucket_policy(aws, bucket, policy):
            stack = Stack(aws, {"Again": {"Type": "Custom::S3AutoDeleteObjects", "Properties": properties}})
            s3.put_object(Bucket=bucket, Key="x", Body=b"x")
            s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(less))
            deleted = stack.delete() == "DELETE_COMPLETE"
            failures = stack.failures
            s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
            if not deleted:
                assert is_refusal(failures), failures
                assert stack.delete() == "DELETE_COMPLETE"
        taken += 1
        if action and deleted:
            idle.add(("emptying", action))
        assert deleted or action, failures
    assert taken == 5
    assert idle == {one for one in NOT_SHOWN if one[0] == "emptying"}


@pytest.mark.parametrize("topic", ["least-alerts", "least-alerts-slack"])
def test_each_permission_to_publish_alerts_is_needed(aws: LocalAws, topic: str):
    """They are the topic's own policy, and that of the key that its messages are encrypted with."""
    sns, kms = aws.client("sns"), aws.client("kms")
    arn = f"arn:aws:sns:us-west-2:111122223333:{topic}"
    attributes = sns.get_topic_attributes(TopicArn=arn)["Attributes"]
    key = attributes["KmsMasterKeyId"]

    def write_topic(document: dict[str, Any]) -> None:
        sns.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue=json.dumps(document))

    def write_key(document: dict[str, Any]) -> None:
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(document))

    key_policy = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
    topic_policy = json.loads(attributes["Policy"])
    assert aws.refusals() == []
    taken = 0
    for policy, write in ((topic_policy, write_topic), (key_policy, write_key)):
        for action, less in without(policy):
            write(less)
            told = refused(aws)
            write(policy)
            taken += 1
            assert is_refusal(told), action
    assert taken == 5, "two of the topic, two of the key and the account's own of the key"
    # And it is for one workspace and these topics alone.
    for policy, write in ((topic_policy, write_topic), (key_policy, write_key)):
        other = json.dumps(policy).replace(":workspace/ws-", ":workspace/ws-other-").replace(f":{topic}", ":other")
        write(json.loads(other))
        assert is_refusal(refused(aws))
        write(policy)
    assert aws.refusals() == []


def test_spaces_reach_this_cluster_its_secret_and_its_programs_alone(aws: LocalAws):
    """Whatever else a policy names instead is of no use to them."""
    role = Role(aws, "StudioExecutionRole", refused)
    cluster = resource_of(aws, "AWS::SageMaker::Cluster")["physical_id"]
    secret = resource_of(aws, "AWS::SecretsManager::Secret", "Munge")["physical_id"]
    others = {
        cluster: f"{cluster[:-1]}x",
        secret: f"{secret[:-1]}x",
        "document/AWS-StartSSHSession": "document/AWS-StartInteractiveCommand",
        "/studio/*": "/other/*",
        "${aws:userid}-*": "AROAOTHER:SageMaker-*",
    }
    found = set()
    for policy, document in list(role.policies()):
        for own, other in others.items():
            text = json.dumps(document)
            if own in text:
                role.write(policy, json.loads(text.replace(own, other)))
                assert is_refusal(refused(aws)), own
                role.write(policy, document)
                found.add(own)
    assert found == set(others)
    assert refused(aws) == ""


@contextmanager
def bucket_policy(aws: LocalAws, bucket: str, policy: dict[str, Any]) -> Iterator[None]:
    """The function closes the bucket to writers."""
    yield
    aws.client("s3").put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))


def test_every_role_and_function_of_ours_is_among_these(aws: LocalAws):
    ours = {one["logical_id"] for one in aws.resources() if one["stack"].startswith("least-")}
    roles = {one for one in ours if one in {r["logical_id"] for r in aws.resources() if r["type"] == "AWS::IAM::Role"}}
    known = [logical_id for logical_id, _ in ROLES.values()] + ["S3AutoDeleteObjectsCustomResourceProviderRole"]
    known.append("AlertsSlackRole")  # which may do nothing
    assert {one for one in roles if not any(name in one for name in known)} == set()


def test_a_call_that_is_not_allowed_is_refused(aws: LocalAws):
    """That IAM is enforced at all, and over TLS."""
    assert aws.url.startswith("https://127.0.0.1:")
    iam, sts = aws.client("iam"), aws.client("sts")
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": "sts:AssumeRole"}
        ],
    }
    arn = iam.create_role(RoleName="nobody", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    own = sts.assume_role(RoleArn=arn, RoleSessionName="nobody")["Credentials"]
    import boto3

    session = boto3.Session(own["AccessKeyId"], own["SecretAccessKey"], own["SessionToken"], "us-west-2")
    client = session.client("s3", endpoint_url=aws.url, verify=aws.environment["AWS_CA_BUNDLE"])
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.list_buckets()


def test_only_the_local_accounts_keys_were_used(aws: LocalAws):
    """The account's root user's, and those that it gave to roles."""
    keys = aws.ask("callers")
    assert "111122223333" in keys
    assert {key for key in keys if key != "111122223333" and not key.startswith("ASIA")} == set()
