"""What all models of a description have in common."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field


class Model(BaseModel):
    """A frozen value of a description: unknown fields are refused and nothing is coerced.

    Holds literal values only. What exists only at deployment reaches a construct as another
    construct, never through a model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


RemovalPolicy = Literal["retain", "destroy"]

#: An absolute path on a node without a trailing slash.
MountPath = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9][A-Za-z0-9._-]*)+$", max_length=1024, examples=["/fsx"])]

Cidr = Annotated[str, Field(pattern=r"^\d{1,3}(\.\d{1,3}){3}/\d{1,2}$", examples=["10.1.0.0/16"])]

SubnetId = Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$", examples=["subnet-0123456789abcdef0"])]
SecurityGroupId = Annotated[str, Field(pattern=r"^sg-[0-9a-f]{8,17}$", examples=["sg-0123456789abcdef0"])]
FileSystemId = Annotated[str, Field(pattern=r"^fs-[0-9a-f]{8,17}$", examples=["fs-0123456789abcdef0"])]

#: A zone by name (`us-west-2a`, which each account may map differently) or by id (`usw2-az4`).
AvailabilityZone = Annotated[
    str,
    Field(pattern=r"^[a-z]+(-[a-z]+)+-\d[a-z]$|^[a-z]{2,5}\d-az\d$", examples=["us-west-2a", "usw2-az4"]),
]


def new_or_existing(value: Any) -> str:
    """Which of two forms a part of a description has."""
    fields = value if isinstance(value, dict) else getattr(type(value), "model_fields", {})
    # Braces tell the names of the two forms from fields where an error says where it is.
    return "{existing}" if "existing" in fields else "{new}"


#: Tells the two forms of a part apart: a mapping with the key `existing` names what is there already.
NEW_OR_EXISTING = Discriminator(new_or_existing)
