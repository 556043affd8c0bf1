"""Stand-ins for what a description says exists already, under the ids that it says."""

from typing import Any

from ministack.core.responses import get_region
from ministack.services import ec2, kms, s3, secretsmanager

from local_aws import aps
from local_aws.client import client
from local_aws.ec2 import open_to_itself
from local_aws.fsx import FILE_SYSTEM, attributes_of
from local_aws.world import WORLD, Resource


def provide(wanted: dict[str, Any]) -> None:
    """Make stand-ins, of what is not there already: two descriptions may name the same.

    `wanted` may hold `network` (`vpc`, `cidr`, `subnets` by id with zone and range, `security_group`),
    `lustre` (`id`, `dns_name`, `mount_name`), `openzfs` (`id`, `dns_name`, `root_volume`), `buckets`, `secrets`
    (their ARNs), `kms_key` (its ARN) and `metrics` (a workspace's id).
    """
    if network := wanted.get("network"):
        _vpc(network["vpc"], network["cidr"])
        for subnet in network["subnets"]:
            _subnet(network["vpc"], subnet)
        _security_group(network["vpc"], network["security_group"])
    if lustre := wanted.get("lustre"):
        _file_system(lustre, "LUSTRE", mount_name=lustre["mount_name"])
    if openzfs := wanted.get("openzfs"):
        _file_system(openzfs, "OPENZFS", root_volume_id=openzfs["root_volume"] or "")
    for bucket in wanted.get("buckets", ()):
        _bucket(bucket)
    for secret in wanted.get("secrets", ()):
        _secret(secret)
    if key := wanted.get("kms_key"):
        _key(key)
    if metrics := wanted.get("metrics"):
        attributes = aps.attributes_of(metrics)
        if WORLD.get(aps.WORKSPACE, attributes["Arn"]) is None:
            WORLD.add(Resource(aps.WORKSPACE, attributes["Arn"], {}, attributes))


def _vpc(id_: str, cidr: str) -> None:
    if id_ in ec2._vpcs:
        return
    made = client("ec2").create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
    ec2._vpcs[id_] = ec2._vpcs.pop(made) | {"VpcId": id_}
    for store in (ec2._security_groups, ec2._route_tables, ec2._network_acls):
        for record in store.values():
            if record.get("VpcId") == made:
                record["VpcId"] = id_


def _subnet(vpc_id: str, subnet: dict[str, str]) -> None:
    if subnet["id"] in ec2._subnets:
        return
    made = client("ec2").create_subnet(
        VpcId=vpc_id, CidrBlock=subnet["cidr"], AvailabilityZone=subnet["availability_zone"]
    )["Subnet"]["SubnetId"]
    ec2._subnets[subnet["id"]] = ec2._subnets.pop(made) | {"SubnetId": subnet["id"]}


def _security_group(vpc_id: str, id_: str) -> None:
    if id_ in ec2._security_groups:
        return
    described = {"GroupName": "existing", "Description": "Stands for one that exists"}
    made = client("ec2").create_security_group(VpcId=vpc_id, **described)["GroupId"]
    ec2._security_groups[id_] = ec2._security_groups.pop(made) | {"GroupId": id_}
    open_to_itself(id_)


def _file_system(wanted: dict[str, Any], type_: str, **given: str) -> None:
    if WORLD.get(FILE_SYSTEM, wanted["id"]):
        return
    attributes = attributes_of(wanted["id"], type_, **given)
    if wanted["dns_name"]:
        attributes["DNSName"] = wanted["dns_name"]
    WORLD.add(Resource(FILE_SYSTEM, wanted["id"], {"FileSystemType": type_, "SubnetIds": []}, attributes))


def _bucket(name: str) -> None:
    if name in s3._buckets:
        return
    # us-east-1 is where buckets are that name no place.
    elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": get_region()}}
    client("s3").create_bucket(Bucket=name, **({} if get_region() == "us-east-1" else elsewhere))


def _secret(arn: str) -> None:
    name = arn.rpartition(":secret:")[2].rpartition("-")[0]
    if name not in secretsmanager._secrets:
        client("secretsmanager").create_secret(Name=name, SecretString='{"username": "slurm", "password": "x"}')
        secretsmanager._secrets[name]["ARN"] = arn


def _key(arn: str) -> None:
    id_ = arn.rpartition("/")[2]
    if id_ not in kms._keys:
        made = client("kms").create_key()["KeyMetadata"]["KeyId"]
        kms._keys[id_] = kms._keys.pop(made) | {"KeyId": id_, "Arn": arn}
