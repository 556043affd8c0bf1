"""The HyperPod cluster: each of the three forms of Slurm configuration says what it must, and nothing of the others."""

import pytest

from cdk_slurm.hyperpod import HyperPodCluster

PLAN = "arn:aws:sagemaker:us-west-2:111122223333:training-plan/example-plan"
KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
WORKER = {"name": "worker", "type": "ml.c5.4xlarge", "count": 2}
TWO_ZONES = {"additional_zones": [{"availability_zone": "usw2-az1", "private_cidr": "10.2.0.0/16"}]}

EXISTING_NETWORK = {
    "existing": "vpc-0123456789abcdef0",
    "private_subnet": "subnet-0123456789abcdef0",
    "security_group": "sg-0123456789abcdef0",
}


def cluster_of(assembly):
    return assembly["cluster"].one("AWS::SageMaker::Cluster")


def groups_of(assembly):
    return {group["InstanceGroupName"]: group for group in cluster_of(assembly).properties["InstanceGroups"]}


def mounts_of(group):
    """What a group mounts: the keys of its storage that are not volumes."""
    return {kind for storage in group["InstanceStorageConfigs"] for kind in storage} - {"EbsVolumeConfig"}


# Form api


def test_the_default_form_provisions_continuously(synthesise):
    cluster = cluster_of(synthesise()).properties
    assert cluster["NodeProvisioningMode"] == "Continuous"
    assert cluster["Orchestrator"] == {"Slurm": {}}
    assert cluster["NodeRecovery"] == "Automatic"


@pytest.mark.parametrize("strategy", ["Managed", "Overwrite", "Merge"])
def test_a_strategy_turns_continuous_provisioning_off(synthesise, strategy):
    cluster = cluster_of(synthesise(hyperpod={"slurm_config_strategy": strategy, "compute": [WORKER]})).properties
    assert "NodeProvisioningMode" not in cluster
    assert cluster["Orchestrator"] == {"Slurm": {"SlurmConfigStrategy": strategy}}


def test_each_group_has_its_node_type_and_compute_groups_their_partition(synthesise):
    configs = {name: group["SlurmConfig"] for name, group in groups_of(synthesise.example("hyperpod-gpu")).items()}
    assert configs == {
        "controller": {"NodeType": "Controller"},
        "login": {"NodeType": "Login"},
        "worker": {"NodeType": "Compute", "PartitionNames": ["c5"]},
        "gpu-worker": {"NodeType": "Compute", "PartitionNames": ["g5"]},
    }


def test_a_partition_has_its_groups_name_when_none_is_said(synthesise):
    assert groups_of(synthesise())["worker"]["SlurmConfig"]["PartitionNames"] == ["worker"]


def test_hyperpod_mounts_the_file_systems_and_our_scripts_run_after_it(synthesise):
    assembly = synthesise.example("hyperpod-cpu")
    lustre = assembly["storage"].one("AWS::FSx::FileSystem", FileSystemType="LUSTRE")
    openzfs = assembly["storage"].one("AWS::FSx::FileSystem", FileSystemType="OPENZFS")
    groups = groups_of(assembly)
    assert set(groups) == {"controller", "login", "worker"}
    for group in groups.values():
        assert assembly.resolved(group["InstanceStorageConfigs"]) == [
            {"EbsVolumeConfig": {"VolumeSizeInGB": 500}},
            {
                "FsxLustreConfig": {
                    "DnsName": lustre.att("DNSName"),
                    "MountName": lustre.att("LustreMountName"),
                    "MountPath": "/fsx",
                }
            },
            {"FsxOpenZfsConfig": {"DnsName": openzfs.att("DNSName"), "MountPath": "/home"}},
        ]
        assert set(group["LifeCycleConfig"]) == {"SourceS3Uri", "OnInitComplete"}
        assert group["LifeCycleConfig"]["OnInitComplete"] == "on_init_complete.sh"


@pytest.mark.parametrize(
    ("storage", "mounted"),
    [
        ({}, set()),
        ({"lustre": {}}, {"FsxLustreConfig"}),
        ({"openzfs": {}}, {"FsxOpenZfsConfig"}),
    ],
)
def test_only_what_is_described_is_mounted(synthesise, storage, mounted):
    assert mounts_of(groups_of(synthesise(storage=storage))["worker"]) == mounted


def test_mount_paths_are_those_of_the_description(synthesise):
    storage = {"lustre": {"mount": "/scratch"}, "openzfs": {"mount": "/users"}}
    _, lustre, openzfs = groups_of(synthesise(storage=storage))["worker"]["InstanceStorageConfigs"]
    assert lustre["FsxLustreConfig"]["MountPath"] == "/scratch"
    assert openzfs["FsxOpenZfsConfig"]["MountPath"] == "/users"


