"""The lifecycle scripts in S3, under a name that changes when they do."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_s3_deployment as s3_deployment
from constructs import Construct, IDependable

from cdk_slurm.findings import (
    BUCKET_DEPLOYMENT,
    acknowledge,
    acknowledge_provider,
    function_logging,
    log_group,
    shown,
)
from cdk_slurm.parts import is_fetched, lifecycle_scripts, locked_parts
from cdk_slurm.rules.service_model import regions
from cdk_slurm.storage.data_bucket import private_bucket

_PREFIX = "lifecycle"
_BUCKET_NAME_LENGTH = 63

#: What is beside scripts and none of them, by names at any depth; spaces of Studio run what is in `studio`.
_NOT_FOR_NODES = ("__pycache__", "*.pyc", ".*", "studio")

_CHUNK_BYTES = 1024 * 1024

#: Memory of the upload function, in MiB. CDK has one function for all deployments of a stack with the same memory,
#: with the first one's role: a size that nobody chooses keeps ours, which may do little, to itself.
_UPLOAD_MEMORY_MIB = 320
_UPLOAD_ROLE = "LifecycleUploadRole"


class LifecycleBundle(Construct):
    """A directory of scripts and the JSON files beside them, uploaded before the cluster is made or changed.

    The bucket's name begins with `sagemaker-`, the only prefix that HyperPod's role policy reads. The
    key prefix holds a hash of the scripts and of the JSON files, where values known only at deployment
    count by the resource that they come from: a changed script is a changed prefix, and an unchanged
    one is not. Former bundles stay, so that a rollback and a replaced node find theirs.

    `parts` names what nodes may need of the scripts' `parts.lock.json`: a warning tells of each that was not
    fetched. Compiled Python and files whose names begin with a dot are left out. Raises `ValueError` for a symbolic
    link among the scripts, which S3 could not hold.

    https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-lifecycle-best-practices-slurm.html
    """

    bucket: s3.IBucket
    key_prefix: str
    """Prefix of this bundle in the bucket, without a slash at its end."""

    uploaded: IDependable
    """What a cluster depends on, so that it finds its scripts."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster_name: str,
        files: Mapping[str, Mapping[str, Any]],
        scripts: Path | None = None,
        parts: Collection[str] = (),
        kms_key_arn: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        scripts = scripts or lifecycle_scripts()
        self._tell_of_missing(parts, scripts)
        stack = cdk.Stack.of(self)
        bucket = private_bucket(
            self,
            "Bucket",
            bucket_name=lifecycle_bucket_name(cluster_name, stack),
            destroy=True,
            kms_key_arn=kms_key_arn,
        )
        self.bucket = bucket
        self.key_prefix = f"{_PREFIX}/{_content_hash(stack, scripts, files)}"
        asset = s3_assets.Asset(self, "Scripts", path=str(scripts), exclude=list(_NOT_FOR_NODES))
        role = _upload_role(stack)
        policy = self._upload_policy(role, asset.bucket, kms_key_arn)
        upload = s3_deployment.BucketDeployment(
            self,
            "Upload",
            destination_bucket=bucket,
            destination_key_prefix=self.key_prefix,
            sources=[
                s3_deployment.Source.bucket(asset.bucket, asset.s3_object_key),
                *(s3_deployment.Source.json_data(name, content) for name, content in files.items()),
            ],
            prune=False,
            retain_on_delete=True,
            memory_limit=_UPLOAD_MEMORY_MIB,
            # CDK grants reading, writing and deleting everything in both buckets; ours is what an upload takes.
            role=role.without_policy_updates(),
            log_group=log_group(self, "UploadLog"),
        )
        upload.node.add_dependency(policy)
        self.uploaded = upload
        # Not those of somebody else's deployments in the same stack.
        acknowledge_provider(self, BUCKET_DEPLOYMENT, "AwsSolutions-L1", id_suffix=f"{_UPLOAD_MEMORY_MIB}MiB")
        if stack.resolve(upload.handler_role.role_arn) != stack.resolve(role.role_arn):
            cdk.Validations.of(self).add_error(
                "LIFECYCLE_UPLOAD_SHARED",
                f"memory_limit: found {_UPLOAD_MEMORY_MIB} MiB on another BucketDeployment of this stack, whose "
                "function and role would upload the lifecycle scripts too; allowed: any other size",
            )

    def _tell_of_missing(self, names: Collection[str], scripts: Path) -> None:
        for name in sorted(names):
            needed = [part for part in locked_parts(scripts) if part.name == name]
            if not all(is_fetched(part, scripts) for part in needed):
                cdk.Validations.of(self).add_warning(
                    "LIFECYCLE_PART_MISSING",
                    f"part {name} was not fetched, and nodes may not come up without it ({needed[0].needed_for}): "
                    f"run `cdk-slurm bundle {name}` and synthesise again",
                )

    def _upload_policy(self, role: iam.IRole, assets: s3.IBucket, kms_key_arn: str | None) -> iam.ManagedPolicy:
        read = assets.arn_for_objects("*")
        written = self.bucket.arn_for_objects(f"{_PREFIX}/*")
        policy = iam.ManagedPolicy(
            self,
            "UploadPolicy",
            description="What the upload of lifecycle scripts takes",
            roles=[role],
            statements=[
                iam.PolicyStatement(sid="ReadAssets", actions=["s3:GetObject"], resources=[read]),
                iam.PolicyStatement(sid="Compare", actions=["s3:ListBucket"], resources=[self.bucket.bucket_arn]),
                iam.PolicyStatement(sid="Write", actions=["s3:PutObject"], resources=[written]),
            ],
        )
        if kms_key_arn:
            # The command line uploads files of 8 MiB and more, such as packages for nodes, in parts. S3 encrypts each
            # part, and decrypts them to put them together.
            # https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html#mpuAndPermissions
            policy.add_statements(
                iam.PolicyStatement(
                    sid="Encrypt", actions=["kms:Decrypt", "kms:GenerateDataKey"], resources=[kms_key_arn]
                )
            )
        for resource in (read, written):
            acknowledge(
                policy,
                "Assets and prefixes of bundles are named by hashes of content that changes; the buckets are named.",
                f"AwsSolutions-IAM5[Resource::{shown(self, resource)}]",
            )
        return policy

    @property
    def s3_uri(self) -> str:
        """`SourceS3Uri` of the cluster's instance groups."""
        return f"s3://{self.bucket.bucket_name}/{self.key_prefix}"


