"""The lifecycle bundle: where it lies, what is in it, who uploads it, and when its name changes."""

import hashlib
import json
import os
import re
import shutil
import tracemalloc
from pathlib import Path

import aws_cdk as cdk
import pytest
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_deployment as s3_deployment
from botocore.session import get_session

from cdk_slurm.hyperpod import HyperPodCluster, LifecycleBundle, lifecycle_bundle
from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import ComputeGroup, HyperPodConfig, HyperPodSpec
from stacks import ClusterStacks

SCRIPTS = Path(__file__).resolve().parents[2] / "lifecycle_scripts"
ACCOUNT = "111122223333"
WORKER = {"name": "worker", "type": "ml.c5.4xlarge", "count": 2}
SMALLEST = {
    "kind": "hyperpod",
    "name": "c",
    "region": "us-west-2",
    "availability_zone": "usw2-az4",
    "hyperpod": {"compute": [WORKER]},
}
STORAGE = {"lustre": {}, "openzfs": {}}


# The bucket


def test_the_bucket_is_encrypted_versioned_private_and_goes_with_the_cluster(synthesise):
    template = synthesise()["cluster"]
    bucket = template.one("AWS::S3::Bucket")
    assert bucket.at("VersioningConfiguration.Status") == "Enabled"
    assert set(bucket.at("PublicAccessBlockConfiguration").values()) == {True}
    assert bucket.kept == ("Delete", "Delete")
    assert template.one("Custom::S3AutoDeleteObjects").properties["BucketName"] == bucket.ref


REGIONS = sorted(
    {
        region
        for partition in get_session().get_available_partitions()
        for region in get_session().get_available_regions("s3", partition)
    }
)
LONGEST_REGION = max(REGIONS, key=len)


def bucket_name(synthesise, cluster_name, region, account=ACCOUNT):
    def build(app):
        env = cdk.Environment(account=account, region=region)
        LifecycleBundle(cdk.Stack(app, "stack", env=env), "Bundle", cluster_name=cluster_name, files={})

    assembly = synthesise.app(build)
    name = assembly.text(next(iter(assembly)).one("AWS::S3::Bucket").properties["BucketName"])
    return name.replace("${AWS::AccountId}", ACCOUNT).replace("${AWS::Region}", LONGEST_REGION)


@pytest.mark.parametrize("region", ["us-west-2", LONGEST_REGION, None])
@pytest.mark.parametrize(
    "name",
    ["c", "ml-cluster", "Ml-Cluster", "a" * 63, "A" + "-b" * 31, "a-" * 31 + "Z"],
    ids=["one-letter", "lower-case", "capitals", "63-letters", "63-capital-first", "63-capital-last"],
)
def test_hyperpod_may_read_the_bucket_whatever_the_cluster_is_called(synthesise, name, region):
    found = bucket_name(synthesise, name, region, account=ACCOUNT if region else None)
    assert re.fullmatch(r"sagemaker-[a-z0-9][a-z0-9-]*[a-z0-9]", found)
    assert "--" not in found
    assert found.endswith(f"-{ACCOUNT}-{region or LONGEST_REGION}")
    assert len(found) <= 63


def test_a_short_name_in_lower_case_is_the_buckets(synthesise):
    assert bucket_name(synthesise, "ml-cluster", "us-west-2") == f"sagemaker-ml-cluster-{ACCOUNT}-us-west-2"


def test_clusters_whose_names_differ_in_case_or_at_the_end_have_buckets_of_their_own(synthesise):
    names = ["ml-cluster", "ML-cluster", "ml-Cluster", "a" * 62 + "b", "a" * 62 + "c"]
    assert len({bucket_name(synthesise, name, "us-west-2") for name in names}) == len(names)


# What is uploaded


