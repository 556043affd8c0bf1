"""What a change of a description does to what is deployed already: nothing that holds data or has an identity is lost.

Templates before and after are compared by logical id. Which properties replace a resource is read from two places:
CloudFormation's schemas, as cfn-lint ships them, and the CDK command line's database of CloudFormation's documentation.
Only the second knows what is within FSx's configurations, and `cdk diff` does not say it.
"""

import json
import shutil
from pathlib import Path

import pytest

import cdk_slurm.hyperpod.lifecycle_bundle
from cdk_slurm.rehearsal import DATA_TYPES
from cdk_slurm.spec import HyperPodSpec
from local_aws.schemas import replacing_paths, values_at
from stacks import ClusterStacks

ROOT = Path(__file__).resolve().parents[2]

#: What people would miss: their data, and what others know by its id or address.
PRECIOUS = {
    "AWS::APS::Workspace",
    "AWS::EC2::EIP",
    "AWS::EC2::NatGateway",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::Subnet",
    "AWS::EC2::VPC",
    "AWS::FSx::FileSystem",
    "AWS::Grafana::Workspace",
    "AWS::RDS::DBInstance",
    "AWS::S3::Bucket",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
    "AWS::SageMaker::Cluster",
    "AWS::SecretsManager::Secret",
}

KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
WORKER = {"name": "worker", "type": "ml.c5.4xlarge", "count": 2}
ZONES = [{"availability_zone": "usw2-az1", "private_cidr": "10.2.0.0/16"}]
HYPERPOD = {"compute": [WORKER], "accounting_database": {}}

OBSERVABILITY = {
    "alert_emails": ["ml-platform@example.com"],
    "grafana": {"admins": {"users": ["0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d"]}},
}
SLACK = {"workspace_id": "T07EA123LEP", "channel_id": "C07EZ1ABC23"}
SAML = {"metadata_url": "https://idp.example.com/metadata", "admin_roles": ["admin"]}

BEFORE = {
    "kind": "hyperpod",
    "name": "c",
    "region": "us-west-2",
    "availability_zone": "usw2-az4",
    "network": {"additional_zones": ZONES},
    "storage": {"lustre": {}, "openzfs": {}},
    "data": {"associations": [{"path": "/data", "prefix": "data/"}]},
    "hyperpod": HYPERPOD,
    "users": [{"name": "alice", "uid": 10001}],
    "observability": OBSERVABILITY,
}


def hyperpod(*compute, **fields):
    return {"hyperpod": HYPERPOD | {"compute": [*compute]} | fields}


def storage(lustre=None, openzfs=None):
    return {"storage": {"lustre": lustre or {}, "openzfs": openzfs or {}}}


def observability(**fields):
    return {"observability": OBSERVABILITY | fields}


