"""What the local AWS refuses of SageMaker Studio, and what it says spaces would be refused when they run."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from cdk_slurm.rehearsal import LocalAws
from tests.deploy.stack import Stack
from tests.deploy.test_local_aws import att, lustre, network, ref, resource, subnet, trusted_by


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws(region="us-west-2") as started:
        yield started


#: People attach it themselves.
LUSTRE = {"FSxLustreFileSystemConfig": {"FileSystemId": ref("Lustre"), "FileSystemPath": "/shared"}}

#: As it is after the deployment of a domain and its network.
BESIDE = {
    **network(),
    "Lustre": lustre(),
    "Role": resource("AWS::IAM::Role", AssumeRolePolicyDocument=trusted_by("sagemaker.amazonaws.com")),
}


def script(app: str = "CodeEditor", text: str = "#!/bin/bash\n", name: str = "start") -> dict[str, Any]:
    content = base64.b64encode(text.encode()).decode()
    return resource(
        "AWS::SageMaker::StudioLifecycleConfig",
        StudioLifecycleConfigName=name,
        StudioLifecycleConfigAppType=app,
        StudioLifecycleConfigContent=content,
    )


def domain(settings: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    properties = {
        "DomainName": "x",
        "AuthMode": "IAM",
        "VpcId": ref("Vpc"),
        "SubnetIds": [ref("Subnet")],
        "AppNetworkAccessType": "VpcOnly",
        "HomeEfsFileSystemCreation": "Disabled",
        "DefaultUserSettings": {"ExecutionRole": att("Role", "Arn"), "SecurityGroups": [ref("Group")]}
        | (settings or {}),
    }
    return resource("AWS::SageMaker::Domain", **properties | changes)


def profile(settings: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    own = {"CustomPosixUserConfig": {"Uid": 10001, "Gid": 1001}, "CustomFileSystemConfigs": [LUSTRE]}
    own |= {"CodeEditorAppSettings": {"LifecycleConfigArns": [att("Script", "StudioLifecycleConfigArn")]}}
    properties = {"DomainId": att("Domain", "DomainId"), "UserProfileName": "alice", "UserSettings": own | settings}
    return resource("AWS::SageMaker::UserProfile", **properties | changes)


def space(settings: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    resources = {"LifecycleConfigArn": att("Script", "StudioLifecycleConfigArn"), "InstanceType": "ml.t3.medium"}
    own = {
        "AppType": "CodeEditor",
        "CodeEditorAppSettings": {"DefaultResourceSpec": resources},
        "CustomFileSystems": [{"FSxLustreFileSystem": {"FileSystemId": ref("Lustre")}}],
        "SpaceStorageSettings": {"EbsStorageSettings": {"EbsVolumeSizeInGb": 20}},
    }
    properties = {
        "DomainId": att("Domain", "DomainId"),
        "SpaceName": "alices",
        "OwnershipSettings": {"OwnerUserProfileName": "alice"},
        "SpaceSharingSettings": {"SharingType": "Private"},
        "SpaceSettings": own | (settings or {}),
    }
    return resource("AWS::SageMaker::Space", **properties | changes) | {"DependsOn": "Profile"}


def studio(**changes: Any) -> dict[str, Any]:
    """A domain with a person and a space, in a network with Lustre."""
    own = {"Domain": domain(), "Script": script(), "Profile": profile({}), "Space": space()}
    return BESIDE | own | changes


def elsewhere(app: str) -> dict[str, Any]:
    return {"DefaultResourceSpec": {"LifecycleConfigArn": f"arn:aws:sagemaker:us-west-2:111122223333:{app}"}}


_NO_SCRIPT = "studio-lifecycle-config/none"

WRONG = {
    "subnets of another VPC": (
        studio(
            Vpc2=resource("AWS::EC2::VPC", CidrBlock="10.1.0.0/16"),
            Domain=domain(VpcId=ref("Vpc2")),
        ),
        "are not in vpc-",
    ),
    "a role that SageMaker may not take on": (
        studio(Role=resource("AWS::IAM::Role", AssumeRolePolicyDocument=trusted_by("ec2.amazonaws.com"))),
        "sagemaker.amazonaws.com is not authorized to assume",
    ),
    "Lustre in a subnet that is not the domain's": (
        studio(Subnet2=subnet(), Domain=domain(SubnetIds=[ref("Subnet2")])),
        "not in one of the domain's subnets",
    ),
    "a person of IAM Identity Center in a domain without": (
        studio(Profile=profile({}, SingleSignOnUserIdentifier="UserName", SingleSignOnUserValue="alice")),
        "AuthMode IAM takes no SSO user",
    ),
    "nobody of IAM Identity Center in a domain with": (
        studio(Domain=domain(AuthMode="SSO")),
        "AuthMode SSO needs SSO user",
    ),
    "ids that Studio does not take": (
        studio(Profile=profile({"CustomPosixUserConfig": {"Uid": 1000, "Gid": 1001}})),
        "1000 is less than the minimum of 10000",
    ),
    "a script that is none": (
        studio(Space=space({"CodeEditorAppSettings": elsewhere(_NO_SCRIPT)})),
        f"{_NO_SCRIPT}] does not exist",
    ),
    "a script of another app": (studio(Script=script("JupyterLab")), "is for JupyterLab, not for CodeEditor"),
    "a script that the owner has not": (
        studio(Profile=profile({"CodeEditorAppSettings": {}})),
        "is in the settings of neither alice nor the domain",
    ),
    "Lustre that the owner has not": (
        studio(Profile=profile({"CustomFileSystemConfigs": []})),
        "is in the settings of neither alice nor the domain",
    ),
    "a space of nobody": (
        studio(Space=space(OwnershipSettings={"OwnerUserProfileName": "bob"})),
        "UserProfile [bob] of d-",
    ),
    "a space larger than the domain allows": (
        studio(
            Domain=domain(
                {
                    "SpaceStorageSettings": {
                        "DefaultEbsStorageSettings": {"DefaultEbsVolumeSizeInGb": 5, "MaximumEbsVolumeSizeInGb": 10}
                    }
                }
            )
        ),
        "EbsVolumeSizeInGb 20 is more than the domain's 10",
    ),
    "what is no script": (studio(Script=script(text="echo")), "not the Base64 of a script"),
    "a script longer than Studio takes": (
        studio(Script=script(text="#!/bin/bash\n" * 1200)),
        "#/StudioLifecycleConfigContent: ",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_studio_does_not_take_fails(aws, what):
    template, told = WRONG[what]
    stack = Stack(aws, template)
    assert stack.status == "ROLLBACK_COMPLETE"
    assert told in stack.failures


@pytest.fixture
def stack(aws: LocalAws) -> Iterator[Stack]:
    made = Stack(aws, studio())
    assert made.status == "CREATE_COMPLETE", made.failures
    yield made
    assert made.delete() == "DELETE_COMPLETE", made.failures


def test_ids_are_for_ever(stack):
    other = profile({"CustomPosixUserConfig": {"Uid": 10002, "Gid": 1001}})
    assert stack.update(studio(Profile=other)) == "UPDATE_ROLLBACK_COMPLETE"
    assert "CustomPosixUserConfig of a user profile cannot be changed" in stack.failures


def test_what_is_in_use_cannot_go(aws):
    people = Stack(aws, {name: part for name, part in studio().items() if name != "Space"})
    told = aws.client("sagemaker").list_domains()["Domains"][0]["DomainId"]
    text = json.dumps({name: part for name, part in space().items() if name != "DependsOn"})
    known = {
        json.dumps(att("Domain", "DomainId")): told,
        json.dumps(ref("Lustre")): people.physical_id("Lustre"),
        json.dumps(att("Script", "StudioLifecycleConfigArn")): (
            "arn:aws:sagemaker:us-west-2:111122223333:studio-lifecycle-config/start"
        ),
    }
    for reference, value in known.items():
        text = text.replace(reference, json.dumps(value))
    spaces = Stack(aws, {"Space": json.loads(text)})
    assert spaces.status == "CREATE_COMPLETE", spaces.failures
    assert people.delete() == "DELETE_FAILED"
    assert f"because it is in use by AWS::SageMaker::Space {told}|alices (ResourceInUse)" in people.failures
    assert spaces.delete() == people.delete() == "DELETE_COMPLETE"


def test_another_script_under_the_same_name_cannot_be(stack):
    """None can be changed; its name would be taken."""
    changed = studio(Script=script(text="#!/bin/bash\necho\n"))
    assert stack.update(changed) == "UPDATE_ROLLBACK_COMPLETE"
    assert "start" in stack.failures
    named = studio(Script=script(text="#!/bin/bash\necho\n", name="start-2"))
    assert stack.update(named) == "UPDATE_COMPLETE", stack.failures


def test_a_home_file_system_stays_and_holds_the_network(aws):
    network_ = Stack(aws, BESIDE, {"Vpc": {"Value": ref("Vpc")}})
    ids = {name: network_.physical_id(name) for name in ("Vpc", "Subnet", "Group")}
    role = resource("AWS::IAM::Role", AssumeRolePolicyDocument=trusted_by("sagemaker.amazonaws.com"))
    text = json.dumps({"Role": role, "Domain": domain(HomeEfsFileSystemCreation="Enabled")})
    for name, id_ in ids.items():
        text = text.replace(json.dumps(ref(name)), json.dumps(id_))
    studio_ = Stack(aws, json.loads(text))
    assert studio_.delete() == "DELETE_COMPLETE"
    filters = [{"Name": "vpc-id", "Values": [ids["Vpc"]]}]
    groups = aws.client("ec2").describe_security_groups(Filters=filters)["SecurityGroups"]
    left = sorted(one["GroupName"] for one in groups if "nfs" in one["GroupName"])
    assert [one.rpartition("-nfs-")[0] for one in left] == [
        "security-group-for-inbound",
        "security-group-for-outbound",
    ]
    assert network_.delete() == "DELETE_FAILED"
    assert "DependencyViolation" in network_.failures


def test_what_a_space_would_be_refused_is_told(aws, stack):
    told = aws.refusals()
    space_id = stack.physical_id("Space")
    assert any(f"{space_id}: " in one and "not authorized to perform: sagemaker:" in one for one in told)
    closed = [one for one in told if f"{space_id}: TCP " in one]
    assert {int(one.split("TCP ")[1].split()[0]) for one in closed} == set(range(1018, 1024)), "988 is open"
