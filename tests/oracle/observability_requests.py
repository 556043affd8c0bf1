"""What the services are asked for when CloudFormation makes the resources of metrics, dashboards and alerts.

Each function gives the request that a resource's properties become, in the API's own names; None where it is not made.
"""

import re
from typing import Any

Request = dict[str, Any] | None

_WORKSPACE = "ws-0123abcd-0123-0123-0123-0123456789ab"


def metrics_workspace(properties: dict[str, Any]) -> Request:
    request = {"alias": properties["Alias"], "kmsKeyArn": properties.get("KmsKeyArn")}
    return {name: value for name, value in request.items() if value is not None}


def metrics_retention(properties: dict[str, Any]) -> Request:
    days = properties["WorkspaceConfiguration"]["RetentionPeriodInDays"]
    return {"workspaceId": _WORKSPACE, "retentionPeriodInDays": days}


def metrics_log(properties: dict[str, Any]) -> Request:
    return {"workspaceId": _WORKSPACE, "logGroupArn": properties["LoggingConfiguration"]["LogGroupArn"]}


def metrics_query_log(properties: dict[str, Any]) -> Request:
    if "QueryLoggingConfiguration" not in properties:
        return None
    destinations = properties["QueryLoggingConfiguration"]["Destinations"]
    return {
        "workspaceId": _WORKSPACE,
        "destinations": [
            {
                "cloudWatchLogs": {"logGroupArn": one["CloudWatchLogs"]["LogGroupArn"]},
                "filters": {"qspThreshold": one["Filters"]["QspThreshold"]},
            }
            for one in destinations
        ],
    }


def alert_manager(properties: dict[str, Any]) -> Request:
    return {"workspaceId": _WORKSPACE, "data": properties["AlertManagerDefinition"].encode()}


def rule_groups(properties: dict[str, Any]) -> Request:
    workspace = properties["Workspace"].rpartition("/")[2]
    return {"workspaceId": workspace, "name": properties["Name"], "data": properties["Data"].encode()}


def grafana_workspace(properties: dict[str, Any]) -> Request:
    return {
        "accountAccessType": properties["AccountAccessType"],
        "permissionType": properties["PermissionType"],
        "authenticationProviders": properties["AuthenticationProviders"],
        "workspaceName": properties["Name"],
        "workspaceDescription": properties["Description"],
        "workspaceDataSources": properties["DataSources"],
        "workspaceRoleArn": properties["RoleArn"],
        "grafanaVersion": properties["GrafanaVersion"],
    }


def grafana_authentication(properties: dict[str, Any]) -> Request:
    request = {"workspaceId": "g-0123456789", "authenticationProviders": properties["AuthenticationProviders"]}
    if "SamlConfiguration" in properties:
        request["samlConfiguration"] = _first_letters_small(properties["SamlConfiguration"])
    return request


def slack_channel(properties: dict[str, Any]) -> Request:
    return {
        "SlackTeamId": properties["SlackWorkspaceId"],
        "SlackChannelId": properties["SlackChannelId"],
        "SnsTopicArns": properties["SnsTopicArns"],
        "IamRoleArn": properties["IamRoleArn"],
        "ConfigurationName": properties["ConfigurationName"],
        "LoggingLevel": properties["LoggingLevel"],
        "GuardrailPolicyArns": properties["GuardrailPolicies"],
    }


def topic(properties: dict[str, Any]) -> Request:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,256}", properties["TopicName"])  # which the model does not say
    attributes = {"DisplayName": properties["DisplayName"], "KmsMasterKeyId": properties["KmsMasterKeyId"]}
    return {"Name": properties["TopicName"], "Attributes": attributes}


def event_targets(properties: dict[str, Any]) -> Request:
    return {"Rule": "a-rule", "Targets": properties["Targets"]}


REQUESTS = [
    ("AWS::APS::Workspace", "amp", "CreateWorkspaceRequest", metrics_workspace),
    ("AWS::APS::Workspace", "amp", "UpdateWorkspaceConfigurationRequest", metrics_retention),
    ("AWS::APS::Workspace", "amp", "CreateLoggingConfigurationRequest", metrics_log),
    ("AWS::APS::Workspace", "amp", "CreateQueryLoggingConfigurationRequest", metrics_query_log),
    ("AWS::APS::Workspace", "amp", "CreateAlertManagerDefinitionRequest", alert_manager),
    ("AWS::APS::RuleGroupsNamespace", "amp", "CreateRuleGroupsNamespaceRequest", rule_groups),
    ("AWS::Grafana::Workspace", "grafana", "CreateWorkspaceRequest", grafana_workspace),
    ("AWS::Grafana::Workspace", "grafana", "UpdateWorkspaceAuthenticationRequest", grafana_authentication),
    ("AWS::Chatbot::SlackChannelConfiguration", "chatbot", "CreateSlackChannelConfigurationRequest", slack_channel),
    ("AWS::SNS::Topic", "sns", "CreateTopicInput", topic),
    ("AWS::Events::Rule", "events", "PutTargetsRequest", event_targets),
]


def _first_letters_small(value: Any) -> Any:
    if isinstance(value, dict):
        return {key[0].lower() + key[1:]: _first_letters_small(item) for key, item in value.items()}
    return value
