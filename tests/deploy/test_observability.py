"""An observability stack by itself: what people find in Grafana, and what they are told."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cdk_slurm.assembly import Assembly
from cdk_slurm.dashboards import dashboards
from cdk_slurm.rehearsal import CdkError, LocalAws, Stage, deployed_dashboards, grafana
from tests.deploy.lives import loaded, synthesised

ADMINS = ["93670dab11-0a1b2c3d-1111-2222-3333-444455556666"]

DESCRIBED = {
    "kind": "hyperpod",
    "name": "seen",
    "region": "us-west-2",
    "availability_zone": "usw2-az4",
    "hyperpod": {"compute": [{"name": "worker", "type": "ml.c5.large", "count": 1}]},
    "observability": {
        "workspace": {"removal_policy": "destroy"},
        "alert_emails": ["ml-platform@example.com"],
        "slack": {"workspace_id": "T07EA123LEP", "channel_id": "C07EZ1ABC23"},
        "grafana": {"admins": {"groups": ADMINS}},
    },
}
STACK = "seen-observability"


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    return synthesised(loaded(DESCRIBED), tmp_path_factory.mktemp("seen"))


@pytest.fixture(scope="module")
def aws(assembly: Assembly) -> Iterator[LocalAws]:
    with LocalAws(region="us-west-2") as started:
        stage = Stage(started)
        stage.bootstrap(assembly)
        stage.deploy(assembly, STACK)
        yield started


@pytest.fixture(scope="module")
def workspace(aws: LocalAws) -> str:
    [found] = aws.client("grafana").list_workspaces()["workspaces"]
    return found["id"]


def told(aws: LocalAws) -> set[tuple[str, int]]:
    return {(one.uid, one.version) for one in deployed_dashboards(aws)}


# --- events ---

CLUSTER = {"ClusterArn": "arn:aws:sagemaker:us-west-2:111122223333:cluster/abc", "ClusterName": "seen"}

#: As AWS documents them.
#: https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html
EVENTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "SageMaker HyperPod Cluster State Change": (
        {**CLUSTER, "ClusterStatus": "Failed", "FailureMessage": "No capacity", "InstanceGroups": []},
        ["Failed", "No capacity"],
    ),
    "SageMaker HyperPod Cluster Node Health Event": (
        {
            **CLUSTER,
            "InstanceId": "i-0391f86fa0fe0d465",
            "HealthSummary": {
                "HealthStatus": "Unhealthy",
                "HealthStatusReason": "The agent has detected fault type NvidiaErrorTerminate",
                "RepairAction": "Replace",
                "Recommendation": "Please Replace the Faulty Node.",
            },
        },
        ["i-0391f86fa0fe0d465", "Unhealthy", "NvidiaErrorTerminate", "Replace"],
    ),
    "SageMaker HyperPod Cluster Event": (
        {
            "EventDetails": {
                **CLUSTER,
                "EventId": "83ea2f09",
                "EventLevel": "Error",
                "ResourceType": "Instance",
                "EventTime": 1748794825350,
                "Description": "Instance creation in Cluster seen failed",
            }
        },
        ["Error", "Instance creation in Cluster seen failed", "83ea2f09"],
    ),
}


@pytest.fixture(scope="module")
def readers(aws: LocalAws) -> dict[str, str]:
    """A queue that hears of each topic, by the topic's name."""
    sns, sqs = aws.client("sns"), aws.client("sqs")
    queues = {}
    for one in sns.list_topics()["Topics"]:
        name = one["TopicArn"].rpartition(":")[2]
        queues[name] = sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queues[name], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=one["TopicArn"], Protocol="sqs", Endpoint=arn)
    return queues


def heard(aws: LocalAws, queue: str) -> list[str]:
    sqs = aws.client("sqs")
    found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", [])
    for one in found:
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=one["ReceiptHandle"])
    return [json.loads(one["Body"])["Message"] for one in found]


@pytest.mark.parametrize("kind", EVENTS)
def test_what_happens_to_the_cluster_is_told_in_words(aws, readers, kind):
    detail, words = EVENTS[kind]
    aws.ask("event", {"source": "aws.sagemaker", "detail-type": kind, "detail": detail})
    [text] = heard(aws, readers["seen-alerts"])
    [notification] = map(json.loads, heard(aws, readers["seen-alerts-slack"]))
    assert (notification["version"], notification["source"]) == ("1.0", "custom")
    told = notification["content"]["title"] + notification["content"]["description"]
    for word in ["seen", *words]:
        assert word in text
        assert word in told
    assert "<" not in text + told, "a field of the template that is not filled in"


