"""What nodes may do in AWS: what HyperPod documents, on what is theirs; and what anything of ours may do at all."""

import json

import pytest

KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
EC2 = "arn:aws:ec2:us-west-2:${AWS::AccountId}"
WORKER = {"name": "worker", "type": "ml.c5.4xlarge", "count": 2}


def node_role(assembly):
    cluster = assembly["cluster"].one("AWS::SageMaker::Cluster")
    [role] = {group["ExecutionRole"]["Fn::GetAtt"][0] for group in cluster.properties["InstanceGroups"]}
    return assembly["cluster"].resources[role]


def statements(assembly):
    """Statements of the node role's own policy by their ids, with `text` of each resource."""
    [policy] = assembly["cluster"].policies_of(node_role(assembly))
    assert policy.ref in node_role(assembly).properties["ManagedPolicyArns"]
    return {
        statement["Sid"]: statement | {"Resource": [assembly.text(arn) for arn in listed(statement["Resource"])]}
        for statement in policy.properties["PolicyDocument"]["Statement"]
    }


def listed(value):
    return value if isinstance(value, list) else [value]


def test_hyperpod_assumes_the_role_and_nobody_else(synthesise):
    [trust] = node_role(synthesise()).properties["AssumeRolePolicyDocument"]["Statement"]
    assert (trust["Effect"], trust["Action"]) == ("Allow", "sts:AssumeRole")
    assert trust["Principal"] == {"Service": "sagemaker.amazonaws.com"}


def test_the_role_has_hyperpods_policy_and_one_of_ours(synthesise):
    assembly = synthesise()
    hyperpods, ours = node_role(assembly).properties["ManagedPolicyArns"]
    assert assembly.text(hyperpods) == "arn:${AWS::Partition}:iam::aws:policy/AmazonSageMakerClusterInstanceRolePolicy"
    assert [ours] == [policy.ref for policy in assembly["cluster"].policies_of(node_role(assembly))]
    assert "Policies" not in node_role(assembly).properties


def test_nodes_make_interfaces_in_their_subnets_and_security_group_only(synthesise):
    far = WORKER | {"name": "far", "availability_zone": "usw2-az1"}
    zones = [
        {"availability_zone": "usw2-az1", "private_cidr": "10.2.0.0/16"},
        {"availability_zone": "usw2-az2", "private_cidr": "10.3.0.0/16"},  # where no group stands
    ]
    assembly = synthesise(network={"additional_zones": zones}, hyperpod={"compute": [WORKER, far]})
    first, second = (
        assembly["network"].one("AWS::EC2::Subnet", CidrBlock=cidr).id for cidr in ("10.1.0.0/16", "10.2.0.0/16")
    )
    create = statements(assembly)["CreateInterfaces"]
    assert create["Action"] == "ec2:CreateNetworkInterface"
    assert set(create["Resource"]) == {
        f"{EC2}:network-interface/*",
        f"{EC2}:security-group/{assembly.text(assembly['network'].outputs['SecurityGroup'])}",
        f"{EC2}:subnet/${{{first}}}",
        f"{EC2}:subnet/${{{second}}}",
    }


def test_nodes_make_interfaces_in_a_groups_own_subnet(synthesise):
    network = {
        "existing": "vpc-0123456789abcdef0",
        "private_subnet": "subnet-0123456789abcdef0",
        "security_group": "sg-0123456789abcdef0",
    }
    elsewhere = WORKER | {"name": "elsewhere", "subnet": "subnet-0123456789abcdef9"}
    create = statements(synthesise(network=network, hyperpod={"compute": [WORKER, elsewhere]}))["CreateInterfaces"]
    assert set(create["Resource"]) == {
        f"{EC2}:network-interface/*",
        f"{EC2}:security-group/sg-0123456789abcdef0",
        f"{EC2}:subnet/subnet-0123456789abcdef0",
        f"{EC2}:subnet/subnet-0123456789abcdef9",
    }


def test_nodes_use_interfaces_and_tag_nothing_else(synthesise):
    own = statements(synthesise())
    assert own["UseInterfaces"]["Resource"] == [f"{EC2}:network-interface/*"]
    assert set(own["UseInterfaces"]["Action"]) == {
        "ec2:CreateNetworkInterfacePermission",
        "ec2:CreateTags",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteNetworkInterfacePermission",
        "ec2:DetachNetworkInterface",
    }
    # The instances stand in an account of the service's.
    assert own["DetachFromInstances"]["Action"] == "ec2:DetachNetworkInterface"
    assert own["DetachFromInstances"]["Resource"] == ["arn:aws:ec2:us-west-2:*:instance/*"]


def test_what_nodes_may_do_on_everything_only_describes(synthesise, any_hyperpod):
    """But for logging in to a registry, which lets them read nothing yet."""
    for statement in statements(synthesise.example(any_hyperpod)).values():
        actions = set(listed(statement["Action"])) - {"ecr:GetAuthorizationToken"}
        if "*" in statement["Resource"]:
            assert {action.partition(":Describe")[1] for action in actions} <= {":Describe"}


