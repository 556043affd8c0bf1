"""What the lifecycle scripts do with a node's role: as the `cluster.json` beside them says."""

import json
import re
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from local_aws.aps import workspace_of
from local_aws.client import client
from local_aws.permissions import Need
from local_aws.references import in_bucket
from local_aws.secretsmanager import secret_named

_CLUSTER = "cluster.json"

#: An image in a private registry of Amazon ECR: account, Region, repository.
_ECR = re.compile(r"(\d{12})\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com/([^:@]+)")


def node_needs(bucket: str, prefix: str) -> Iterator[Need]:
    """What the scripts of a bundle need. Raises `ValueError` where something that they use does not exist."""
    cluster = cluster_json(bucket, prefix)
    for mount in cluster.get("mounts", {}).get("s3", ()):
        yield from _mount_needs(mount)
    if metrics := cluster.get("metrics"):
        yield from _metrics_needs(metrics)
    if secret := cluster.get("directory", {}).get("bind_secret_arn"):
        yield from _read_needs(secret)
    if studio := cluster.get("studio"):
        secret = studio["munge_secret_arn"]
        yield from _read_needs(secret)
        yield Need("secretsmanager:PutSecretValue", secret)
        # https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
        if key := secret_named(secret).get("KmsKeyId"):
            yield Need("kms:GenerateDataKey", key)
        shared, prefix = in_bucket(studio["client_s3_uri"], what="Slurm's programs")
        yield Need("s3:GetObject", f"arn:aws:s3:::{shared}/{prefix}/a")
        yield Need("s3:PutObject", f"arn:aws:s3:::{shared}/{prefix}/a")


def _metrics_needs(metrics: dict[str, Any]) -> Iterator[Need]:
    url = metrics["remote_write_url"]
    attributes = workspace_of(url).attributes
    if url != f"{attributes['PrometheusEndpoint']}api/v1/remote_write":
        raise ValueError(f"metrics would be sent to {url}; {attributes['PrometheusEndpoint']} takes them elsewhere")
    yield Need("aps:RemoteWrite", attributes["Arn"])
    if private := _ECR.match(metrics.get("dcgm_image", "")):
        # https://docs.aws.amazon.com/AmazonECR/latest/userguide/security_iam_id-based-policy-examples.html
        account, region, repository = private.groups()
        yield Need("ecr:GetAuthorizationToken")
        for action in ("BatchGetImage", "GetDownloadUrlForLayer"):
            yield Need(f"ecr:{action}", f"arn:aws:ecr:{region}:{account}:repository/{repository}")


def cluster_json(bucket: str, prefix: str) -> dict[str, Any]:
    """What a bundle of scripts knows of its cluster; empty where there are other scripts than ours."""
    try:
        found = client("s3").get_object(Bucket=bucket, Key=f"{prefix.rstrip('/')}/{_CLUSTER}")
    except ClientError:
        return {}
    return dict(json.loads(found["Body"].read()))


def _read_needs(secret: str) -> Iterator[Need]:
    yield Need("secretsmanager:GetSecretValue", secret)
    if key := secret_named(secret).get("KmsKeyId"):
        yield Need("kms:Decrypt", key)


def _mount_needs(mount: dict[str, Any]) -> Iterator[Need]:
    """https://github.com/awslabs/mountpoint-s3/blob/mountpoint-s3-1.24.0/doc/CONFIGURATION.md#iam-permissions"""
    bucket, prefix = in_bucket(f"s3://{mount['bucket']}/{mount.get('prefix', '')}", what=mount["path"])
    yield Need("s3:ListBucket", f"arn:aws:s3:::{bucket}")
    actions = ["GetObject"]
    if not mount["read_only"]:
        actions += ["PutObject", "DeleteObject", "AbortMultipartUpload"]
    for action in actions:
        yield Need(f"s3:{action}", f"arn:aws:s3:::{bucket}/{prefix}a/b")
