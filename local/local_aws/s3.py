"""S3: what MiniStack's CloudFormation leaves out of a bucket."""

from typing import Any

from ministack.services.cloudformation import provisioners

from local_aws.client import client


def install() -> None:
    """Give buckets the tags that a template says; CDK's function empties only those that are tagged for it."""
    handler = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]
    create, update = handler["create"], handler["update"]

    def tagged(made: tuple[str, dict[str, Any]], properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        tags = [tag for tag in properties.get("Tags", ()) if not tag["Key"].startswith("aws:cloudformation:")]
        if tags:
            client("s3").put_bucket_tagging(Bucket=made[0], Tagging={"TagSet": tags})
        return made

    def create_tagged(logical_id: str, properties: dict[str, Any], stack: str) -> tuple[str, dict[str, Any]]:
        return tagged(create(logical_id, properties, stack), properties)

    def update_tagged(
        physical_id: str, old: dict[str, Any], new: dict[str, Any], stack: str
    ) -> tuple[str, dict[str, Any]]:
        return tagged(update(physical_id, old, new, stack), new)

    handler |= {"create": create_tagged, "update": update_tagged}
