"""Metrics, dashboards and alerts: where they go, who may send and read them, and in what words they arrive."""

import json
from dataclasses import dataclass

import pytest
import yaml
from aws_cdk import aws_iam as iam

import cdk_slurm.alerts
import cdk_slurm.observability.dashboards
from cdk_slurm.observability import (
    AlertManager,
    AlertTopic,
    ClusterEvents,
    Dashboards,
    GrafanaWorkspace,
    MetricsWorkspace,
    RuleGroups,
)
from cdk_slurm.spec import AlertThresholds, GrafanaAccess, GrafanaConfig, RepeatIntervals, SlackConfig

KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
EMAIL = "ml-platform@example.com"
EXISTING = "https://aps-workspaces.us-west-2.${AWS::URLSuffix}/workspaces/ws-0123abcd-0123-0123-0123-0123456789ab"
SLACK = {"workspace_id": "T07EA123LEP", "channel_id": "C07EZ1ABC23"}
ADMIN = "906754c8a1-0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"
SAML = {"metadata_url": "https://idp.example.com/m", "role_assertion": "groups", "admin_roles": ["root"]}
OWN_ACCOUNT = {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def observed(synthesise, **fields):
    assembly = synthesise(observability={"alert_emails": [EMAIL], "grafana": None} | fields)
    return assembly, assembly["observability"]


def statements(policy, document="PolicyDocument"):
    return {one.get("Sid"): one for one in policy.properties[document]["Statement"]}


def listed(value):
    return value if isinstance(value, list) else [value]


# The workspace


def test_a_workspace_is_named_after_the_cluster_and_keeps_metrics_for_150_days(synthesise):
    _, template = observed(synthesise)
    workspace = template.one("AWS::APS::Workspace").properties
    assert workspace["Alias"] == "c"
    assert workspace["WorkspaceConfiguration"] == {"RetentionPeriodInDays": 150}
    assert not {"KmsKeyArn", "QueryLoggingConfiguration"} & set(workspace)


def test_a_description_says_how_long_metrics_are_kept_and_what_encrypts_them(synthesise):
    assembly = synthesise(
        observability={"alert_emails": [EMAIL], "grafana": None, "workspace": {"retention_days": 400}}, kms_key=KEY
    )
    workspace = assembly["observability"].one("AWS::APS::Workspace")
    assert workspace.at("WorkspaceConfiguration.RetentionPeriodInDays") == 400
    assert workspace.at("KmsKeyArn") == KEY


@pytest.mark.parametrize(
    ("policy", "kept"), [("retain", ("RetainExceptOnCreate", "Retain")), ("destroy", ("Delete", "Delete"))]
)
def test_metrics_are_kept_unless_they_are_to_go(synthesise, policy, kept):
    """But for those of a deployment that fails at its first attempt, which are none."""
    _, template = observed(synthesise, workspace={"removal_policy": policy})
    assert template.one("AWS::APS::Workspace").kept == kept


def test_what_rules_and_alert_manager_fail_at_is_logged(synthesise):
    """CloudFormation gives the ARN of a log group with `:*` at its end, as the service wants it."""
    _, template = observed(synthesise)
    log = template.one("AWS::Logs::LogGroup")
    assert template.one("AWS::APS::Workspace").at("LoggingConfiguration.LogGroupArn") == log.att("Arn")
    assert log.properties == {"LogGroupName": "/aws/vendedlogs/prometheus/c", "RetentionInDays": 30}
    assert log.kept == ("Delete", "Delete")


def test_queries_are_logged_where_that_is_asked_for(synthesise):
    _, template = observed(synthesise, workspace={"query_log_retention_days": 7})
    log = template.one("AWS::Logs::LogGroup", LogGroupName="/aws/vendedlogs/prometheus/c-queries")
    assert log.properties["RetentionInDays"] == 7
    [destination] = template.one("AWS::APS::Workspace").at("QueryLoggingConfiguration.Destinations")
    assert destination == {"CloudWatchLogs": {"LogGroupArn": log.att("Arn")}, "Filters": {"QspThreshold": 0}}


def test_an_existing_workspace_is_not_touched(synthesise):
    template = synthesise.example("existing")["observability"]
    assert not template.all("AWS::APS::Workspace")
    arn = "arn:aws:aps:us-west-2:${AWS::AccountId}:workspace/ws-0123abcd-0123-0123-0123-0123456789ab"
    assembly = synthesise.example("existing")
    assert assembly.text(template.one("AWS::APS::RuleGroupsNamespace").properties["Workspace"]) == arn
    assert assembly.text(template.outputs["RemoteWriteUrl"]) == (f"{EXISTING}/api/v1/remote_write")


@pytest.mark.parametrize("name", ["hyperpod-cpu", "existing"])
def test_addresses_have_one_slash_between_their_parts(synthesise, name):
    """The endpoint of a workspace ends in one."""
    assembly = synthesise.example(name)
    told = assembly.beside_scripts("cluster.json")["metrics"]["remote_write_url"]
    workspace = "https://aps-workspaces.us-west-2.amazonaws.com/workspaces/ws-1/"
    for found in (told, assembly.text(assembly["observability"].outputs["RemoteWriteUrl"])):
        for one in assembly["observability"].all("AWS::APS::Workspace"):
            found = found.replace(f"${{{one.id}.PrometheusEndpoint}}", workspace)
        address, _, rest = found.removeprefix("https://").partition("/api")
        assert rest == "/v1/remote_write"
        assert "//" not in address
        assert not address.endswith("/")


def test_more_may_be_let_send_metrics(synthesise):
    def build(stack):
        metrics = MetricsWorkspace.from_attributes(stack, "Metrics", workspace_id="ws-1")
        role = iam.Role(stack, "Role", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
        metrics.grant_remote_write(role)

    [statement] = synthesise.in_stack(build).one("AWS::IAM::Policy").properties["PolicyDocument"]["Statement"]
    assert statement["Action"] == "aps:RemoteWrite"
    assert json.dumps(statement["Resource"]).count("workspace/ws-1") == 1


# The nodes


def test_nodes_learn_where_metrics_go_and_what_they_may_do_without(synthesise):
    assembly = synthesise.example("existing")
    assert assembly.beside_scripts("cluster.json")["metrics"] == {
        "remote_write_url": assembly.text(assembly["observability"].outputs["RemoteWriteUrl"]),
        "dcgm_image": "111122223333.dkr.ecr.us-west-2.amazonaws.com/mirror/dcgm-exporter"
        f"@sha256:{'0123456789abcdef' * 4}",
        "optional": ["dcgm", "fabric"],
    }


@pytest.mark.parametrize(
    ("type_", "gpu"),
    [
        ("ml.c5.4xlarge", False),
        ("ml.c5n.18xlarge", False),
        ("ml.g5.xlarge", True),
        ("ml.g5.8xlarge", True),
        ("ml.p5.48xlarge", True),
        ("ml.trn1.32xlarge", False),
        # Not in the table yet.
        ("ml.p6e-gb200.36xlarge", True),
        # HyperPod chooses: what only one of them has cannot be counted on.
        (["ml.g5.8xlarge", "ml.c5.4xlarge"], False),
        (["ml.g5.8xlarge", "ml.g5.xlarge"], True),
    ],
)
def test_nodes_learn_which_exporters_they_have(synthesise, type_, gpu):
    group = {"name": "worker", "type": type_, "count": 1}
    assembly = synthesise(hyperpod={"compute": [group]}, observability={"alert_emails": [EMAIL], "grafana": None})
    [worker] = [one for one in assembly.beside_scripts("cluster.json")["instance_groups"] if one["name"] == "worker"]
    assert worker["gpu"] == gpu


def test_without_observability_nodes_learn_nothing_of_it(synthesise):
    known = synthesise().beside_scripts("cluster.json")
    assert "metrics" not in known
    assert not any("gpu" in group for group in known["instance_groups"])


@pytest.mark.parametrize("observability", [None, {"alert_emails": [EMAIL], "grafana": None}])
def test_what_collects_metrics_is_among_the_parts_that_a_node_needs(synthesise, observability, monkeypatch):
    told = []
    monkeypatch.setattr(
        "cdk_slurm.hyperpod.lifecycle_bundle.LifecycleBundle._tell_of_missing",
        lambda self, names, scripts: told.extend(names),
    )
    synthesise(observability=observability, tags={"test": "parts"})
    assert told == (["node-exporter", "prometheus", "prometheus-client"] if observability else [])


def test_the_cluster_needs_address_and_name_of_the_workspace_and_no_more(synthesise):
    """So that dashboards and alerts are changed without the cluster."""
    assembly = synthesise.example("hyperpod-gpu")
    exported = assembly["observability"].exports
    used = {name for name in exported if name in json.dumps(assembly["cluster"].body)}
    workspace = assembly["observability"].one("AWS::APS::Workspace")
    assert used == set(exported)
    assert list(exported.values()) == [workspace.att("Arn"), workspace.att("PrometheusEndpoint")]


# Alerts


@pytest.mark.parametrize("name", ["hyperpod-gpu", "hyperpod-p5"])
def test_the_alert_manager_sends_to_the_topics(synthesise, name):
    assembly = synthesise.example(name)
    template = assembly["observability"]
    text = assembly.text(template.one("AWS::APS::Workspace").properties["AlertManagerDefinition"])
    repeat = synthesise.description(name).observability.repeat_hours
    topics = [f"${{{one.id}}}" for one in template.all("AWS::SNS::Topic")]
    assert len(topics) == (2 if name == "hyperpod-p5" else 1)
    assert text == cdk_slurm.alerts.alert_manager_yaml(
        email_topic_arn=topics[0],
        slack_topic_arn=topics[1] if len(topics) > 1 else None,
        region="us-west-2",
        repeat=repeat,
    )
    assert set(yaml.safe_load(text)) == {"template_files", "alertmanager_config"}


def test_severity_decides_how_often_an_alert_is_sent_again(synthesise):
    found = [
        observed(synthesise, repeat_hours=hours)[1].one("AWS::APS::Workspace").properties["AlertManagerDefinition"]
        for hours in ({}, {"critical": 3.0})
    ]
    assert "3h" in json.dumps(found[1])
    assert found[0] != found[1]


@pytest.mark.parametrize("grafana", [None, {"admins": {"users": [ADMIN]}}])
def test_rules_are_those_of_the_thresholds_and_link_to_the_dashboards(synthesise, grafana):
    thresholds = {"max_gpu_temperature_celsius": 70.0}
    assembly, template = observed(synthesise, thresholds=thresholds, grafana=grafana)
    namespace = template.one("AWS::APS::RuleGroupsNamespace").properties
    url = f"https://${{{template.one('AWS::Grafana::Workspace').id}.Endpoint}}" if grafana else None
    assert namespace["Name"] == "c"
    assert namespace["Workspace"] == template.one("AWS::APS::Workspace").att("Arn")
    text = assembly.text(namespace["Data"])
    assert text == cdk_slurm.alerts.rule_groups_yaml(AlertThresholds(**thresholds), cluster_name="c", grafana_url=url)
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    assert any("70" in rule["expr"] for rule in rules)
    assert any("dashboard" in rule["annotations"] for rule in rules) == bool(grafana)


def test_no_rule_is_evaluated_before_its_alerts_may_be_published(synthesise):
    """The topic's policy names the workspace, so that it cannot be there before the alert manager is."""
    template = synthesise.example("hyperpod-p5")["observability"]
    policies = {one.id for one in template.all("AWS::SNS::TopicPolicy")}
    assert len(policies) == 2
    assert policies <= template.one("AWS::APS::RuleGroupsNamespace").depends_on


def test_an_existing_workspaces_alert_manager_is_its_owners(synthesise):
    template = synthesise.example("existing")["observability"]
    [policy] = template.all("AWS::SNS::TopicPolicy")
    assert "aps.amazonaws.com" not in json.dumps(policy.body)

    def build(stack):
        metrics = MetricsWorkspace.from_attributes(stack, "Metrics", workspace_id="ws-1")
        AlertManager(stack, "Manager", workspace=metrics, topic=AlertTopic(stack, "Topic", name="c", emails=[EMAIL]))

    with pytest.raises(ValueError, match="found the existing ws-1, whose alert manager is its owner's"):
        synthesise.in_stack(build)


def test_more_than_the_service_takes_is_refused(synthesise, monkeypatch):
    monkeypatch.setattr("cdk_slurm.alerts.definition.MAX_BYTES", 1000)

    def build(stack):
        metrics = MetricsWorkspace.from_attributes(stack, "Metrics", workspace_id="ws-1")
        RuleGroups(stack, "Rules", workspace=metrics, cluster_name="c")

    with pytest.raises(ValueError, match="takes 1000 at most"):
        synthesise.in_stack(build)


# Topics


def test_topics_are_encrypted_with_a_key_of_their_own(synthesise):
    template = synthesise.example("hyperpod-p5")["observability"]
    key = template.one("AWS::KMS::Key")
    assert {json.dumps(one.at("KmsMasterKeyId")) for one in template.all("AWS::SNS::Topic")} == {
        json.dumps(key.att("Arn"))
    }
    assert key.properties["EnableKeyRotation"] is True
    assert key.kept == ("Delete", "Delete")


def test_the_key_encrypts_messages_on_these_topics_and_nothing_else(synthesise):
    """The topics say by their names which they are: by reference, key and topics would wait for each other."""
    assembly = synthesise.example("hyperpod-p5")
    template = assembly["observability"]
    own, services = statements(template.one("AWS::KMS::Key"), "KeyPolicy").values()
    assert ":root" in json.dumps(own["Principal"])
    assert services["Principal"] == {"Service": "aps.amazonaws.com"}
    assert services["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    [(condition, values)] = services["Condition"]["StringEquals"].items()
    assert condition == "kms:EncryptionContext:aws:sns:topicArn"
    assert [assembly.text(one) for one in values] == [
        f"arn:aws:sns:us-west-2:${{AWS::AccountId}}:{topic.properties['TopicName']}"
        for topic in template.all("AWS::SNS::Topic")
    ]


@pytest.mark.parametrize("name", ["hyperpod-cpu", "hyperpod-p5"])
def test_only_the_one_workspace_publishes_to_a_topic(synthesise, name):
    template = synthesise.example(name)["observability"]
    workspace = template.one("AWS::APS::Workspace")
    topics = template.all("AWS::SNS::Topic")
    policies = template.all("AWS::SNS::TopicPolicy")
    assert [one.properties["Topics"] for one in policies] == [[topic.ref] for topic in topics]
    for topic, policy in zip(topics, policies, strict=True):
        plain, alerts = statements(policy).values()
        assert (plain["Effect"], plain["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
        assert alerts["Principal"] == {"Service": "aps.amazonaws.com"}
        assert alerts["Action"] == ["sns:GetTopicAttributes", "sns:Publish"]
        assert alerts["Resource"] == topic.ref
        assert alerts["Condition"] == {
            "ArnEquals": {"aws:SourceArn": workspace.att("Arn")},
            "StringEquals": OWN_ACCOUNT,
        }


def test_each_address_reads_the_topic_of_text(synthesise):
    _, template = observed(synthesise, alert_emails=["a@example.com", "b@example.com"], slack=SLACK)
    text, _ = template.all("AWS::SNS::Topic")
    assert [one.properties for one in template.all("AWS::SNS::Subscription")] == [
        {"Protocol": "email", "Endpoint": address, "TopicArn": text.ref}
        for address in ("a@example.com", "b@example.com")
    ]


def test_slack_reads_a_topic_of_its_own_and_nobody_runs_commands_there(synthesise):
    template = synthesise.example("hyperpod-p5")["observability"]
    _, topic = template.all("AWS::SNS::Topic")
    channel = template.one("AWS::Chatbot::SlackChannelConfiguration").properties
    assert channel["SnsTopicArns"] == [topic.ref]
    assert channel["ConfigurationName"] == "p5-cluster-alerts-us-west-2"
    assert (channel["SlackWorkspaceId"], channel["SlackChannelId"]) == ("T07EA123LEP", "C07EZ1ABC23")
    assert "AWSDenyAll" in json.dumps(channel["GuardrailPolicies"])
    role = template.resources[channel["IamRoleArn"]["Fn::GetAtt"][0]]
    assert template.policies_of(role) == []
    assert not {"Policies", "ManagedPolicyArns"} & set(role.properties)
    [trust] = role.properties["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "chatbot.amazonaws.com"}


def test_without_slack_there_is_nothing_of_it(synthesise):
    template = synthesise.example("hyperpod-cpu")["observability"]
    assert "chatbot" not in json.dumps(template.body).lower()
    assert len(template.all("AWS::SNS::Topic")) == 1


# Grafana


def test_people_log_in_through_identity_center(synthesise):
    template = synthesise.example("hyperpod-gpu")["observability"]
    role = template.one("AWS::Grafana::Workspace").properties["RoleArn"]
    assert template.one("AWS::Grafana::Workspace").properties == {
        "Name": "ml-cluster-gpu",
        "Description": "Dashboards of ml-cluster-gpu, a Slurm cluster for training",
        "AccountAccessType": "CURRENT_ACCOUNT",
        "AuthenticationProviders": ["AWS_SSO"],
        "PermissionType": "CUSTOMER_MANAGED",
        "RoleArn": role,
        "DataSources": ["CLOUDWATCH", "PROMETHEUS"],
        "GrafanaVersion": "10.4",
        "PluginAdminEnabled": False,
    }


@pytest.mark.parametrize(("editors", "written"), [([], None), (["research"], ["research"])])
def test_people_log_in_through_an_identity_provider_of_their_own(synthesise, editors, written):
    _, template = observed(synthesise, grafana={"saml": SAML | {"editor_roles": editors}})
    workspace = template.one("AWS::Grafana::Workspace").properties
    assert workspace["AuthenticationProviders"] == ["SAML"]
    roles = {"Admin": ["root"]} | ({"Editor": written} if written else {})
    assert workspace["SamlConfiguration"] == {
        "IdpMetadata": {"Url": "https://idp.example.com/m"},
        "AssertionAttributes": {"Role": "groups"},
        "RoleValues": roles,
    }


def test_grafana_reads_the_one_workspace_and_metrics_of_cloudwatch(synthesise):
    assembly = synthesise.example("hyperpod-gpu")
    template = assembly["observability"]
    role = template.resources[template.one("AWS::Grafana::Workspace").properties["RoleArn"]["Fn::GetAtt"][0]]
    [trust] = role.properties["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "grafana.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == OWN_ACCOUNT
    source = trust["Condition"]["StringLike"]["aws:SourceArn"]
    assert assembly.text(source) == "arn:aws:grafana:us-west-2:${AWS::AccountId}:/workspaces/*"
    [policy] = template.policies_of(role)
    own = statements(policy)
    assert own["ReadMetrics"]["Resource"] == template.one("AWS::APS::Workspace").att("Arn")
    assert {action.partition(":")[0] for action in own["ReadMetrics"]["Action"]} == {"aps"}
    for statement in own.values():
        for action in listed(statement["Action"]):
            assert action.partition(":")[2].startswith(("Get", "List", "Query", "Describe")), action
    assert set(own) == {"ReadMetrics", "ReadCloudWatch"}


def test_without_grafana_there_is_nothing_of_it(synthesise):
    template = synthesise.example("alerts-only")["observability"]
    assert "grafana" not in json.dumps(template.body).lower()
    assert not template.all("AWS::Lambda::Function")


# Dashboards


def installed(assembly):
    return assembly["observability"].one("Custom::GrafanaDashboards")


def test_the_function_learns_where_grafana_and_metrics_are_and_who_has_which_role(synthesise):
    viewers = ADMIN.replace("0a1b2c3d", "ffffffff")
    assembly, template = observed(synthesise, grafana={"admins": {"users": [ADMIN]}, "viewers": {"groups": [viewers]}})
    grafana, metrics = template.one("AWS::Grafana::Workspace"), template.one("AWS::APS::Workspace")
    function = template.one("AWS::Lambda::Function")
    properties = dict(installed(assembly).properties)
    assert len(properties.pop("DashboardsHash")) == 16
    # What is before the slash that the endpoint ends in.
    assert properties.pop("PrometheusUrl") == {
        "Fn::Select": [0, {"Fn::Split": ["/api/v1/remote_write", template.outputs["RemoteWriteUrl"]]}]
    }
    assert assembly.text(template.outputs["RemoteWriteUrl"]).startswith(f"${{{metrics.id}.PrometheusEndpoint}}api")
    assert properties == {
        "ServiceToken": function.att("Arn"),
        "ServiceTimeout": "960",
        "WorkspaceId": grafana.att("Id"),
        "Endpoint": grafana.att("Endpoint"),
        "Region": "us-west-2",
        "Admins": {"Users": [ADMIN], "Groups": []},
        "Viewers": {"Users": [], "Groups": [viewers]},
    }


def test_an_existing_workspace_is_queried_without_the_slash_at_its_end(synthesise):
    assembly = synthesise.example("existing")
    assert assembly.text(installed(assembly).properties["PrometheusUrl"]) == EXISTING


def test_the_function_has_the_dashboards_beside_it(synthesise):
    assembly = synthesise.example("hyperpod-gpu")
    function = assembly["observability"].one("AWS::Lambda::Function")
    assert (function.at("Handler"), function.at("Timeout")) == ("index.handler", 900)
    asset = assembly.directory / f"asset.{function.at('Code.S3Key').removesuffix('.zip')}"
    assert (asset / "index.py").is_file()
    assert not list(asset.rglob("__pycache__"))
    expected = {one.uid: one.json for one in cdk_slurm.observability.dashboards.dashboards()}
    assert {path.stem: path.read_text("utf-8") for path in (asset / "dashboards").iterdir()} == expected


def test_a_changed_dashboard_is_installed_and_an_unchanged_one_is_not(synthesise, monkeypatch):
    @dataclass(frozen=True)
    class Changed:
        uid: str
        json: str

    def digest(tag):
        observability = {"alert_emails": [EMAIL], "grafana": {"admins": {"users": [ADMIN]}}}
        return installed(synthesise(observability=observability, tags={"test": tag})).properties["DashboardsHash"]

    first = digest("first")
    assert digest("second") == first
    monkeypatch.setattr(cdk_slurm.observability.dashboards, "dashboards", lambda: (Changed("a", "{}"),))
    assert digest("third") != first


def test_the_function_may_do_what_it_does_in_its_workspace_only(synthesise):
    assembly = synthesise.example("hyperpod-gpu")
    template = assembly["observability"]
    function = template.one("AWS::Lambda::Function")
    [policy] = template.policies_of(template.resources[function.at("Role")["Fn::GetAtt"][0]])
    own = statements(policy)
    workspace = template.one("AWS::Grafana::Workspace").id
    arn = f"arn:aws:grafana:us-west-2:${{AWS::AccountId}}:/workspaces/${{{workspace}.Id}}"
    for statement in own.values():
        if "grafana:" in str(statement["Action"]):
            assert assembly.text(statement["Resource"]) == arn
            assert not {"grafana:DeleteWorkspace", "grafana:UpdateWorkspace"} & set(listed(statement["Action"]))
    group = template.resources[function.at("LoggingConfig.LogGroup")["Ref"]]
    assert own["WriteLog"]["Resource"] == group.att("Arn")
    assert own["ReadIdentityCenter"]["Resource"] == "*"
    for action in own["ReadIdentityCenter"]["Action"]:
        assert action.partition(":")[2].startswith(("Describe", "Get", "List")), action
    assert own["Assign"]["Action"] == ["sso:CreateApplicationAssignment", "sso:DeleteApplicationAssignment"]
    assert own["Assign"]["Resource"] == "arn:aws:sso::*:application/*/*"
    # Before it can do anything it may.
    assert policy.id in installed(assembly).depends_on


def test_with_saml_the_function_gives_nobody_a_role(synthesise):
    template = synthesise.example("hyperpod-p5")["observability"]
    assert "sso" not in json.dumps([one.body for one in template.all("AWS::IAM::ManagedPolicy")])
    assert "UpdatePermissions" not in json.dumps(template.body)


# Events

STATE = {
    "detail-type": "SageMaker HyperPod Cluster State Change",
    "source": "aws.sagemaker",
    "time": "2025-04-28T16:59:01Z",
    "detail": {"ClusterName": "c", "ClusterStatus": "Failed", "FailureMessage": "No capacity.", "InstanceGroups": []},
}
HEALTH = {
    "detail-type": "SageMaker HyperPod Cluster Node Health Event",
    "source": "aws.sagemaker",
    "time": "2021-10-25T01:52:12Z",
    "detail": {
        "ClusterName": "c",
        "InstanceId": "i-12345678abcdefghi",
        "Tags": {},
        "HealthSummary": {
            "HealthStatus": "Unhealthy",
            "HealthStatusReason": "HyperPod Health Monitoring Agent (HMA) has detected NvidiaErrorTerminate.",
            "RepairAction": "None",
            "Recommendation": "Please Replace the Faulty Node.",
        },
    },
}
OPERATION = {
    "detail-type": "SageMaker HyperPod Cluster Event",
    "source": "aws.sagemaker",
    "time": "2026-06-01T17:20:25Z",
    "detail": {
        "EventDetails": {
            "EventId": "83ea0bb5-be77-45e8-a458-0a87f778a205",
            "ClusterName": "c",
            "InstanceGroupName": "p5Inst",
            "ResourceType": "Instance",
            "EventLevel": "Error",
            "Description": "Instance creation in Cluster c and InstanceGroup p5Inst failed",
        }
    },
}


def changed(event, path, value):
    """An event with another value; without it where there is none."""
    event = json.loads(json.dumps(event))
    *parents, last = path.split(".")
    inner = event
    for name in parents:
        inner = inner[name]
    inner.pop(last)
    if value is not None:
        inner[last] = value
    return event


def matches(pattern, event):
    """As EventBridge does: every field of the pattern has one of its values."""
    return all(
        (matches(wanted, event.get(name) or {}) if isinstance(wanted, dict) else event.get(name) in wanted)
        for name, wanted in pattern.items()
    )


def sent(template, event):
    """What EventBridge sends of an event, by target."""
    found = {}
    for rule in template.all("AWS::Events::Rule"):
        if matches(rule.properties["EventPattern"], event):
            for target in rule.properties["Targets"]:
                transformer = target["InputTransformer"]
                text = transformer["InputTemplate"]
                for name, path in transformer["InputPathsMap"].items():
                    value = event
                    for part in path.removeprefix("$.").split("."):
                        value = value[part]
                    assert f"<{name}>" in text
                    text = text.replace(f"<{name}>", value)
                assert target["Id"] not in found
                found[target["Id"]] = text
    return found


@pytest.fixture
def events(synthesise):
    return observed(synthesise, slack=SLACK)[1]


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (STATE, ["HyperPod cluster c is Failed.", "HyperPod says: No capacity.", "At: 2025-04-28T16:59:01Z"]),
        (
            HEALTH,
            [
                "Node i-12345678abcdefghi of HyperPod cluster c is Unhealthy.",
                "Why: HyperPod Health Monitoring Agent (HMA) has detected NvidiaErrorTerminate.",
                "HyperPod repairs it by: None",
                "HyperPod recommends: Please Replace the Faulty Node.",
                "At: 2021-10-25T01:52:12Z",
            ],
        ),
        (
            OPERATION,
            [
                "Error on HyperPod cluster c.",
                "Instance: Instance creation in Cluster c and InstanceGroup p5Inst failed",
                "More: aws sagemaker describe-cluster-event --cluster-name c "
                "--event-id 83ea0bb5-be77-45e8-a458-0a87f778a205",
                "At: 2026-06-01T17:20:25Z",
            ],
        ),
    ],
)
def test_people_are_told_of_an_event_in_words(events, event, lines):
    told = sent(events, event)
    assert told.keys() == {"Email", "Slack"}
    # EventBridge wants text in quotation marks, and passes them on.
    assert [json.loads(line) for line in told["Email"].splitlines()] == lines
    assert json.loads(told["Slack"]) == {
        "version": "1.0",
        "source": "custom",
        "content": {
            "textType": "client-markdown",
            "title": lines[0].rstrip("."),
            "description": "\n".join(lines[1:]),
        },
        "metadata": {"threadId": "c-events"},
    }


@pytest.mark.parametrize(
    "event",
    [
        changed(STATE, "detail.ClusterName", "another"),
        changed(HEALTH, "detail.ClusterName", "another"),
        changed(OPERATION, "detail.EventDetails.ClusterName", "another"),
        changed(OPERATION, "detail.EventDetails.EventLevel", "Info"),
        changed(STATE, "source", "somebody.else"),
        changed(STATE, "detail-type", "SageMaker Model State Change"),
    ],
)
def test_nobody_is_told_of_other_clusters_and_of_what_goes_well(events, event):
    assert sent(events, event) == {}


@pytest.mark.parametrize(
    "event",
    [
        changed(STATE, "detail.FailureMessage", ""),
        changed(STATE, "detail.ClusterStatus", "InService"),
        changed(HEALTH, "detail.HealthSummary.HealthStatus", "Healthy"),
        changed(OPERATION, "detail.EventDetails.InstanceGroupName", None),
        changed(OPERATION, "detail.EventDetails.EventLevel", "Warn"),
    ],
)
def test_people_are_told_of_what_has_not_all_fields(events, event):
    """EventBridge drops an event without a field that a template names."""
    assert sent(events, event).keys() == {"Email", "Slack"}


def test_events_are_published_as_a_role_that_may_publish_to_these_topics_only(events):
    [arn] = {json.dumps(t["RoleArn"]) for one in events.all("AWS::Events::Rule") for t in one.properties["Targets"]}
    role = events.resources[json.loads(arn)["Fn::GetAtt"][0]]
    [trust] = role.properties["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "events.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": OWN_ACCOUNT}
    [policy] = events.policies_of(role)
    own = statements(policy)
    topics = [one.ref for one in events.all("AWS::SNS::Topic")]
    assert own["Publish"]["Action"] == "sns:Publish"
    assert sorted(map(json.dumps, own["Publish"]["Resource"])) == sorted(map(json.dumps, topics))
    assert own["Encrypt"]["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert own["Encrypt"]["Resource"] == events.one("AWS::KMS::Key").att("Arn")
    for rule in events.all("AWS::Events::Rule"):
        assert policy.id in rule.depends_on


def test_without_slack_events_go_to_the_addresses_only(synthesise):
    assert sent(observed(synthesise)[1], STATE).keys() == {"Email"}


# Constructs of another app


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda stack, _: AlertTopic(stack, "Topic", name="c", emails=["nobody"]),
            "ALERT_EMAIL: alert_emails[0]: found 'nobody'",
        ),
        (
            lambda stack, _: AlertTopic(stack, "Topic", name="c", slack=SlackConfig(workspace_id="x", channel_id="C1")),
            "SLACK_IDS: slack.workspace_id: found 'x'",
        ),
        (
            lambda stack, metrics: RuleGroups(
                stack, "R", workspace=metrics, cluster_name="c", thresholds=AlertThresholds(node_loss_percent=-1)
            ),
            "ALERT_PERCENT: node_loss_percent: found -1 %",
        ),
        (
            lambda stack, metrics: AlertManager(
                stack,
                "M",
                workspace=metrics,
                topic=AlertTopic(stack, "Topic", name="c", emails=[EMAIL]),
                repeat=RepeatIntervals(info=1000),
            ),
            "ALERT_REPEAT: info: found 1000 hours",
        ),
        (
            lambda stack, metrics: GrafanaWorkspace(
                stack, "G", name="c", metrics=metrics, config=GrafanaConfig(admins=GrafanaAccess(users=("alice",)))
            ),
            "GRAFANA_ACCESS_IDS: admins.users[0]: found 'alice'",
        ),
    ],
)
def test_constructs_judge_what_they_are_given(synthesise, build, message):
    with pytest.raises(RuntimeError) as raised:
        synthesise.in_stack(lambda stack: build(stack, MetricsWorkspace(stack, "Metrics", alias="c")))
    assert message in str(raised.value)


def test_events_need_no_cluster(synthesise):
    def build(stack):
        ClusterEvents(stack, "Events", cluster_name="c", topic=AlertTopic(stack, "Topic", name="c", emails=[EMAIL]))

    assert len(synthesise.in_stack(build).all("AWS::Events::Rule")) == 3


def test_dashboards_go_where_somebody_elses_metrics_are(synthesise):
    def build(stack):
        metrics = MetricsWorkspace.from_attributes(stack, "Metrics", workspace_id="ws-1")
        grafana = GrafanaWorkspace(stack, "Grafana", name="c", metrics=metrics)
        Dashboards(stack, "Dashboards", grafana=grafana, metrics=metrics)

    assert synthesise.in_stack(build).one("Custom::GrafanaDashboards").properties["Region"] == {"Ref": "AWS::Region"}
