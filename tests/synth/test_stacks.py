"""Stacks and apps: what is deployed together, protected, told to people, and refused."""

import json
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import aws_cdk as cdk
import pytest

from cdk_slurm.findings import SILENCED_RULES
from cdk_slurm.hyperpod import HyperPodCluster
from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import (
    ComputeGroup,
    HyperPodConfig,
    HyperPodSpec,
    LustreConfig,
    NetworkConfig,
    ParallelClusterSpec,
)
from cdk_slurm.storage import (
    DataBucket,
    LustreFileSystem,
)
from stacks import ClusterStacks

ROOT = Path(__file__).resolve().parents[2]
WORKER = {"name": "worker", "type": "ml.c5.4xlarge", "count": 2}
ASSOCIATIONS = [{"path": "/data"}]
DESTROY = {"removal_policy": "destroy"}
#: An error of one rule, and of no other.
ODD_CAPACITY = {"lustre": {"capacity_gib": 1300}}


def described(**fields):
    smallest = {"kind": "hyperpod", "name": "c", "region": "us-west-2", "availability_zone": "usw2-az4"}
    return HyperPodSpec.model_validate(smallest | {"hyperpod": {"compute": [WORKER]}} | fields)


# Stacks of one description


@pytest.mark.parametrize(
    ("fields", "stacks"),
    [
        ({}, ["network", "cluster"]),
        ({"storage": {"openzfs": {}}}, ["network", "storage", "cluster"]),
        ({"data": {}}, ["network", "storage", "cluster"]),
        (
            {"data": {"associations": ASSOCIATIONS}, "storage": {"lustre": {}}},
            ["network", "storage", "data", "cluster"],
        ),
        ({"observability": {}}, ["network", "observability", "cluster"]),
    ],
)
def test_a_cluster_has_a_stack_for_each_lifetime(synthesise, fields, stacks):
    assembly = synthesise(name="ml-cluster", **fields)
    assert set(assembly.templates) == {f"ml-cluster-{stack}" for stack in stacks}


@pytest.mark.parametrize(
    ("fields", "protected"),
    [
        ({}, set()),
        ({"storage": {"lustre": {}}}, {"network", "storage"}),
        ({"storage": {"openzfs": {}}}, {"network", "storage"}),
        ({"storage": {"lustre": DESTROY, "openzfs": {}}}, {"network", "storage"}),
        ({"storage": {"lustre": DESTROY, "openzfs": DESTROY}}, set()),
        # Nothing of a bucket stands in the network.
        ({"data": {}}, {"storage"}),
        ({"data": DESTROY}, set()),
        ({"data": {"bucket": "someones-data"}}, set()),
        ({"storage": {"lustre": DESTROY}, "data": DESTROY | {"associations": ASSOCIATIONS}}, set()),
        # Nothing of metrics stands in the network.
        ({"observability": {}}, {"observability"}),
        ({"observability": {"workspace": DESTROY}}, set()),
        ({"observability": {"workspace": {"existing": "ws-0123abcd"}}}, set()),
    ],
)
def test_what_holds_data_is_protected_and_nothing_else(synthesise, fields, protected):
    assembly = synthesise(**fields)
    stacks = {name.removeprefix("c-") for name in assembly.templates}
    found = {stack for stack in stacks if assembly.stack(stack)["properties"]["terminationProtection"]}
    assert found == protected


def test_a_database_that_is_kept_protects_its_stack_and_the_network(synthesise):
    assembly = synthesise.example("single-az-database")
    protection = {
        s: assembly.stack(s)["properties"]["terminationProtection"] for s in ("network", "storage", "cluster")
    }
    assert protection == {"network": True, "storage": True, "cluster": False}


