"""What is uploaded beside the scripts is what the scripts read: the two halves of the project judge each other."""

import json
import re
import zipfile
from dataclasses import astuple
from typing import Any

import pytest

from cdk_slurm.hyperpod import slurm_configuration as writer
from cdk_slurm.rules.instances import instance_facts
from cdk_slurm.spec import AccountingDatabaseConfig
from lifecycle import cluster as reader


@pytest.fixture
def bundle(example) -> dict[str, str]:
    """The files at the cluster's `SourceS3Uri` once the upload has put literals for its markers."""
    [(_, _, upload)] = example.resources("Custom::CDKBucketDeployment")
    files: dict[str, str] = {}
    for key, markers in zip(upload["SourceObjectKeys"], upload["SourceMarkers"], strict=True):
        for name, text in asset(example, key.removesuffix(".zip")).items():
            for marker, value in markers.items():
                text = text.replace(marker, value)
            files[name] = text
    return files


def asset(example, digest: str) -> dict[str, str]:
    directory = example.assembly / f"asset.{digest}"
    if directory.is_dir():
        return {
            path.relative_to(directory).as_posix(): path.read_text("utf-8")
            for path in directory.rglob("*")
            if path.is_file() and "parts" not in path.parts  # which are packages
        }
    with zipfile.ZipFile(directory.with_name(f"asset.{digest}.zip")) as packed:
        return {name: packed.read(name).decode() for name in packed.namelist()}


def test_both_speak_of_the_same_version():
    assert reader.SCHEMA_VERSION == writer.SCHEMA_VERSION


@pytest.fixture
def read(bundle) -> reader.Cluster:
    """What the lifecycle makes of `cluster.json`."""
    return reader.parse_cluster(bundle["cluster.json"])


def test_the_lifecycle_reads_what_is_uploaded(example, read):
    described = example.described
    hyperpod = described.hyperpod
    assert (read.name, read.region) == (described.name, described.region)
    assert read.slurm_configuration == hyperpod.slurm_configuration
    assert read.restrict_ssh_to_jobs == hyperpod.restrict_ssh_to_jobs
    assert {name: (one.node_type, one.ebs_volume) for name, one in read.instance_groups.items()} == {
        group.name: (node_type, group.ebs_volume_gib is not None) for node_type, group in hyperpod.groups
    }
    assert {one.name for one in read.instance_groups.values() if one.partition} == {
        group.name for group in hyperpod.compute
    }


def test_the_lifecycle_reads_of_mounted_buckets(example, read):
    described = [(one.bucket, one.mount, one.prefix, one.read_only) for one in example.described.storage.s3]
    assert [(one.bucket, one.path, one.prefix, one.read_only) for one in read.s3_mounts] == described


def test_the_lifecycle_reads_of_a_directory(example, read):
    described = example.described.directory
    assert (read.directory is None) == (described is None)
    if described:
        found = read.directory
        assert (found.uri, found.base_dn, found.bind_dn) == (described.uri, described.base_dn, described.bind_dn)
        assert (found.bind_secret_arn, found.ca_certificate) == (described.bind_secret, described.ca_certificate)


def test_the_lifecycle_reads_of_studio(example, read):
    described = example.described.studio
    assert (read.studio is None) == (described is None)
    if described:
        workspace, found = described.workspace, read.studio
        path = workspace.path_on(example.described.storage.lustre.mount)
        assert astuple(found.workspace) == (path, workspace.uid, workspace.gid)
        people = [(f"{path}/{user.name}", user.uid, user.gid or user.uid) for user in example.described.users]
        of_their_own = described.domain is not None and described.domain.lustre == "per_user"
        assert [astuple(one) for one in found.directories] == (people if of_their_own else [])
        mounted = [directory for directory, _, _ in people] if of_their_own else [path.rpartition("/")[0]]
        assert list(found.mounted) == mounted
        assert re.fullmatch(r"s3://sagemaker-[\w.-]+/studio", found.client_s3_uri)
        secrets = [properties for _, _, properties in example.resources("AWS::SecretsManager::Secret")]
        assert "MUNGE key" in " ".join(one.get("Description", "") for one in secrets)
        assert found.munge_secret_arn.startswith("arn:aws:secretsmanager:")