def test_groups_read_the_prefix_that_the_upload_writes(synthesise, any_hyperpod):
    assembly = synthesise.example(any_hyperpod)
    template = assembly["cluster"]
    upload = template.one("Custom::CDKBucketDeployment").properties
    bucket = template.one("AWS::S3::Bucket")
    assert upload["DestinationBucketName"] == bucket.ref
    cluster = template.one("AWS::SageMaker::Cluster").properties
    uris = {assembly.text(group["LifeCycleConfig"]["SourceS3Uri"]) for group in cluster["InstanceGroups"]}
    assert uris == {f"s3://${{{bucket.id}}}/{upload['DestinationBucketKeyPrefix']}"}


def test_former_bundles_stay(synthesise):
    upload = synthesise()["cluster"].one("Custom::CDKBucketDeployment").properties
    assert (upload["Prune"], upload["RetainOnDelete"]) == (False, True)


def test_the_scripts_are_uploaded_as_they_are(synthesise):
    """Without those of Studio's spaces, which are in the templates."""
    assembly = synthesise.example("hyperpod-cpu")
    entry = {group["LifeCycleConfig"]["OnInitComplete"] for group in instance_groups(assembly)}
    [uploaded] = [path.parent for path in assembly.directory.glob("asset.*/on_init_complete.sh")]
    assert entry <= {path.name for path in uploaded.iterdir()}
    assert files_in(uploaded) == {
        name: content
        for name, content in files_in(SCRIPTS).items()
        if not {"__pycache__", "parts", "studio"} & set(Path(name).parts) and not Path(name).name.startswith(".")
    }


def files_in(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


def instance_groups(assembly):
    return assembly["cluster"].one("AWS::SageMaker::Cluster").properties["InstanceGroups"]


# Parts


@pytest.fixture
def unfetched(tmp_path, monkeypatch):
    """Scripts whose lock names a part for each kind of machine and one for all, neither of which was fetched."""
    (tmp_path / "parts").mkdir()
    told = {"version": "1", "url": "", "verified": True, "checksum_from": "", "license": "", "needed_for": "a purpose"}
    told |= {"sha256": hashlib.sha256(b"content").hexdigest()}
    parts = [
        {"name": "rds-ca", "architecture": "any", "file": "ca.pem"},
        {"name": "mount-s3", "architecture": "amd64", "file": "mount-s3-amd64"},
        {"name": "mount-s3", "architecture": "arm64", "file": "mount-s3-arm64"},
    ]
    (tmp_path / "parts.lock.json").write_text(json.dumps({"parts": [part | told for part in parts]}), "utf-8")
    monkeypatch.setattr(lifecycle_bundle, "lifecycle_scripts", lambda: tmp_path)
    return tmp_path


def missing_parts(assembly):
    """The parts that somebody is warned of."""
    warnings = [
        entry["data"]
        for file in assembly.directory.glob("*.metadata.json")
        for entries in json.loads(file.read_text("utf-8")).values()
        for entry in entries
        if entry["type"] == "aws:cdk:warning"
    ]
    texts = [warning for warning in warnings if "LIFECYCLE_PART_MISSING" in warning]
    return sorted(re.findall(r"run `cdk-slurm bundle ([\w-]+)` and synthesise again", "".join(texts)))


S3 = {"s3": [{"bucket": "someones-sets", "mount": "/sets"}]}
TWO_ZONES = {"additional_zones": [{"availability_zone": "usw2-az1", "private_cidr": "10.2.0.0/16"}]}


def with_database(storage=None, slurm_configuration="provisioning_parameters", **database):
    """A description with a database for accounting; one that exists is somebody's."""
    controllers = {"count": 2} if slurm_configuration == "provisioning_parameters" else {}
    if database:
        database |= {"secret": f"arn:aws:secretsmanager:us-west-2:{ACCOUNT}:secret:slurm-AbCdEf"}
    return {
        "network": TWO_ZONES,
        "storage": {"lustre": {}} | (storage or {}),
        "hyperpod": {
            "compute": [WORKER],
            "controller": controllers,
            "slurm_configuration": slurm_configuration,
            "accounting_database": database,
        },
    }


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({}, []),
        ({"storage": S3}, ["mount-s3"]),
        (with_database(), ["rds-ca"]),
        (with_database(storage=S3), ["mount-s3", "rds-ca"]),
        # slurmdbd is HyperPod's.
        (with_database(slurm_configuration="api"), []),
        (with_database(existing="slurm.example.com"), []),
        (with_database(existing="a.b.us-west-2.rds.amazonaws.com"), ["rds-ca"]),
    ],
)
def test_a_cluster_warns_of_parts_that_its_nodes_need_and_that_were_not_fetched(synthesise, unfetched, fields, parts):
    described = HyperPodSpec.model_validate(SMALLEST | fields)
    assert missing_parts(synthesise.app(lambda app: ClusterStacks(app, described))) == parts
    for file in ("ca.pem", "mount-s3-amd64", "mount-s3-arm64"):
        (unfetched / "parts" / file).write_bytes(b"content")
    assert missing_parts(synthesise.app(lambda app: ClusterStacks(app, described))) == []


