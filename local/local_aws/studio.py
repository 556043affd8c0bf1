"""SageMaker Studio: domains, people, spaces and lifecycle configurations, as CloudFormation makes them and the API
tells them. Nothing is started.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from ministack.core.responses import get_account_id, get_region

from local_aws import ec2
from local_aws.client import client
from local_aws.cloudformation import Type
from local_aws.fsx import FILE_SYSTEM
from local_aws.permissions import require_role
from local_aws.schemas import primary_identifier
from local_aws.world import WORLD, Resource

DOMAIN = "AWS::SageMaker::Domain"
PROFILE = "AWS::SageMaker::UserProfile"
SPACE = "AWS::SageMaker::Space"
SCRIPT = "AWS::SageMaker::StudioLifecycleConfig"

SERVICE = "sagemaker.amazonaws.com"

#: Apps that a private space runs, and where its settings and those of people say what they start with.
_APP_SETTINGS = {"CodeEditor": "CodeEditorAppSettings", "JupyterLab": "JupyterLabAppSettings"}


def types() -> dict[str, Type]:
    """CloudFormation types."""
    return {
        DOMAIN: Type(create=_create_domain, delete=_delete_domain),
        PROFILE: Type(create=_created(PROFILE, "user-profile"), delete=_delete_profile),
        SPACE: Type(create=_created(SPACE, "space")),
        SCRIPT: Type(create=_create_script, delete=_delete_script),
    }


def checks() -> dict[str, Any]:
    """What Studio looks at before it makes or changes something."""
    return {DOMAIN: _check_domain, PROFILE: _check_profile, SPACE: _check_space, SCRIPT: _check_script}


def operations() -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    """The API: from a request's parameters to the answer. `KeyError` where there is no such thing."""
    return {
        "ListDomains": lambda _: {"Domains": [_told(one) for one in WORLD.all(DOMAIN)]},
        "DescribeDomain": lambda request: _described(DOMAIN, request),
        "ListUserProfiles": lambda request: {"UserProfiles": _of_domain(PROFILE, request)},
        "DescribeUserProfile": lambda request: _described(PROFILE, request),
        "ListSpaces": lambda request: {"Spaces": _of_domain(SPACE, request)},
        "DescribeSpace": lambda request: _described(SPACE, request),
        "ListStudioLifecycleConfigs": lambda _: {"StudioLifecycleConfigs": [_told(one) for one in WORLD.all(SCRIPT)]},
        "DescribeStudioLifecycleConfig": lambda request: _described(SCRIPT, request),
    }


def domain_of(resource: Resource) -> Resource:
    """The domain of a profile or a space."""
    domain = WORLD.get(DOMAIN, resource.properties["DomainId"])
    assert domain is not None, "a domain with people cannot go"
    return domain


def security_groups_of(domain: Resource) -> list[str]:
    """Security groups of a domain's spaces."""
    return list(domain.properties["DefaultUserSettings"].get("SecurityGroups", ()))


def settings_of(space: Resource) -> dict[str, Any]:
    """What a space's script was told when it was written; empty where it is another script than ours."""
    for app in _APP_SETTINGS.values():
        resources = space.properties["SpaceSettings"].get(app, {}).get("DefaultResourceSpec", {})
        if arn := resources.get("LifecycleConfigArn"):
            content = base64.b64decode(_script(arn).properties["StudioLifecycleConfigContent"]).decode()
            if found := re.search(r"<<'SETTINGS'\n(.*?)\nSETTINGS\n", content, re.DOTALL):
                return dict(json.loads(found[1]))
    return {}


def _physical_id(type_: str, properties: dict[str, Any]) -> str:
    return "|".join(properties[name] for name in primary_identifier(type_))


def _arn(resource: str) -> str:
    return f"arn:aws:sagemaker:{get_region()}:{get_account_id()}:{resource}"


def _told(one: Resource) -> dict[str, Any]:
    return {name: value for name, value in one.model.items() if name != "Tags"} | {"Status": "InService"}


def _described(type_: str, request: dict[str, Any]) -> dict[str, Any]:
    standing = WORLD.get(type_, _physical_id(type_, request))
    if standing is None:
        raise KeyError(f"{type_.rpartition('::')[2]} [{_physical_id(type_, request)}] does not exist")
    return _told(standing)


