"""Stand-ins for what a description says exists already, under the ids that it says."""

from typing import Any

from ministack.core.responses import get_region
from ministack.services import ec2, kms, secretsmanager

from local_aws.client import client
from local_aws.ec2 import open_to_itself
from local_aws.fsx import FILE_SYSTEM, attributes_of
from local_aws.world import WORLD, Resource


def provide(wanted: dict[str, Any]) -> None:
    """Make stand-ins.

    `wanted` may hold `network` (`vpc`, `cidr`, `subnets` by id with zone and range, `security_group`),
    `lustre` (`id`, `dns_name`, `mount_name`), `openzfs` (`id`, `dns_name`, `root_volume`), `bucket`, `secret`
    (its ARN) and `kms_key` (its ARN).
    """
    if network := wanted.get("network"):
        _network(network)
    if lustre := wanted.get("lustre"):
        _file_system(lustre, "LUSTRE", mount_name=lustre["mount_name"])
    if openzfs := wanted.get("openzfs"):
        _file_system(openzfs, "OPENZFS", root_volume_id=openzfs["root_volume"] or "")
    if bucket := wanted.get("bucket"):
        where = {} if get_region() == "us-east-1" else {"LocationConstraint": get_region()}
        client("s3").create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": where} if where else {}))
    if secret := wanted.get("secret"):
        name = secret.rpartition(":secret:")[2].rpartition("-")[0]
        client("secretsmanager").create_secret(Name=name, SecretString='{"username": "slurm", "password": "x"}')
        secretsmanager._secrets[name]["ARN"] = secret
    if key := wanted.get("kms_key"):
        made = client("kms").create_key()["KeyMetadata"]["KeyId"]
        record = kms._keys.pop(made)
        id_ = key.rpartition("/")[2]
        kms._keys[id_] = record | {"KeyId": id_, "Arn": key}


def _network(network: dict[str, Any]) -> None:
    made = client("ec2").create_vpc(CidrBlock=network["cidr"])["Vpc"]["VpcId"]
    ec2._vpcs[network["vpc"]] = ec2._vpcs.pop(made) | {"VpcId": network["vpc"]}
    for store in (ec2._security_groups, ec2._route_tables, ec2._network_acls):
        for record in store.values():
            if record.get("VpcId") == made:
                record["VpcId"] = network["vpc"]
    for subnet in network["subnets"]:
        made = client("ec2").create_subnet(
            VpcId=network["vpc"], CidrBlock=subnet["cidr"], AvailabilityZone=subnet["availability_zone"]
        )["Subnet"]["SubnetId"]
        ec2._subnets[subnet["id"]] = ec2._subnets.pop(made) | {"SubnetId": subnet["id"]}
    made = client("ec2").create_security_group(
        VpcId=network["vpc"], GroupName="existing", Description="Stands for one that exists"
    )["GroupId"]
    group = network["security_group"]
    ec2._security_groups[group] = ec2._security_groups.pop(made) | {"GroupId": group}
    open_to_itself(group)


def _file_system(wanted: dict[str, Any], type_: str, **given: str) -> None:
    attributes = attributes_of(wanted["id"], type_, **given)
    if wanted["dns_name"]:
        attributes["DNSName"] = wanted["dns_name"]
    WORLD.add(Resource(FILE_SYSTEM, wanted["id"], {"FileSystemType": type_, "SubnetIds": []}, attributes))