@pytest.mark.parametrize("content", [None, b"something else"])
def test_a_part_must_be_there_whole_for_every_kind_of_machine(synthesise, unfetched, content):
    (unfetched / "parts" / "mount-s3-amd64").write_bytes(b"content")
    if content:
        (unfetched / "parts" / "mount-s3-arm64").write_bytes(content)

    def build(app):
        LifecycleBundle(cdk.Stack(app, "stack"), "Bundle", cluster_name="c", files={}, parts=["mount-s3", "rds-ca"])

    assert missing_parts(synthesise.app(build)) == ["mount-s3", "rds-ca"]


# Who uploads it


def function_of(template, upload):
    return template.resources[upload.properties["ServiceToken"]["Fn::GetAtt"][0]]


def role_of(template, upload):
    """The role of the function behind an upload."""
    return template.resources[function_of(template, upload).properties["Role"]["Fn::GetAtt"][0]]


def statements(policy):
    return policy.properties["PolicyDocument"]["Statement"]


def test_an_upload_may_do_what_it_does_and_no_more(synthesise, any_hyperpod):
    """CDK would grant reading, writing and deleting everything in both buckets."""
    assembly = synthesise.example(any_hyperpod)
    template = assembly["cluster"]
    upload = template.one("Custom::CDKBucketDeployment")
    [assets] = {assembly.text(name) for name in upload.properties["SourceBucketNames"]}
    bucket = f"${{{template.one('AWS::S3::Bucket').id}.Arn}}"
    key = synthesise.description(any_hyperpod).kms_key
    role = role_of(template, upload)
    [policy] = template.policies_of(role)
    assert [one | {"Resource": assembly.text(one["Resource"])} for one in statements(policy)] == [
        {"Effect": "Allow", "Sid": sid, "Action": action, "Resource": resource}
        for sid, action, resource in [
            ("ReadAssets", "s3:GetObject", f"arn:aws:s3:::{assets}/*"),
            ("Compare", "s3:ListBucket", bucket),
            ("Write", "s3:PutObject", f"{bucket}/lifecycle/*"),
            # Large files go up in parts, which S3 decrypts to put them together.
            *([("Encrypt", ["kms:Decrypt", "kms:GenerateDataKey"], key)] if key else []),
        ]
    ]
    # Nor is anything granted elsewhere: in the role, by AWS's policies, by a bucket's.
    assert "Policies" not in role.properties
    awss = [assembly.text(arn) for arn in role.properties["ManagedPolicyArns"] if arn != policy.ref]
    assert awss == ["arn:${AWS::Partition}:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"]
    assert role.id not in json.dumps([resource.body for resource in template.all("AWS::S3::BucketPolicy")])


def test_an_upload_deletes_nothing(synthesise, any_hyperpod):
    """Running nodes and a rollback come back to what was uploaded before."""
    template = synthesise.example(any_hyperpod)["cluster"]
    policies = template.policies_of(role_of(template, template.one("Custom::CDKBucketDeployment")))
    actions = [action for policy in policies for one in statements(policy) for action in listed(one["Action"])]
    assert actions
    assert not [action for action in actions if "delete" in action.lower() or "*" in action]


def listed(value):
    return value if isinstance(value, list) else [value]


