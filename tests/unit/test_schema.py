"""The JSON Schema that editors check a cluster file with."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from cdk_slurm.spec import HyperPodSpec, Model, ParallelClusterSpec, SpecError, json_schema, loads
from cdk_slurm.spec.errors import models_in

CLUSTERS = Path(__file__).parents[2] / "clusters"
EXAMPLES = sorted(CLUSTERS.glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_follows_it(validator: Draft202012Validator, file: Path) -> None:
    assert not list(validator.iter_errors(yaml.safe_load(file.read_text("utf-8"))))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_names_it(file: Path) -> None:
    first_line, _ = file.read_text("utf-8").split("\n", 1)
    marker, _, name = first_line.partition("=")
    assert marker == "# yaml-language-server: $schema"
    assert (file.parent / name).samefile(CLUSTERS / "cluster.schema.json")


def test_the_file_is_up_to_date() -> None:
    text = (CLUSTERS / "cluster.schema.json").read_text("utf-8")
    assert text == json.dumps(json_schema(), indent=2) + "\n", "run `make schema`"


SMALLEST = """\
kind: hyperpod
name: demo
region: us-west-2
availability_zone: usw2-az4
hyperpod: {compute: [{name: worker, type: ml.c5.4xlarge, count: 2}]}
"""


SMALLEST_PARALLELCLUSTER = """\
kind: parallelcluster
name: demo
region: us-west-2
availability_zone: usw2-az4
parallelcluster: {queues: [{name: gpu, compute: [{name: p5, type: p5.48xlarge}]}]}
"""


@pytest.mark.parametrize("text", [SMALLEST, SMALLEST_PARALLELCLUSTER])
def test_the_smallest_file(validator: Draft202012Validator, text: str) -> None:
    assert validator.is_valid(yaml.safe_load(text))
    assert loads(text).spec.kind in text


@pytest.mark.parametrize(
    "text",
    [
        SMALLEST.replace("region:", "regoin:"),
        SMALLEST.replace("name: demo\n", ""),
        SMALLEST.replace("count: 2", "count: two"),
        SMALLEST.replace("count: 2", "count: 2, colour: blue"),
        SMALLEST.replace("usw2-az4", "us-west-2"),
        SMALLEST + "account: 123456789012\n",
        SMALLEST + "storage: {lustre: {capacity: 1200}}\n",
        SMALLEST + "storage: {openzfs: {existing: fs-0123456789abcdef0, capacity_gib: 64}}\n",
        SMALLEST + "storage: {lustre: {removal_policy: delete}}\n",
        SMALLEST.replace("kind: hyperpod", "kind: parallelcluster"),
        SMALLEST.replace("kind: hyperpod", "kind: eks"),
        SMALLEST_PARALLELCLUSTER.replace("type:", "types:"),
        SMALLEST_PARALLELCLUSTER + "hyperpod: {compute: [{name: worker, type: ml.c5.4xlarge, count: 2}]}\n",
    ],
)
def test_it_refuses_what_loading_refuses(validator: Draft202012Validator, text: str) -> None:
    assert not validator.is_valid(yaml.safe_load(text))
    with pytest.raises(SpecError, match="FIELD_"):
        loads(text)


def models(model: type[Model]) -> Iterator[type[Model]]:
    yield model
    for field in model.model_fields.values():
        for part in models_in(field.annotation):
            yield from models(part)


KINDS = {HyperPodSpec: SMALLEST, ParallelClusterSpec: SMALLEST_PARALLELCLUSTER}
MODELS = dict.fromkeys(model for kind in KINDS for model in models(kind))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_is_described(model: type[Model]) -> None:
    assert model.__doc__
    assert not [name for name, field in model.model_fields.items() if not field.description]
