"""The AWS services that a node asks, through the AMI's own command line."""

import json

from lifecycle.errors import CommandError, NotYetError, StepError
from lifecycle.step import Context

#: What will be the same however often it is tried.
LASTING = ("AccessDenied", "ResourceNotFoundException", "InvalidRequestException", "ValidationException")


def secret_string(context: Context, arn: str) -> str:
    """Return the text of a secret; raise `NotYetError` where Secrets Manager does not answer."""
    return secretsmanager(
        context, "get-secret-value", "--secret-id", arn, "--query", "SecretString", "--output", "text"
    ).removesuffix("\n")


def secret_fields(context: Context, arn: str) -> dict[str, str]:
    """Return the fields of a secret that is a JSON object."""
    try:
        fields: dict[str, str] = json.loads(secret_string(context, arn))
    except ValueError:
        # The text itself stays out of the message.
        raise StepError(f"secret {arn} is not a JSON object") from None
    return fields


def object_exists(context: Context, uri: str) -> bool:
    """Return whether there is an object of Amazon S3 at s3://bucket/key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        _s3(context, "s3api", "head-object", "--bucket", bucket, "--key", key)
    except CommandError as error:
        if "(404)" in error.errors:
            return False
        raise
    return True


def upload(context: Context, path: str, uri: str) -> None:
    """Copy a file to s3://bucket/key."""
    _s3(context, "s3", "cp", "--only-show-errors", path, uri)


def _s3(context: Context, *arguments: str) -> str:
    try:
        return context.host.run("aws", *arguments, "--region", context.cluster.region, timeout_seconds=600)
    except CommandError as error:
        if any(name in error.errors for name in (*LASTING, "(403)", "(404)", "NoSuchBucket")):
            raise
        raise NotYetError(f"Amazon S3 does not answer: {error.errors}") from error


def secretsmanager(context: Context, *arguments: str) -> str:
    """Run a command of AWS Secrets Manager in the cluster's Region, and return what it prints."""
    try:
        return context.host.run("aws", "secretsmanager", *arguments, "--region", context.cluster.region)
    except CommandError as error:
        if any(name in error.errors for name in LASTING):
            raise
        raise NotYetError(f"Secrets Manager does not answer: {error.errors}") from error
