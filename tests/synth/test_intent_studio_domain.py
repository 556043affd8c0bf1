"""A Studio domain beside a cluster: what its spaces reach, what they may do, whose they are, and what they run."""

import base64
import json
import re
import subprocess

import aws_cdk as cdk
import pytest
from botocore.session import get_session

from cdk_slurm.hyperpod import HyperPodCluster
from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import StudioConfig, StudioDomainConfig, StudioWorkspace, User
from cdk_slurm.storage import LustreFileSystem
from cdk_slurm.studio import StudioAccess, StudioDomain, StudioUser

KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
PEOPLE = [{"name": "alice", "uid": 10001, "gid": 1001}, {"name": "bob", "uid": 10002}]
WORKSPACE = "/fsx/shared/studio-workspace"
ACCOUNT = "us-west-2:${AWS::AccountId}"
OWN = {
    "ArnLike": {
        "sagemaker:OwnerUserProfileArn": (
            "arn:*:sagemaker:*:*:user-profile/${sagemaker:DomainId}/${sagemaker:UserProfileName}"
        )
    },
    "StringEquals": {"sagemaker:SpaceSharingType": "Private"},
}


def studio(synthesise, **domain):
    return synthesise(storage={"lustre": {}}, users=PEOPLE, studio={"domain": domain})


def listed(value):
    return value if isinstance(value, list) else [value]


def statements(assembly, policy):
    """By their ids: actions, resources as text, and conditions."""
    found = {}
    for one in policy.properties["PolicyDocument"]["Statement"]:
        assert one["Effect"] == "Allow"
        resources = [assembly.text(arn) for arn in listed(one["Resource"])]
        found[one["Sid"]] = (listed(one["Action"]), resources, one.get("Condition"))
    return found


def policies(assembly):
    """All that the role of spaces has, by the stack that each is in."""
    role = assembly["studio"].one("AWS::IAM::Role")
    assert not role.properties.keys() & {"ManagedPolicyArns", "Policies"}, "AWS's, or in the role itself"
    found = [
        (name.rpartition("-")[2], policy)
        for name, template in assembly.templates.items()
        for kind in ("AWS::IAM::ManagedPolicy", "AWS::IAM::Policy")
        for policy in template.all(kind)
        if role.ref in assembly.resolved(policy.properties.get("Roles", []))
    ]
    assert [stack for stack, _ in found] == ["cluster", "studio"]
    return dict(found)


def own_policy(assembly):
    return statements(assembly, policies(assembly)["studio"])


# What spaces may do


def test_only_sagemaker_takes_the_role_on(synthesise):
    [trust] = studio(synthesise)["studio"].one("AWS::IAM::Role").at("AssumeRolePolicyDocument.Statement")
    assert (trust["Effect"], trust["Action"]) == ("Allow", "sts:AssumeRole")
    assert trust["Principal"] == {"Service": "sagemaker.amazonaws.com"}


