"""Clusters that are deployed for real, by the CDK command line, to the local AWS, and what is told of them."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
import yaml

from cdk_slurm import rules, spec
from cdk_slurm.assembly import Assembly, read_assembly
from cdk_slurm.hyperpod import lifecycle_bundle
from cdk_slurm.rehearsal import (
    Change,
    DeployedDashboard,
    DeployedSpace,
    LocalAws,
    Stage,
    changes_between,
    deployed_dashboards,
    deployed_spaces,
    grafana,
)
from cdk_slurm.rehearsal.local_aws import CHECKOUT
from stacks import ClusterStacks
from tests.deploy.inventory import Thing, everything, missing, read_objects, read_tags

EXAMPLES = {path.stem: path for path in sorted((CHECKOUT / "clusters").glob("hyperpod-*.yaml"))}


@dataclass
class Scene:
    """What the services told at one moment."""

    cluster: dict[str, Any]
    """`sagemaker:DescribeCluster`."""

    file_systems: dict[str, dict[str, Any]]
    """`fsx:DescribeFileSystems`, by id."""

    associations: list[dict[str, Any]]
    objects: dict[str, bytes]
    """What lies at the cluster's `SourceS3Uri`, by name."""

    resources: list[dict[str, Any]]
    """Every resource of the cluster's stacks."""

    tags: dict[str, dict[str, str]]
    """Tags of VPCs, addresses and buckets that CloudFormation made, by id."""

    dashboards: tuple[DeployedDashboard, ...]
    spaces: tuple[DeployedSpace, ...]
    data_sources: dict[str, dict[str, Any]]
    """Of all Grafana workspaces, by uid."""

    refusals: list[str]
    """What services would be refused in their work."""

    missing: list[str]
    """Resources that no service tells of."""

    things: set[Thing]


@dataclass
class Life:
    """A cluster from its first deployment to its end."""

    deployed: Scene
    updated: Scene
    changes: list[Change]
    drift: str
    """What `cdk drift` said after the update."""

    again: Scene = field(init=False)
    """The cluster deployed again, beside the data that stood."""

    kept: set[Thing] = field(default_factory=set)
    """What stands when the cluster is destroyed and the data is not."""

    left: set[Thing] = field(default_factory=set)
    """What stands when all was to go."""


def scene(aws: LocalAws, name: str) -> Scene:
    """Ask the services."""
    fsx = aws.client("fsx")
    cluster = aws.client("sagemaker").describe_cluster(ClusterName=name)
    uri = cluster["InstanceGroups"][0]["LifeCycleConfig"]["SourceS3Uri"]
    resources = [one for one in aws.resources() if one["stack"].startswith(f"{name}-")]
    return Scene(
        cluster=cluster,
        file_systems={one["FileSystemId"]: one for one in fsx.describe_file_systems()["FileSystems"]},
        associations=fsx.describe_data_repository_associations()["Associations"],
        objects=read_objects(aws, uri),
        resources=resources,
        tags=read_tags(aws, resources),
        dashboards=deployed_dashboards(aws),
        spaces=deployed_spaces(aws),
        data_sources=_data_sources(aws),
        refusals=aws.refusals(),
        missing=missing(aws, resources),
        things=everything(aws),
    )


def _data_sources(aws: LocalAws) -> dict[str, dict[str, Any]]:
    found = {}
    for workspace in aws.client("grafana").list_workspaces()["workspaces"]:
        with grafana(aws, workspace["id"]) as own:
            found |= {one["uid"]: one for one in own.get("/api/datasources")}
    return found


def grown(described: Mapping[str, Any]) -> dict[str, Any]:
    """A description with another count, a group more, at the beginning, and a tag that everything gets."""
    hyperpod = described["hyperpod"]
    first, *rest = hyperpod["compute"]
    more = {"name": "more", "type": "ml.c5.large", "count": 1}
    tags = {**described.get("tags", {}), "season": "winter"}
    return {
        **described,
        "tags": tags,
        "hyperpod": {**hyperpod, "compute": [more, {**first, "count": first["count"] + 1}, *rest]},
    }


