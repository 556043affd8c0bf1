"""The lifecycle scripts in S3, under a name that changes when they do."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_s3_deployment as s3_deployment
from constructs import Construct, IDependable

from cdk_slurm.findings import BUCKET_DEPLOYMENT, acknowledge_provider, log_group, shown
from cdk_slurm.rules.service_model import regions
from cdk_slurm.storage.data_bucket import private_bucket

_PREFIX = "lifecycle"
_BUCKET_NAME_LENGTH = 63

# What the upload function may do on the buckets it reads and writes, as CDK grants it.
_UPLOAD_ACTIONS = ("s3:GetBucket", "s3:GetObject", "s3:List", "s3:Abort", "s3:DeleteObject")
_UPLOAD_KEY_ACTIONS = ("kms:GenerateDataKey", "kms:ReEncrypt")


class LifecycleBundle(Construct):
    """A directory of scripts and the JSON files beside them, uploaded before the cluster is made or changed.

    The bucket's name begins with `sagemaker-`, the only prefix that HyperPod's role policy reads. The
    key prefix holds a hash of the scripts and of the JSON files, where values known only at deployment
    count by the resource that they come from: a changed script is a changed prefix, and an unchanged
    one is not. Former bundles stay, so that a rollback and a replaced node find theirs.

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
        kms_key_arn: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        scripts = scripts or lifecycle_scripts()
        stack = cdk.Stack.of(self)
        bucket = private_bucket(
            self,
            "Bucket",
            bucket_name=_bucket_name(cluster_name, stack),
            destroy=True,
            kms_key_arn=kms_key_arn,
        )
        self.bucket = bucket
        self.key_prefix = f"{_PREFIX}/{_content_hash(stack, scripts, files)}"
        asset = s3_assets.Asset(self, "Scripts", path=str(scripts), exclude=["**/__pycache__"])
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
            log_group=log_group(self, "UploadLog"),
        )
        self.uploaded = upload
        acknowledge_provider(
            self,
            BUCKET_DEPLOYMENT,
            "AwsSolutions-L1",
            "NIST.800.53.R5-IAMNoInlinePolicy",
            *(f"AwsSolutions-IAM5[Action::{action}*]" for action in _UPLOAD_ACTIONS),
            *(f"AwsSolutions-IAM5[Action::{action}*]" for action in _UPLOAD_KEY_ACTIONS if kms_key_arn),
            *(
                f"AwsSolutions-IAM5[Resource::{shown(self, source.arn_for_objects('*'))}]"
                for source in (bucket, asset.bucket)
            ),
        )

    @property
    def s3_uri(self) -> str:
        """`SourceS3Uri` of the cluster's instance groups."""
        return f"s3://{self.bucket.bucket_name}/{self.key_prefix}"


def lifecycle_scripts() -> Path:
    """The scripts that come with this package, or stand beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "lifecycle_scripts"
    return installed if installed.is_dir() else package.parents[1] / "lifecycle_scripts"


def _bucket_name(cluster_name: str, stack: cdk.Stack) -> str:
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
    for path in sorted(scripts.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(scripts).as_posix()}\0{path.stat().st_mode & 0o111}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    # Resolved, a value known at deployment names its resource; unresolved, it would differ at every synthesis.
    digest.update(json.dumps(stack.resolve(files), sort_keys=True).encode())
    return digest.hexdigest()[:16]