def test_hyperpod_is_told_of_a_new_accounting_database(synthesise):
    assembly = synthesise.example("single-az-database")
    database = assembly["storage"].one("AWS::RDS::DBInstance")
    # The attachment's Ref is the secret's ARN, once the database's address stands in the secret.
    secret = assembly["storage"].one("AWS::SecretsManager::SecretTargetAttachment")
    assert assembly.resolved(cluster_of(assembly).at("Orchestrator.Slurm.AccountingDatabase")) == {
        "Endpoint": database.att("Endpoint.Address"),
        "Port": 3306,
        "Name": "accounting",
        "SecretArn": secret.ref,
    }


def test_hyperpod_is_told_of_an_accounting_database_that_exists(synthesise):
    assert cluster_of(synthesise.example("existing")).at("Orchestrator.Slurm.AccountingDatabase") == {
        "Endpoint": "slurm.example.com",
        "Port": 3307,
        "Name": "slurm_acct_db",
        "SecretArn": "arn:aws:secretsmanager:us-west-2:111122223333:secret:slurm-AbCdEf",
    }


# Form provisioning_parameters


def test_the_legacy_form_says_nothing_of_the_api_form(synthesise):
    assembly = synthesise.example("hyperpod-multihead")
    cluster = cluster_of(assembly).properties
    assert not {"NodeProvisioningMode", "Orchestrator"} & set(cluster)
    groups = groups_of(assembly)
    assert {name: group["InstanceCount"] for name, group in groups.items()} == {
        "controller": 2,
        "login": 2,
        "worker": 4,
    }
    for group in groups.values():
        assert "SlurmConfig" not in group
        assert mounts_of(group) == set()
        assert set(group["LifeCycleConfig"]) == {"SourceS3Uri", "OnCreate"}
        assert group["LifeCycleConfig"]["OnCreate"] == "on_create.sh"


# Groups


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {},
            {
                "InstanceType": "ml.c5.4xlarge",
                "InstanceCount": 2,
                "InstanceStorageConfigs": [{"EbsVolumeConfig": {"VolumeSizeInGB": 500}}],
                "ThreadsPerCore": None,
                "MinInstanceCount": None,
                "TrainingPlanArn": None,
                "OnStartDeepHealthChecks": None,
                "CapacityRequirements": None,
                "InstanceRequirements": None,
                "OverrideVpcConfig": None,
            },
        ),
        ({"count": 0}, {"InstanceCount": 0}),
        ({"threads_per_core": 1}, {"ThreadsPerCore": 1}),
        (
            {"ebs_volume_gib": 1000},
            {"InstanceStorageConfigs": [{"EbsVolumeConfig": {"VolumeSizeInGB": 1000}}]},
        ),
        ({"ebs_volume_gib": None}, {"InstanceStorageConfigs": None}),
        ({"min_count": 1}, {"MinInstanceCount": 1}),
        ({"type": "ml.p5.48xlarge", "training_plan": PLAN}, {"TrainingPlanArn": PLAN}),
        (
            {"type": "ml.p5.48xlarge", "deep_health_checks": ["InstanceStress", "InstanceConnectivity"]},
            {"OnStartDeepHealthChecks": ["InstanceStress", "InstanceConnectivity"]},
        ),
        ({"spot": True}, {"CapacityRequirements": {"Spot": {}}}),
        ({"type": ["ml.c5.4xlarge"]}, {"InstanceType": "ml.c5.4xlarge", "InstanceRequirements": None}),
        (
            {"type": ["ml.c5.4xlarge", "ml.c5.9xlarge"]},
            {
                "InstanceType": None,
                "InstanceRequirements": {"InstanceTypes": ["ml.c5.4xlarge", "ml.c5.9xlarge"]},
            },
        ),
    ],
)
def test_options_of_a_group_reach_their_properties(synthesise, fields, expected):
    group = groups_of(synthesise(hyperpod={"compute": [WORKER | fields]}))["worker"]
    assert {name: group.get(name) for name in expected} == expected


def test_options_of_controller_and_login_reach_their_properties(synthesise):
    description = {
        "node_recovery": "none",
        "controller": {"name": "head", "type": "ml.m5.8xlarge", "threads_per_core": 1, "ebs_volume_gib": 100},
        "login": {"name": "door", "type": "ml.t3.large", "count": 2, "ebs_volume_gib": None},
        "compute": [WORKER],
    }
    assembly = synthesise(hyperpod=description)
    assert cluster_of(assembly).properties["NodeRecovery"] == "None"
    head, door, _ = groups_of(assembly).values()
    assert (head["InstanceGroupName"], head["InstanceType"], head["InstanceCount"]) == ("head", "ml.m5.8xlarge", 1)
    assert head["ThreadsPerCore"] == 1
    assert head["InstanceStorageConfigs"] == [{"EbsVolumeConfig": {"VolumeSizeInGB": 100}}]
    assert (door["InstanceGroupName"], door["InstanceType"], door["InstanceCount"]) == ("door", "ml.t3.large", 2)
    assert "InstanceStorageConfigs" not in door


