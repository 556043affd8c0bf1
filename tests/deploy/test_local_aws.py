"""What the local AWS refuses, as AWS does, and what it does to a resource that changes.

One server, and small templates: each test has stacks of its own.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cdk_slurm.rehearsal import LocalAws
from tests.deploy.stack import Stack


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws(region="us-west-2") as started:
        yield started


def ref(name: str) -> dict[str, str]:
    return {"Ref": name}


def att(name: str, attribute: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [name, attribute]}


def resource(type_: str, **properties: Any) -> dict[str, Any]:
    return {"Type": type_, "Properties": properties}


def trusted_by(service: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def network() -> dict[str, Any]:
    """A VPC with a subnet, and a security group through which Lustre may reach itself."""
    return {
        "Vpc": resource("AWS::EC2::VPC", CidrBlock="10.0.0.0/16"),
        "Subnet": resource(
            "AWS::EC2::Subnet", VpcId=ref("Vpc"), CidrBlock="10.0.1.0/24", AvailabilityZone="us-west-2a"
        ),
        "Group": resource("AWS::EC2::SecurityGroup", VpcId=ref("Vpc"), GroupDescription="x"),
        "In": resource(
            "AWS::EC2::SecurityGroupIngress",
            GroupId=ref("Group"),
            IpProtocol="tcp",
            FromPort=988,
            ToPort=988,
            SourceSecurityGroupId=ref("Group"),
        ),
    }


def lustre(**configuration: Any) -> dict[str, Any]:
    return resource(
        "AWS::FSx::FileSystem",
        FileSystemType="LUSTRE",
        StorageCapacity=1200,
        SubnetIds=[ref("Subnet")],
        SecurityGroupIds=[ref("Group")],
        LustreConfiguration={"DeploymentType": "PERSISTENT_2", "PerUnitStorageThroughput": 250} | configuration,
    ) | {"DependsOn": "In"}


def cluster(**changes: Any) -> dict[str, Any]:
    """A cluster whose scripts are at s3://sagemaker-scripts/there."""
    group = {
        "ExecutionRole": att("Role", "Arn"),
        "InstanceCount": 1,
        "InstanceGroupName": "worker",
        "InstanceType": "ml.c5.large",
        "LifeCycleConfig": {"OnInitComplete": "run.sh", "SourceS3Uri": "s3://sagemaker-scripts/there"},
        "SlurmConfig": {"NodeType": "Controller"},
    }
    return resource("AWS::SageMaker::Cluster", InstanceGroups=[group | changes])


def node_role(**changes: Any) -> dict[str, Any]:
    policies = ["arn:aws:iam::aws:policy/AmazonSageMakerClusterInstanceRolePolicy"]
    properties = {"AssumeRolePolicyDocument": trusted_by("sagemaker.amazonaws.com"), "ManagedPolicyArns": policies}
    return resource("AWS::IAM::Role", **properties | changes)


_SECRET = "arn:aws:secretsmanager:us-west-2:111122223333:secret:none-AbCdEf"

#: What scripts learn of a cluster, by the prefix in s3://sagemaker-scripts.
BESIDE_SCRIPTS = {
    "mount": {"mounts": {"s3": [{"bucket": "nobodys-bucket", "path": "/data", "read_only": True}]}},
    "own-mount": {"mounts": {"s3": [{"bucket": "sagemaker-scripts", "path": "/data", "read_only": False}]}},
    "directory": {"directory": {"bind_secret_arn": _SECRET}},
    "studio": {"studio": {"munge_secret_arn": _SECRET}},
}


def cluster_of(prefix: str) -> dict[str, Any]:
    """A cluster whose scripts are elsewhere, with another `cluster.json` beside them."""
    return cluster(LifeCycleConfig={"OnInitComplete": "run.sh", "SourceS3Uri": f"s3://sagemaker-scripts/{prefix}"})


