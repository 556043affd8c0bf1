"""Secrets Manager: what MiniStack's CloudFormation says otherwise of a secret."""

from typing import Any

from ministack.services import secretsmanager
from ministack.services.cloudformation import drift, provisioners

_TYPE = "AWS::SecretsManager::Secret"

Made = tuple[str, dict[str, Any]]


def install() -> None:
    """Let a secret's physical id be its ARN, and a secret have no value where the template gives it none.

    MiniStack's physical id is the name, which a policy with a reference to the secret would then name.
    """
    handler = provisioners._RESOURCE_HANDLERS[_TYPE]
    create, update, delete = handler["create"], handler["update"], handler["delete"]
    read, told = drift._DRIFT_READERS[_TYPE]

    def create_as_aws(logical_id: str, properties: dict[str, Any], stack: str) -> Made:
        name, attributes = create(logical_id, properties, stack)
        if not {"SecretString", "GenerateSecretString"} & properties.keys():
            secretsmanager._secrets[name]["Versions"].clear()
        return attributes["Arn"], attributes

    def update_as_aws(
        arn: str, old: dict[str, Any], new: dict[str, Any], stack: str, logical_id: str | None = None
    ) -> Made:
        _, attributes = update(_name(arn), old, new, stack, logical_id)
        return attributes["Arn"], attributes

    def delete_as_aws(arn: str, properties: dict[str, Any]) -> None:
        delete(_name(arn), properties)

    handler |= {"create": create_as_aws, "update": update_as_aws, "delete": delete_as_aws}
    drift._DRIFT_READERS[_TYPE] = (lambda arn, properties: read(_name(arn), properties), told)


def secret_named(arn_or_name: str) -> dict[str, Any]:
    """The secret of an ARN or a name. Raises `ValueError` where there is none."""
    for secret in secretsmanager._secrets.values():
        if arn_or_name in (secret["ARN"], secret["Name"]):
            return dict(secret)
    raise ValueError(f"The secret {arn_or_name} does not exist")


def _name(arn: str) -> str:
    """MiniStack's own key of a secret; the ARN itself where it is gone."""
    return next((name for name, secret in secretsmanager._secrets.items() if secret["ARN"] == arn), arn)