#: Changes that lose nothing: what a description says instead.
HARMLESS = {
    "another count": hyperpod(WORKER | {"count": 64}),
    "no nodes": hyperpod(WORKER | {"count": 0}),
    "a compute group more": hyperpod(WORKER, WORKER | {"name": "more"}),
    "a compute group before the others": hyperpod(WORKER | {"name": "first"}, WORKER),
    "a compute group in another zone": hyperpod(WORKER, WORKER | {"name": "far", "availability_zone": "usw2-az1"}),
    "a login group": hyperpod(WORKER, login={}),
    "another partition": hyperpod(WORKER | {"partition": "cpu"}),
    "a zone more": {
        "network": {"additional_zones": [*ZONES, {"availability_zone": "usw2-az2", "private_cidr": "10.3.0.0/16"}]}
    },
    "flow logs kept for less long": {"network": {"additional_zones": ZONES, "flow_log_retention_days": 30}},
    "a user more": {"users": [{"name": "alice", "uid": 10001}, {"name": "bob", "uid": 10002}]},
    "tags": {"tags": {"team": "speech"}},
    "logging in to compute nodes with a job only": hyperpod(WORKER, restrict_ssh_to_jobs=True),
    "a mounted bucket": {"storage": {"lustre": {}, "openzfs": {}, "s3": [{"bucket": "sets", "mount": "/sets"}]}},
    "a directory": {"directory": {"uri": "ldaps://ldap.example.com", "base_dn": "dc=example,dc=com"}},
    "a cluster ready for Studio": {"studio": {"domain": None}},
    "an association before the other": {
        "data": {"associations": [{"path": "/checkpoints", "prefix": "c/"}, {"path": "/data", "prefix": "data/"}]}
    },
    "a larger Lustre": storage(lustre={"capacity_gib": 4800}),
    "more metadata IOPS": storage(lustre={"metadata_iops": 12000}),
    "no compression": storage(lustre={"compression": "NONE"}),
    "another mount path": storage(lustre={"mount": "/scratch"}, openzfs={"mount": "/users"}),
    "a larger and faster OpenZFS": storage(openzfs={"capacity_gib": 1024, "throughput_mbps": 320, "iops": 6000}),
    "OpenZFS without backups": storage(openzfs={"backup_retention_days": 0}),
    "file systems that go with their stack": storage({"removal_policy": "destroy"}, {"removal_policy": "destroy"}),
    "a bucket that goes with its stack": {
        "data": {"associations": [{"path": "/data", "prefix": "data/"}], "removal_policy": "destroy"}
    },
    "a larger database": hyperpod(WORKER, accounting_database={"instance_type": "m6g.xlarge", "storage_gib": 200}),
    "a database that goes with its stack": hyperpod(WORKER, accounting_database={"removal_policy": "destroy"}),
    "another threshold": observability(thresholds={"max_gpu_temperature_celsius": 80.0}),
    "alerts repeated more often": observability(repeat_hours={"critical": 0.5}),
    "an address before the other": observability(alert_emails=["oncall@example.com", *OBSERVABILITY["alert_emails"]]),
    "Slack": observability(slack=SLACK),
    "people logging in through SAML": observability(grafana={"saml": SAML}),
    "another administrator": observability(
        grafana={"admins": {"users": ["ffffffff-4e5f-4a6b-8c7d-9e0f1a2b3c4d"]}},
    ),
    "metrics kept for longer": observability(workspace={"retention_days": 1095}),
    "a log of queries": observability(workspace={"query_log_retention_days": 30}),
    "metrics that go with their stack": observability(workspace={"removal_policy": "destroy"}),
    "an exporter to do without": observability(exporters={"optional": ["fabric"]}),
}

