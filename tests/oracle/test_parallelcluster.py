"""ParallelCluster's own schema and validators judge what is written for it, and rules of ours that it has too.

It lives in an environment of its own (tests/oracle/parallelcluster), which `make test` installs. All documents go
through one process: it takes seconds to start.
"""

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest

from cdk_slurm.pcluster_configuration import VERSION, Surroundings, cluster_configuration
from cdk_slurm.rules import RULES, check, errors, parallelcluster
from cdk_slurm.spec import ParallelClusterOs, ParallelClusterSpec, load

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(__file__).with_name("parallelcluster")
PYTHON = HOME / ".venv" / "bin" / "python"

AROUND = Surroundings(
    private_subnet="subnet-0fe2476bb2e98a579",
    public_subnet="subnet-00738f6db68fa46d2",
    security_group="sg-09f73a7cc2a170abc",
    addresses="10.1.0.0/16",
    lustre_id="fs-002917c15943993c7",
    openzfs_volume_id="fsvol-057e2427d7dcbc766",
    bucket="ml-cluster-data",
)
BLOCK = {"id": "cr-0123456789abcdef0"}
GROUP = {"resource_group": "arn:aws:resource-groups:us-west-2:123456789012:group/p5"}
DATABASE = {
    "existing": "slurm.example.com",
    "secret": "arn:aws:secretsmanager:us-west-2:123456789012:secret:slurm-AbCdEf",
}
SCRIPT = {"script": "s3://ml-cluster-scripts/0123abcd/on_node.sh", "args": ["compute"]}


def described(
    *compute: dict[str, Any], queue: dict[str, Any] | None = None, name: str = "c", **cluster: Any
) -> ParallelClusterSpec:
    """A cluster with one queue, of one m5.xlarge unless other compute resources are said."""
    resources = [{"name": f"r{number}", "type": "m5.xlarge"} | one for number, one in enumerate(compute or ({},))]
    queues = cluster.pop("queues", [{"name": "q", "compute": resources} | (queue or {})])
    return ParallelClusterSpec.model_validate(
        {
            "kind": "parallelcluster",
            "name": name,
            "region": "us-west-2",
            "availability_zone": "us-west-2a",
            "storage": cluster.pop("storage", {"lustre": {}, "openzfs": {}}),
            "data": {"bucket": "new"},
            "parallelcluster": {"queues": queues} | cluster,
        }
    )


P5 = {"type": "p5.48xlarge", "min_count": 8, "max_count": 8}

#: What is written for these, ParallelCluster takes.
ACCEPTED = {
    **{path.stem: load(path).spec for path in sorted((ROOT / "clusters").glob("parallelcluster-*.yaml"))},
    "smallest": described(storage={}),
    "EFA in a placement group": described({"type": "p5.48xlarge"}),
    "capacity block": described(P5 | {"capacity_reservation": BLOCK}, queue={"capacity": "capacity_block"}),
    "group of reservations": described(P5 | {"capacity_reservation": GROUP}),
    "spot": described({"type": ["m5.xlarge", "m5d.xlarge"]}, queue={"capacity": "spot"}),
    "one thread on each core": described({"multithreading": False}),
    "two queues": described(queues=[{"name": n, "compute": [{"name": "r", "type": "m5.xlarge"}]} for n in ("a", "b")]),
    "shared nodes": described(queue={"exclusive": False, "scratch": None, "root_volume_gib": 45}),
    "login nodes": described(login={"count": 2, "grace_period_minutes": 120}),
    "public head node": described(head_node={"subnet": "public", "ssh_key": "mine", "ssh_from": "203.0.113.0/24"}),
    "accounting": described(accounting_database=DATABASE, name="c" * 40),
    "longest name": described(name="c" * 60),
    "settings of Slurm": described(slurm_settings={"KillWait": 60, "EnforcePartLimits": "ALL"}),
    "scripts": described(
        head_node={"custom_actions": {when: [SCRIPT] for when in ("on_node_start", "on_node_configured")}},
        queue={"custom_actions": {"on_node_configured": [SCRIPT, {"script": "https://example.com/v1/a.sh"}]}},
    ),
    "never stopped": described(scaledown_idle_minutes=-1, queue_update_strategy="TERMINATE", log_retention_days=0),
    **{os_: described({"type": "m6i.xlarge"}, os=os_) for os_ in get_args(ParallelClusterOs)},
}

#: Warnings that stay, and why.
KNOWN_WARNINGS = {
    "EfaPlacementGroupValidator": "EFA without a placement group: a reservation places the instances.",
    "KeyPairValidator": "No key: people come through AWS Systems Manager.",
}