@pytest.fixture(scope="module")
def scripts(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="sagemaker-scripts", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for prefix in ("there", *BESIDE_SCRIPTS):
        s3.put_object(Bucket="sagemaker-scripts", Key=f"{prefix}/run.sh", Body=b"#!/bin/sh\n")
    for prefix, content in BESIDE_SCRIPTS.items():
        s3.put_object(Bucket="sagemaker-scripts", Key=f"{prefix}/cluster.json", Body=json.dumps(content).encode())


# --- What a template may say ---


@pytest.mark.parametrize("type_", ["AWS::FSx::Nothing", "AWS::EKS::Addon", "AWS::CloudFormation::Macro"])
def test_a_type_that_it_does_not_know_fails_by_its_name(aws, type_):
    """Never passed over: a template of CDK's may hold what no rehearsal can show."""
    with pytest.raises(ClientError, match=type_):
        Stack(aws, {"Unknown": resource(type_, Name="x")})


PROPERTIES = {
    "an unknown property": (resource("AWS::EC2::VPC", CidrBlock="10.0.0.0/16", Cider="x"), "Cider"),
    "a property of another type": (resource("AWS::EC2::VPC", CidrBlock=["10.0.0.0/16"]), "#/CidrBlock"),
    "a property that is told, not taken": (resource("AWS::EC2::VPC", CidrBlock="10.0.0.0/16", VpcId="x"), "VpcId"),
    "a property that is missing": (resource("AWS::EC2::EIP") | {"Type": "AWS::EC2::FlowLog"}, "ResourceId"),
    "a name against its pattern": (
        resource("AWS::SageMaker::Cluster", ClusterName="-x", InstanceGroups=[]),
        "#/ClusterName",
    ),
}


@pytest.mark.parametrize("what", PROPERTIES)
def test_properties_are_held_to_the_schema(aws, what):
    wrong, named = PROPERTIES[what]
    stack = Stack(aws, {"Wrong": wrong})
    assert stack.status == "ROLLBACK_COMPLETE"
    assert named in stack.failures


def test_texts_of_a_template_are_numbers_where_the_schema_says_so(aws):
    template = network()
    template["In"]["Properties"] |= {"FromPort": "988", "ToPort": "988"}
    file_system = lustre()
    file_system["Properties"]["StorageCapacity"] = "1200"
    stack = Stack(aws, template | {"Lustre": file_system})
    assert stack.status == "CREATE_COMPLETE"
    [told] = aws.client("fsx").describe_file_systems(FileSystemIds=[stack.physical_id("Lustre")])["FileSystems"]
    assert told["StorageCapacity"] == 1200
    stack.delete()


# --- What resources refer to ---


def subnet(**properties: Any) -> dict[str, Any]:
    return resource(
        "AWS::EC2::Subnet",
        **{"VpcId": ref("Vpc"), "CidrBlock": "10.0.2.0/24", "AvailabilityZone": "us-west-2a"} | properties,
    )


def association(**properties: Any) -> dict[str, Any]:
    path = {"FileSystemPath": "/data", "DataRepositoryPath": "s3://sagemaker-scripts/data"}
    return resource("AWS::FSx::DataRepositoryAssociation", **{"FileSystemId": ref("Lustre")} | path | properties)


NOWHERE = {
    "a subnet outside the ranges of its VPC": (
        network() | {"Wrong": subnet(CidrBlock="10.9.0.0/24")},
        "InvalidSubnet.Range",
    ),
    "a subnet on another's range": (network() | {"Wrong": subnet(CidrBlock="10.0.1.128/25")}, "InvalidSubnet.Conflict"),
    "a subnet in no zone": (network() | {"Wrong": subnet(AvailabilityZone="us-west-2x")}, "us-west-2x"),
    "a range on the VPC's own": (
        network() | {"Wrong": resource("AWS::EC2::VPCCidrBlock", VpcId=ref("Vpc"), CidrBlock="10.0.0.0/20")},
        "conflicts",
    ),
    "a VPC that is none": ({"Wrong": subnet(VpcId="vpc-0123456789abcdef0")}, "vpc-0123456789abcdef0"),
    "a NAT gateway without a way out": (
        network()
        | {
            "Address": resource("AWS::EC2::EIP", Domain="vpc"),
            "Wrong": resource(
                "AWS::EC2::NatGateway", SubnetId=ref("Subnet"), AllocationId=att("Address", "AllocationId")
            ),
        },
        "Gateway.NotAttached",
    ),
    "the same rule twice": (
        network() | {"Wrong": network()["In"] | {"DependsOn": "In"}},
        "InvalidPermission.Duplicate",
    ),
    "Lustre whose servers cannot reach each other": (
        {name: part for name, part in network().items() if name != "In"}
        | {"Wrong": {name: part for name, part in lustre().items() if name != "DependsOn"}},
        "port 988",
    ),
    "an association on no file system": (
        {"Wrong": association(FileSystemId="fs-0123456789abcdef0")},
        "fs-0123456789abcdef0",
    ),
    "an association with no bucket": (
        network() | {"Lustre": lustre(), "Wrong": association(DataRepositoryPath="s3://nobodys-bucket/x")},
        "nobodys-bucket",
    ),
    "an association that is no S3 URI": (
        network() | {"Lustre": lustre(), "Wrong": association(DataRepositoryPath="https://sagemaker-scripts/x")},
        "DataRepositoryPath",
    ),
    "associations on one another": (
        network()
        | {
            "Lustre": lustre(),
            "First": association(),
            "Wrong": association(FileSystemPath="/data/more") | {"DependsOn": "First"},
        },
        "overlaps",
    ),
    "a cluster without its bucket": (
        {
            "Role": node_role(),
            "Wrong": cluster(LifeCycleConfig={"OnInitComplete": "run.sh", "SourceS3Uri": "s3://sagemaker-none/x"}),
        },
        "sagemaker-none",
    ),
    "a cluster without its script": (
        {
            "Role": node_role(),
            "Wrong": cluster(
                LifeCycleConfig={"OnInitComplete": "other.sh", "SourceS3Uri": "s3://sagemaker-scripts/there"}
            ),
        },
        "'other.sh' does not exist at s3://sagemaker-scripts/there",
    ),
    "a cluster whose nodes mount a bucket that is none": (
        {"Role": node_role(), "Wrong": cluster_of("mount")},
        "/data: the bucket 'nobodys-bucket' does not exist",
    ),
    "a cluster whose nodes may not write to what they mount": (
        {"Role": node_role(), "Wrong": cluster_of("own-mount")},
        "not authorized to perform: s3:PutObject on resource: arn:aws:s3:::sagemaker-scripts/a/b",
    ),
    "a cluster whose directory's password is nowhere": (
        {"Role": node_role(), "Wrong": cluster_of("directory")},
        f"The secret {_SECRET} does not exist",
    ),
    "a cluster whose MUNGE key has no secret": (
        {"Role": node_role(), "Wrong": cluster_of("studio")},
        f"The secret {_SECRET} does not exist",
    ),
    "a cluster in the legacy form without its parameters": (
        {
            "Role": node_role(),
            "Wrong": resource(
                "AWS::SageMaker::Cluster",
                InstanceGroups=[
                    {
                        "ExecutionRole": att("Role", "Arn"),
                        "InstanceCount": 1,
                        "InstanceGroupName": "worker",
                        "InstanceType": "ml.c5.large",
                        "LifeCycleConfig": {"OnCreate": "run.sh", "SourceS3Uri": "s3://sagemaker-scripts/there"},
                    }
                ],
            ),
        },
        "provisioning_parameters.json does not exist",
    ),
    "a cluster that mounts no file system": (
        {
            "Role": node_role(),
            "Wrong": cluster(
                InstanceStorageConfigs=[
                    {
                        "FsxLustreConfig": {
                            "DnsName": "fs-0123456789abcdef0.fsx.us-west-2.amazonaws.com",
                            "MountName": "abcdefgh",
                        }
                    }
                ]
            ),
        },
        "no file system at fs-0123456789abcdef0.fsx",
    ),
    "a cluster of instances that SageMaker has not": (
        {"Role": node_role(), "Wrong": cluster(InstanceType="c5.large")},
        "'c5.large'",
    ),
    "a cluster without a controller": (
        {"Role": node_role(), "Wrong": cluster(SlurmConfig={"NodeType": "Login"})},
        "no InstanceGroup with Controller node type",
    ),
    "a cluster whose role is none": (
        {"Wrong": cluster(ExecutionRole="arn:aws:iam::111122223333:role/nobody")},
        "role/nobody",
    ),
    "a cluster whose role trusts somebody else": (
        {
            "Role": node_role(AssumeRolePolicyDocument=trusted_by("ec2.amazonaws.com")),
            "Wrong": cluster(),
        },
        "sagemaker.amazonaws.com is not authorized to assume",
    ),
    "a cluster whose role may not read the scripts": (
        {"Role": node_role(ManagedPolicyArns=[]), "Wrong": cluster()},
        "not authorized to perform: ",
    ),
    "a managed policy that AWS has not": (
        {"Wrong": node_role(ManagedPolicyArns=["arn:aws:iam::aws:policy/AmazonNothingAccess"])},
        "AmazonNothingAccess",
    ),
    "flow logs that arrive nowhere": (
        network()
        | {
            "Role": resource(
                "AWS::IAM::Role", AssumeRolePolicyDocument=trusted_by("vpc-flow-logs.amazonaws.com"), Policies=[]
            ),
            "Group2": resource("AWS::Logs::LogGroup", LogGroupName="flow"),
            "Wrong": resource(
                "AWS::EC2::FlowLog",
                ResourceId=ref("Vpc"),
                ResourceType="VPC",
                TrafficType="ALL",
                LogDestinationType="cloud-watch-logs",
                LogGroupName=ref("Group2"),
                DeliverLogsPermissionArn=att("Role", "Arn"),
            ),
        },
        "logs:CreateLogStream",
    ),
}


@pytest.mark.parametrize("what", NOWHERE)
def test_a_reference_to_nothing_fails(aws, scripts, what):
    template, told = NOWHERE[what]
    stack = Stack(aws, template)
    assert stack.status == "ROLLBACK_COMPLETE"
    assert told in stack.failures


def test_the_cluster_that_those_are_made_of_is_sound(aws, scripts):
    stack = Stack(aws, {"Role": node_role(), "Cluster": cluster()})
    assert stack.failures == ""
    assert stack.delete() == "DELETE_COMPLETE"


def test_a_secret_is_known_by_its_arn_and_is_empty_until_it_is_given_a_value(aws):
    client = aws.client("secretsmanager")
    stack = Stack(aws, {"Secret": resource("AWS::SecretsManager::Secret", Description="before")})
    arn = stack.physical_id("Secret")
    assert client.describe_secret(SecretId=arn)["ARN"] == arn
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_secret_value(SecretId=arn)
    client.put_secret_value(SecretId=arn, SecretBinary=b"key")
    assert stack.update({"Secret": resource("AWS::SecretsManager::Secret", Description="after")}) == "UPDATE_COMPLETE"
    assert stack.physical_id("Secret") == arn
    assert client.describe_secret(SecretId=arn)["Description"] == "after"
    assert client.get_secret_value(SecretId=arn)["SecretBinary"] == b"key", "its value is not the template's"
    assert stack.delete() == "DELETE_COMPLETE"
    assert arn not in [one["ARN"] for one in client.list_secrets()["SecretList"]]


def test_what_others_refer_to_cannot_go(aws):
    """As when a file system that is retained stands in a subnet of a stack that is destroyed."""
    kept = lustre() | {"DeletionPolicy": "Retain"}
    stack = Stack(aws, network() | {"Lustre": kept})
    assert stack.status == "CREATE_COMPLETE"
    file_system = stack.physical_id("Lustre")
    assert stack.delete() == "DELETE_FAILED"
    assert "DependencyViolation" in stack.failures
    assert {one["physical_id"] for one in aws.left_behind()} == {file_system}
    aws.client("fsx").delete_file_system(FileSystemId=file_system)
    assert stack.delete() == "DELETE_COMPLETE"


def test_an_export_in_use_neither_changes_nor_goes(aws):
    def exporting(value):
        return {"Out": {"Value": value, "Export": {"Name": "exported"}}}

    vpc = {"Vpc": resource("AWS::EC2::VPC", CidrBlock="10.0.0.0/16")}
    first = Stack(aws, vpc, exporting("one"))
    second = Stack(aws, {"Group": resource("AWS::Logs::LogGroup", LogGroupName={"Fn::ImportValue": "exported"})})
    assert first.update(vpc, exporting("two")) == "UPDATE_ROLLBACK_COMPLETE"
    assert f"Export exported cannot be updated as it is in use by {second.name}" in first.failures
    assert first.update(vpc | {"More": resource("AWS::EC2::InternetGateway")}) == "UPDATE_ROLLBACK_COMPLETE"
    assert f"Export exported cannot be deleted as it is in use by {second.name}" in first.failures
    second.delete()
    assert first.update(vpc, exporting("two")) == "UPDATE_COMPLETE"


# --- What a change does ---


REPLACING = {
    # CloudFormation's schema does not say the first two; its documentation does.
    "Lustre's throughput": (lustre(), lustre(PerUnitStorageThroughput=500)),
    "Lustre's deployment type": (lustre(), lustre(DeploymentType="PERSISTENT_1")),
    "Lustre's version": (
        lustre(),
        {**lustre(), "Properties": lustre()["Properties"] | {"FileSystemTypeVersion": "2.15"}},
    ),
}


@pytest.mark.parametrize("what", REPLACING)
def test_what_cannot_be_changed_is_replaced(aws, what):
    before, after = REPLACING[what]
    stack = Stack(aws, network() | {"Changing": before})
    old = stack.physical_id("Changing")
    assert stack.update(network() | {"Changing": after}) == "UPDATE_COMPLETE"
    assert stack.physical_id("Changing") != old
    ids = [one["FileSystemId"] for one in aws.client("fsx").describe_file_systems()["FileSystems"]]
    assert stack.physical_id("Changing") in ids
    assert old not in ids
    stack.delete()


def test_what_can_be_changed_is_changed_in_place(aws):
    stack = Stack(aws, network() | {"Lustre": lustre()})
    id_ = stack.physical_id("Lustre")
    larger = lustre(DataCompressionType="LZ4")
    larger["Properties"]["StorageCapacity"] = 2400
    assert stack.update(network() | {"Lustre": larger}) == "UPDATE_COMPLETE"
    [told] = aws.client("fsx").describe_file_systems(FileSystemIds=[id_])["FileSystems"]
    assert (told["StorageCapacity"], told["LustreConfiguration"]["DataCompressionType"]) == (2400, "LZ4")
    assert stack.update(network() | {"Lustre": lustre()}) == "UPDATE_ROLLBACK_COMPLETE"
    assert "cannot be decreased" in stack.failures
    stack.delete()


def test_a_cluster_that_has_a_name_is_not_replaced(aws, scripts):
    """CloudFormation makes the new one first, which cannot have the name: it refuses."""

    def named(**more):
        made = cluster()
        made["Properties"] |= {"ClusterName": "named", **more}
        return made

    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}],
    }
    role = node_role(Policies=[{"PolicyName": "network", "PolicyDocument": policy}])
    stack = Stack(aws, network() | {"Role": role, "Cluster": named()})
    arn = stack.physical_id("Cluster")
    moved = named(VpcConfig={"Subnets": [ref("Subnet")], "SecurityGroupIds": [ref("Group")]})
    assert stack.update(network() | {"Role": role, "Cluster": moved}) == "UPDATE_ROLLBACK_COMPLETE"
    assert "custom-named resource requires replacing" in stack.failures
    assert aws.client("sagemaker").describe_cluster(ClusterName="named")["ClusterArn"] == arn
    stack.delete()