#: Changes that lose something, and of what types it is.
REPLACING = {
    "name": ({"name": "d"}, PRECIOUS),
    "private_cidr": (
        {"network": {"additional_zones": ZONES, "private_cidr": "10.9.0.0/16"}},
        {"AWS::EC2::Subnet", "AWS::FSx::FileSystem", "AWS::SageMaker::Cluster"},
    ),
    "public_cidr": (
        {"network": {"additional_zones": ZONES, "public_cidr": "10.9.0.0/16"}},
        {"AWS::EC2::VPC", "AWS::EC2::Subnet", "AWS::EC2::SecurityGroup", "AWS::FSx::FileSystem"},
    ),
    "availability_zone": (
        {"availability_zone": "usw2-az3"},
        {"AWS::EC2::Subnet", "AWS::EC2::EIP", "AWS::FSx::FileSystem", "AWS::SageMaker::Cluster"},
    ),
    "a zone taken away": (
        {"network": {}, "hyperpod": {"compute": [WORKER]}},
        {"AWS::EC2::Subnet", "AWS::RDS::DBInstance", "AWS::SecretsManager::Secret"},
    ),
    "kms_key": (
        {"kms_key": KEY},
        {"AWS::APS::Workspace", "AWS::FSx::FileSystem", "AWS::RDS::DBInstance"},
    ),
    "Lustre's deployment type": (storage(lustre={"deployment_type": "PERSISTENT_1"}), {"AWS::FSx::FileSystem"}),
    "Lustre's version": (storage(lustre={"version": "2.12"}), {"AWS::FSx::FileSystem"}),
    # FSx changes it in place; CloudFormation does not.
    "Lustre's throughput": (storage(lustre={"throughput_mbps_per_tib": 500}), {"AWS::FSx::FileSystem"}),
    "OpenZFS's compression": (storage(openzfs={"compression": "LZ4"}), {"AWS::FSx::FileSystem"}),
    "OpenZFS's record size": (storage(openzfs={"record_size_kib": 64}), {"AWS::FSx::FileSystem"}),
    "OpenZFS's deployment type": (
        storage(openzfs={"deployment_type": "SINGLE_AZ_1", "throughput_mbps": 128}),
        {"AWS::FSx::FileSystem"},
    ),
    "no Lustre": ({"storage": {"openzfs": {}}, "data": {}}, {"AWS::FSx::FileSystem"}),
    "no data": ({"data": None}, {"AWS::S3::Bucket"}),
    "another workspace for metrics": (
        observability(workspace={"existing": "ws-0123abcd"}),
        {"AWS::APS::Workspace"},
    ),
    "an address less": (observability(alert_emails=["oncall@example.com"]), {"AWS::SNS::Subscription"}),
    "no dashboards": (observability(grafana=None), {"AWS::Grafana::Workspace"}),
    "no observability": ({"observability": None}, {"AWS::APS::Workspace", "AWS::Grafana::Workspace"}),
    "the database's name": (hyperpod(WORKER, accounting_database={"name": "other"}), {"AWS::RDS::DBInstance"}),
}


@pytest.fixture(scope="module")
def before(synthesise):
    return synthesise.described(HyperPodSpec.model_validate(BEFORE))


@pytest.fixture(scope="module")
def after(synthesise):
    def change(fields):
        return synthesise.described(HyperPodSpec.model_validate(BEFORE | fields))

    return change


@pytest.mark.parametrize("change", HARMLESS)
def test_a_harmless_change_loses_nothing(before, after, change):
    changed = after(HARMLESS[change])
    assert changed is not before
    assert lost(before, changed) == {}
    assert exports_lost(before, changed) == set()


#: Changes for which `BEFORE` is not the start: what it says instead, and what comes after.
HARMLESS_ELSEWHERE = {
    # Not together with associations.
    "Lustre gets backups": ({"data": {}}, {"data": {}} | storage(lustre={"backup_retention_days": 7})),
    "Lustre's backups are kept longer": (
        {"data": {}} | storage(lustre={"backup_retention_days": 7}),
        {"data": {}} | storage(lustre={"backup_retention_days": 14}),
    ),
    # Without a database nothing else in the storage or cluster stack uses that zone.
    "a compute group of another zone is taken away": (
        {"hyperpod": {"compute": [WORKER, WORKER | {"name": "far", "availability_zone": "usw2-az1"}]}},
        {"hyperpod": {"compute": [WORKER]}},
    ),
    "a compute group is taken away": (
        {"hyperpod": {"compute": [WORKER, WORKER | {"name": "more"}]}},
        {"hyperpod": {"compute": [WORKER]}},
    ),
}


@pytest.mark.parametrize("change", HARMLESS_ELSEWHERE)
def test_a_harmless_change_elsewhere_loses_nothing(after, change):
    before, changed = (after(fields) for fields in HARMLESS_ELSEWHERE[change])
    assert changed is not before
    assert lost(before, changed) == {}
    assert exports_lost(before, changed) == set()


