"""The stacks around a ParallelCluster cluster, and the files that are made of their outputs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cdk_slurm import spec
from cdk_slurm.assembly import Assembly
from cdk_slurm.rehearsal import LocalAws, Stage
from cdk_slurm.rehearsal.local_aws import CHECKOUT
from tests.deploy.inventory import missing
from tests.deploy.lives import synthesised

EXAMPLE = CHECKOUT / "clusters" / "parallelcluster-m5.yaml"


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws(region="ap-northeast-1") as started:
        yield started


@pytest.fixture(scope="module")
def assembly(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    return synthesised(spec.load(EXAMPLE).spec, tmp_path_factory.mktemp("pcluster"))


def render(aws: LocalAws, directory: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cdk_slurm.cli", "pcluster", "render", str(EXAMPLE), "--deployed"]
    return subprocess.run(
        [*command, "--output", str(directory)], env=aws.environment, text=True, capture_output=True, check=False
    )


def test_before_there_are_stacks_nothing_is_written(aws, tmp_path):
    result = render(aws, tmp_path / "out")
    assert result.returncode == 1
    assert "no stack of ml-cluster has the output S3BucketName: deploy them first" in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_files_name_what_is_deployed(aws, assembly, tmp_path):
    stage = Stage(aws)
    stage.bootstrap(assembly)
    stage.deploy(assembly)
    made = [one for one in aws.resources() if one["stack"].startswith("ml-cluster-")]
    assert {one["stack"].removeprefix("ml-cluster-") for one in made} == {"network", "storage", "data"}
    assert missing(aws, made) == []
    result = render(aws, tmp_path)
    assert result.returncode == 0, result.stderr
    fsx, ec2 = aws.client("fsx"), aws.client("ec2")
    systems = {one["FileSystemType"]: one for one in fsx.describe_file_systems()["FileSystems"]}
    document = yaml.safe_load((tmp_path / "cluster.yaml").read_text("utf-8"))
    settings = {one["StorageType"]: one[f"{one['StorageType']}Settings"] for one in document["SharedStorage"]}
    assert settings == {
        "FsxLustre": {"FileSystemId": systems["LUSTRE"]["FileSystemId"]},
        "FsxOpenZfs": {"VolumeId": systems["OPENZFS"]["OpenZFSConfiguration"]["RootVolumeId"]},
    }
    [queue] = document["Scheduling"]["SlurmQueues"]
    subnets = {one["SubnetId"]: one["CidrBlock"] for one in ec2.describe_subnets()["Subnets"]}
    assert [subnets[one] for one in queue["Networking"]["SubnetIds"]] == ["10.1.0.0/16"]
    assert systems["LUSTRE"]["SubnetIds"] == queue["Networking"]["SubnetIds"]
    public = subnets[document["HeadNode"]["Networking"]["SubnetId"]]
    assert public.startswith("10.0.")
    known = yaml.safe_load((tmp_path / "config.yaml").read_text("utf-8"))
    outputs = {
        *("VPC", "PublicSubnet", "PrimaryPrivateSubnet", "SecurityGroup", "FSxLustreFilesystemId"),
        *("FSxLustreFilesystemMountname", "FSxLustreFilesystemDNSname", "FSxORootVolumeId", "S3BucketName"),
    }
    assert outputs <= known.keys()
    assert known["DATA_BUCKET_NAME"] == known["S3BucketName"]
    assert [one["BucketName"] for one in document["HeadNode"]["Iam"]["S3Access"]] == [known["S3BucketName"]]
