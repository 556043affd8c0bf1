"""The JSON Schema of a cluster file, for editors."""

from typing import Any

from cdk_slurm.spec.cluster import ClusterSpec


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that a cluster file follows."""
    schema = ClusterSpec.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