def test_drift_is_found_where_there_is_some(aws, scripts):
    stack = Stack(aws, network() | {"Role": node_role(), "Cluster": cluster(), "Lustre": lustre()})
    assert drift_of(aws, stack) == {}
    sagemaker = aws.client("sagemaker")
    arn = stack.physical_id("Cluster")
    group = {"InstanceGroupName": "worker", "InstanceCount": 7, "InstanceType": "ml.c5.large"}
    role = aws.client("iam").get_role(RoleName=stack.physical_id("Role"))["Role"]["Arn"]
    lifecycle = {"OnInitComplete": "run.sh", "SourceS3Uri": "s3://sagemaker-scripts/there"}
    sagemaker.update_cluster(
        ClusterName=arn, InstanceGroups=[group | {"ExecutionRole": role, "LifeCycleConfig": lifecycle}]
    )
    aws.client("fsx").delete_file_system(FileSystemId=stack.physical_id("Lustre"))
    assert drift_of(aws, stack) == {"Cluster": "MODIFIED", "Lustre": "DELETED"}
    stack.delete()


def drift_of(aws: LocalAws, stack: Stack) -> dict[str, str]:
    client = aws.client("cloudformation")
    id_ = client.detect_stack_drift(StackName=stack.name)["StackDriftDetectionId"]
    while client.describe_stack_drift_detection_status(StackDriftDetectionId=id_)["DetectionStatus"].endswith(
        "IN_PROGRESS"
    ):
        time.sleep(0.02)
    found = client.describe_stack_resource_drifts(StackName=stack.name)["StackResourceDrifts"]
    checked = {one["LogicalResourceId"]: one["StackResourceDriftStatus"] for one in found}
    return {name: status for name, status in checked.items() if status not in ("IN_SYNC", "NOT_CHECKED")}