class Broken(NamedTuple):
    """A rule of ours, a description that breaks it, and who of ParallelCluster's says so at which level."""

    rule: str
    spec: ParallelClusterSpec
    validator: str
    level: str = "ERROR"


def queues(count: int) -> list[dict[str, Any]]:
    return [{"name": f"q{number}", "compute": [{"name": "r", "type": "m5.xlarge"}]} for number in range(count)]


BROKEN = [
    Broken("PCLUSTER_NAME", described(name="c" * 61), "ClusterNameValidator"),
    Broken("PCLUSTER_NAME", described(name="c" * 41, accounting_database=DATABASE), "ClusterNameValidator"),
    Broken("PCLUSTER_NAME", described(name="1c"), "ClusterNameValidator"),
    Broken("PCLUSTER_QUEUE_COUNT", described(queues=queues(51)), "MaxCountValidator"),
    Broken("PCLUSTER_QUEUE_COUNT", described(*[{}] * 51), "MaxCountValidator"),
    Broken("PCLUSTER_QUEUE_NAME", described(queue={"name": "GPU"}), "NameValidator"),
    Broken("PCLUSTER_QUEUE_NAME", described(queue={"name": "q" * 26}), "NameValidator"),
    Broken("PCLUSTER_QUEUE_NAME", described(queue={"name": "default"}), "NameValidator"),
    Broken("PCLUSTER_QUEUE_NAME", described({"name": "r"}, {"name": "r"}), "DuplicateNameValidator"),
    Broken("PCLUSTER_INSTANCE_TYPE", described({"type": "ml.m5.xlarge"}), "(registration)"),
    Broken("PCLUSTER_ROOT_VOLUME", described(queue={"root_volume_gib": 44}), "RootVolumeSizeValidator"),
    Broken("PCLUSTER_LOG_RETENTION", described(log_retention_days=10), "(schema)"),
    Broken("PCLUSTER_SCALEDOWN", described(scaledown_idle_minutes=-2), "(schema)"),
    Broken("PCLUSTER_SLURM_SETTING", described(slurm_settings={"TaskPlugin": "x"}), "CustomSlurmSettingsValidator"),
    Broken(
        "PCLUSTER_SLURM_SETTING",
        described(slurm_settings={"JobAcctGatherType": "x"}, accounting_database=DATABASE),
        "CustomSlurmSettingsValidator",
    ),
    Broken("PCLUSTER_COUNT", described({"min_count": 0, "max_count": 0}), "(schema)"),
    Broken("PCLUSTER_COUNT", described({"min_count": 4, "max_count": 3}), "ComputeResourceSizeValidator"),
    Broken("PCLUSTER_EFA", described({"efa": True}), "EfaValidator"),
    Broken("PCLUSTER_EFA_OFF", described({"type": "p5.48xlarge", "efa": False}), "EfaValidator", "WARNING"),
    Broken("PCLUSTER_CAPACITY_BLOCK", described(P5, queue={"capacity": "capacity_block"}), "CapacityTypeValidator"),
    Broken(
        "PCLUSTER_CAPACITY_BLOCK",
        described(P5 | {"capacity_reservation": GROUP}, queue={"capacity": "capacity_block"}),
        "CapacityTypeValidator",
    ),
    Broken(
        "PCLUSTER_CAPACITY_BLOCK",
        described(P5 | {"min_count": 4, "capacity_reservation": BLOCK}, queue={"capacity": "capacity_block"}),
        "ComputeResourceSizeValidator",
    ),
    Broken(
        "PCLUSTER_CAPACITY_BLOCK",
        described(P5 | {"capacity_reservation": BLOCK}, queue={"capacity": "capacity_block", "placement_group": True}),
        "PlacementGroupCapacityTypeValidator",
        "WARNING",
    ),
    Broken("PCLUSTER_RESERVATION", described(P5 | {"capacity_reservation": BLOCK | GROUP}), "(schema)"),
    Broken("PCLUSTER_RESERVATION", described(P5 | {"capacity_reservation": {"id": ""}}), "(schema)"),
    Broken(
        "PCLUSTER_RESERVED_TYPES",
        described(P5 | {"type": ["p5.48xlarge", "p5e.48xlarge"], "capacity_reservation": BLOCK}),
        "CapacityReservationValidator",
    ),
    Broken("PCLUSTER_TYPES_ALIKE", described({"type": ["m5.xlarge", "m5.2xlarge"]}), "InstancesCPUValidator"),
    Broken(
        "PCLUSTER_PLACEMENT_GROUP",
        described(P5 | {"capacity_reservation": BLOCK}, queue={"placement_group": True}),
        "PlacementGroupCapacityReservationValidator",
        "WARNING",
    ),
    Broken("PCLUSTER_LOGIN", described(login={"grace_period_minutes": 2}), "(schema)"),
    Broken("PCLUSTER_LOGIN", described(login={"name": "Login"}), "NameValidator"),
    Broken(
        "PCLUSTER_SCRIPT_ADDRESS",
        described(queue={"custom_actions": {"on_node_start": [{"script": "http://example.com/a.sh"}]}}),
        "UrlValidator",
    ),
]

