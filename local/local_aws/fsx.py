"""FSx: file systems and associations with buckets, as CloudFormation makes them and the API tells them."""

import ipaddress
from typing import Any

from ministack.core.responses import get_account_id, get_region
from ministack.services import ec2

from local_aws.cloudformation import Type
from local_aws.ec2 import fresh_id, lets_through, require_one_vpc, vpc_of_subnet
from local_aws.references import in_bucket
from local_aws.world import WORLD, Resource

FILE_SYSTEM = "AWS::FSx::FileSystem"
ASSOCIATION = "AWS::FSx::DataRepositoryAssociation"

#: Lustre's own port; the others follow from it.
_LUSTRE_PORT = 988
_MOST_ASSOCIATIONS = 8


def types() -> dict[str, Type]:
    """CloudFormation types."""
    return {
        FILE_SYSTEM: Type(create=_create_file_system),
        ASSOCIATION: Type(create=_create_association),
    }


def checks() -> dict[str, Any]:
    """What FSx looks at before it makes something."""
    return {FILE_SYSTEM: _check_file_system, ASSOCIATION: _check_association}


def operations() -> dict[str, Any]:
    """The API: from a request's parameters to the answer. `KeyError` where there is no such thing."""
    return {
        "DescribeFileSystems": lambda request: {
            "FileSystems": [_told(one) for one in _asked(FILE_SYSTEM, request.get("FileSystemIds"))]
        },
        "DescribeDataRepositoryAssociations": lambda request: {
            "Associations": [
                {**one.model, "Lifecycle": "AVAILABLE"} for one in _asked(ASSOCIATION, request.get("AssociationIds"))
            ]
        },
        "DeleteFileSystem": _delete_file_system,
    }


def _asked(type_: str, ids: list[str] | None) -> list[Resource]:
    if not ids:
        return WORLD.all(type_)
    found = [WORLD.get(type_, id_) for id_ in ids]
    if None in found:
        raise KeyError(f"File system or association '{ids[found.index(None)]}' does not exist.")
    return [one for one in found if one]


def _told(file_system: Resource) -> dict[str, Any]:
    model = file_system.model
    told = {name: model[name] for name in _TOLD if name in model}
    told |= {"FileSystemId": model["Id"], "Lifecycle": "AVAILABLE", "OwnerId": get_account_id()}
    subnets = model.get("SubnetIds", ())
    if subnets:
        told["VpcId"] = vpc_of_subnet(subnets[0])
    if model["FileSystemType"] == "LUSTRE":
        told["LustreConfiguration"] = model.get("LustreConfiguration", {}) | {"MountName": model["LustreMountName"]}
    else:
        told["OpenZFSConfiguration"] = model.get("OpenZFSConfiguration", {}) | {"RootVolumeId": model["RootVolumeId"]}
    return told


#: What a description of a file system tells as it was given.
_TOLD = (
    "DNSName",
    "FileSystemType",
    "FileSystemTypeVersion",
    "KmsKeyId",
    "ResourceARN",
    "StorageCapacity",
    "StorageType",
    "SubnetIds",
    "Tags",
)


def _create_file_system(_name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    id_ = fresh_id("fs")
    scratch_1 = properties.get("LustreConfiguration", {}).get("DeploymentType") == "SCRATCH_1"
    mount_name = "fsx" if scratch_1 else fresh_id("")[1:9]
    return id_, attributes_of(id_, properties["FileSystemType"], mount_name=mount_name)


def attributes_of(id_: str, type_: str, *, mount_name: str = "", root_volume_id: str = "") -> dict[str, Any]:
    """What FSx gives to a file system."""
    arn = f"arn:aws:fsx:{get_region()}:{get_account_id()}:file-system/{id_}"
    attributes = {"Id": id_, "ResourceARN": arn, "DNSName": f"{id_}.fsx.{get_region()}.amazonaws.com"}
    if type_ == "LUSTRE":
        return attributes | {"LustreMountName": mount_name}
    return attributes | {"RootVolumeId": root_volume_id or fresh_id("fsvol")}


def _check_file_system(properties: dict[str, Any], standing: Resource | None) -> None:
    if standing:
        if properties.get("StorageCapacity", 0) < standing.properties.get("StorageCapacity", 0):
            raise ValueError("Storage capacity cannot be decreased")
        return
    groups = properties.get("SecurityGroupIds", [])
    require_one_vpc(properties["SubnetIds"], groups, what="The file system")
    if properties["FileSystemType"] == "LUSTRE":
        network = ipaddress.IPv4Network(ec2._subnets[properties["SubnetIds"][0]]["CidrBlock"])
        for direction in ("IpPermissions", "IpPermissionsEgress"):
            if not lets_through(direction, groups, _LUSTRE_PORT, groups=groups, network=network):
                raise ValueError(
                    "The security groups do not permit Lustre LNET network traffic on port "
                    f"{_LUSTRE_PORT} among the file servers ({direction})"
                )


def _create_association(_name: str, properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    id_ = fresh_id("dra")
    owner = f"arn:aws:fsx:{get_region()}:{get_account_id()}:association"
    return id_, {"AssociationId": id_, "ResourceARN": f"{owner}/{properties['FileSystemId']}/{id_}"}


def _check_association(properties: dict[str, Any], standing: Resource | None) -> None:
    if standing:
        return
    id_ = properties["FileSystemId"]
    file_system = WORLD.get(FILE_SYSTEM, id_)
    if file_system is None or file_system.properties["FileSystemType"] != "LUSTRE":
        raise ValueError(f"There is no Lustre file system '{id_}' to associate")
    in_bucket(properties["DataRepositoryPath"], what="DataRepositoryPath")
    others = [one for one in WORLD.all(ASSOCIATION) if one.properties["FileSystemId"] == id_]
    if len(others) >= _MOST_ASSOCIATIONS:
        raise ValueError(f"'{id_}' has {len(others)} data repository associations, the most that it can have")
    for other in others:
        paths = [f"{one['FileSystemPath'].rstrip('/')}/" for one in (properties, other.properties)]
        if paths[0].startswith(paths[1]) or paths[1].startswith(paths[0]):
            raise ValueError(f"FileSystemPath '{paths[0]}' overlaps with '{paths[1]}' of {other.physical_id}")


def _delete_file_system(request: dict[str, Any]) -> dict[str, Any]:
    [standing] = _asked(FILE_SYSTEM, [request["FileSystemId"]])
    WORLD.remove(FILE_SYSTEM, standing.physical_id)
    return {"FileSystemId": standing.physical_id, "Lifecycle": "DELETING"}
