"""What every policy allows, judged by the service authorization reference that policy_sentry carries."""

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from policy_sentry.querying.actions import get_action_data
from policy_sentry.querying.all import get_all_actions
from policy_sentry.util.arns import ARN

# Whatever a statement may do against the rules below, with the reason. `*` stands for any text.
WILDCARD_ACTIONS = {
    "*BucketPolicy*/CustomS3AutoDeleteObjects*": "CDK's own function that empties a bucket which its owner asked to be"
    " destroyed; only on that bucket.",
}
EVERY_RESOURCE = {
    "NetworkS3Endpoint*/ReadObjects": "An endpoint's policy grants nothing: it bounds what a principal's own policy"
    " grants. Package mirrors and registries keep their objects in buckets of AWS's, whose names are not ours to know.",
    "NetworkS3Endpoint*/OwnBuckets": "Bounded by its condition to this account's principals and buckets.",
}


@dataclass(frozen=True)
class Statement:
    """An Allow of one policy."""

    where: str
    """Logical id of the resource, then the statement's own id or the role that it names."""

    type: str
    body: dict[str, Any]

    @property
    def actions(self) -> list[str]:
        return listed(self.body["Action"])

    @property
    def resources(self) -> list[str]:
        return listed(self.body.get("Resource", []))

    @property
    def identity(self) -> bool:
        """Whether it grants a role something; a resource's own policy says who may use that one resource."""
        return self.type in ("AWS::IAM::ManagedPolicy", "AWS::IAM::Policy", "AWS::IAM::Role") and self.resources != []


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def allows(example) -> Iterator[Statement]:
    for name, type_, properties in example.resources():
        for body in statements_in(properties):
            if body["Effect"] == "Allow":
                principal = body.get("Principal", {})
                role = str(principal.get("AWS", "")) if isinstance(principal, dict) else ""
                whose = body.get("Sid") or role.rpartition("/")[2]
                yield Statement(f"{name.partition('/')[2]}/{whose}", type_, body)


def statements_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "Statement" in value:
            yield from listed(value["Statement"])
        for item in value.values():
            yield from statements_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from statements_in(item)


@cache
def known_actions() -> dict[str, str]:
    """Every action of AWS, by its name in lower case."""
    return {action.lower(): action for action in get_all_actions()}


def meant(pattern: str) -> list[str]:
    """The actions that a pattern stands for."""
    return [action for lower, action in known_actions().items() if fnmatch.fnmatchcase(lower, pattern.lower())]


@cache
def resource_types(action: str) -> tuple[str, ...]:
    """The forms of ARN that an action can be limited to; none for one that has to be granted on `*`."""
    service, _, name = action.partition(":")
    rows = get_action_data(service, name)[service]
    return tuple(row["resource_arn_format"] for row in rows if row["resource_arn_format"] != "*")


def excepted(where: str, reasons: dict[str, str]) -> bool:
    return any(fnmatch.fnmatchcase(where, pattern) for pattern in reasons)


def is_accounts_key(one: Statement) -> bool:
    """Whether it lets the account's own policies say who may use a key; without, everybody may be locked out of it."""
    root = {"AWS": "arn:aws:iam::111122223333:root"}
    return (one.type, one.actions, one.body.get("Principal")) == ("AWS::KMS::Key", ["kms:*"], root)


# Each judge says of one Allow what is wrong with it.


def unknown_action(one: Statement) -> Iterator[str]:
    yield from (f"{action} does not exist" for action in one.actions if not meant(action))


def whole_service(one: Statement) -> Iterator[str]:
    if not is_accounts_key(one):
        yield from (action for action in one.actions if re.fullmatch(r"\*|[a-z0-9-]+:\*", action))


def wildcard_action(one: Statement) -> Iterator[str]:
    if not is_accounts_key(one) and not excepted(one.where, WILDCARD_ACTIONS):
        yield from (action for action in one.actions if "*" in action or "?" in action)


def needless_every_resource(one: Statement) -> Iterator[str]:
    if one.type == "AWS::KMS::Key":
        return  # in a key's own policy it is that key
    if "*" in one.resources and not excepted(one.where, EVERY_RESOURCE):
        for action in (name for pattern in one.actions for name in meant(pattern)):
            if types := resource_types(action):
                yield f"{action} on *, and it could be limited to {', '.join(types)}"


def resource_that_no_action_has(one: Statement) -> Iterator[str]:
    """A grant that never applies: what is meant to work does not."""
    if not one.identity or "*" in one.resources:
        return
    for action in one.actions:
        granted = [name for name in meant(action) if any(fits(arn, name) for arn in one.resources)]
        if not granted:
            types = {form for name in meant(action) for form in resource_types(name)}
            yield f"{action} on {one.resources}, and it has {types or 'no resource at all'}"