@pytest.fixture(scope="module")
def two_clusters(synthesise):
    """Two clusters in one stack."""

    def build(stack):
        network = TrainingNetwork(stack, "Network", availability_zone="us-west-2a")
        config = HyperPodConfig(compute=(ComputeGroup(**WORKER),))
        for name in ("first", "second"):
            HyperPodCluster(stack, name, cluster_name=name, network=network, config=config)

    return synthesise.in_stack(build)


def test_clusters_of_one_stack_have_one_upload_role(two_clusters):
    """CDK gives their uploads one function, which has one role."""
    uploads = two_clusters.all("Custom::CDKBucketDeployment")
    assert len(uploads) == 2
    assert len({function_of(two_clusters, upload).id for upload in uploads}) == 1
    assert len({role_of(two_clusters, upload).id for upload in uploads}) == 1


def test_each_upload_waits_for_the_policy_of_its_own_bundle(two_clusters):
    """The function may be there already, for another bundle, and may not yet write this one's bucket."""
    uploads = two_clusters.all("Custom::CDKBucketDeployment")
    policies = two_clusters.policies_of(role_of(two_clusters, uploads[0]))
    assert len(policies) == len(uploads)
    for upload in uploads:
        bucket = two_clusters.resources[upload.properties["DestinationBucketName"]["Ref"]]
        [own] = [policy for policy in policies if bucket.id in json.dumps(policy.body)]
        [write] = [one["Resource"] for one in statements(own) if one["Action"] == "s3:PutObject"]
        assert write == {"Fn::Join": ["", [bucket.att("Arn"), "/lifecycle/*"]]}
        assert own.id in upload.depends_on


@pytest.mark.parametrize("order", ["ours-first", "theirs-first"])
def test_an_upload_of_somebody_elses_keeps_its_function_and_its_grants(synthesise, order):
    """CDK has one function for uploads with the same memory: with ours, theirs would be refused what it does."""

    def ours(stack):
        LifecycleBundle(stack, "Bundle", cluster_name="c", files={})

    def theirs(stack):
        page = s3_deployment.Source.data("index.html", "Hello")
        s3_deployment.BucketDeployment(stack, "Site", destination_bucket=s3.Bucket(stack, "Pages"), sources=[page])

    def build(stack):
        for add in (ours, theirs) if order == "ours-first" else (theirs, ours):
            add(stack)

    template = synthesise.in_stack(build)
    [their_bucket] = [bucket for bucket in template.all("AWS::S3::Bucket") if "BucketName" not in bucket.properties]
    their_upload = template.one("Custom::CDKBucketDeployment", DestinationBucketName=their_bucket.ref)
    [our_upload] = [one for one in template.all("Custom::CDKBucketDeployment") if one.id != their_upload.id]
    assert function_of(template, their_upload).id != function_of(template, our_upload).id
    their_role, our_role = role_of(template, their_upload), role_of(template, our_upload)
    assert their_role.id != our_role.id
    [granted] = template.policies_of(their_role)
    [write] = [one for one in statements(granted) if "s3:PutObject" in one["Action"]]
    assert "s3:DeleteObject*" in write["Action"]
    assert their_bucket.att("Arn") in write["Resource"]
    [policy] = template.policies_of(our_role)
    assert {one["Sid"] for one in statements(policy)} == {"ReadAssets", "Compare", "Write"}
    assert their_bucket.id not in json.dumps(policy.body)


def test_an_upload_that_would_run_as_somebody_else_is_an_error(synthesise):
    """CDK takes the first function with the same memory, and its role, without a word."""

    def build(stack):
        page = s3_deployment.Source.data("index.html", "Hello")
        pages = s3.Bucket(stack, "Pages")
        s3_deployment.BucketDeployment(stack, "Site", destination_bucket=pages, sources=[page], memory_limit=320)
        LifecycleBundle(stack, "Bundle", cluster_name="c", files={})

    with pytest.raises(RuntimeError, match="found 320 MiB on another BucketDeployment of this stack"):
        synthesise.in_stack(build)


# cluster.json


#: What most groups have of disks.
VOLUME = {"ebs_volume": True, "nvme": False}