def test_people_look_at_their_domain_and_run_their_own_spaces(synthesise):
    assembly = studio(synthesise)
    domain = f"${{{assembly['studio'].one('AWS::SageMaker::Domain').id}.DomainId}}"
    arns = {kind: f"arn:aws:sagemaker:{ACCOUNT}:{kind}/{domain}/*" for kind in ("app", "space", "user-profile")}
    own = f"arn:aws:sagemaker:{ACCOUNT}:domain/{domain}"
    looked_at = ["DescribeApp", "DescribeDomain", "DescribeSpace", "DescribeUserProfile"]
    created = {"StringEquals": {"sagemaker:TaggingAction": "CreateApp"}}
    logs = [f"arn:aws:logs:{ACCOUNT}:log-group:/aws/sagemaker/studio:*"]
    assert own_policy(assembly) == {
        "List": (["sagemaker:ListApps", "sagemaker:ListDomains", "sagemaker:ListSpaces"], ["*"], None),
        "Look": (
            [f"sagemaker:{one}" for one in looked_at],
            [arns["app"], own, arns["space"], arns["user-profile"]],
            None,
        ),
        "RunOwnSpaces": (["sagemaker:CreateApp", "sagemaker:DeleteApp"], [arns["app"]], OWN),
        "ChangeOwnSpaces": (["sagemaker:UpdateSpace"], [arns["space"]], OWN),
        "TagApps": (["sagemaker:AddTags"], [arns["app"]], created),
        "WriteLogs": (["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], logs, None),
    }


def test_people_use_the_data_bucket_and_no_other(synthesise):
    for name in ("everything", "existing"):
        assembly = synthesise.example(name)
        made = assembly["storage"].all("AWS::S3::Bucket") if name == "everything" else []
        bucket = f"${{{made[0].id}.Arn}}" if made else "arn:aws:s3:::someones-data"
        found = {
            sid: (actions, resources)
            for sid, (actions, resources, _) in own_policy(assembly).items()
            if actions[0].startswith("s3:")
        }
        assert found == {
            "ListData": (["s3:GetBucketLocation", "s3:ListBucket"], [bucket]),
            "UseData": (
                ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"],
                [f"{bucket}/*"],
            ),
        }


def test_people_use_a_key_where_there_is_one(synthesise):
    assembly = synthesise.example("kms-key")
    assert assembly["studio"].one("AWS::SageMaker::Domain").at("KmsKeyId") == KEY
    assert {sid: one for sid, one in own_policy(assembly).items() if one[0][0].startswith("kms:")} == {
        "UseKey": (["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"], [KEY], None),
        "GrantVolumeKey": (["kms:CreateGrant"], [KEY], {"Bool": {"kms:GrantIsForAWSResource": "true"}}),
    }


def test_the_clusters_stack_lets_spaces_at_this_cluster_and_goes_with_it(synthesise):
    assembly = studio(synthesise)
    template = assembly["cluster"]
    policy = policies(assembly)["cluster"]
    cluster = f"${{{template.one('AWS::SageMaker::Cluster').id}.ClusterArn}}"
    bucket = f"${{{template.one('AWS::S3::Bucket').id}.Arn}}"
    looked_at = ["DescribeCluster", "DescribeClusterNode", "ListClusterNodes"]
    assert statements(assembly, policy) == {
        "Look": ([f"sagemaker:{one}" for one in looked_at], [cluster], None),
        "Tunnel": (["ssm:StartSession"], ["arn:aws:ssm:us-west-2::document/AWS-StartSSHSession", cluster], None),
        "EndOwnTunnels": (
            ["ssm:ResumeSession", "ssm:TerminateSession"],
            [f"arn:aws:ssm:{ACCOUNT}:session/${{aws:userid}}-*"],
            None,
        ),
        "ReadMungeKey": (
            ["secretsmanager:GetSecretValue"],
            [f"${{{template.one('AWS::SecretsManager::Secret').id}}}"],
            None,
        ),
        "FetchSlurmClient": (["s3:GetObject"], [f"{bucket}/studio/*"], None),
    }
    assert policy.kept[0] is None


# What spaces reach


def rules(assembly, template, direction):
    """Whose, with whom, protocol and ports of each rule that is not in a group itself."""
    other = "SourceSecurityGroupId" if direction == "Ingress" else "DestinationSecurityGroupId"
    return {
        (
            *(assembly.text(rule.at(name)) for name in ("GroupId", other)),
            f"{rule.at('IpProtocol')} {rule.at('FromPort')}-{rule.at('ToPort')}",
        )
        for rule in template.all(f"AWS::EC2::SecurityGroup{direction}")
    }


@pytest.mark.parametrize("of_lustre", [{}, {"efa": True, "capacity_gib": 38400}], ids=["tcp", "efa"])
def test_spaces_reach_lustre_slurm_and_each_other(synthesise, of_lustre):
    """Over TCP: on EFA are nodes only."""
    assembly = synthesise(storage={"lustre": of_lustre}, users=PEOPLE, studio={})
    template = assembly["studio"]
    spaces = f"${{{template.one('AWS::EC2::SecurityGroup').id}.GroupId}}"
    lustre = f"${{{assembly['storage'].one('AWS::EC2::SecurityGroup').id}.GroupId}}"
    nodes = assembly.text(assembly["network"].outputs["SecurityGroup"])
    both_ways = {
        (*pair, ports) for pair in ((spaces, lustre), (lustre, spaces)) for ports in ("tcp 988-988", "tcp 1018-1023")
    }
    assert rules(assembly, template, "Egress") == both_ways
    assert rules(assembly, template, "Ingress") == both_ways | {
        (spaces, spaces, "tcp 8192-65535"),
        (nodes, spaces, "tcp 6817-6819"),
    }
    group = template.one("AWS::EC2::SecurityGroup")
    assert "SecurityGroupIngress" not in group.properties
    [to_the_internet] = group.at("SecurityGroupEgress")
    assert (to_the_internet["CidrIp"], to_the_internet["IpProtocol"]) == ("0.0.0.0/0", "-1")
    domain = template.one("AWS::SageMaker::Domain")
    kinds = ("AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress")
    assert domain.depends_on == {rule.id for kind in kinds for rule in template.all(kind)}
    assert domain.at("DefaultUserSettings.SecurityGroups") == [group.att("GroupId")]


def test_what_lets_nodes_reach_somebodys_lustre_lets_spaces_too(synthesise):
    """And nothing is changed of its groups, which are not known."""
    assembly = synthesise.example("existing")
    template, nodes = assembly["studio"], "sg-0123456789abcdef0"
    own = template.one("AWS::EC2::SecurityGroup").att("GroupId")
    assert template.one("AWS::SageMaker::Domain").at("DefaultUserSettings.SecurityGroups") == [own, nodes]
    assert rules(assembly, template, "Egress") == set()
    spaces = assembly.text(own)
    assert rules(assembly, template, "Ingress") == {
        (spaces, spaces, "tcp 8192-65535"),
        (nodes, spaces, "tcp 6817-6819"),
    }


def test_spaces_are_in_the_clusters_network_and_nowhere_else(synthesise):
    assembly = studio(synthesise)
    domain = assembly["studio"].one("AWS::SageMaker::Domain")
    assert (domain.at("DomainName"), domain.at("AuthMode")) == ("c", "IAM")
    assert domain.at("AppNetworkAccessType") == "VpcOnly"
    assert assembly.resolved(domain.at("VpcId")) == assembly["network"].outputs["VPC"]
    assert [assembly.resolved(one) for one in domain.at("SubnetIds")] == [
        assembly["network"].outputs["PrimaryPrivateSubnet"]
    ]
    assert domain.at("HomeEfsFileSystemCreation") == "Disabled"
    assert domain.at("DefaultUserSettings.ExecutionRole") == assembly["studio"].one("AWS::IAM::Role").att("Arn")
    assert domain.at("KmsKeyId") is None


# Who is there


def profile(assembly, name):
    return assembly["studio"].one("AWS::SageMaker::UserProfile", UserProfileName=name)


@pytest.mark.parametrize(("lustre", "path"), [("shared", "/shared"), ("per_user", "/shared/studio-workspace/{name}")])
def test_everybody_has_the_ids_that_they_have_on_nodes_and_their_directory(synthesise, lustre, path):
    assembly = studio(synthesise, lustre=lustre)
    for name, uid, gid in (("alice", 10001, 1001), ("bob", 10002, 10002)):
        one = profile(assembly, name)
        assert one.at("UserSettings.CustomPosixUserConfig") == {"Uid": uid, "Gid": gid}
        [attached] = one.at("UserSettings.CustomFileSystemConfigs")
        found = attached["FSxLustreFileSystemConfig"]
        assert found["FileSystemPath"] == path.format(name=name)
        assert assembly.resolved(found["FileSystemId"]) == assembly["storage"].outputs["FSxLustreFilesystemId"]


@pytest.mark.parametrize(("lustre", "path"), [("shared", "/"), ("per_user", "/spaces/alice")])
def test_paths_are_lustres_wherever_nodes_mount_it(synthesise, lustre, path):
    assembly = synthesise(
        storage={"lustre": {"mount": "/scratch"}},
        users=PEOPLE,
        studio={"workspace": {"path": "/scratch/spaces"}, "domain": {"lustre": lustre}},
    )
    [attached] = profile(assembly, "alice").at("UserSettings.CustomFileSystemConfigs")
    assert attached["FSxLustreFileSystemConfig"]["FileSystemPath"] == path


@pytest.mark.parametrize(
    ("domain", "directories", "mounted"),
    [
        ({"lustre": "shared"}, [], ["/fsx/shared"]),
        (
            {"lustre": "per_user"},
            [
                {"path": f"{WORKSPACE}/alice", "uid": 10001, "gid": 1001},
                {"path": f"{WORKSPACE}/bob", "uid": 10002, "gid": 10002},
            ],
            [f"{WORKSPACE}/alice", f"{WORKSPACE}/bob"],
        ),
        (
            {"lustre": "per_user", "users": [{"name": "bob"}]},
            [{"path": f"{WORKSPACE}/bob", "uid": 10002, "gid": 10002}],
            [f"{WORKSPACE}/bob"],
        ),
    ],
    ids=["shared", "per_user", "somebody"],
)
def test_nodes_learn_of_the_directories_that_spaces_mount(synthesise, domain, directories, mounted):
    assembly = studio(synthesise, **domain)
    known = assembly.beside_scripts("cluster.json")["studio"]
    assert known == {
        "workspace": {"path": WORKSPACE, "uid": 10001, "gid": 1001},
        "directories": directories,
        "mounted": mounted,
        "munge_secret_arn": assembly.text(assembly["cluster"].one("AWS::SecretsManager::Secret").ref),
        "client_s3_uri": "s3://sagemaker-c-${AWS::AccountId}-us-west-2/studio",
    }
    assert {one["mounted"] for one in settings(assembly)} == set(mounted)


def test_who_is_not_named_is_not_in_studio(synthesise):
    template = studio(synthesise, lustre="per_user", users=[{"name": "bob"}])["studio"]
    assert template.one("AWS::SageMaker::UserProfile").at("UserProfileName") == "bob"
    assert template.one("AWS::SageMaker::Space").at("OwnershipSettings.OwnerUserProfileName") == "bob"


def test_people_of_identity_center_are_known_by_their_names_there(synthesise):
    assembly = studio(
        synthesise, auth="sso", users=[{"name": "alice", "sso_user": "alice@example.com"}, {"name": "bob"}]
    )
    assert assembly["studio"].one("AWS::SageMaker::Domain").at("AuthMode") == "SSO"
    told = {name: profile(assembly, name).at("SingleSignOnUserValue") for name in ("alice", "bob")}
    assert told == {"alice": "alice@example.com", "bob": "bob"}
    assert profile(assembly, "bob").at("SingleSignOnUserIdentifier") == "UserName"
    assert profile(studio(synthesise), "bob").at("SingleSignOnUserIdentifier") is None


APPS = {"code_editor": "CodeEditor", "jupyter_lab": "JupyterLab"}


def test_a_space_for_each_app_has_all_that_it_takes(synthesise):
    assembly = studio(synthesise, apps=list(APPS), instance_type="ml.m5.large", volume_gib=200)
    template = assembly["studio"]
    domain = template.one("AWS::SageMaker::Domain")
    assert len(template.all("AWS::SageMaker::Space")) == 2 * len(PEOPLE)
    for user in PEOPLE:
        owner = profile(assembly, user["name"])
        for app, app_type in APPS.items():
            name = f"{user['name']}-{app.replace('_', '-')}"
            space = template.one("AWS::SageMaker::Space", SpaceName=name)
            assert space.at("DomainId") == owner.at("DomainId") == domain.att("DomainId")
            assert space.at("SpaceSettings.AppType") == app_type
            assert space.at("OwnershipSettings.OwnerUserProfileName") == user["name"]
            assert space.at("SpaceSharingSettings.SharingType") == "Private"
            assert space.at("SpaceSettings.SpaceStorageSettings.EbsStorageSettings.EbsVolumeSizeInGb") == 200
            [attached] = space.at("SpaceSettings.CustomFileSystems")
            lustre = assembly.resolved(attached["FSxLustreFileSystem"]["FileSystemId"])
            assert lustre == assembly["storage"].outputs["FSxLustreFilesystemId"]
            resources = space.at(f"SpaceSettings.{app_type}AppSettings.DefaultResourceSpec")
            assert resources["InstanceType"] == "ml.m5.large"
            assert owner.at(f"UserSettings.{app_type}AppSettings.LifecycleConfigArns") == [
                resources["LifecycleConfigArn"]
            ]
            script = template.resources[resources["LifecycleConfigArn"]["Fn::GetAtt"][0]]
            assert script.at("StudioLifecycleConfigAppType") == app_type
            assert owner.id in space.depends_on
    most = "DefaultUserSettings.SpaceStorageSettings.DefaultEbsStorageSettings.MaximumEbsVolumeSizeInGb"
    assert domain.at(most) == 200
    assert studio(synthesise)["studio"].one("AWS::SageMaker::Domain").at(most) == 100


# What a space runs


def scripts(assembly):
    """Text of every script, by its name."""
    return {
        one.at("StudioLifecycleConfigName"): assembly.text(one.at("StudioLifecycleConfigContent.Fn::Base64"))
        for one in assembly["studio"].all("AWS::SageMaker::StudioLifecycleConfig")
    }


def settings(assembly):
    """What every script is told."""
    return [
        json.loads(re.search(r"<<'SETTINGS'\n(.*?)\nSETTINGS\n", text, re.DOTALL)[1])
        for text in scripts(assembly).values()
    ]


def test_a_script_knows_its_cluster_and_its_person(synthesise):
    assembly = studio(synthesise, lustre="per_user")
    found = settings(assembly)
    lustre = assembly.text(assembly["storage"].outputs["FSxLustreFilesystemId"])
    known = {(one["user"]["name"], one["user"]["uid"], one["user"]["gid"], one["mounted"]) for one in found}
    assert known == {("alice", 10001, 1001, f"{WORKSPACE}/alice"), ("bob", 10002, 10002, f"{WORKSPACE}/bob")}
    for one in found:
        assert (one["cluster"], one["region"], one["file_system_id"]) == ("c", "us-west-2", lustre)
        assert one["munge_secret"] == assembly["cluster"].one("AWS::SecretsManager::Secret").at("Name")
        assert one["login_groups"] == ["controller"]


def test_spaces_go_to_login_nodes_before_they_go_to_controllers(synthesise):
    assert {tuple(one["login_groups"]) for one in settings(synthesise.example("everything"))} == {
        ("login", "controller")
    }


def test_scripts_of_long_names_are_told_apart(synthesise):
    user = {"name": "a" * 32, "uid": 4000000, "gid": 4000000}
    assembly = synthesise(name="c" * 40, storage={"lustre": {}}, users=[user], studio={"domain": {"apps": list(APPS)}})
    assert len(scripts(assembly)) == len(APPS)


def test_a_script_is_one_and_fits(synthesise):
    model = get_session().get_service_model("sagemaker")
    content, named = (model.shape_for(f"StudioLifecycleConfig{one}").metadata for one in ("Content", "Name"))
    # An account's longest names and id, which are in it.
    user = {"name": "a" * 32, "uid": 4000000, "gid": 4000000}
    assembly = synthesise(
        name="c" * 40, storage={"lustre": {}}, users=[user], studio={"domain": {"lustre": "per_user"}}
    )
    [(name, text)] = scripts(assembly).items()
    assert len(name) <= named["max"]
    assert re.fullmatch(named["pattern"], name)
    assert len(base64.b64encode(text.encode())) <= content["max"] - 1024
    read = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (read.returncode, read.stderr) == (0, ""), "bash only warns of a document that does not end"


@pytest.mark.parametrize("change", ["uid", "tags", "stack's tags", "nothing"])
def test_whatever_a_script_is_made_of_is_in_its_name(synthesise, change):
    """None can be changed, and CloudFormation makes the next before it deletes the former."""

    def names(*, changed):
        def build(app):
            tags = {"season": "winter"} if changed and change == "stack's tags" else {}
            stack = cdk.Stack(app, "studio", tags=tags)
            user = User(name="alice", uid=10002 if changed and change == "uid" else 10001, gid=1001)
            StudioUser(stack, "Alice", domain=domain_of(stack), user=user, login_groups=["controller"])
            if changed and change == "tags":
                cdk.Tags.of(app).add("season", "winter")

        return scripts(synthesise.app(build)).keys()

    assert (names(changed=True) == names(changed=False)) == (change == "nothing")


# What is left in the end


@pytest.mark.parametrize(("removal_policy", "kept"), [("retain", "Retain"), ("destroy", "Delete")])
def test_domain_people_and_spaces_are_kept_unless_they_are_to_go(synthesise, removal_policy, kept):
    assembly = studio(synthesise, removal_policy=removal_policy)
    assert assembly.stack("studio")["properties"].get("terminationProtection", False) == (kept == "Retain")
    for one in assembly["studio"].resources.values():
        if one.type == "AWS::CDK::Metadata":
            continue
        script = one.type == "AWS::SageMaker::StudioLifecycleConfig"
        assert one.kept == (kept, "Delete" if script else kept), one.type


def test_a_domain_needs_no_cluster_and_the_cluster_needs_it(synthesise):
    assembly = studio(synthesise)
    needs = {
        suffix: {one.rpartition("-")[2].removesuffix(".assets") for one in assembly.stack(suffix)["dependencies"]}
        for suffix in ("studio", "cluster")
    }
    assert "cluster" not in needs["studio"]
    assert {"network", "storage"} <= needs["studio"]
    assert "studio" in needs["cluster"]


def test_a_cluster_without_a_domain_has_no_such_stack(synthesise):
    assembly = synthesise(storage={"lustre": {}}, users=PEOPLE, studio={"domain": None})
    assert not any(name.endswith("-studio") for name in assembly.templates)


# Constructs of another app


def domain_of(stack, **config):
    network = TrainingNetwork(stack, "Network", availability_zone="us-west-2a")
    lustre = LustreFileSystem(stack, "Lustre", network=network)
    return StudioDomain(stack, "Studio", name="c", network=network, lustre=lustre, studio=StudioConfig(**config))


def test_a_domain_that_is_not_described_is_refused(synthesise):
    with pytest.raises(ValueError, match=r"studio.domain: found none; allowed: a StudioDomainConfig"):
        synthesise.in_stack(lambda stack: domain_of(stack, domain=None))


def test_a_cluster_that_has_nothing_ready_is_refused(synthesise):
    def build(stack):
        cluster = HyperPodCluster.from_attributes(
            stack,
            "Cluster",
            cluster_name="c",
            cluster_arn="arn:aws:sagemaker:us-west-2:111122223333:cluster/abcdefghijkl",
            role_arn="arn:aws:iam::111122223333:role/nodes",
        )
        StudioAccess(stack, "Access", cluster=cluster, role=domain_of(stack).role)

    with pytest.raises(ValueError, match="cluster: found one without studio; allowed: one with studio"):
        synthesise.in_stack(build)


@pytest.mark.parametrize(
    ("config", "user", "message"),
    [
        (
            {"workspace": StudioWorkspace(path="/home/studio")},
            User(name="alice", uid=10001, gid=1001),
            "STUDIO_WORKSPACE_PATH: workspace.path: found /home/studio; allowed: a directory below /fsx",
        ),
        (
            {"domain": StudioDomainConfig(volume_gib=4)},
            User(name="alice", uid=10001, gid=1001),
            "STUDIO_SPACE: domain.volume_gib: found 4; allowed: 5 to 16384",
        ),
        ({}, User(name="alice", uid=2001, gid=1001), "STUDIO_USER_IDS: uid: found 2001; allowed: 10000 to 4000000"),
    ],
)
def test_constructs_judge_what_they_are_given(synthesise, config, user, message):
    def build(stack):
        StudioUser(stack, "Alice", domain=domain_of(stack, **config), user=user, login_groups=["controller"])

    with pytest.raises(RuntimeError) as raised:
        synthesise.in_stack(build)
    assert message in str(raised.value)