def _of_domain(type_: str, request: dict[str, Any]) -> list[dict[str, Any]]:
    wanted = request.get("DomainIdEquals")
    return [_told(one) for one in WORLD.all(type_) if wanted in (None, one.properties["DomainId"])]


# --- Domains ---


def _create_domain(_name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    id_ = ec2.fresh_id("d")[:14]
    attributes = {
        "DomainId": id_,
        "DomainArn": _arn(f"domain/{id_}"),
        "Url": f"https://{id_}.studio.{get_region()}.sagemaker.aws",
    }
    if properties.get("HomeEfsFileSystemCreation", "Enabled") == "Enabled":
        attributes["HomeEfsFileSystemId"] = ec2.fresh_id("fs")
        _create_nfs_groups(id_, properties["VpcId"])
    return id_, attributes


def _create_nfs_groups(domain_id: str, vpc_id: str) -> None:
    """The domain's own ways to its home file system. Nobody takes them away with the domain, so the VPC cannot go.

    https://docs.aws.amazon.com/sagemaker/latest/dg/gs-studio-delete-domain.html
    """
    for direction in ("inbound", "outbound"):
        made = client("ec2").create_security_group(
            VpcId=vpc_id,
            GroupName=f"security-group-for-{direction}-nfs-{domain_id}",
            Description="Made by SageMaker Studio",
        )
        WORLD.add(Resource("AWS::EC2::SecurityGroup", made["GroupId"], {"VpcId": vpc_id}, {"GroupId": made["GroupId"]}))


def _check_domain(properties: dict[str, Any], standing: Resource | None) -> None:
    settings = properties["DefaultUserSettings"]
    groups = settings.get("SecurityGroups", [])
    ec2.require_one_vpc(properties["SubnetIds"], groups, what="The domain")
    if {ec2.vpc_of_subnet(subnet) for subnet in properties["SubnetIds"]} != {properties["VpcId"]}:
        raise ValueError(f"The subnets {', '.join(properties['SubnetIds'])} are not in {properties['VpcId']}")
    require_role(settings["ExecutionRole"], service=SERVICE, needs=())
    _check_settings(settings, properties["SubnetIds"])
    before = standing.properties.get("HomeEfsFileSystemCreation", "Enabled") if standing else "Disabled"
    if before == "Enabled" and properties.get("HomeEfsFileSystemCreation") == "Disabled":
        raise ValueError("HomeEfsFileSystemCreation cannot be changed from Enabled to Disabled")


def _delete_domain(standing: Resource) -> None:
    _require_nobody(standing, [one for type_ in (PROFILE, SPACE) for one in WORLD.all(type_) if _in(one, standing)])


def _in(one: Resource, domain: Resource) -> bool:
    return bool(one.properties["DomainId"] == domain.physical_id)


def _require_nobody(standing: Resource, users: list[Resource]) -> None:
    if users:
        named = ", ".join(one.name for one in users)
        raise ValueError(f"Unable to delete {standing.name} because it is in use by {named} (ResourceInUse)")


# --- People ---


def _created(type_: str, kind: str) -> Callable[[str, dict[str, Any]], tuple[str, dict[str, Any]]]:
    def create(_name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        name = properties["UserProfileName" if type_ == PROFILE else "SpaceName"]
        arn = _arn(f"{kind}/{properties['DomainId']}/{name}")
        return _physical_id(type_, properties), {f"{type_.rpartition('::')[2]}Arn": arn}

    return create


def _check_profile(properties: dict[str, Any], standing: Resource | None) -> None:
    domain = _domain(properties)
    sso = domain.properties["AuthMode"] == "SSO"
    if sso != ("SingleSignOnUserValue" in properties):
        needs = "needs" if sso else "takes no"
        raise ValueError(f"A profile of a domain with AuthMode {domain.properties['AuthMode']} {needs} SSO user")
    settings = properties.get("UserSettings", {})
    if standing:
        before = standing.properties.get("UserSettings", {}).get("CustomPosixUserConfig")
        if before != settings.get("CustomPosixUserConfig"):
            raise ValueError("CustomPosixUserConfig of a user profile cannot be changed (ValidationException)")
    _check_settings(settings, domain.properties["SubnetIds"])


def _delete_profile(standing: Resource) -> None:
    name = standing.properties["UserProfileName"]
    spaces = [one for one in WORLD.all(SPACE) if _in(one, domain_of(standing)) and _owner(one.properties) == name]
    _require_nobody(standing, spaces)


def _domain(properties: dict[str, Any]) -> Resource:
    domain = WORLD.get(DOMAIN, properties["DomainId"])
    if domain is None:
        raise ValueError(f"Domain [{properties['DomainId']}] does not exist")
    return domain


def _check_settings(settings: dict[str, Any], subnets: list[str]) -> None:
    """What of a person's settings must exist: file systems in one of the domain's subnets, and scripts."""
    for id_ in _known_file_systems(settings):
        file_system = WORLD.get(FILE_SYSTEM, id_)
        if file_system is None:
            raise ValueError(f"The file system {id_} does not exist")
        own = file_system.properties["SubnetIds"]
        if own and set(own).isdisjoint(subnets):
            raise ValueError(f"The file system {id_} is in {', '.join(own)}, not in one of the domain's subnets")
    for app, name in _APP_SETTINGS.items():
        for arn in settings.get(name, {}).get("LifecycleConfigArns", ()):
            _require_script(arn, app)


def _known_file_systems(settings: dict[str, Any]) -> Iterator[str]:
    for one in settings.get("CustomFileSystemConfigs", ()):
        yield one["FSxLustreFileSystemConfig"]["FileSystemId"]


# --- Spaces ---


def _owner(properties: dict[str, Any]) -> str:
    return str(properties["OwnershipSettings"]["OwnerUserProfileName"])


def _check_space(properties: dict[str, Any], _standing: Resource | None) -> None:
    domain = _domain(properties)
    owner = WORLD.get(PROFILE, _physical_id(PROFILE, properties | {"UserProfileName": _owner(properties)}))
    if owner is None:
        raise ValueError(f"UserProfile [{_owner(properties)}] of {domain.physical_id} does not exist")
    own = [owner.properties.get("UserSettings", {}), domain.properties["DefaultUserSettings"]]
    settings = properties["SpaceSettings"]
    known = {id_ for one in own for id_ in _known_file_systems(one)}
    for one in settings.get("CustomFileSystems", ()):
        id_ = one["FSxLustreFileSystem"]["FileSystemId"]
        if id_ not in known:
            raise ValueError(f"The file system {id_} is in the settings of neither {_owner(properties)} nor the domain")
    for app, name in _APP_SETTINGS.items():
        arn = settings.get(name, {}).get("DefaultResourceSpec", {}).get("LifecycleConfigArn")
        if not arn:
            continue
        if app != settings["AppType"]:
            raise ValueError(f"A space of type {settings['AppType']} takes no {name}")
        _require_script(arn, app)
        if not any(arn in one.get(name, {}).get("LifecycleConfigArns", ()) for one in own):
            raise ValueError(f"{arn} is in the settings of neither {_owner(properties)} nor the domain")
    most = own[1].get("SpaceStorageSettings", {}).get("DefaultEbsStorageSettings", {}).get("MaximumEbsVolumeSizeInGb")
    size = settings.get("SpaceStorageSettings", {}).get("EbsStorageSettings", {}).get("EbsVolumeSizeInGb", 0)
    if most and size > most:
        raise ValueError(f"EbsVolumeSizeInGb {size} is more than the domain's {most}")


# --- Lifecycle configurations ---


def _create_script(_name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    name = properties["StudioLifecycleConfigName"]
    return name, {"StudioLifecycleConfigArn": _arn(f"studio-lifecycle-config/{name}")}


def _check_script(properties: dict[str, Any], _standing: Resource | None) -> None:
    content = base64.b64decode(properties["StudioLifecycleConfigContent"], validate=True)
    if not content.startswith(b"#!"):
        raise ValueError("StudioLifecycleConfigContent is not the Base64 of a script")


def _script(arn: str) -> Resource:
    script = WORLD.get(SCRIPT, arn.rpartition("/")[2])
    if script is None:
        raise ValueError(f"StudioLifecycleConfig [{arn}] does not exist")
    return script


def _require_script(arn: str, app: str) -> None:
    made_for = _script(arn).properties["StudioLifecycleConfigAppType"]
    if made_for != app:
        raise ValueError(f"{arn} is for {made_for}, not for {app}")


def _delete_script(standing: Resource) -> None:
    arn = standing.attributes["StudioLifecycleConfigArn"]
    users = [one for type_ in (DOMAIN, PROFILE, SPACE) for one in WORLD.all(type_)]
    _require_nobody(standing, [one for one in users if json.dumps(arn) in json.dumps(one.properties)])