def test_nodes_see_whether_lustre_is_on_efa(synthesise):
    assert "fsx:DescribeFileSystems" in statements(synthesise())["Describe"]["Action"]


def test_a_plain_cluster_gives_nodes_nothing_more(synthesise):
    assert set(statements(synthesise())) == {"CreateInterfaces", "UseInterfaces", "DetachFromInstances", "Describe"}


def test_nodes_read_the_databases_secret_and_no_other(synthesise):
    assembly = synthesise.example("hyperpod-multihead")
    read = statements(assembly)["ReadSecrets"]
    secret = assembly["storage"].one("AWS::SecretsManager::SecretTargetAttachment").id
    assert (read["Action"], read["Resource"]) == ("secretsmanager:GetSecretValue", [f"${{{secret}}}"])
    read = statements(synthesise.example("existing"))["ReadSecrets"]
    assert read["Resource"] == ["arn:aws:secretsmanager:us-west-2:111122223333:secret:slurm-AbCdEf"]


def test_nodes_read_the_directorys_secret(synthesise):
    secret = "arn:aws:secretsmanager:us-west-2:111122223333:secret:ldap-AbCdEf"
    directory = {"uri": "ldaps://ldap", "base_dn": "dc=x", "bind_dn": "cn=y,dc=x", "bind_secret": secret}
    read = statements(synthesise(directory=directory))["ReadSecrets"]
    assert (read["Action"], read["Resource"]) == ("secretsmanager:GetSecretValue", [secret])
    assert "ReadSecrets" not in statements(synthesise(directory={"uri": "ldaps://ldap", "base_dn": "dc=x"}))


# Metrics


def test_nodes_send_metrics_to_the_one_workspace(synthesise):
    assembly = synthesise.example("hyperpod-cpu")
    workspace = assembly["observability"].one("AWS::APS::Workspace").id
    write = statements(assembly)["WriteMetrics"]
    assert (write["Action"], write["Resource"]) == ("aps:RemoteWrite", [f"${{{workspace}.Arn}}"])
    assert [sid for sid, one in statements(assembly).items() if "aps:" in str(one["Action"])] == ["WriteMetrics"]


def test_nodes_send_metrics_to_a_workspace_that_exists(synthesise):
    write = statements(synthesise.example("existing"))["WriteMetrics"]
    arn = "arn:aws:aps:us-west-2:${AWS::AccountId}:workspace/ws-0123abcd-0123-0123-0123-0123456789ab"
    assert write["Resource"] == [arn]


DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        (
            f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/mirror/dcgm-exporter@{DIGEST}",
            "arn:aws:ecr:eu-west-1:111122223333:repository/mirror/dcgm-exporter",
        ),
        (
            f"111122223333.dkr.ecr-fips.us-east-1.amazonaws.com/dcgm:4.6.0@{DIGEST}",
            "arn:aws:ecr:us-east-1:111122223333:repository/dcgm",
        ),
    ],
)
def test_nodes_pull_an_image_from_a_private_registry(synthesise, image, repository):
    gpus = WORKER | {"type": "ml.g5.xlarge"}
    observability = {"alert_emails": ["a@example.com"], "exporters": {"dcgm_image": image}}
    own = statements(synthesise(hyperpod={"compute": [gpus]}, observability=observability))
    assert (own["LogInToRegistry"]["Action"], own["LogInToRegistry"]["Resource"]) == (
        "ecr:GetAuthorizationToken",
        ["*"],
    )
    assert own["PullImage"]["Action"] == ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    assert own["PullImage"]["Resource"] == [repository]


@pytest.mark.parametrize("image", [None, f"nvcr.io/nvidia/k8s/dcgm-exporter@{DIGEST}", f"r.example.com/x@{DIGEST}"])
def test_nodes_need_no_permission_for_other_images(synthesise, image):
    gpus = WORKER | {"type": "ml.g5.xlarge"}
    observability = {"alert_emails": ["a@example.com"], "exporters": {"dcgm_image": image}}
    own = statements(synthesise(hyperpod={"compute": [gpus]}, observability=observability))
    assert "ecr:" not in str([one["Action"] for one in own.values()])


# What is mounted of buckets


def test_nodes_read_what_is_mounted_and_write_only_where_it_is_asked_for(synthesise):
    own = statements(synthesise.example("everything"))
    arn = "arn:aws:s3:::"
    assert {sid: (one["Action"], one["Resource"]) for sid, one in own.items() if "Mounted" in sid} == {
        "ListMounted": ("s3:ListBucket", [f"{arn}someones-results", f"{arn}someones-sets"]),
        "ReadMounted": ("s3:GetObject", [f"{arn}someones-results/*", f"{arn}someones-sets/text/*"]),
        "WriteMounted": (
            ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:PutObject"],
            [f"{arn}someones-results/*"],
        ),
    }


def test_two_mounts_of_one_bucket_name_it_once(synthesise):
    mounts = [{"bucket": "b-1", "mount": mount, "prefix": "p/"} for mount in ("/a", "/b")]
    own = statements(synthesise(storage={"s3": mounts}))
    assert own["ListMounted"]["Resource"] == ["arn:aws:s3:::b-1"]
    assert own["ReadMounted"]["Resource"] == ["arn:aws:s3:::b-1/p/*"]
    assert "WriteMounted" not in own