# --- Custom resources ---

FUNCTION = """
import json, urllib.request
def handler(event, context):
    wish = event["ResourceProperties"]["Wish"]
    answer = {name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")}
    answer |= {"PhysicalResourceId": "x", "Status": "FAILED" if wish == "fail" else "SUCCESS"}
    answer |= {"Reason": "because of " + wish, "Data": {"Answer": wish.upper()}}
    request = urllib.request.Request(event["ResponseURL"], data=json.dumps(answer).encode(), method="PUT")
    urllib.request.urlopen(request)
"""


def custom(wish: str) -> dict[str, Any]:
    return {
        "Role": resource("AWS::IAM::Role", AssumeRolePolicyDocument=trusted_by("lambda.amazonaws.com")),
        "Function": resource(
            "AWS::Lambda::Function",
            Runtime="python3.13",
            Handler="index.handler",
            Role=att("Role", "Arn"),
            Code={"ZipFile": FUNCTION},
        ),
        "Custom": resource("Custom::Wish", ServiceToken=att("Function", "Arn"), Wish=wish),
    }


def test_custom_resources_run_their_functions(aws):
    stack = Stack(aws, custom("something"), {"Answer": {"Value": att("Custom", "Answer")}})
    [told] = aws.client("cloudformation").describe_stacks(StackName=stack.name)["Stacks"]
    assert [one["OutputValue"] for one in told["Outputs"]] == ["SOMETHING"]
    assert stack.delete() == "DELETE_COMPLETE"