def test_nodes_learn_what_the_cluster_is(synthesise):
    assembly = synthesise.example("hyperpod-gpu")
    storage = assembly["storage"]
    lustre = storage.one("AWS::FSx::FileSystem", FileSystemType="LUSTRE").id
    openzfs = storage.one("AWS::FSx::FileSystem", FileSystemType="OPENZFS").id
    metrics = assembly["observability"].one("AWS::APS::Workspace").id
    plain = {"gpu": False}
    assert assembly.beside_scripts("cluster.json") == {
        "schema_version": 1,
        "cluster_name": "ml-cluster-gpu",
        "region": "us-west-2",
        "slurm_configuration": "api",
        "instance_groups": [
            {"name": "controller", "node_type": "controller", "instance_type": "ml.m5.2xlarge"} | VOLUME | plain,
            {"name": "login", "node_type": "login", "instance_type": "ml.m5.xlarge"} | VOLUME | plain,
            {"name": "worker", "node_type": "compute", "instance_type": "ml.c5.4xlarge", "partition": "c5"}
            | VOLUME
            | plain,
            {
                "name": "gpu-worker",
                "node_type": "compute",
                "instance_type": "ml.g5.xlarge",
                "partition": "g5",
                "ebs_volume": True,
                "nvme": True,
                "gpu": True,
            },
        ],
        "mounts": {
            "lustre": {
                "dns_name": f"${{{lustre}.DNSName}}",
                "mount_name": f"${{{lustre}.LustreMountName}}",
                "path": "/fsx",
                "efa": False,
            },
            "openzfs": {"dns_name": f"${{{openzfs}.DNSName}}", "path": "/home"},
        },
        "users": [{"name": "alice", "uid": 10001, "gid": 1001, "ssh_public_keys": []}],
        "restrict_ssh_to_jobs": False,
        "studio": {
            "workspace": {"path": "/fsx/shared/studio-workspace", "uid": 10001, "gid": 1001},
            "directories": [],
            "mounted": ["/fsx/shared"],
            "munge_secret_arn": f"${{{assembly['cluster'].one('AWS::SecretsManager::Secret').id}}}",
            "client_s3_uri": "s3://sagemaker-ml-cluster-gpu-${AWS::AccountId}-us-west-2/studio",
        },
        "metrics": {"remote_write_url": f"${{{metrics}.PrometheusEndpoint}}api/v1/remote_write", "optional": []},
    }


def test_nodes_learn_that_lustre_is_on_efa(synthesise):
    assert synthesise.example("hyperpod-p5").beside_scripts("cluster.json")["mounts"]["lustre"]["efa"] is True


def test_nodes_learn_only_of_what_there_is(synthesise):
    known = synthesise().beside_scripts("cluster.json")
    assert known["mounts"] == {}
    assert known["users"] == []
    assert known.keys() == {
        "schema_version",
        "cluster_name",
        "region",
        "slurm_configuration",
        "instance_groups",
        "mounts",
        "users",
        "restrict_ssh_to_jobs",
    }


@pytest.mark.parametrize(
    ("group", "disks"),
    [
        ({"type": "ml.p5.48xlarge"}, {"ebs_volume": True, "nvme": True}),
        ({"type": "ml.p5.48xlarge", "ebs_volume_gib": None}, {"ebs_volume": False, "nvme": True}),
        ({"type": "ml.m5.xlarge", "ebs_volume_gib": None}, {"ebs_volume": False, "nvme": False}),
        # HyperPod chooses: what only one of them has cannot be counted on.
        ({"type": ["ml.g5.xlarge", "ml.m5.xlarge"]}, {"ebs_volume": True, "nvme": False}),
        ({"type": ["ml.g5.xlarge", "ml.g6.xlarge"]}, {"ebs_volume": True, "nvme": True}),
    ],
)
def test_nodes_learn_what_disks_they_have(synthesise, group, disks):
    known = synthesise(hyperpod={"compute": [WORKER | group]}).beside_scripts("cluster.json")
    [worker] = [one for one in known["instance_groups"] if one["name"] == "worker"]
    assert {name: worker[name] for name in disks} == disks