def test_outputs_have_the_names_that_the_tutorials_consume(synthesise):
    assembly = synthesise.example("hyperpod-cpu")
    network, storage, cluster = assembly["network"], assembly["storage"], assembly["cluster"]
    public, private = network.all("AWS::EC2::Subnet")
    lustre = storage.one("AWS::FSx::FileSystem", FileSystemType="LUSTRE")
    openzfs = storage.one("AWS::FSx::FileSystem", FileSystemType="OPENZFS")
    assert network.outputs == {
        "VPC": network.one("AWS::EC2::VPC").ref,
        "PublicSubnet": public.ref,
        "PrimaryPrivateSubnet": private.ref,
        "SecurityGroup": network.one("AWS::EC2::SecurityGroup").att("GroupId"),
    }
    assert storage.outputs == {
        "FSxLustreFilesystemId": lustre.ref,
        "FSxLustreFilesystemMountname": lustre.att("LustreMountName"),
        "FSxLustreFilesystemDNSname": lustre.att("DNSName"),
        "FSxORootVolumeId": openzfs.att("RootVolumeId"),
        "S3BucketName": storage.one("AWS::S3::Bucket").ref,
    }
    assert cluster.outputs == {
        "ClusterName": "ml-cluster",
        "ClusterArn": cluster.one("AWS::SageMaker::Cluster").att("ClusterArn"),
    }


def test_outputs_tell_where_metrics_dashboards_and_alerts_are(synthesise):
    assembly = synthesise.example("hyperpod-gpu")
    template = assembly["observability"]
    workspace, grafana = template.one("AWS::APS::Workspace"), template.one("AWS::Grafana::Workspace")
    assert {name: assembly.text(value) for name, value in template.outputs.items()} == {
        "MetricsWorkspaceId": f"${{{workspace.id}.WorkspaceId}}",
        "RemoteWriteUrl": f"${{{workspace.id}.PrometheusEndpoint}}api/v1/remote_write",
        "GrafanaUrl": f"https://${{{grafana.id}.Endpoint}}",
        "AlertTopicArn": f"${{{template.one('AWS::SNS::Topic').id}}}",
    }


def test_outputs_are_of_what_there_is(synthesise):
    names = {name for template in synthesise().templates.values() for name in template.outputs}
    assert not names & {"FSxLustreFilesystemId", "FSxORootVolumeId", "S3BucketName", "MetricsWorkspaceId"}
    assert "GrafanaUrl" not in synthesise.example("alerts-only")["observability"].outputs


def test_every_stack_carries_the_tags(synthesise):
    """CloudFormation hands a stack's tags to every resource in it that takes tags."""
    assembly = synthesise.example("hyperpod-p5")
    stacks = [a for a in assembly.manifest["artifacts"].values() if a["type"] == "aws:cloudformation:stack"]
    assert len(stacks) == 5
    assert [stack["properties"]["tags"] for stack in stacks] == [{"team": "foundation-models"}] * 5


def test_every_stack_says_what_it_is(synthesise, example):
    for name, template in synthesise.example(example).templates.items():
        assert name.rpartition("-")[0] in template.body["Description"]


def test_no_stack_is_empty(synthesise, any_cluster):
    """CloudFormation refuses one, and so does CDK, unless the command line adds its metadata to every stack."""
    empty = {name for name, template in synthesise.example(any_cluster).templates.items() if not template.resources}
    assert empty == set()


# Environments


def test_synthesis_asks_nothing_of_aws(synthesise, any_cluster):
    assembly = synthesise.example(any_cluster)
    assert "missing" not in assembly.manifest
    for template in assembly:
        parameters = template.body.get("Parameters", {})
        assert set(parameters) <= {"BootstrapVersion"}


@pytest.mark.parametrize(
    ("fields", "environment"),
    [
        ({}, "aws://unknown-account/us-west-2"),
        ({"account": "111122223333"}, "aws://111122223333/us-west-2"),
    ],
)
def test_a_cluster_is_for_its_region_and_account(synthesise, fields, environment):
    assembly = synthesise(storage={"lustre": {}}, **fields)
    assert {assembly.stack(s)["environment"] for s in ("network", "storage", "cluster")} == {environment}
    assert "missing" not in assembly.manifest


@pytest.fixture(scope="module")
def one_stack(synthesise, everything):
    """The template of a stack that holds everything and that any account and Region may deploy."""
    return synthesise.in_stack(everything)


def test_one_stack_for_any_account_and_region_holds_everything(one_stack):
    endpoint = one_stack.one("AWS::EC2::VPCEndpoint").properties
    assert endpoint["ServiceName"] == {"Fn::Join": ["", ["com.amazonaws.", {"Ref": "AWS::Region"}, ".s3"]]}
    # CloudFormation refuses resources that wait for each other; so does the sorter.
    needs = waits_for(one_stack)
    assert set(TopologicalSorter(needs).static_order()) == set(one_stack.resources)
    association = one_stack.one("AWS::FSx::DataRepositoryAssociation").id
    assert not [id for id, needed in needs.items() if association in needed]