def test_a_function_that_fails_fails_the_deployment_with_its_words(aws):
    stack = Stack(aws, custom("fail"))
    assert "because of fail" in stack.failures


# --- Where it is ---


@pytest.mark.parametrize("enforce_iam", [False, True])
def test_it_listens_on_one_port_of_loopback(enforce_iam):
    with LocalAws(region="us-west-2", enforce_iam=enforce_iam) as started:
        assert listening(started.pid) == [("127.0.0.1", int(started.url.rpartition(":")[2]))]


def listening(pid: int) -> list[tuple[str, int]]:
    """Addresses and ports on which a process takes connections, as the kernel tells them."""
    own = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            own.add(str(link.readlink()))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text("utf-8").splitlines()[1:]:
            local, state, inode = (line.split()[column] for column in (1, 3, 9))
            if state == "0A" and f"socket:[{inode}]" in own:
                address, _, port = local.partition(":")
                packed = bytes.fromhex(address)
                readable = ".".join(map(str, packed[::-1])) if table == "tcp" else address
                found.append((readable, int(port, 16)))
    return found


# --- Faults ---


def test_the_nth_creation_fails_and_no_other(aws):
    groups = {f"Group{number}": resource("AWS::Logs::LogGroup", LogGroupName=f"g{number}") for number in range(3)}
    aws.fail("AWS::Logs::LogGroup", nth=2)
    stack = Stack(aws, groups)
    assert stack.status == "ROLLBACK_COMPLETE"
    assert "create number 2 of AWS::Logs::LogGroup fails" in stack.failures
    assert Stack(aws, groups).status == "CREATE_COMPLETE"
