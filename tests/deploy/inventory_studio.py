"""A Studio domain with its people, their spaces and scripts, as they stand in an account, asked with boto3."""

from collections.abc import Callable, Iterable
from typing import Any

from cdk_slurm.rehearsal import LocalAws

LISTS: dict[str, Callable[[LocalAws], Iterable[str]]] = {
    "domain": lambda aws: [one["DomainId"] for one in aws.client("sagemaker").list_domains()["Domains"]],
    "profile": lambda aws: [
        one["UserProfileName"] for one in aws.client("sagemaker").list_user_profiles()["UserProfiles"]
    ],
    "space": lambda aws: [one["SpaceName"] for one in aws.client("sagemaker").list_spaces()["Spaces"]],
    "space's script": lambda aws: [
        one["StudioLifecycleConfigName"]
        for one in aws.client("sagemaker").list_studio_lifecycle_configs()["StudioLifecycleConfigs"]
    ],
}


def _told(operation: str, *identifiers: str, but: tuple[str, ...] = ("Tags",)) -> Callable[..., bool]:
    """Whether the API tells of every property what the template said; botocore drops what its model does not know."""

    def read(aws: LocalAws, id_: str, properties: dict[str, Any]) -> bool:
        wanted = {name: properties[name] for name in identifiers if name in properties} or {identifiers[0]: id_}
        told = getattr(aws.client("sagemaker"), operation)(**wanted)
        return all(told.get(name) == value for name, value in properties.items() if name not in but)

    return read


READERS: dict[str, Callable[[LocalAws, str, dict[str, Any]], bool]] = {
    "AWS::SageMaker::Domain": _told("describe_domain", "DomainId"),
    "AWS::SageMaker::Space": _told("describe_space", "DomainId", "SpaceName"),
    "AWS::SageMaker::StudioLifecycleConfig": _told("describe_studio_lifecycle_config", "StudioLifecycleConfigName"),
    "AWS::SageMaker::UserProfile": _told("describe_user_profile", "DomainId", "UserProfileName"),
}
