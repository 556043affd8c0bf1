"""The JSON Schema of a cluster file, for editors."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from cdk_slurm.spec.cluster import ClusterSpec


class _Untitled(GenerateJsonSchema):
    """Without titles such as `Capacity Gib`, which editors would show instead of the description."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that a cluster file follows."""
    schema = ClusterSpec.model_json_schema(schema_generator=_Untitled)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