def test_a_cluster_without_a_login_group_has_none(synthesise):
    assert set(groups_of(synthesise())) == {"controller", "worker"}


# Where nodes stand


def test_nodes_stand_in_the_networks_private_subnet_and_security_group(synthesise):
    assembly = synthesise()
    network = assembly["network"].outputs
    assert assembly.resolved(cluster_of(assembly).properties["VpcConfig"]) == {
        "SecurityGroupIds": [network["SecurityGroup"]],
        "Subnets": [network["PrimaryPrivateSubnet"]],
    }


def test_a_group_in_another_zone_stands_in_that_zones_subnet(synthesise):
    far = WORKER | {"name": "far", "availability_zone": "usw2-az1"}
    assembly = synthesise(network=TWO_ZONES, hyperpod={"compute": [WORKER, far]})
    groups = groups_of(assembly)
    subnet = assembly["network"].one("AWS::EC2::Subnet", CidrBlock="10.2.0.0/16")
    assert assembly.resolved(groups["far"]["OverrideVpcConfig"]) == {
        "SecurityGroupIds": [assembly["network"].outputs["SecurityGroup"]],
        "Subnets": [subnet.ref],
    }
    assert "OverrideVpcConfig" not in groups["worker"]


def test_a_group_stands_in_another_subnet_of_a_network_that_exists(synthesise):
    elsewhere = WORKER | {"name": "elsewhere", "subnet": "subnet-0123456789abcdef9"}
    groups = groups_of(synthesise(network=EXISTING_NETWORK, hyperpod={"compute": [WORKER, elsewhere]}))
    assert groups["elsewhere"]["OverrideVpcConfig"] == {
        "SecurityGroupIds": ["sg-0123456789abcdef0"],
        "Subnets": ["subnet-0123456789abcdef9"],
    }
    assert "OverrideVpcConfig" not in groups["worker"]


# Keys


def test_a_customers_key_encrypts_added_and_root_volumes(synthesise):
    for group in groups_of(synthesise(kms_key=KEY)).values():
        assert group["InstanceStorageConfigs"] == [
            {"EbsVolumeConfig": {"VolumeSizeInGB": 500, "VolumeKmsKeyId": KEY}},
            {"EbsVolumeConfig": {"RootVolume": True, "VolumeKmsKeyId": KEY}},
        ]


@pytest.mark.parametrize(
    "form", [{"slurm_configuration": "provisioning_parameters"}, {"slurm_config_strategy": "Managed"}]
)
def test_without_continuous_provisioning_volumes_take_no_customers_key(synthesise, form):
    for group in groups_of(synthesise(kms_key=KEY, hyperpod={"compute": [WORKER], **form})).values():
        assert group["InstanceStorageConfigs"] == [{"EbsVolumeConfig": {"VolumeSizeInGB": 500}}]


# Order


def test_the_cluster_is_made_when_its_scripts_and_permissions_are_there(synthesise, any_hyperpod):
    assembly = synthesise.example(any_hyperpod)
    template, cluster = assembly["cluster"], cluster_of(assembly)
    [role] = {group["ExecutionRole"]["Fn::GetAtt"][0] for group in cluster.properties["InstanceGroups"]}
    upload = template.one("Custom::CDKBucketDeployment")
    assert {upload.id, role} <= cluster.depends_on
    attached = [policy.id for policy in template.policies_of(template.resources[role])]
    assert attached
    assert set(attached) <= cluster.depends_on
    # Where the network is ours, its routes are there too: the whole stack is.
    network = f"{cluster.properties['ClusterName']}-network"
    assert (network in assembly.stack("cluster")["dependencies"]) == (network in assembly.templates)


# A cluster that exists


def test_a_cluster_that_exists_is_referred_to_and_nothing_else(synthesise):
    def build(stack):
        found = HyperPodCluster.from_attributes(
            stack,
            "Found",
            cluster_name="ml-cluster",
            cluster_arn="arn:aws:sagemaker:us-west-2:111122223333:cluster/abcdefghijkl",
            role_arn="arn:aws:iam::111122223333:role/nodes",
        )
        assert found.cluster_name == "ml-cluster"
        assert found.role.role_name == "nodes"

    assert synthesise.in_stack(build).resources == {}