def disposable(described: Mapping[str, Any]) -> dict[str, Any]:
    """A description whose data goes with its stacks."""
    gone = {"removal_policy": "destroy"}
    changed = dict(described)
    # Mounted buckets are somebody else's.
    changed["storage"] = {
        name: part if name == "s3" else part | gone for name, part in described.get("storage", {}).items()
    }
    if "data" in described:
        changed["data"] = described["data"] | gone
    if "observability" in described:
        observability = described["observability"] or {}
        changed["observability"] = observability | {"workspace": observability.get("workspace", {}) | gone}
    if "studio" in described and described["studio"].get("domain", {}) is not None:
        changed["studio"] = described["studio"] | {"domain": described["studio"].get("domain", {}) | gone}
    hyperpod = described["hyperpod"]
    if "accounting_database" in hyperpod:
        changed["hyperpod"] = hyperpod | {"accounting_database": hyperpod["accounting_database"] | gone}
    return changed


@dataclass
class Script:
    """What an example is going to be: its description at each step, and the assembly that is deployed."""

    described: spec.ClusterSpec
    first: Assembly
    grown: Assembly
    disposable: Assembly


def synthesised(described: spec.ClusterSpec, directory: Path) -> Assembly:
    """As `cdk synth` does it, without the checks: those are other tests'."""
    context = json.loads((CHECKOUT / "cdk.json").read_text("utf-8"))["context"]
    app = cdk.App(context=context, outdir=str(directory), builtin_cloud_formation_validation=False)
    ClusterStacks(app, described)
    app.synth()
    return read_assembly(directory)


def written(example: str, directory: Path) -> Script:
    """Synthesise an example, and its two successors with another lifecycle script."""
    described = yaml.safe_load(EXAMPLES[example].read_text("utf-8"))
    first = spec.load(EXAMPLES[example]).spec
    scripts = directory / "scripts"
    shutil.copytree(CHECKOUT / "lifecycle_scripts", scripts, ignore=shutil.ignore_patterns("__pycache__"))
    script = scripts / "on_init_complete.sh"
    script.write_text(f"{script.read_text('utf-8')}# changed\n", "utf-8")
    made = [synthesised(first, directory / "first")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifecycle_bundle, "lifecycle_scripts", lambda: scripts)
        for name, one in {"grown": grown(described), "disposable": disposable(grown(described))}.items():
            made.append(synthesised(loaded(one), directory / name))
    return Script(first, *made)


def loaded(described: Mapping[str, Any]) -> spec.ClusterSpec:
    """A description that breaks no rule."""
    found = spec.loads(yaml.safe_dump(dict(described)), file="described.yaml")
    assert not rules.errors(rules.check(found))
    return found.spec


def live(script: Script) -> Life:
    """Deploy, update, destroy the cluster, deploy again, destroy everything."""
    described = script.described
    with LocalAws(region=described.region, account=described.account) as aws:
        aws.provide(described)
        stage = Stage(aws)
        stage.bootstrap(script.first)
        before = everything(aws)
        stage.deploy(script.first)
        deployed = scene(aws, described.name)
        stage.deploy(script.grown)
        updated = scene(aws, described.name)
        life = Life(
            deployed=deployed,
            updated=updated,
            changes=changes_between(
                deployed.resources, updated.resources, old=script.first.templates, new=script.grown.templates
            ),
            drift=stage.drifted(script.grown),
        )
        stage.destroy(script.grown, *(one.name for one in script.grown.stacks if not one.termination_protection))
        life.kept = everything(aws) - before
        stage.deploy(script.disposable)
        life.again = scene(aws, described.name)
        stage.destroy(script.disposable)
        life.left = everything(aws) - before
    return life