#: Ours alone.
NOT_THEIRS = {
    "PCLUSTER_OPENZFS_VOLUME": "There would be no id to write.",
    "PCLUSTER_PUBLIC_SUBNET": "There would be no id to write.",
    "PCLUSTER_SECTION": "It is about sections that are not written for ParallelCluster.",
    "PCLUSTER_SCRIPT_MOVES": "It takes every address over HTTPS.",
    "PCLUSTER_SSH_FROM_EVERYWHERE": "It is what it does by itself.",
}


def _requests() -> dict[str, Any]:
    judged = ACCEPTED | {f"broken {number}": one.spec for number, one in enumerate(BROKEN)}
    return {
        name: {"document": cluster_configuration(spec, AROUND), "name": spec.name} for name, spec in judged.items()
    } | {"facts": None}


@cache
def _asked() -> "subprocess.CompletedProcess[str]":
    command = [PYTHON, HOME / "judge.py"]
    return subprocess.run(command, input=json.dumps(_requests()), capture_output=True, text=True, check=False)


@cache
def judgements() -> dict[str, Any]:
    """What ParallelCluster says of everything, and its facts."""
    if not PYTHON.exists():
        text = "ParallelCluster is not installed: `make tests/oracle/parallelcluster/.venv/installed`"
        assert not os.environ.get("CI"), text
        pytest.skip(text)
    assert _asked().returncode == 0, _asked().stderr[-4000:]
    return json.loads(_asked().stdout)


def found(name: str, level: str) -> list[tuple[str, str]]:
    return [(one["validator"], one["message"]) for one in judgements()[name]["findings"] if one["level"] == level]


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_written_is_accepted(name: str) -> None:
    assert errors(check(ACCEPTED[name])) == ()
    assert found(name, "ERROR") == []
    assert [one for one in found(name, "WARNING") if one[0] not in KNOWN_WARNINGS] == []
    assert len(judgements()[name]["ran"]) > 30


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=lambda number: f"{number}-{BROKEN[number].rule}")
def test_what_breaks_a_rule_of_ours_is_refused_by_it_too(number: int) -> None:
    broken = BROKEN[number]
    assert broken.rule in [one.rule for one in check(broken.spec)]
    assert broken.validator in [validator for validator, _ in found(f"broken {number}", broken.level)]


def test_every_rule_of_ours_is_theirs_too_or_ours_alone() -> None:
    ours = {one.id for one in RULES.values() if one.violations.__module__ == parallelcluster.__name__}
    theirs = {one.rule for one in BROKEN}
    assert theirs | NOT_THEIRS.keys() == ours
    assert not theirs & NOT_THEIRS.keys()


def test_facts_of_ours_are_those_of_the_installed_version() -> None:
    facts = judgements()["facts"]
    assert facts["version"] == VERSION
    assert set(facts["os"]) == {*get_args(ParallelClusterOs), "rocky8", "rocky9"}, "of Rocky it has no images"
    assert facts["queues"] == facts["compute_resources"] == parallelcluster._MOST_QUEUES
    assert facts["name"] == [parallelcluster._LONGEST_NAME, parallelcluster._LONGEST_NAME_WITH_ACCOUNTING]
    assert facts["root_volume_gib"] == parallelcluster._SMALLEST_ROOT_VOLUME_GIB
    assert facts["denied"] == sorted(name.lower() for name in parallelcluster._DENIED_SLURM_SETTINGS)
    denied = {name.lower() for name in parallelcluster._DENIED_WITH_ACCOUNTING}
    assert set(facts["denied_with_accounting"]) == denied
    assert facts["log_retention_days"] == list(parallelcluster._LOG_RETENTION_DAYS)
    assert facts["grace_period_minutes"] == [3, 120]
    pattern, longest = facts["queue_name"]
    for name in ("a" * longest, "a-1"):
        assert re.fullmatch(pattern, name) and re.fullmatch(parallelcluster._NAME, name)
    assert not re.fullmatch(parallelcluster._NAME, "a" * (longest + 1))


def test_most_of_its_validators_ran() -> None:
    """docs/parallelcluster.md says how many, and which cannot run here."""
    ran = {validator for name in ACCEPTED for validator in judgements()[name]["ran"]}
    told = re.search(r"(\d+) of its validators", (ROOT / "docs" / "parallelcluster.md").read_text("utf-8"))
    assert told and int(told[1]) == len(ran), sorted(ran)
