"""What the lifecycle scripts do with a node's role: as the `cluster.json` beside them says."""

import json
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError

from local_aws.client import client
from local_aws.permissions import Need
from local_aws.references import in_bucket
from local_aws.secretsmanager import secret_named

_CLUSTER = "cluster.json"


def node_needs(bucket: str, prefix: str) -> Iterator[Need]:
    """What the scripts of a bundle need. Raises `ValueError` where something that they use does not exist."""
    cluster = _cluster(bucket, prefix)
    for mount in cluster.get("mounts", {}).get("s3", ()):
        yield from _mount_needs(mount)
    if secret := cluster.get("directory", {}).get("bind_secret_arn"):
        yield from _read_needs(secret)
    if studio := cluster.get("studio"):
        secret = studio["munge_secret_arn"]
        yield from _read_needs(secret)
        yield Need("secretsmanager:PutSecretValue", secret)
        # https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
        if key := secret_named(secret).get("KmsKeyId"):
            yield Need("kms:GenerateDataKey", key)


def _cluster(bucket: str, prefix: str) -> dict[str, Any]:
    """Empty where there are other scripts than ours."""
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