def fits(arn: str, action: str) -> bool:
    if ":log-group:" in arn:
        # The `:*` at the end of a log group's ARN stands for its streams as well; a slash is of the group's name.
        group = arn.replace("/", "-")
        forms = (ARN(group), ARN(group.removesuffix(":*") + ":log-stream:*"))
    else:
        forms = (ARN(arn),)
    return any(form.same_resource_type(known) for form in forms for known in resource_types(action))


JUDGES = [unknown_action, whole_service, wildcard_action, needless_every_resource, resource_that_no_action_has]


@pytest.mark.parametrize("judge", JUDGES, ids=lambda judge: judge.__name__)
def test_no_policy_allows_more_than_it_has_to(example, judge):
    wrong = {one.where: found for one in allows(example) if (found := list(judge(one)))}
    assert wrong == {}


@pytest.mark.parametrize(
    ("action", "resource", "judge"),
    [
        ("ec2:DescribeVpcz", "*", unknown_action),
        ("nosuch:Get*", "*", unknown_action),
        ("*", "*", whole_service),
        ("ssm:*", "*", whole_service),
        ("s3:Get*", "arn:aws:s3:::b/*", wildcard_action),
        ("s3:GetObject", "*", needless_every_resource),
        ("iam:CreateRole", "*", needless_every_resource),
        ("ec2:DescribeVpcs", "arn:aws:ec2:us-west-2:111122223333:vpc/vpc-1", resource_that_no_action_has),
        ("s3:GetObject", "arn:aws:s3:::b", resource_that_no_action_has),
    ],
)
def test_the_judges_refuse(action, resource, judge):
    body = {"Effect": "Allow", "Action": action, "Resource": resource}
    assert list(judge(Statement("Some/Policy", "AWS::IAM::Policy", body)))


def test_every_exception_is_still_needed(example):
    used = [one.where for one in allows(example)]
    new_network = any(type_ == "AWS::EC2::VPC" for _, type_, _ in example.resources())
    for pattern in (*WILDCARD_ACTIONS, *(EVERY_RESOURCE if new_network else ())):
        assert any(fnmatch.fnmatchcase(where, pattern) for where in used), pattern


def test_every_role_is_judged(example):
    """Of every role there is, the policies are among what is judged: nothing hides in a form not looked for."""
    roles = {name.partition("/")[2] for name, _, _ in example.resources("AWS::IAM::Role")}
    assert roles
    assert roles <= {one.where.partition("/")[0] for one in allows(example)}
    functions = [name for name in roles if name.startswith(("AWS679f", "LifecycleUploadRole", "CustomS3Auto"))]
    assert functions


# The policies of AWS's that roles have, with the reason.
MANAGED_POLICIES = {
    "AmazonSageMakerClusterInstanceRolePolicy": "HyperPod requires it of the nodes' role.",
    "service-role/AWSLambdaBasicExecutionRole": "Logs of the functions behind CDK's own custom resources.",
}


def test_roles_have_no_managed_policy_but_those_that_are_required(example):
    for name, _, properties in example.resources("AWS::IAM::Role"):
        for arn in properties.get("ManagedPolicyArns", []):
            if arn.startswith("arn:aws:iam::aws:policy/"):
                policy = arn.removeprefix("arn:aws:iam::aws:policy/")
                assert policy in MANAGED_POLICIES, name
                assert not policy.endswith(("FullAccess", "AdministratorAccess", "PowerUserAccess"))


def test_only_named_services_assume_roles(example):
    for name, _, properties in example.resources("AWS::IAM::Role"):
        for body in statements_in(properties["AssumeRolePolicyDocument"]):
            assert list(body["Principal"]) == ["Service"], name
            assert all(re.fullmatch(r"[a-z-]+\.amazonaws\.com", one) for one in listed(body["Principal"]["Service"]))


def test_nobody_but_the_account_reaches_a_bucket(example):
    """A bucket's policy allows principals that it names, and denies plain HTTP to all."""
    for name, _, properties in example.resources("AWS::S3::BucketPolicy"):
        bodies = list(statements_in(properties["PolicyDocument"]))
        assert any(
            body["Effect"] == "Deny" and body.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
            for body in bodies
        ), name
        for body in bodies:
            if body["Effect"] == "Allow":
                assert body["Principal"] not in ("*", {"AWS": "*"}), name
