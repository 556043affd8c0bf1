"""SNS: what MiniStack's CloudFormation leaves out of a topic."""

from typing import Any

from ministack.services import kms, sns
from ministack.services.cloudformation import provisioners

TOPIC = "AWS::SNS::Topic"

Made = tuple[str, dict[str, Any]]


def install() -> None:
    """Note the key that a topic is encrypted with. Who publishes must be let in by its policy too."""
    handler = provisioners._RESOURCE_HANDLERS[TOPIC]
    create, update = handler["create"], handler["update"]

    def completed(made: Made, properties: dict[str, Any]) -> Made:
        attributes = sns._topics[made[0]]["attributes"]
        attributes.pop("KmsMasterKeyId", None)
        if key := properties.get("KmsMasterKeyId"):
            attributes["KmsMasterKeyId"] = key
        return made

    def create_completely(logical_id: str, properties: dict[str, Any], stack: str) -> Made:
        return completed(create(logical_id, properties, stack), properties)

    def update_completely(
        arn: str, old: dict[str, Any], new: dict[str, Any], stack: str, logical_id: str | None = None
    ) -> Made:
        return completed(update(arn, old, new, stack, logical_id), new)

    handler |= {"create": create_completely, "update": update_completely}


def checks() -> dict[str, Any]:
    """What SNS looks at before it makes or changes a topic."""
    return {TOPIC: _check}


def key_of(topic_arn: str) -> dict[str, Any] | None:
    """The customer's key that a topic is encrypted with."""
    named = sns._topics[topic_arn]["attributes"].get("KmsMasterKeyId", "")
    found: dict[str, Any] | None = kms._keys.get(named.rpartition("/")[2]) if named else None
    return found


def policy_of(topic_arn: str) -> str:
    """A topic's own policy."""
    return str(sns._topics[topic_arn]["attributes"]["Policy"])


def exists(topic_arn: str) -> bool:
    """Whether there is such a topic."""
    return topic_arn in sns._topics


def _check(properties: dict[str, Any], _standing: Any) -> None:
    key = properties.get("KmsMasterKeyId", "")
    if key and not key.startswith("alias/aws/") and key.rpartition("/")[2] not in kms._keys:
        raise ValueError(f"The key {key} does not exist")
