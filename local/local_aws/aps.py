"""Amazon Managed Service for Prometheus: workspaces and rules as CloudFormation makes them and the API tells them.

Nothing is stored or evaluated. What a definition says is held to what the service documents.
"""

import base64
import re
from typing import Any

from ministack.core.responses import get_account_id, get_region, new_uuid
from ministack.services import cloudwatch_logs, kms

from local_aws.aps_definitions import check_alert_manager, check_rules, topics_in
from local_aws.cloudformation import Type
from local_aws.rest import AwsError, Operation
from local_aws.world import WORLD, Resource

WORKSPACE = "AWS::APS::Workspace"
RULES = "AWS::APS::RuleGroupsNamespace"


def types() -> dict[str, Type]:
    """CloudFormation types."""
    return {WORKSPACE: Type(create=_create_workspace), RULES: Type(create=_create_rules)}


def checks() -> dict[str, Any]:
    """What the service looks at before it makes or changes something."""
    return {WORKSPACE: _check_workspace, RULES: _check_rules}


def operations() -> dict[str, Operation]:
    """The API: from a request's parameters to the answer."""
    return {
        "DescribeAlertManagerDefinition": _describe_alert_manager,
        "DescribeRuleGroupsNamespace": _describe_rules,
        "DescribeWorkspace": lambda asked: {"workspace": _told(workspace_named(asked["workspaceId"]))},
        "ListRuleGroupsNamespaces": _list_rules,
        "ListWorkspaces": lambda _: {"workspaces": [_told(one) for one in WORLD.all(WORKSPACE)]},
    }


def arn_of(path: str) -> str:
    """The workspace that a request to the API is about."""
    found = re.match("/workspaces/([^/]+)", path)
    return workspace_arn(found[1] if found else "*")


def workspace_arn(id_: str) -> str:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonmanagedserviceforprometheus.html"""
    return f"arn:aws:aps:{get_region()}:{get_account_id()}:workspace/{id_}"


def workspace_named(id_: str) -> Resource:
    """The workspace of an id. Raises `rest.AwsError` where there is none."""
    found = WORLD.get(WORKSPACE, workspace_arn(id_))
    if found is None:
        raise AwsError("ResourceNotFoundException", f"The workspace {id_} does not exist", status=404)
    return found


def workspace_of(url: str) -> Resource:
    """The workspace whose address a URL begins with. Raises `ValueError` where there is none.

    One that ends in another slash than the endpoint's own, or has two of them, is none.
    """
    for one in WORLD.all(WORKSPACE):
        endpoint = one.attributes["PrometheusEndpoint"].removesuffix("/")
        if url == endpoint or url.startswith(f"{endpoint}/"):
            return one
    raise ValueError(f"There is no workspace of Amazon Managed Service for Prometheus at {url}")


def topics_of(workspace: Resource) -> list[str]:
    """The topics that a workspace's alert manager sends to."""
    definition = workspace.properties.get("AlertManagerDefinition")
    return topics_in(definition) if definition else []


def attributes_of(id_: str) -> dict[str, str]:
    """What the service gives to a workspace."""
    endpoint = f"https://aps-workspaces.{get_region()}.amazonaws.com/workspaces/{id_}/"
    return {"Arn": workspace_arn(id_), "WorkspaceId": id_, "PrometheusEndpoint": endpoint}


def _create_workspace(_name: str, _properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    attributes = attributes_of(f"ws-{new_uuid()}")
    return attributes["Arn"], attributes


def _create_rules(_name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    id_ = properties["Workspace"].rpartition("/")[2]
    arn = f"arn:aws:aps:{get_region()}:{get_account_id()}:rulegroupsnamespace/{id_}/{properties['Name']}"
    return arn, {"Arn": arn}


def _told(workspace: Resource) -> dict[str, Any]:
    attributes, properties = workspace.attributes, workspace.properties
    told = {
        "arn": attributes["Arn"],
        "createdAt": 0,
        "prometheusEndpoint": attributes["PrometheusEndpoint"],
        "status": {"statusCode": "ACTIVE"},
        "tags": {tag["Key"]: tag["Value"] for tag in properties.get("Tags", ())},
        "workspaceId": attributes["WorkspaceId"],
    }
    told |= {"alias": properties["Alias"]} if "Alias" in properties else {}
    return told | ({"kmsKeyArn": properties["KmsKeyArn"]} if "KmsKeyArn" in properties else {})


def _describe_alert_manager(asked: dict[str, Any]) -> dict[str, Any]:
    properties = workspace_named(asked["workspaceId"]).properties
    if "AlertManagerDefinition" not in properties:
        raise AwsError("ResourceNotFoundException", "There is no alert manager definition", status=404)
    return {"alertManagerDefinition": _file(properties["AlertManagerDefinition"])}


def _describe_rules(asked: dict[str, Any]) -> dict[str, Any]:
    for one in _rules_of(asked["workspaceId"]):
        if one.properties["Name"] == asked["name"]:
            return {"ruleGroupsNamespace": _told_rules(one) | _file(one.properties["Data"])}
    raise AwsError("ResourceNotFoundException", f"There are no rules named {asked['name']}", status=404)


def _list_rules(asked: dict[str, Any]) -> dict[str, Any]:
    return {"ruleGroupsNamespaces": [_told_rules(one) | _file("") for one in _rules_of(asked["workspaceId"])]}


def _rules_of(workspace_id: str) -> list[Resource]:
    return [one for one in WORLD.all(RULES) if one.properties["Workspace"] == workspace_arn(workspace_id)]


def _told_rules(rules: Resource) -> dict[str, Any]:
    return {"arn": rules.physical_id, "name": rules.properties["Name"]}


def _file(text: str) -> dict[str, Any]:
    data = base64.b64encode(text.encode()).decode()
    return {"data": data, "status": {"statusCode": "ACTIVE"}, "createdAt": 0, "modifiedAt": 0}


# --- what it looks at ---


def _check_workspace(properties: dict[str, Any], _standing: Resource | None) -> None:
    if (key := properties.get("KmsKeyArn")) and key.rpartition("/")[2] not in kms._keys:
        raise ValueError(f"The key {key} does not exist")
    logged = [properties.get("LoggingConfiguration", {}).get("LogGroupArn")]
    for one in properties.get("QueryLoggingConfiguration", {}).get("Destinations", ()):
        logged.append(one["CloudWatchLogs"]["LogGroupArn"])
    for arn in filter(None, logged):
        name = arn.removesuffix(":*").rpartition(":log-group:")[2]
        if not arn.endswith(":*") or name not in cloudwatch_logs._log_groups:
            raise ValueError(f"{arn} is not a log group with :* at its end")
    if definition := properties.get("AlertManagerDefinition"):
        check_alert_manager(definition)


def _check_rules(properties: dict[str, Any], standing: Resource | None) -> None:
    workspace = WORLD.get(WORKSPACE, properties["Workspace"])
    if workspace is None:
        raise ValueError(f"The workspace {properties['Workspace']} does not exist")
    others = [one for one in _rules_of(workspace.attributes["WorkspaceId"]) if one is not standing]
    check_rules(properties["Data"], [one.properties["Data"] for one in others])