@pytest.mark.parametrize(
    "type_",
    [
        # Ways out, and to S3.
        "AWS::EC2::Route",
        "AWS::EC2::SubnetRouteTableAssociation",
        "AWS::EC2::VPCEndpoint",
        # Ways to each other, to the file systems and to the database.
        "AWS::EC2::SecurityGroupIngress",
        "AWS::EC2::SecurityGroupEgress",
        "AWS::FSx::FileSystem",
        "AWS::RDS::DBInstance",
        "AWS::SecretsManager::SecretTargetAttachment",
    ],
)
def test_what_nodes_reach_is_there_before_them(one_stack, type_):
    """HyperPod starts nodes while the cluster is being made. In a stack of its own it comes last anyway."""
    needs = waits_for(one_stack)
    before, further = set(), {one_stack.one("AWS::SageMaker::Cluster").id}
    while further:
        before |= further
        further = {id for known in further for id in needs[known]} - before
    there = {resource.id for resource in one_stack.all(type_)}
    assert there
    assert there <= before


def waits_for(template):
    """For each resource those that are made before it, as it refers to them or says so."""
    return {
        resource.id: {other for other in template.resources if f'"{other}"' in json.dumps(resource.body)}
        - {resource.id}
        for resource in template.resources.values()
    }


def test_more_may_be_granted_to_the_nodes(synthesise, everything):
    def build(stack):
        DataBucket(stack, "More").bucket.grant_read(everything(stack).role)

    template = synthesise.in_stack(build)
    cluster = template.one("AWS::SageMaker::Cluster")
    [role] = {group["ExecutionRole"]["Fn::GetAtt"][0] for group in cluster.properties["InstanceGroups"]}
    [policy] = [p for p in template.all("AWS::IAM::Policy") if {"Ref": role} in p.properties["Roles"]]
    assert "s3:GetObject*" in json.dumps(policy.properties)
    # A cluster that is made before its nodes may read would fail at its first script.
    assert policy.id in cluster.depends_on


def test_several_clusters_stand_in_one_app(synthesise):
    def build(app):
        ClusterStacks(app, described(name="first"))
        ClusterStacks(app, described(name="second"))

    assert set(synthesise.app(build).templates) == {
        "first-network",
        "first-cluster",
        "second-network",
        "second-cluster",
    }


def test_a_rule_is_silenced_for_the_cluster_that_says_so_and_no_other(synthesise):
    silence = [{"rule": "LUSTRE_CAPACITY_STEP", "reason": "A new size."}]

    def build(app):
        ClusterStacks(app, described(name="silent", storage=ODD_CAPACITY, silence=silence))
        ClusterStacks(app, described(name="wrong", storage=ODD_CAPACITY))

    with pytest.raises(RuntimeError, match="wrong-storage/Lustre") as error:
        synthesise.app(build)
    assert "silent-storage/Lustre" not in str(error.value)


# Rules


def test_a_silenced_error_does_not_stop_synthesis(synthesise):
    silence = [{"rule": "LUSTRE_CAPACITY_STEP", "reason": "A new size, which this version knows nothing of."}]
    assembly = synthesise(storage=ODD_CAPACITY, silence=silence)
    assert assembly["storage"].one("AWS::FSx::FileSystem").properties["StorageCapacity"] == 1300


def test_a_rule_is_silenced_by_context_where_there_is_no_file(synthesise):
    def build(stack):
        network = TrainingNetwork(stack, "Network", availability_zone="usw2-az4")
        LustreFileSystem(stack, "Lustre", network=network, config=LustreConfig(capacity_gib=1300))

    template = synthesise.in_stack(build, **{SILENCED_RULES: ["LUSTRE_CAPACITY_STEP"]})
    assert template.one("AWS::FSx::FileSystem").properties["StorageCapacity"] == 1300


