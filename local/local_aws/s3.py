"""S3: what MiniStack's CloudFormation leaves out of a bucket."""

from typing import Any

from ministack.services.cloudformation import provisioners

from local_aws.client import client


def install() -> None:
    """Give buckets the tags and the encryption that a template says.

    CDK's function empties only buckets that are tagged for it, and nodes need the key to read their scripts.
    """
    provisioners._STACK_TAG_PROPERTY["AWS::S3::Bucket"] = ("Tags", "list")
    handler = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]
    create, update = handler["create"], handler["update"]

    def completed(made: tuple[str, dict[str, Any]], properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        tags = [tag for tag in properties.get("Tags", ()) if not tag["Key"].startswith("aws:cloudformation:")]
        if tags:
            client("s3").put_bucket_tagging(Bucket=made[0], Tagging={"TagSet": tags})
        if encryption := properties.get("BucketEncryption"):
            rules = [_rule(rule) for rule in encryption["ServerSideEncryptionConfiguration"]]
            # CDK's own bucket is encrypted with a key of S3's in KMS, which MiniStack's S3 has not.
            if not any(one["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms"} for one in rules):
                client("s3").put_bucket_encryption(Bucket=made[0], ServerSideEncryptionConfiguration={"Rules": rules})
        return made

    def create_completely(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        return completed(create(logical_id, properties, stack), properties)

    def update_completely(
        physical_id: str, old: dict[str, Any], new: dict[str, Any], stack: str
    ) -> tuple[str, dict[str, Any]]:
        return completed(update(physical_id, old, new, stack), new)

    handler |= {"create": create_completely, "update": update_completely}


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule of encryption in the API's words."""
    told = {"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"]}
    # CloudFormation's texts are not coerced yet.
    return told | {"BucketKeyEnabled": str(rule.get("BucketKeyEnabled", False)).lower() == "true"}
