"""Deployments that fail in the middle: what CloudFormation's rollback leaves, and what it says."""

from collections.abc import Iterator

import pytest

from cdk_slurm.assembly import Assembly
from cdk_slurm.rehearsal import CdkError, LocalAws, Stage
from tests.deploy.inventory import everything
from tests.deploy.lives import loaded, scene, synthesised

CLUSTER = "AWS::SageMaker::Cluster"

DESCRIBED = {
    "kind": "hyperpod",
    "name": "falling",
    "region": "us-west-2",
    "availability_zone": "usw2-az4",
    "storage": {"lustre": {}, "openzfs": {}},
    "hyperpod": {"compute": [{"name": "worker", "type": "ml.c5.large", "count": 2}]},
}


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    return synthesised(loaded(DESCRIBED), tmp_path_factory.mktemp("falling"))


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    worker = {"name": "worker", "type": "ml.c5.large", "count": 5}
    more = DESCRIBED | {"hyperpod": {"compute": [worker, worker | {"name": "more"}]}}
    return synthesised(loaded(more), tmp_path_factory.mktemp("larger"))


@pytest.fixture(scope="module")
def aws(assembly: Assembly) -> Iterator[LocalAws]:
    with LocalAws(region="us-west-2") as started:
        Stage(started).bootstrap(assembly)
        yield started


def test_faults_one_after_the_other(aws: LocalAws, assembly: Assembly, larger: Assembly):
    """One account, in which each deployment begins with what the one before left."""
    stage = Stage(aws)
    at_first = everything(aws)

    # The second file system fails: the first is retained, and told.
    aws.fail("AWS::FSx::FileSystem", nth=2)
    with pytest.raises(CdkError) as failed:
        stage.deploy(assembly)
    assert "create number 2 of AWS::FSx::FileSystem fails because it was asked to" in str(failed.value)
    behind = aws.left_behind()
    assert sorted(one["type"] for one in behind if "FSx" in one["type"]) == ["AWS::FSx::FileSystem"]
    # With what a file system stands on: its security group is retained with it.
    assert {one["type"] for one in behind} == {"AWS::FSx::FileSystem", "AWS::EC2::SecurityGroup"}
    left = {kind for kind, _ in everything(aws) - at_first if kind not in _OF_THE_NETWORK}
    assert left == {"file system", "stack"}  # the stack is empty, and says why it failed
    cloudformation = aws.client("cloudformation")
    [stands] = cloudformation.describe_stacks(StackName="falling-storage")["Stacks"]
    assert stands["StackStatus"] == "ROLLBACK_COMPLETE"
    # Empty as it is, it is protected, and has to go before it can be made: as docs/updates.md says.
    with pytest.raises(CdkError, match="TerminationProtection is enabled"):
        stage.deploy(assembly)
    cloudformation.update_termination_protection(StackName="falling-storage", EnableTerminationProtection=False)

    # The cluster fails: nothing of its stack is left, file systems stand in theirs.
    before = {one["physical_id"] for one in behind}
    aws.fail(CLUSTER)
    with pytest.raises(CdkError) as failed:
        stage.deploy(assembly)
    assert f"create number 1 of {CLUSTER} fails" in str(failed.value)
    assert {one["physical_id"] for one in aws.left_behind()} == before
    of_cluster = [one for one in aws.resources() if one["stack"] == "falling-cluster"]
    assert of_cluster == []
    kinds = {kind for kind, _ in everything(aws) - at_first}
    assert kinds.isdisjoint({"cluster", "bucket", "layer"})

    # Without a fault the same assembly deploys.
    aws.fail(CLUSTER, nth=99)
    stage.deploy(assembly)
    deployed = scene(aws, "falling")
    assert deployed.missing == []

    # An update fails: the old cluster is as it was.
    aws.fail(CLUSTER, operation="update")
    with pytest.raises(CdkError) as failed:
        stage.deploy(larger)
    assert f"update number 1 of {CLUSTER} fails" in str(failed.value)
    restored = scene(aws, "falling")
    assert restored.cluster["InstanceGroups"] == deployed.cluster["InstanceGroups"]
    assert restored.objects == deployed.objects
    assert restored.file_systems == deployed.file_systems
    assert restored.resources == deployed.resources
    assert {one["physical_id"] for one in aws.left_behind()} == before

    # And it can be updated afterwards.
    aws.fail(CLUSTER, nth=99)
    stage.deploy(larger)
    groups = {one["InstanceGroupName"]: one["CurrentCount"] for one in scene(aws, "falling").cluster["InstanceGroups"]}
    assert groups == {"controller": 1, "worker": 5, "more": 5}


#: The network's stack was deployed before, and stands.
_OF_THE_NETWORK = {
    "address",
    "endpoint",
    "flow log",
    "function",
    "internet gateway",
    "log group",
    "NAT gateway",
    "role",
    "route table",
    "security group",
    "subnet",
    "VPC",
}