def wrong(stack):
    """A network, a file system and a cluster that break a rule each."""
    network = TrainingNetwork(
        stack, "Network", availability_zone="usw2-az4", config=NetworkConfig(private_cidr="10.0.0.0/16")
    )
    LustreFileSystem(stack, "Lustre", network=network, config=LustreConfig(capacity_gib=1300))
    HyperPodCluster(
        stack,
        "Cluster",
        cluster_name="c",
        network=network,
        config=HyperPodConfig(compute=(ComputeGroup(name="no_such", type="ml.c5.large", count=1),)),
    )


def test_a_broken_rule_is_an_error_on_the_construct(synthesise):
    """All of them at once, in the words that a cluster file would get."""
    with pytest.raises(RuntimeError) as error:
        synthesise.in_stack(wrong)
    message = str(error.value)
    for path, rule, text in [
        ("stack/Network", "CIDR_OVERLAP", "private_cidr: found 10.0.0.0/16, which overlaps public_cidr"),
        ("stack/Lustre", "LUSTRE_CAPACITY_STEP", "capacity_gib: found 1300 GiB; allowed on PERSISTENT_2 SSD"),
        ("stack/Cluster", "INSTANCE_GROUP_NAME", "compute[0].name: found 'no_such'"),
    ]:
        assert path in message
        assert rule in message
        assert text in message


def test_a_warning_stops_nothing(synthesise, capfd):
    group = WORKER | {"spot": True}
    assert synthesise(name="warned", hyperpod={"compute": [group]})
    told = capfd.readouterr().err
    assert "WARNING SPOT_ON_SLURM: compute[0].spot: found true" in told
    assert "warned-cluster/HyperPod" in told


def test_the_command_line_refuses_errors_that_an_app_of_older_flags_only_notes(tmp_path):
    """Without the recommended feature flags `app.synth()` writes the assembly all the same."""
    app = cdk.App(outdir=str(tmp_path), builtin_cloud_formation_validation=False)
    wrong(cdk.Stack(app, "stack"))
    app.synth()
    programs = [str(Path(sys.executable).parent), str(ROOT / "node_modules/.bin"), os.environ["PATH"]]
    done = subprocess.run(
        ["cdk", "synth", "--quiet", "--app", str(tmp_path)],
        cwd=tmp_path,
        env=os.environ
        | {
            "PATH": os.pathsep.join(programs),
            "CDK_DISABLE_CLI_TELEMETRY": "true",
            "CDK_DISABLE_VERSION_CHECK": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    for rule in ("CIDR_OVERLAP", "LUSTRE_CAPACITY_STEP", "INSTANCE_GROUP_NAME"):
        assert rule in done.stderr


# ParallelCluster

PARALLELCLUSTER = {
    "kind": "parallelcluster",
    "name": "c",
    "region": "us-west-2",
    "availability_zone": "usw2-az4",
    "parallelcluster": {"queues": [{"name": "gpu", "compute": [{"name": "p5", "type": "p5.48xlarge"}]}]},
}
EXISTING_NETWORK = {
    "existing": "vpc-0123456789abcdef0",
    "private_subnet": "subnet-0123456789abcdef0",
    "private_subnet_cidr": "10.1.0.0/16",
    "security_group": "sg-0123456789abcdef0",
}
EXISTING_LUSTRE = {"lustre": {"existing": "fs-0123456789abcdef0", "mount_name": "abcdefgh"}}


@pytest.mark.parametrize(
    ("fields", "stacks"),
    [
        ({}, {"network"}),
        ({"storage": {"lustre": {}}}, {"network", "storage"}),
        ({"storage": {"lustre": {}}, "data": {"associations": [{"path": "/data"}]}}, {"network", "storage", "data"}),
        ({"network": EXISTING_NETWORK, "storage": {"openzfs": {}}}, {"storage"}),
        (
            {
                "network": EXISTING_NETWORK,
                "storage": EXISTING_LUSTRE,
                "data": {"bucket": "someones-data", "associations": [{"path": "/data"}]},
            },
            {"data"},
        ),
        ({"network": EXISTING_NETWORK, "storage": EXISTING_LUSTRE}, set()),
    ],
)
def test_around_a_parallelcluster_stands_what_is_described_and_new(synthesise, fields, stacks):
    assembly = synthesise.described(ParallelClusterSpec.model_validate(PARALLELCLUSTER | fields))
    assert {name.removeprefix("c-") for name in assembly.templates} == stacks
    for template in assembly:
        assert set(template.resources) != set()