def test_a_changed_script_loses_nothing(before, synthesise, monkeypatch, tmp_path):
    scripts = tmp_path / "scripts"
    shutil.copytree(ROOT / "lifecycle_scripts", scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "on_init_complete.sh").write_text("#!/bin/sh\n", "utf-8")
    monkeypatch.setattr(cdk_slurm.hyperpod.lifecycle_bundle, "lifecycle_scripts", lambda: scripts)
    changed = synthesise.app(lambda app: ClusterStacks(app, HyperPodSpec.model_validate(BEFORE)))
    assert lost(before, changed) == {}
    assert exports_lost(before, changed) == set()
    uris = [json.dumps(a["cluster"].one("AWS::SageMaker::Cluster").properties) for a in (before, changed)]
    assert uris[0] != uris[1]


def test_parts_that_are_added_later_lose_nothing(synthesise):
    smallest = {name: value for name, value in BEFORE.items() if name not in ("network", "storage", "data", "users")}
    smallest["hyperpod"] = {"compute": [WORKER]}
    found = [synthesise.described(HyperPodSpec.model_validate(fields)) for fields in (smallest, BEFORE)]
    assert lost(*found) == {}
    assert exports_lost(*found) == set()


@pytest.mark.parametrize("change", REPLACING)
def test_a_replacing_change_is_seen(before, after, change):
    """So that the tests above can fail, and that what the documentation says of replacements is so."""
    fields, types = REPLACING[change]
    found = {type_ for type_, _ in lost(before, after(fields)).values()}
    assert types <= found & PRECIOUS


@pytest.mark.parametrize("change", REPLACING)
def test_data_that_a_change_takes_out_of_its_stack_is_kept(before, after, change):
    for where, (type_, _) in lost(before, after(REPLACING[change][0])).items():
        stack, _, id = where.partition("/")
        resource = before.templates[stack].resources[id]
        if type_ in DATA_TYPES and stack != "c-cluster":  # whose bucket holds scripts only
            deleted, replaced = resource.kept
            assert deleted in ("Retain", "RetainExceptOnCreate")
            assert replaced == "Retain"


# Comparing


def lost(before, after):
    """What is removed or replaced: type and reason by stack and id."""
    found = {}
    more = True
    while more:  # what stands on something that is replaced may have to be replaced too
        known = set(found)
        for stack, template in before.templates.items():
            changed = after.templates.get(stack)
            for id, resource in template.resources.items():
                where = f"{stack}/{id}"
                if where not in found and (reason := why_lost(before, after, stack, resource, changed, known)):
                    found[where] = (resource.type, reason)
        more = set(found) != known
    return found


def why_lost(before, after, stack, resource, changed, already_lost):
    if changed is None or resource.id not in changed.resources:
        return "removed"
    successor = changed.resources[resource.id]
    if successor.type != resource.type:
        return f"becomes a {successor.type}"
    for path in replacing_paths(resource.type):
        old = named(before, stack, values_at(resource.properties, path))
        new = named(after, stack, values_at(successor.properties, path))
        if old != new:
            return f"{'.'.join(path)} changes from {old} to {new}"
        if stands_on := {where for where in already_lost if f'"{where}"' in json.dumps(old)}:
            return f"{'.'.join(path)} stands on {stands_on}"
    return None


def exports_lost(before, after):
    """CloudFormation refuses to take away what another stack imports, and that stack is updated later."""
    names = [{name for template in assembly for name in template.exports} for assembly in (before, after)]
    return names[0] - names[1]


def named(assembly, stack, value):
    """A value in which references name stack and resource, also where they go through an export."""
    if isinstance(value, list):
        return [named(assembly, stack, item) for item in value]
    if not isinstance(value, dict):
        return value
    match list(value.items()):
        case [("Ref", id)]:
            return f"{stack}/{id}"
        case [("Fn::GetAtt", [id, attribute])]:
            return [f"{stack}/{id}", attribute]
        case [("Fn::ImportValue", name)]:
            [(exporter, exported)] = [
                (other, template.exports[name])
                for other, template in assembly.templates.items()
                if name in template.exports
            ]
            return named(assembly, exporter, exported)
    return {key: named(assembly, stack, item) for key, item in value.items()}
