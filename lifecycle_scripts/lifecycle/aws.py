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


def secretsmanager(context: Context, *arguments: str) -> str:
    """Run a command of AWS Secrets Manager in the cluster's Region, and return what it prints."""
    try:
        return context.host.run("aws", "secretsmanager", *arguments, "--region", context.cluster.region)
    except CommandError as error:
        if any(name in error.errors for name in LASTING):
            raise
        raise NotYetError(f"Secrets Manager does not answer: {error.errors}") from error
