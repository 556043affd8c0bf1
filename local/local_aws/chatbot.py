"""Amazon Q Developer in chat applications (AWS Chatbot): channels as CloudFormation makes them."""

from typing import Any

from ministack.core.responses import get_account_id

from local_aws import sns
from local_aws.cloudformation import Type
from local_aws.permissions import require_role
from local_aws.rest import Operation
from local_aws.world import WORLD, Resource

CHANNEL = "AWS::Chatbot::SlackChannelConfiguration"


def types() -> dict[str, Type]:
    """CloudFormation types."""
    return {CHANNEL: Type(create=_create)}


def checks() -> dict[str, Any]:
    """What the service looks at before it makes or changes a channel."""
    return {CHANNEL: _check}


def operations() -> dict[str, Operation]:
    """The API."""
    return {"DescribeSlackChannelConfigurations": lambda _: {"SlackChannelConfigurations": list(map(_told, _all()))}}


def arn_of(_path: str) -> str:
    """No operation that is served has a resource."""
    return "*"


def _all() -> list[Resource]:
    return WORLD.all(CHANNEL)


def _create(_name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awschatbot.html
    arn = f"arn:aws:chatbot::{get_account_id()}:chat-configuration/slack-channel/{properties['ConfigurationName']}"
    return arn, {"Arn": arn}


def _told(channel: Resource) -> dict[str, Any]:
    properties = channel.properties
    return {
        "ChatConfigurationArn": channel.physical_id,
        "ConfigurationName": properties["ConfigurationName"],
        "GuardrailPolicyArns": properties.get("GuardrailPolicies", []),
        "IamRoleArn": properties["IamRoleArn"],
        "LoggingLevel": properties.get("LoggingLevel", "NONE"),
        "SlackChannelId": properties["SlackChannelId"],
        "SlackChannelName": "channel",
        "SlackTeamId": properties["SlackWorkspaceId"],
        "SlackTeamName": "workspace",
        "SnsTopicArns": properties.get("SnsTopicArns", []),
    }


def _check(properties: dict[str, Any], standing: Resource | None) -> None:
    require_role(properties["IamRoleArn"], service="chatbot.amazonaws.com", needs=())
    for arn in properties.get("SnsTopicArns", ()):
        if not sns.exists(arn):
            raise ValueError(f"The topic {arn} does not exist")
    own = (properties["SlackWorkspaceId"], properties["SlackChannelId"])
    for other in _all():
        if other is not standing and own == (other.properties["SlackWorkspaceId"], other.properties["SlackChannelId"]):
            raise ValueError(f"The channel {own[1]} of workspace {own[0]} is configured by {other.physical_id}")
