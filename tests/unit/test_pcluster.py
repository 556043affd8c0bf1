"""ParallelCluster's own files: what a description becomes, and the command that writes them."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cdk_slurm.cli import main
from cdk_slurm.pcluster_configuration import VERSION, Surroundings, cluster_configuration, surroundings
from cdk_slurm.spec import ParallelClusterSpec, load

CLUSTERS = Path(__file__).resolve().parents[2] / "clusters"
M5, P5 = CLUSTERS / "parallelcluster-m5.yaml", CLUSTERS / "parallelcluster-p5.yaml"
AROUND = Surroundings(
    private_subnet="subnet-private",
    public_subnet="subnet-public",
    security_group="sg-nodes",
    addresses="10.1.0.0/16",
    lustre_id="fs-lustre",
    openzfs_volume_id="fsvol-root",
    bucket="data",
)


def described(*compute: dict[str, Any], **fields: Any) -> ParallelClusterSpec:
    """A cluster with one queue, to whose section or to which fields are added."""
    own = {name: fields.pop(name) for name in list(fields) if name not in ParallelClusterSpec.model_fields}
    queue = {"name": "q", "compute": list(compute) or [{"name": "r", "type": "m5.xlarge"}]} | own.pop("queue", {})
    cluster = {"kind": "parallelcluster", "name": "c", "region": "us-west-2", "availability_zone": "usw2-az4"}
    return ParallelClusterSpec.model_validate(cluster | {"parallelcluster": own | {"queues": [queue]}} | fields)


def rendered(spec: ParallelClusterSpec) -> dict[str, Any]:
    return cluster_configuration(spec, AROUND)


def queue(spec: ParallelClusterSpec) -> dict[str, Any]:
    [found] = rendered(spec)["Scheduling"]["SlurmQueues"]
    return found


def test_the_tutorials_cluster_has_neither_efa_nor_a_reservation() -> None:
    """Its template says both of an instance type that has none."""
    document = rendered(load(M5).spec)
    [one] = document["Scheduling"]["SlurmQueues"]
    assert one["ComputeResources"] == [
        {"Name": "distributed-ml", "InstanceType": "m5.xlarge", "MinCount": 3, "MaxCount": 3}
    ]
    assert one["Networking"]["PlacementGroup"] == {"Enabled": False}
    assert document["HeadNode"]["Networking"]["SubnetId"] == "subnet-public"
    assert document["HeadNode"]["Ssh"] == {"KeyName": "my-keypair", "AllowedIps": "203.0.113.0/24"}
    assert document["Imds"] == {"ImdsSupport": "v2.0"}


def test_a_reservation_of_gpus_has_efa_and_places_its_instances() -> None:
    document = rendered(load(P5).spec)
    [one] = document["Scheduling"]["SlurmQueues"]
    [resource] = one["ComputeResources"]
    assert resource["Efa"] == {"Enabled": True}
    assert resource["CapacityReservationTarget"] == {"CapacityReservationId": "cr-0123456789abcdef0"}
    assert one["Networking"]["PlacementGroup"] == {"Enabled": False}
    assert one["HealthChecks"] == {"Gpu": {"Enabled": True}}
    assert one["ComputeSettings"]["LocalStorage"]["EphemeralVolume"] == {"MountDir": "/scratch"}
    assert document["Tags"] == [{"Key": "project", "Value": "foundation-model"}]
    assert document["LoginNodes"]["Pools"][0]["Count"] == 2


@pytest.mark.parametrize(
    ("type_", "fields", "efa", "placed"),
    [
        ("m5.xlarge", {}, False, False),
        ("p5.48xlarge", {}, True, True),
        (["c5n.18xlarge", "m5.xlarge"], {}, False, False),
        ("p5.48xlarge", {"efa": False}, False, False),
        ("p5.48xlarge", {"capacity_reservation": {"id": "cr-0123456789abcdef0"}}, True, False),
    ],
)
def test_efa_and_a_placement_group_are_where_they_work(type_: Any, fields: Any, efa: bool, placed: bool) -> None:
    found = queue(described({"name": "r", "type": type_} | fields))
    assert ("Efa" in found["ComputeResources"][0]) == efa
    assert found["Networking"]["PlacementGroup"]["Enabled"] == placed


def test_a_list_of_types_and_a_group_of_reservations() -> None:
    group = "arn:aws:resource-groups:us-west-2:111122223333:group/p5"
    reserved = {"capacity_reservation": {"resource_group": group}, "multithreading": False}
    [one] = queue(described({"name": "r", "type": ["m5.xlarge", "m5d.xlarge"]} | reserved))["ComputeResources"]
    assert one["Instances"] == [{"InstanceType": "m5.xlarge"}, {"InstanceType": "m5d.xlarge"}]
    assert one["CapacityReservationTarget"] == {"CapacityReservationResourceGroupArn": group}
    assert one["DisableSimultaneousMultithreading"] is True
    assert "InstanceType" not in one


def test_file_systems_are_mounted_and_never_made() -> None:
    document = rendered(load(M5).spec)
    assert {one["MountDir"]: one for one in document["SharedStorage"]} == {
        "/home": {
            "Name": "openzfs",
            "MountDir": "/home",
            "StorageType": "FsxOpenZfs",
            "FsxOpenZfsSettings": {"VolumeId": "fsvol-root"},
        },
        "/fsx": {
            "Name": "lustre",
            "MountDir": "/fsx",
            "StorageType": "FsxLustre",
            "FsxLustreSettings": {"FileSystemId": "fs-lustre"},
        },
    }
    assert "SharedStorage" not in rendered(described())


def test_nodes_may_use_the_data_bucket_and_fetch_their_scripts() -> None:
    scripts = {"on_node_configured": [{"script": "s3://scripts/a/b.sh", "args": ["x"]}, {"script": "https://e.com/c"}]}
    found = queue(described(queue={"custom_actions": scripts}))
    assert found["Iam"]["S3Access"] == [
        {"BucketName": "data", "EnableWriteAccess": True},
        {"BucketName": "scripts", "KeyName": "a/b.sh"},
    ]
    assert found["CustomActions"] == {
        "OnNodeConfigured": {
            "Sequence": [{"Script": "s3://scripts/a/b.sh", "Args": ["x"]}, {"Script": "https://e.com/c"}]
        }
    }
    policies = found["Iam"]["AdditionalIamPolicies"]
    assert policies == [{"Policy": "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"}]


def test_slurm_keeps_accounts_in_a_database_and_takes_settings() -> None:
    database = {"existing": "db.example.com", "secret": "arn:aws:secretsmanager:us-west-2:111122223333:secret:s-AbCdEf"}
    found = rendered(described(accounting_database=database, slurm_settings={"KillWait": 60}))
    settings = found["Scheduling"]["SlurmSettings"]
    assert settings["Database"] == {
        "Uri": "db.example.com:3306",
        "UserName": "slurm",
        "PasswordSecretArn": database["secret"],
        "DatabaseName": "slurm_acct_db",
    }
    assert settings["CustomSlurmSettings"] == [{"KillWait": 60}]


def test_ssh_is_closed_where_nobody_says_from_where() -> None:
    network = {
        "existing": "vpc-0123456789abcdef0",
        "private_subnet": "subnet-0123456789abcdef0",
        "security_group": "sg-0123456789abcdef0",
    }
    spec = described(network=network, storage={"openzfs": {"existing": "fs-01234567", "root_volume": "fsvol-01234567"}})
    around = surroundings(spec, {})
    assert (around.private_subnet, around.security_group) == (network["private_subnet"], network["security_group"])
    assert (around.addresses, around.openzfs_volume_id) == ("127.0.0.1/32", "fsvol-01234567")
    assert cluster_configuration(spec, around)["HeadNode"]["Ssh"] == {"AllowedIps": "127.0.0.1/32"}


# The command


def test_names_of_outputs_stand_where_nothing_is_deployed(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["pcluster", "render", str(M5), "--output", str(tmp_path / "new")])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [str(tmp_path / "new" / name) for name in ("cluster.yaml", "config.yaml")]
    document = yaml.safe_load((tmp_path / "new/cluster.yaml").read_text("utf-8"))
    assert document["HeadNode"]["Networking"]["SubnetId"] == "${PublicSubnet}"
    assert document["SharedStorage"][0]["FsxOpenZfsSettings"] == {"VolumeId": "${FSxORootVolumeId}"}
    assert yaml.safe_load((tmp_path / "new/config.yaml").read_text("utf-8")) == {
        "CLUSTER_NAME": "ml-cluster",
        "AWS_REGION": "ap-northeast-1",
        "PCLUSTER_VERSION": VERSION,
        "AZ": "ap-northeast-1a",
        "NUM_INSTANCES": "3",
        "INSTANCE": "m5.xlarge",
        "KEYPAIR_NAME": "my-keypair",
        "DATA_BUCKET_NAME": "${S3BucketName}",
        "STACK_ID_VPC": "ml-cluster-network",
    }


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        (M5.read_text("utf-8").replace("m5.2xlarge", "ml.m5.2xlarge"), 1, "did you mean m5.2xlarge?"),
        (M5.read_text("utf-8").replace("queues:", "queue:"), 1, "FIELD_UNKNOWN"),
        ((CLUSTERS / "hyperpod-cpu.yaml").read_text("utf-8"), 2, "found kind hyperpod; allowed: parallelcluster"),
    ],
)
def test_nothing_is_written_of_what_is_wrong(tmp_path: Path, text: str, code: int, told: str) -> None:
    (tmp_path / "wrong.yaml").write_text(text, "utf-8")
    arguments = ["pcluster", "render", str(tmp_path / "wrong.yaml"), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code
    assert told in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["pcluster", "render", str(tmp_path / "none.yaml")])
    assert (result.exit_code, "cannot be read" in result.stderr) == (2, True)