def _upload_role(stack: cdk.Stack) -> iam.Role:
    """The role of the stack's one upload function, which all bundles of the stack add to."""
    existing = stack.node.try_find_child(_UPLOAD_ROLE)
    if isinstance(existing, iam.Role):
        return existing
    logs = iam.ManagedPolicy.from_aws_managed_policy_name("service-role/AWSLambdaBasicExecutionRole")
    role = iam.Role(
        stack,
        _UPLOAD_ROLE,
        description="Uploads lifecycle scripts while a stack is deployed",
        assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
        managed_policies=[logs],
    )
    acknowledge(role, "It only lets the function write its log.", function_logging(stack))
    return role


def lifecycle_bucket_name(cluster_name: str, stack: cdk.Stack) -> str:
    """`sagemaker-<cluster>-<account>-<region>`; a name too long or not in lower case is told apart by a hash."""
    region_length = max(map(len, regions())) if cdk.Token.is_unresolved(stack.region) else len(stack.region)
    room = _BUCKET_NAME_LENGTH - len("sagemaker--123456789012-") - region_length
    name = cluster_name.lower()
    if name != cluster_name or len(name) > room:
        digest = hashlib.sha256(cluster_name.encode()).hexdigest()[:8]
        name = f"{name[: room - len(digest) - 1].strip('-')}-{digest}"
    return f"sagemaker-{name}-{stack.account}-{stack.region}"


def _content_hash(stack: cdk.Stack, scripts: Path, files: Mapping[str, Mapping[str, Any]]) -> str:
    digest = hashlib.sha256()
    for path in sorted(_files(scripts)):
        digest.update(f"{path.relative_to(scripts).as_posix()}\0{path.stat().st_mode & 0o111}\0".encode())
        digest.update(_file_digest(path))
    # Resolved, a value known at deployment names its resource; unresolved, it would differ at every synthesis.
    digest.update(json.dumps(stack.resolve(files), sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _files(directory: Path) -> Iterator[Path]:
    """The files that are uploaded."""
    for path in directory.iterdir():
        if any(fnmatchcase(path.name, pattern) for pattern in _NOT_FOR_NODES):
            continue
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ValueError(f"scripts: found {path}; allowed: files and directories, and no links to such")
        if path.is_dir():
            yield from _files(path)
        else:
            yield path


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()