QUIET = {
    "of another cluster": ("SageMaker HyperPod Cluster State Change", {**CLUSTER, "ClusterName": "other"}),
    "of no interest": (
        "SageMaker HyperPod Cluster Event",
        {"EventDetails": {**CLUSTER, "EventLevel": "Info", "Description": "x", "ResourceType": "x", "EventId": "x"}},
    ),
    "of something else": ("SageMaker Training Job State Change", CLUSTER),
}


@pytest.mark.parametrize("what", QUIET)
def test_what_is_not_the_clusters_or_not_worth_a_mail_is_not_told(aws, readers, what):
    kind, detail = QUIET[what]
    aws.ask("event", {"source": "aws.sagemaker", "detail-type": kind, "detail": detail})
    assert heard(aws, readers["seen-alerts"]) == []


# --- Grafana ---


def test_people_find_the_dashboards_with_alerting_on_and_their_roles(aws, workspace):
    assert told(aws) == {(one.uid, 1) for one in dashboards()}
    amg = aws.client("grafana")
    configuration = json.loads(amg.describe_workspace_configuration(workspaceId=workspace)["configuration"])
    assert configuration == {"plugins": {"pluginAdminEnabled": False}, "unifiedAlerting": {"enabled": True}}
    permissions = amg.list_permissions(workspaceId=workspace)["permissions"]
    assert [(one["role"], one["user"]["id"]) for one in permissions] == [("ADMIN", ADMINS[0])]
    accounts = amg.list_workspace_service_accounts(workspaceId=workspace)["serviceAccounts"]
    assert accounts == [], "its way in is closed"


def test_what_grafana_says_reaches_who_deploys_and_the_rollback_leaves_what_was(aws, workspace, monkeypatch, tmp_path):
    """Somebody saved a dashboard in our folder, under the title that one of ours is going to have."""
    from cdk_slurm.observability import dashboards as construct

    first, *rest = dashboards()
    renamed = json.loads(first.json) | {"title": "Somebody's"}
    changed = first.__class__(**{**vars(first), "title": "Somebody's", "json": json.dumps(renamed)})
    monkeypatch.setattr(construct, "dashboards", lambda: (changed, *rest))
    successor = synthesised(loaded(DESCRIBED), tmp_path)
    with grafana(aws, workspace) as own:
        body = {"dashboard": {"uid": "theirs", "title": "Somebody's"}, "folderUid": "cdk-slurm"}
        own.send("POST", "/api/dashboards/db", body)
    stage = Stage(aws)
    with pytest.raises(CdkError) as failed:
        stage.deploy(successor, STACK)
    assert "/api/dashboards/db: 412 A dashboard with the same name in the folder already exists" in str(failed.value)
    assert told(aws) == {("theirs", 1)} | {(one.uid, 1) for one in dashboards()}
    with grafana(aws, workspace) as own:
        own.send("DELETE", "/api/dashboards/uid/theirs")
    stage.deploy(successor, STACK)
    assert told(aws) == {(one.uid, 2 if one.uid == first.uid else 1) for one in dashboards()}


def test_what_is_removed_from_the_stack_is_removed_from_grafana_and_nothing_else(aws, workspace):
    with grafana(aws, workspace) as own:
        own.send("POST", "/api/dashboards/db", {"dashboard": {"uid": "theirs", "title": "Somebody's"}})
    client = aws.client("cloudformation")
    template = client.get_template(StackName=STACK)["TemplateBody"]
    template = template if isinstance(template, dict) else json.loads(template)
    kept = {name: one for name, one in template["Resources"].items() if one["Type"] != "Custom::GrafanaDashboards"}
    client.update_stack(
        StackName=STACK,
        TemplateBody=json.dumps(template | {"Resources": kept}),
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
    )
    client.get_waiter("stack_update_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    assert told(aws) == {("theirs", 1)}
    with grafana(aws, workspace) as own:
        assert own.get("/api/datasources") == []
    assert aws.client("grafana").list_permissions(workspaceId=workspace)["permissions"] == []


def test_destroying_takes_all_of_it(aws, assembly):
    Stage(aws).destroy(assembly, STACK)
    assert aws.client("grafana").list_workspaces()["workspaces"] == []
    assert aws.client("amp").list_workspaces()["workspaces"] == []
    assert aws.left_behind() == []
