"""What people, Studio and the script of a space do with a domain's role, and what a space must reach."""

import ipaddress
from collections.abc import Iterator
from typing import Any

from ministack.core.responses import get_account_id, get_region

from local_aws import ec2, sagemaker, studio
from local_aws.fsx import ASSOCIATION, FILE_SYSTEM
from local_aws.nodes import cluster_json
from local_aws.permissions import Need, require_role, user_id
from local_aws.references import in_bucket
from local_aws.secretsmanager import secret_named
from local_aws.world import WORLD, Resource

#: https://docs.aws.amazon.com/fsx/latest/LustreGuide/limit-access-security-groups.html
_LUSTRE_PORTS = (988, *range(1018, 1024))

_ANYBODY = ipaddress.IPv4Network("0.0.0.0/0")


def refusals_of(space: Resource) -> Iterator[str]:
    """What would be refused when a space runs, in words for people."""
    domain = studio.domain_of(space)
    role = domain.properties["DefaultUserSettings"]["ExecutionRole"]
    try:
        needs = [*_studio_needs(domain, space), *_script_needs(studio.settings_of(space), role)]
        needs += [need for id_ in _file_systems(space) for need in _data_needs(id_)]
        require_role(role, service=studio.SERVICE, needs=needs)
    except ValueError as error:
        yield f"{space.physical_id}: {error}"
    for id_ in _file_systems(space):
        yield from _unreached(space, id_, studio.security_groups_of(domain))


def _file_systems(space: Resource) -> list[str]:
    custom = space.properties["SpaceSettings"].get("CustomFileSystems", ())
    return [one["FSxLustreFileSystem"]["FileSystemId"] for one in custom]


def _arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{get_region()}:{get_account_id()}:{resource}"


def _studio_needs(domain: Resource, space: Resource) -> Iterator[Need]:
    """https://docs.aws.amazon.com/sagemaker/latest/dg/studio-updated-space.html"""
    id_, name = domain.physical_id, space.properties["SpaceName"]
    owner = space.properties["OwnershipSettings"]["OwnerUserProfileName"]
    app = _arn("sagemaker", f"app/{id_}/{name}/CodeEditor/default")
    profile, own = _arn("sagemaker", f"user-profile/{id_}/{owner}"), space.attributes["SpaceArn"]
    as_owner = {
        "sagemaker:DomainId": id_,
        "sagemaker:UserProfileName": owner,
        "sagemaker:OwnerUserProfileArn": profile,
        "sagemaker:SpaceSharingType": space.properties["SpaceSharingSettings"]["SharingType"],
    }
    for listed in ("Apps", "Domains", "Spaces"):
        yield Need(f"sagemaker:List{listed}")
    yield Need("sagemaker:DescribeDomain", domain.attributes["DomainArn"])
    yield Need("sagemaker:DescribeUserProfile", profile)
    yield Need("sagemaker:DescribeSpace", own)
    yield Need("sagemaker:DescribeApp", app)
    yield Need("sagemaker:UpdateSpace", own, as_owner)
    yield Need("sagemaker:CreateApp", app, as_owner)
    yield Need("sagemaker:DeleteApp", app, as_owner)
    yield Need("sagemaker:AddTags", app, {"sagemaker:TaggingAction": "CreateApp"})
    logs = _arn("logs", "log-group:/aws/sagemaker/studio")
    yield Need("logs:CreateLogGroup", f"{logs}:log-stream:")
    yield Need("logs:CreateLogStream", f"{logs}:log-stream:a")
    yield Need("logs:PutLogEvents", f"{logs}:log-stream:a")
    if key := domain.properties.get("KmsKeyId"):
        # https://docs.aws.amazon.com/sagemaker/latest/dg/encryption-at-rest-studio.html
        yield Need("kms:CreateGrant", key, {"kms:GrantIsForAWSResource": "true"})
        yield Need("kms:DescribeKey", key)


def _script_needs(settings: dict[str, Any], role: str) -> Iterator[Need]:
    """What the script does as soon as there is a cluster of the name that it was told."""
    cluster = next(
        (one for one in WORLD.all(sagemaker.CLUSTER) if one.model["ClusterName"] == settings.get("cluster")), None
    )
    if cluster is None:
        return
    for action in ("DescribeCluster", "DescribeClusterNode", "ListClusterNodes"):
        yield Need(f"sagemaker:{action}", cluster.physical_id)
    # https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-getting-started-enable-ssh-connections.html
    yield Need("ssm:StartSession", cluster.physical_id)
    yield Need("ssm:StartSession", f"arn:aws:ssm:{get_region()}::document/AWS-StartSSHSession")
    session = _arn("ssm", f"session/{user_id(role, studio.SERVICE)}-0123456789abcdef0")
    yield Need("ssm:ResumeSession", session)
    yield Need("ssm:TerminateSession", session)
    secret = secret_named(settings["munge_secret"])
    yield Need("secretsmanager:GetSecretValue", secret["ARN"])
    if key := secret.get("KmsKeyId"):
        yield Need("kms:Decrypt", key)
    uri = cluster.properties["InstanceGroups"][0]["LifeCycleConfig"]["SourceS3Uri"]
    programs = cluster_json(*in_bucket(uri, what="SourceS3Uri"))["studio"]["client_s3_uri"]
    bucket, prefix = in_bucket(programs, what="Slurm's programs")
    yield Need("s3:GetObject", f"arn:aws:s3:::{bucket}/{prefix}/slurm-client-a.tar.gz")


def _data_needs(file_system_id: str) -> Iterator[Need]:
    """Who works with files of Lustre works with the buckets behind them too."""
    for one in WORLD.all(ASSOCIATION):
        if one.properties["FileSystemId"] != file_system_id:
            continue
        bucket, _ = in_bucket(one.properties["DataRepositoryPath"], what="DataRepositoryPath")
        for action in ("GetBucketLocation", "ListBucket"):
            yield Need(f"s3:{action}", f"arn:aws:s3:::{bucket}")
        for action in ("AbortMultipartUpload", "DeleteObject", "GetObject", "PutObject"):
            yield Need(f"s3:{action}", f"arn:aws:s3:::{bucket}/a/b")
        for key in sagemaker.keys_of(bucket):
            yield Need("kms:Decrypt", key)
            yield Need("kms:GenerateDataKey", key)


def _unreached(space: Resource, file_system_id: str, groups: list[str]) -> Iterator[str]:
    """Clients and servers of Lustre call each other."""
    file_system = WORLD.get(FILE_SYSTEM, file_system_id)
    servers = file_system.properties.get("SecurityGroupIds", []) if file_system else []
    if not servers:
        return  # somebody else's, whose groups nobody told
    ways = ((groups, servers), (servers, groups))
    for port in _LUSTRE_PORTS:
        for from_, to in ways:
            out = ec2.lets_through("IpPermissionsEgress", from_, port, groups=to, network=_ANYBODY)
            if not (out and ec2.lets_through("IpPermissions", to, port, groups=from_, network=_ANYBODY)):
                yield f"{space.physical_id}: TCP {port} is closed from {', '.join(from_)} to {', '.join(to)}"