def test_nodes_learn_who_may_log_in_to_them(synthesise):
    assert synthesise.example("hyperpod-p5").beside_scripts("cluster.json")["restrict_ssh_to_jobs"] is True


def test_nodes_learn_of_mounted_buckets(synthesise):
    mounts = synthesise.example("everything").beside_scripts("cluster.json")["mounts"]
    assert mounts["s3"] == [
        {"bucket": "someones-sets", "prefix": "text/", "path": "/sets", "read_only": True},
        {"bucket": "someones-results", "path": "/results", "read_only": False},
    ]


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("more", "known"),
    [
        ({}, {}),
        ({"ca_certificate": CERTIFICATE}, {"ca_certificate": CERTIFICATE}),
        (
            {
                "bind_dn": "cn=slurm,dc=x",
                "bind_secret": f"arn:aws:secretsmanager:us-west-2:{ACCOUNT}:secret:ldap-AbCdEf",
            },
            {
                "bind_dn": "cn=slurm,dc=x",
                "bind_secret_arn": f"arn:aws:secretsmanager:us-west-2:{ACCOUNT}:secret:ldap-AbCdEf",
            },
        ),
    ],
)
def test_nodes_learn_of_a_directory(synthesise, more, known):
    found = {"uri": "ldaps://ldap.example.com", "base_dn": "dc=x"}
    assert synthesise(directory=found | more).beside_scripts("cluster.json")["directory"] == found | known


def test_nodes_learn_of_a_workspace_of_ones_own(synthesise):
    workspace = {"path": "/scratch/spaces", "uid": 10002, "gid": 1002}
    known = synthesise(
        storage={"lustre": {"mount": "/scratch"}},
        users=[{"name": "bob", "uid": 10002}],
        studio={"workspace": workspace},
    ).beside_scripts("cluster.json")
    assert known["studio"]["workspace"] == workspace


def test_nodes_learn_as_whom_to_use_a_database_of_ours(synthesise):
    assert synthesise.example("everything").beside_scripts("cluster.json")["accounting_database"]["user"] == "slurm"


def test_nodes_learn_of_file_systems_and_a_database_that_exist(synthesise):
    known = synthesise.example("existing").beside_scripts("cluster.json")
    assert known["mounts"] == {
        "lustre": {
            "dns_name": "fs-0123456789abcdef0.fsx.us-west-2.${AWS::URLSuffix}",
            "mount_name": "2p3fhbmv",
            "path": "/fsx",
            "efa": False,
        },
        "openzfs": {"dns_name": "fs-0123456789abcdef1.fsx.us-west-2.${AWS::URLSuffix}", "path": "/home"},
    }
    assert known["accounting_database"] == {
        "endpoint": "slurm.example.com",
        "port": 3307,
        "name": "slurm_acct_db",
        "secret_arn": "arn:aws:secretsmanager:us-west-2:111122223333:secret:slurm-AbCdEf",
    }


PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO4sZLkVVhAVVPZ8MOVzmEZbuV5CYfMJ8IfN9mpxX8wB alice@example"


@pytest.mark.parametrize(
    ("user", "known"),
    [
        ({"name": "alice", "uid": 10001}, {"name": "alice", "uid": 10001, "gid": 10001, "ssh_public_keys": []}),
        (
            {"name": "bob", "uid": 10002, "gid": 1001, "ssh_public_keys": [PUBLIC_KEY]},
            {"name": "bob", "uid": 10002, "gid": 1001, "ssh_public_keys": [PUBLIC_KEY]},
        ),
    ],
)
def test_users_have_accounts_with_their_defaults(synthesise, user, known):
    assert synthesise(users=[user]).beside_scripts("cluster.json")["users"] == [known]


# provisioning_parameters.json


def test_the_api_form_has_no_provisioning_parameters(synthesise):
    assert synthesise.example("hyperpod-cpu").beside_scripts("provisioning_parameters.json") is None


