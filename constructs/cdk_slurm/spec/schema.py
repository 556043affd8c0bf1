"""The JSON Schema of a cluster file, for editors."""

import inspect
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from cdk_slurm.spec.cluster import ClusterSpec, HyperPodSpec, ParallelClusterSpec
from cdk_slurm.spec.model import Model


class _Untitled(GenerateJsonSchema):
    """Without titles such as `Capacity Gib`, which editors would show instead of the description."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that a cluster file follows."""
    models: tuple[type[Model], ...] = (HyperPodSpec, ParallelClusterSpec)
    kinds: list[tuple[type[Model], JsonSchemaMode]] = [(model, "validation") for model in models]
    references, definitions = models_json_schema(kinds, schema_generator=_Untitled)
    hyperpod, parallelcluster = (references[kind] for kind in kinds)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": inspect.cleandoc(ClusterSpec.__doc__ or ""),
        # One of the two is judged by, so that an editor tells what is wrong with that one.
        "if": {"properties": {"kind": {"const": "parallelcluster"}}, "required": ["kind"]},
        "then": parallelcluster,
        "else": hyperpod,
        **definitions,
    }