def test_the_lifecycle_reads_where_metrics_go_and_from_which_exporters(example, read):
    described = example.described.observability
    assert (read.metrics is None) == (described is None)
    if described:
        assert re.fullmatch(
            r"https://aps-workspaces\.[a-z0-9-]+\.amazonaws\.com/workspaces/ws-[0-9a-f-]+/api/v1/remote_write",
            read.metrics.remote_write_url,
        )
        assert read.metrics.dcgm_image == described.exporters.dcgm_image
        assert read.metrics.optional == set(described.exporters.optional)
    groups = {group.name: group.types for _, group in example.described.hyperpod.groups}
    for name, group in read.instance_groups.items():
        facts = [instance_facts(one) for one in groups[name]]
        assert group.gpu == (described is not None and all(one.gpus for one in facts))


def test_the_lifecycle_reads_as_whom_to_use_the_database(example, read):
    ours = isinstance(example.described.hyperpod.accounting_database, AccountingDatabaseConfig)
    assert (read.accounting_database.user if read.accounting_database else None) == ("slurm" if ours else None)


def test_nothing_known_only_at_deployment_is_left(bundle):
    for name in bundle:
        if name.endswith(".json"):
            assert "<<marker" not in bundle[name]
            assert "${Token" not in bundle[name]
            json.loads(bundle[name])


def test_mounts_users_and_database_arrive(example, bundle):
    """Values that are not there are missing or null: JSON from CDK leaves nulls out."""
    content = json.loads(bundle["cluster.json"])
    described = example.described
    storage = {"lustre": described.storage.lustre, "openzfs": described.storage.openzfs}
    for name, file_system in storage.items():
        mounted = content["mounts"].get(name)
        assert (mounted is None) == (file_system is None)
        if mounted:
            assert mounted["path"] == file_system.mount
            assert mounted["dns_name"].startswith("fs-")
    assert [(user["name"], user["uid"]) for user in content["users"]] == [
        (user.name, user.uid) for user in described.users
    ]
    database = content.get("accounting_database")
    assert (database is None) == (described.hyperpod.accounting_database is None)
    if database:
        assert database["endpoint"].endswith(".rds.amazonaws.com")
        assert database["port"] == 3306


def test_the_cluster_runs_scripts_that_are_in_the_bundle(example, bundle):
    [(_, _, upload)] = example.resources("Custom::CDKBucketDeployment")
    [(_, _, cluster)] = example.resources("AWS::SageMaker::Cluster")
    uri = f"s3://{upload['DestinationBucketName']}/{upload['DestinationBucketKeyPrefix']}"
    for group in cluster["InstanceGroups"]:
        lifecycle = dict(group["LifeCycleConfig"])
        assert lifecycle.pop("SourceS3Uri") == uri
        [script] = lifecycle.values()
        assert bundle[script].startswith("#!")
    assert bundle["lifecycle/__main__.py"]


def test_provisioning_parameters_name_the_groups(example, bundle):
    """https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-ref.html"""
    hyperpod = example.described.hyperpod
    if hyperpod.slurm_configuration == "api":
        assert "provisioning_parameters.json" not in bundle, "HyperPod refuses both forms at once"
        return
    content: dict[str, Any] = json.loads(bundle["provisioning_parameters.json"])
    assert content["workload_manager"] == "slurm"
    assert content["controller_group"] == hyperpod.controller.name
    assert content.get("login_group") == (hyperpod.login.name if hyperpod.login else None)
    assert [group["instance_group_name"] for group in content["worker_groups"]] == [
        group.name for group in hyperpod.compute
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"instance_groups": None}, "known shape"),
        ({"slurm_configuration": "yes"}, "slurm_configuration"),
        ({"instance_groups": [{"name": "worker", "node_type": "Worker", "partition": "p"}]}, "node_type"),
    ],
)
def test_the_lifecycle_refuses_another_shape(change, text):
    good = {
        "schema_version": writer.SCHEMA_VERSION,
        "cluster_name": "ml-cluster",
        "region": "us-west-2",
        "slurm_configuration": "api",
        "instance_groups": [{"name": "worker", "node_type": "compute", "partition": "p"}],
    }
    reader.parse_cluster(json.dumps(good))
    with pytest.raises(Exception, match=text) as raised:
        reader.parse_cluster(json.dumps(good | change))
    assert type(raised.value).__name__ == "StepError"