def test_two_controllers_share_database_and_directory(synthesise):
    assembly = synthesise.example("hyperpod-multihead")
    storage = assembly["storage"]
    lustre = storage.one("AWS::FSx::FileSystem", FileSystemType="LUSTRE").id
    openzfs = storage.one("AWS::FSx::FileSystem", FileSystemType="OPENZFS").id
    database = storage.one("AWS::RDS::DBInstance").id
    secret = storage.one("AWS::SecretsManager::SecretTargetAttachment").id
    assert assembly.beside_scripts("provisioning_parameters.json") == {
        "version": "1.0.0",
        "workload_manager": "slurm",
        "controller_group": "controller",
        "login_group": "login",
        "worker_groups": [{"instance_group_name": "worker", "partition_name": "ml.c5.4xlarge"}],
        "fsx_dns_name": f"${{{lustre}.DNSName}}",
        "fsx_mountname": f"${{{lustre}.LustreMountName}}",
        "fsx_openzfs_dns_name": f"${{{openzfs}.DNSName}}",
        "slurm_configurations": {
            "slurm_database_secret_arn": f"${{{secret}}}",
            "slurm_database_endpoint": f"${{{database}.Endpoint.Address}}",
            "slurm_shared_directory": "/fsx",
            "slurm_database_user": "slurm",
        },
    }


def test_two_controllers_tell_of_a_failover(synthesise):
    parameters = synthesise.example("legacy-kms-key").beside_scripts("provisioning_parameters.json")
    topic = "arn:aws:sns:us-west-2:111122223333:failover"
    assert parameters["slurm_configurations"]["slurm_sns_arn"] == topic


def test_one_controller_needs_neither_database_nor_directory(synthesise):
    legacy = {"slurm_configuration": "provisioning_parameters", "compute": [WORKER]}
    assert synthesise(hyperpod=legacy).beside_scripts("provisioning_parameters.json") == {
        "version": "1.0.0",
        "workload_manager": "slurm",
        "controller_group": "controller",
        "worker_groups": [{"instance_group_name": "worker", "partition_name": "worker"}],
    }


# When the prefix changes


def prefix(synthesise, **fields):
    upload = synthesise(**fields)["cluster"].one("Custom::CDKBucketDeployment")
    return upload.properties["DestinationBucketKeyPrefix"]


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ({"hyperpod": {"compute": [WORKER | {"count": 64}]}}, False),
        ({"hyperpod": {"compute": [WORKER | {"min_count": 1}]}}, False),
        ({"tags": {"team": "speech"}}, False),
        ({"data": {}}, False),
        ({"users": [{"name": "alice", "uid": 10001}]}, True),
        ({"hyperpod": {"compute": [WORKER], "restrict_ssh_to_jobs": True}}, True),
        ({"storage": STORAGE | {"s3": [{"bucket": "someones-data", "mount": "/data"}]}}, True),
        ({"studio": {"domain": None}}, True),
        ({"hyperpod": {"compute": [WORKER | {"partition": "cpu"}]}}, True),
        ({"hyperpod": {"compute": [WORKER, WORKER | {"name": "more"}]}}, True),
        ({"storage": {"lustre": {}}}, True),
        ({"storage": STORAGE | {"lustre": {"mount": "/scratch"}}}, True),
    ],
)
def test_a_change_that_nodes_must_learn_of_is_a_new_bundle(synthesise, change, matters):
    before = {"storage": STORAGE, "hyperpod": {"compute": [WORKER]}}
    assert (prefix(synthesise, **before | change) != prefix(synthesise, **before)) is matters