# The MUNGE key


def test_nodes_share_the_munge_key_in_its_secret_and_in_no_other(synthesise):
    assembly = synthesise.example("everything")
    secret = assembly["cluster"].one("AWS::SecretsManager::Secret")
    own = statements(assembly)
    assert own["ShareMungeKey"]["Action"] == ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"]
    assert own["ShareMungeKey"]["Resource"] == [f"${{{secret.id}}}"]
    putting = [sid for sid, one in own.items() if "secretsmanager:PutSecretValue" in listed(one["Action"])]
    assert putting == ["ShareMungeKey"]
    assert "EncryptMungeKey" not in own


def test_nodes_share_slurm_s_programs_below_one_prefix(synthesise):
    assembly = synthesise.example("hyperpod-gpu")
    bucket = assembly["cluster"].one("AWS::S3::Bucket")
    shared = statements(assembly)["ShareSlurmClient"]
    assert listed(shared["Action"]) == ["s3:PutObject"]
    assert shared["Resource"] == [f"${{{bucket.id}.Arn}}/studio/*"]
    assert "ShareSlurmClient" not in statements(synthesise.example("hyperpod-cpu"))


def test_a_customers_key_encrypts_the_munge_key(synthesise):
    own = statements(synthesise.example("kms-key"))
    assert (own["EncryptMungeKey"]["Action"], own["EncryptMungeKey"]["Resource"]) == ("kms:GenerateDataKey", [KEY])
    assert own["Decrypt"]["Resource"] == [KEY]


def test_controllers_tell_of_a_failover_on_the_one_topic(synthesise):
    tell = statements(synthesise.example("legacy-kms-key"))["TellFailover"]
    assert tell["Action"] == "sns:Publish"
    assert tell["Resource"] == ["arn:aws:sns:us-west-2:111122223333:failover"]


def test_volumes_are_encrypted_by_grants_for_aws_on_the_one_key(synthesise):
    own = statements(synthesise.example("kms-key"))
    granting = [one for one in own.values() if "kms:CreateGrant" in listed(one["Action"])]
    assert [one["Resource"] for one in granting] == [[KEY]]
    assert granting[0]["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    assert {resource for one in own.values() if "kms:" in str(one["Action"]) for resource in one["Resource"]} == {KEY}


def test_without_continuous_provisioning_no_grant_is_given(synthesise):
    own = statements(synthesise.example("legacy-kms-key"))
    assert not [one for one in own.values() if "kms:CreateGrant" in listed(one["Action"])]


@pytest.mark.parametrize("name", ["kms-key", "legacy-kms-key"])
def test_nodes_decrypt_the_scripts_and_the_secret_that_a_customers_key_encrypts(synthesise, name):
    assembly = synthesise.example(name)
    bucket = assembly["cluster"].one("AWS::S3::Bucket")
    [encryption] = bucket.at("BucketEncryption.ServerSideEncryptionConfiguration")
    assert encryption["ServerSideEncryptionByDefault"]["KMSMasterKeyID"] == KEY
    assert assembly["storage"].one("AWS::SecretsManager::Secret").properties["KmsKeyId"] == KEY
    # HyperPod's own policy lets nodes read the bucket, and knows nothing of keys.
    decrypting = [one for one in statements(assembly).values() if "kms:Decrypt" in listed(one["Action"])]
    assert [one["Resource"] for one in decrypting] == [[KEY]]


# Everything that may do something


def allowed(template):
    """Every statement of a template that allows something.

    But for what lets the account's policies say who may use a key, which is that key's to say and nothing else's.
    """

    def walk(value):
        if isinstance(value, dict):
            if value.get("Effect") == "Allow":
                yield value
            for item in value.values():
                yield from walk(item)
        elif isinstance(value, list):
            for item in value:
                yield from walk(item)

    for resource in template.resources.values():
        for statement in walk(resource.body):
            if (resource.type, statement["Action"]) == ("AWS::KMS::Key", "kms:*"):
                assert ":root" in json.dumps(statement["Principal"])
            else:
                yield statement


def test_nobody_may_do_everything(synthesise, any_hyperpod):
    for template in synthesise.example(any_hyperpod):
        for statement in allowed(template):
            assert "NotAction" not in statement
            for action in listed(statement["Action"]):
                service, _, name = action.partition(":")
                assert "*" not in service, statement
                assert name.strip("*"), statement


def test_no_policy_of_awss_gives_full_access(synthesise, any_hyperpod):
    for template in synthesise.example(any_hyperpod):
        for role in template.all("AWS::IAM::Role"):
            assert "FullAccess" not in json.dumps(role.properties.get("ManagedPolicyArns", []))


def test_roles_are_for_services_only(synthesise, any_hyperpod):
    for template in synthesise.example(any_hyperpod):
        for role in template.all("AWS::IAM::Role"):
            for trust in role.properties["AssumeRolePolicyDocument"]["Statement"]:
                assert list(trust["Principal"]) == ["Service"]
