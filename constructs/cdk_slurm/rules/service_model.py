"""Facts that botocore and cfn-lint hold, read from their data files.

The files are read directly: importing either library takes longer than everything else that
checking a description does.
"""

import gzip
import importlib.util
import json
import re
from functools import cache
from pathlib import Path
from typing import Any


@cache
def shape(service: str, name: str) -> dict[str, Any]:
    """A shape of a service's API, such as `shape("sagemaker", "ClusterName")`, as botocore models it."""
    found: dict[str, Any] = _service(service)["shapes"][name]
    return found


def problem(service: str, name: str, value: str | int) -> str | None:
    """Say what a value may be when it is not of a shape; None when it is.

    Enums, patterns, lengths and ranges are judged, as the service itself does.
    """
    allowed = shape(service, name)
    if "enum" in allowed and value not in allowed["enum"]:
        return f"found {value!r}; allowed: {', '.join(allowed['enum'])}"
    size = value if isinstance(value, int) else len(value)
    unit = "" if isinstance(value, int) else " characters"
    low, high = allowed.get("min", size), allowed.get("max", size)
    if not low <= size <= high:
        what = f"{value}" if isinstance(value, int) else f"{value!r} ({size} characters)"
        return f"found {what}; allowed: {allowed.get('min', 0)} to {allowed.get('max', 'any number of')}{unit}"
    if isinstance(value, str) and "pattern" in allowed and not re.fullmatch(allowed["pattern"], value):
        return f"found {value!r}; allowed: text of the form {allowed['pattern']}"
    return None


@cache
def regions() -> tuple[str, ...]:
    """All AWS Regions that botocore knows, of all partitions."""
    partitions = json.loads((_package("botocore") / "data" / "partitions.json").read_text("utf-8"))
    names = (name for part in partitions["partitions"] for name in part["regions"])
    return tuple(sorted(name for name in names if not name.endswith("-global")))


@cache
def partition_of_region(region: str) -> str:
    """What ARNs of a Region begin with after `arn:`; `aws` where botocore does not know the Region."""
    partitions = json.loads((_package("botocore") / "data" / "partitions.json").read_text("utf-8"))["partitions"]
    return next((str(part["id"]) for part in partitions if region in part["regions"]), "aws")


@cache
def cluster_instance_types() -> frozenset[str]:
    """The instance types that HyperPod accepts."""
    return frozenset(shape("sagemaker", "ClusterInstanceType")["enum"])


@cache
def offered_cluster_instance_types(region: str) -> frozenset[str] | None:
    """The instance types that cfn-lint saw offered for HyperPod in a Region; None when it has no list.

    The lists are known to be incomplete: fit for warnings only.
    """
    extensions = _package("cfnlint") / "data" / "schemas" / "extensions"
    by_region = json.loads((extensions / "aws_sagemaker_cluster" / "instancetype_enum.json").read_text("utf-8"))
    return frozenset(by_region[region]["enum"]) if region in by_region else None


@cache
def has_resource_type(region: str, resource_type: str) -> bool:
    """Whether CloudFormation has a resource type in a Region, as far as cfn-lint knows; true where it has no list."""
    types = _package("cfnlint") / "data" / "schemas" / "providers" / f"{region}.json"
    return not types.is_file() or resource_type in json.loads(types.read_text("utf-8"))


@cache
def _service(service: str) -> dict[str, Any]:
    *_, newest = sorted((_package("botocore") / "data" / service).glob("*/service-2.json.gz"))
    model: dict[str, Any] = json.loads(gzip.decompress(newest.read_bytes()))
    return model


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{name} is not installed")
    return Path(spec.origin).parent