@pytest.fixture
def scripts(tmp_path):
    copy = tmp_path / "scripts"
    shutil.copytree(SCRIPTS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def bundle(synthesise, scripts, **files):
    """The prefix of a bundle, and the names of what is uploaded in it."""
    prefixes = []

    def build(stack):
        made = LifecycleBundle(stack, "Bundle", cluster_name="c", files=files or {"a.json": {}}, scripts=scripts)
        assert made.s3_uri.endswith(made.key_prefix)
        prefixes.append(made.key_prefix)

    template = synthesise.in_stack(build)
    assert template.one("Custom::CDKBucketDeployment").properties["DestinationBucketKeyPrefix"] == prefixes[0]
    return prefixes[0]


def add_byte(scripts):
    with (scripts / "on_create.sh").open("a") as script:
        script.write("\n")


def make_executable(scripts):
    (scripts / "lifecycle/__main__.py").chmod(0o755)


def remove(scripts):
    (scripts / "on_create.sh").unlink()


def rename(scripts):
    (scripts / "on_create.sh").rename(scripts / "create.sh")


def add_empty_file(scripts):
    (scripts / "lifecycle/new.py").touch()


@pytest.mark.parametrize("change", [add_byte, make_executable, remove, rename, add_empty_file])
def test_a_changed_script_is_a_new_bundle(synthesise, scripts, change):
    before = bundle(synthesise, scripts)
    change(scripts)
    assert bundle(synthesise, scripts) != before


def touch(scripts):
    os.utime(scripts / "on_create.sh", (0, 0))


def leave_junk(scripts):
    for name in (".DS_Store", "lifecycle/.mypy_cache/3.11/x.json", "lifecycle/steps/old.pyc", ".#on_create.sh"):
        (scripts / name).parent.mkdir(parents=True, exist_ok=True)
        (scripts / name).write_bytes(os.urandom(16))
    (scripts / "lifecycle/.#node.py").symlink_to("nobody@nowhere:1")  # as an editor locks what it edits


def change_what_spaces_run(scripts):
    (scripts / "studio").mkdir(exist_ok=True)
    (scripts / "studio/slurm_client.py").write_bytes(os.urandom(16))


def compile_bytecode(scripts):
    for cache in (scripts / "__pycache__", scripts / "lifecycle/__pycache__", scripts / "lifecycle/steps/__pycache__"):
        cache.mkdir()
        (cache / "step.cpython-311.pyc").write_bytes(os.urandom(16))


@pytest.mark.parametrize("change", [touch, compile_bytecode, leave_junk, change_what_spaces_run])
def test_what_is_not_in_the_scripts_is_no_new_bundle(synthesise, scripts, change):
    before = bundle(synthesise, scripts)
    change(scripts)
    assert bundle(synthesise, scripts) == before


def uploaded(synthesise, scripts):
    """Names of the files of a bundle that are uploaded."""

    def build(app):
        LifecycleBundle(cdk.Stack(app, "stack"), "Bundle", cluster_name="c", files={}, scripts=scripts)

    assembly = synthesise.app(build)
    [asset] = [path.parent for path in assembly.directory.glob("asset.*/on_create.sh")]
    return files_in(asset).keys()


@pytest.mark.parametrize("litter", [compile_bytecode, leave_junk, change_what_spaces_run])
def test_what_is_no_script_is_not_uploaded(synthesise, scripts, litter):
    before = {name for name in files_in(scripts) if not name.startswith("studio/")}
    litter(scripts)
    assert uploaded(synthesise, scripts) == before


@pytest.mark.parametrize("target", ["on_create.sh", "lifecycle", "nowhere"])
def test_a_link_is_refused(synthesise, scripts, target):
    (scripts / "lifecycle/link").symlink_to(scripts / target)
    with pytest.raises(ValueError, match=r"scripts: found .*/lifecycle/link; allowed: files and directories"):
        bundle(synthesise, scripts)


def test_a_large_file_is_never_in_memory(synthesise, scripts):
    """What is fetched for nodes has tens of megabytes."""
    size = 64 * 1024 * 1024
    (scripts / "parts").mkdir()
    with (scripts / "parts/large.deb").open("wb") as part:
        part.truncate(size)
    tracemalloc.start()
    try:
        before = bundle(synthesise, scripts)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size / 2
    with (scripts / "parts/large.deb").open("r+b") as part:
        part.seek(size - 1)
        part.write(b"x")
    assert bundle(synthesise, scripts) != before


def test_the_order_of_keys_is_no_new_bundle(synthesise, scripts):
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert json.dumps(one) != json.dumps(other)
    assert bundle(synthesise, scripts, file=one) == bundle(synthesise, scripts, file=other)
