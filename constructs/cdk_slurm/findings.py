"""What rules and policy packs find, told on the construct that it is about."""

import re
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct, IConstruct

from cdk_slurm import rules
from cdk_slurm.spec import Finding, Model

#: Context key under which an app or a stack says which rules do not hold for it: a list of rule ids.
SILENCED_RULES = "cdk-slurm:silenced-rules"

#: Why a policy may stand in a role.
INLINE_POLICY = "Made by CDK for this one role, and gone with it."

#: Beginnings of the names that CDK gives its functions behind custom resources.
AWS_CUSTOM_RESOURCE = "AWS679f53fac002430cb0da5b7982bd2287"
BUCKET_DEPLOYMENT = "Custom::CDKBucketDeployment"


_VARIABLE = re.compile(r"\$\{([^}]+)\}")


def report(scope: IConstruct, config: Model) -> bool:
    """Judge a construct's configuration; errors fail synthesis, warnings are shown. True when it is sound.

    The messages are those that a cluster file would get. Rules listed in the context value
    `cdk-slurm:silenced-rules` are passed over.
    """
    found = [tell(scope, finding) for finding in rules.check(config)]
    return all(found)


def tell(scope: IConstruct, finding: Finding) -> bool:
    """Tell of one finding on a construct, unless its rule is silenced. True when it stands in nobody's way."""
    if finding.rule in (scope.node.try_get_context(SILENCED_RULES) or []):
        return True
    text = f"{finding.rule}: {finding.text} ({finding.reference})"
    if finding.level == "error":
        cdk.Validations.of(scope).add_error(finding.rule, text)
        return False
    cdk.Validations.of(scope).add_warning(finding.rule, text)
    return True


def acknowledge(scope: IConstruct, reason: str, *findings: str) -> None:
    """Accept findings of cdk-nag's packs on a construct and all below it.

    A finding is a rule's id such as `AwsSolutions-S1`, with brackets where the rule reports each of
    several by itself: `AwsSolutions-IAM5[Resource::*]`.
    """
    # cdk-nag takes a pack's name before the id, which is what comes before the id's last hyphen.
    cdk.Validations.of(scope).acknowledge(
        *(
            cdk.Acknowledgment(id=f"{finding.partition('[')[0].rpartition('-')[0]}::{finding}", reason=reason)
            for finding in findings
        )
    )


def shown(scope: IConstruct, value: str) -> str:
    """A value as cdk-nag writes it in a finding: what is known at deployment only, in angle brackets."""
    return _flat(cdk.Stack.of(scope).resolve(value))


def acknowledge_provider(scope: IConstruct, id_prefix: str, *more: str, id_suffix: str = "") -> None:
    """Accept what the packs find on the function that CDK adds to a stack for a custom resource of its own."""
    for child in cdk.Stack.of(scope).node.children:
        if child.node.id.startswith(id_prefix) and child.node.id.endswith(id_suffix):
            acknowledge(
                child,
                "CDK's own function behind a custom resource: it runs only while a stack is deployed, "
                "with a role of its own, and its failures fail the deployment.",
                "NIST.800.53.R5-LambdaConcurrency",
                "NIST.800.53.R5-LambdaDLQ",
                "NIST.800.53.R5-LambdaInsideVPC",
                *more,
            )


def function_logging(scope: IConstruct) -> str:
    """The finding on a role with AWS's policy that lets a function write its log."""
    policy = iam.ManagedPolicy.from_aws_managed_policy_name("service-role/AWSLambdaBasicExecutionRole")
    return f"AwsSolutions-IAM4[Policy::{shown(scope, policy.managed_policy_arn)}]"


def log_group(scope: Construct, id: str) -> logs.LogGroup:
    """A log group that keeps a month of logs and goes with its stack."""
    group = logs.LogGroup(scope, id, retention=logs.RetentionDays.ONE_MONTH, removal_policy=cdk.RemovalPolicy.DESTROY)
    acknowledge(
        group,
        "Encrypted with a key of CloudWatch Logs' own; a customer managed one would need a key policy of its owner's.",
        "NIST.800.53.R5-CloudWatchLogGroupEncrypted",
    )
    return group


def _flat(value: Any) -> str:
    """An intrinsic function as text: references in angle brackets."""
    if isinstance(value, str):
        return _VARIABLE.sub(r"<\1>", value)
    (function, argument), *_ = value.items()
    if function == "Fn::Join":
        return str(argument[0]).join(_flat(part) for part in argument[1])
    if function == "Fn::GetAtt":
        return f"<{'.'.join(argument)}>"
    if function == "Fn::Sub":
        return _VARIABLE.sub(r"<\1>", argument)
    if function == "Fn::ImportValue":
        return str(argument)
    return f"<{argument}>"
