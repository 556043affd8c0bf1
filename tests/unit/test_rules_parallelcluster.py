"""Rules of ParallelCluster: for each rule what passes, what does not, and what is said."""

from typing import Any

import pytest

from cdk_slurm.rules import RULES, check
from cdk_slurm.spec import (
    CapacityReservation,
    ComputeResource,
    CustomAction,
    ExistingParallelClusterDatabase,
    HeadNode,
    LoginPool,
    Model,
    ParallelClusterConfig,
    ParallelClusterSpec,
    Queue,
)

DEFINED = [one for one in RULES.values() if one.violations.__module__ == "cdk_slurm.rules.parallelcluster"]
BLOCK = CapacityReservation(id="cr-0123456789abcdef0")
GROUP = CapacityReservation(resource_group="arn:aws:resource-groups:us-west-2:111122223333:group/p5")
SECRET = "arn:aws:secretsmanager:us-west-2:111122223333:secret:slurm-AbCdEf"
DATABASE = ExistingParallelClusterDatabase(existing="slurm.example.com", secret=SECRET)


def some(**fields: Any) -> ComputeResource:
    return ComputeResource(**{"name": "some", "type": "m5.xlarge"} | fields)


def queue(*compute: ComputeResource, **fields: Any) -> Queue:
    return Queue(**{"name": "cpu", "compute": compute or (some(),)} | fields)


def config(*queues: Queue, **fields: Any) -> ParallelClusterConfig:
    return ParallelClusterConfig(queues=queues or (queue(),), **fields)


def cluster(parallelcluster: ParallelClusterConfig | None = None, **fields: Any) -> ParallelClusterSpec:
    described = {"name": "c", "region": "us-west-2", "availability_zone": "usw2-az4"} | fields
    return ParallelClusterSpec(kind="parallelcluster", parallelcluster=parallelcluster or config(), **described)


def existing_network(**fields: str) -> dict[str, Any]:
    own = {"private_subnet": "subnet-0123456789abcdef0", "security_group": "sg-0123456789abcdef0"}
    return {"existing": "vpc-0123456789abcdef0"} | own | fields


def loaded(**fields: Any) -> ParallelClusterSpec:
    """Of plain values, as from a file."""
    described = {"kind": "parallelcluster", "name": "c", "region": "us-west-2", "availability_zone": "usw2-az4"}
    queues = [{"name": "cpu", "compute": [{"name": "some", "type": "m5.xlarge"}]}]
    return ParallelClusterSpec.model_validate(described | {"parallelcluster": {"queues": queues}} | fields)


PUBLIC = {
    "head_node": {"subnet": "public"},
    "queues": [{"name": "cpu", "compute": [{"name": "some", "type": "m5.xlarge"}]}],
}
OPENZFS = {"existing": "fs-0123456789abcdef0"}

PASSING: list[tuple[str, Model]] = [
    ("PCLUSTER_NAME", cluster(name="c" * 60)),
    ("PCLUSTER_NAME", cluster(config(accounting_database=DATABASE), name="c" * 40)),
    ("PCLUSTER_QUEUE_COUNT", config(*(queue(name=f"q{number}") for number in range(50)))),
    ("PCLUSTER_QUEUE_NAME", config(queue(name="a" * 25), queue(some(name="x"), name="b"), queue(some(name="x")))),
    ("PCLUSTER_INSTANCE_TYPE", config(queue(some(type=("c7i.large", "c6i.large"))), login=LoginPool())),
    ("PCLUSTER_ROOT_VOLUME", config(queue(root_volume_gib=45), head_node=HeadNode(root_volume_gib=45))),
    ("PCLUSTER_LOG_RETENTION", config(log_retention_days=0)),
    ("PCLUSTER_SCALEDOWN", config(scaledown_idle_minutes=-1)),
    ("PCLUSTER_SLURM_SETTING", config(slurm_settings={"KillWait": 60, "AccountingStorageType": "x"})),
    ("PCLUSTER_COUNT", some(min_count=3, max_count=3)),
    ("PCLUSTER_EFA", some(type="p5.48xlarge", efa=True)),
    ("PCLUSTER_EFA", some(efa=False)),
    ("PCLUSTER_EFA_OFF", some(type="p5.48xlarge")),
    ("PCLUSTER_EFA_OFF", some(efa=False)),
    (
        "PCLUSTER_CAPACITY_BLOCK",
        queue(some(capacity_reservation=BLOCK, min_count=8, max_count=8), capacity="capacity_block"),
    ),
    ("PCLUSTER_CAPACITY_BLOCK", queue(some(min_count=0, max_count=8))),
    ("PCLUSTER_RESERVATION", BLOCK),
    ("PCLUSTER_RESERVATION", GROUP),
    ("PCLUSTER_RESERVED_TYPES", queue(some(type=("m5.xlarge", "m5a.xlarge"), capacity_reservation=GROUP))),
    ("PCLUSTER_TYPES_ALIKE", some(type=("m5.xlarge", "m5d.xlarge"))),
    ("PCLUSTER_PLACEMENT_GROUP", queue(some(capacity_reservation=BLOCK))),
    ("PCLUSTER_PLACEMENT_GROUP", queue(placement_group=True)),
    ("PCLUSTER_SSH_FROM_EVERYWHERE", HeadNode(ssh_from="203.0.113.0/24")),
    ("PCLUSTER_LOGIN", LoginPool(grace_period_minutes=120)),
    ("PCLUSTER_SCRIPT_ADDRESS", CustomAction(script="s3://a-bucket/a/b.sh")),
    ("PCLUSTER_SCRIPT_ADDRESS", CustomAction(script="https://example.com/a.sh")),
    ("PCLUSTER_SCRIPT_MOVES", CustomAction(script="https://example.com/v1.2/maintenance.sh")),
    ("PCLUSTER_OPENZFS_VOLUME", loaded(storage={"openzfs": {}})),
    ("PCLUSTER_OPENZFS_VOLUME", loaded(storage={"openzfs": OPENZFS | {"root_volume": "fsvol-0123456789abcdef0"}})),
    ("PCLUSTER_PUBLIC_SUBNET", loaded(parallelcluster=PUBLIC)),
    ("PCLUSTER_PUBLIC_SUBNET", loaded(network=existing_network())),
    (
        "PCLUSTER_PUBLIC_SUBNET",
        loaded(parallelcluster=PUBLIC, network=existing_network(public_subnet="subnet-0123456789abcdef1")),
    ),
    ("PCLUSTER_SECTION", cluster()),
]

FAILING: list[tuple[str, Model, str, str]] = [
    (
        "PCLUSTER_NAME",
        cluster(name="c" * 61),
        "name",
        f"found '{'c' * 61}'; allowed: 1 to 60 letters, digits and hyphens, a letter first",
    ),
    (
        "PCLUSTER_NAME",
        cluster(config(accounting_database=DATABASE), name="c" * 41),
        "name",
        f"found '{'c' * 41}'; allowed: 1 to 40 letters, digits and hyphens with accounting, a letter first",
    ),
    (
        "PCLUSTER_QUEUE_COUNT",
        config(queue(*(some(name=f"s{number}") for number in range(51)))),
        "queues",
        "found 51 compute resources; allowed: 50 in all queues",
    ),
    (
        "PCLUSTER_QUEUE_NAME",
        config(queue(name="GPU")),
        "queues[0].name",
        "found 'GPU'; allowed: 1 to 25 of a to z, 0 to 9 and '-', a letter first, not default",
    ),
    (
        "PCLUSTER_QUEUE_NAME",
        config(queue(some(), some())),
        "queues[0].compute[1].name",
        "found some, as queues[0].compute[0].name; allowed: each name once",
    ),
    (
        "PCLUSTER_INSTANCE_TYPE",
        config(queue(some(type="ml.m5.xlarge"))),
        "queues[0].compute[0].type",
        "found 'ml.m5.xlarge'; did you mean m5.xlarge? allowed: an instance type of EC2, such as m5.xlarge",
    ),
    (
        "PCLUSTER_ROOT_VOLUME",
        config(queue(root_volume_gib=44)),
        "queues[0].root_volume_gib",
        "found 44; allowed: 45 or more",
    ),
    (
        "PCLUSTER_LOG_RETENTION",
        config(log_retention_days=10),
        "log_retention_days",
        "found 10; allowed: 0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827, 3653",
    ),
    (
        "PCLUSTER_SCALEDOWN",
        config(scaledown_idle_minutes=-2),
        "scaledown_idle_minutes",
        "found -2; allowed: 1 or more, or -1 for never",
    ),
    (
        "PCLUSTER_SLURM_SETTING",
        config(slurm_settings={"taskplugin": "task/affinity"}),
        "slurm_settings.taskplugin",
        "found taskplugin, which ParallelCluster sets; allowed: others",
    ),
    (
        "PCLUSTER_SLURM_SETTING",
        config(slurm_settings={"JobAcctGatherType": "x"}, accounting_database=DATABASE),
        "slurm_settings.JobAcctGatherType",
        "found JobAcctGatherType, which ParallelCluster sets; allowed: others",
    ),
    (
        "PCLUSTER_COUNT",
        some(min_count=4, max_count=3),
        "min_count",
        "found 4; allowed: 0 to max_count, which is 3",
    ),
    ("PCLUSTER_COUNT", some(max_count=0), "max_count", "found 0; allowed: 1 or more"),
    (
        "PCLUSTER_EFA",
        some(efa=True),
        "efa",
        "found true with m5.xlarge; allowed: only on types with EFA, such as p5.48xlarge",
    ),
    (
        "PCLUSTER_EFA_OFF",
        some(type="p5.48xlarge", efa=False),
        "efa",
        "found false with p5.48xlarge; allowed without this warning: true, or nothing",
    ),
    (
        "PCLUSTER_CAPACITY_BLOCK",
        queue(some(capacity_reservation=BLOCK, min_count=4, max_count=8), capacity="capacity_block"),
        "compute[0].min_count",
        "found 4 and max_count 8; allowed: the same in a Capacity Block",
    ),
    (
        "PCLUSTER_CAPACITY_BLOCK",
        queue(some(capacity_reservation=GROUP, min_count=8, max_count=8), capacity="capacity_block"),
        "compute[0].capacity_reservation",
        "found no id; allowed: the id of a Capacity Block",
    ),
    (
        "PCLUSTER_CAPACITY_BLOCK",
        queue(
            some(capacity_reservation=BLOCK, min_count=8, max_count=8), capacity="capacity_block", placement_group=True
        ),
        "placement_group",
        "found true in a Capacity Block; allowed: false, or nothing",
    ),
    (
        "PCLUSTER_RESERVATION",
        queue(some(capacity_reservation=CapacityReservation())),
        "compute[0].capacity_reservation",
        "found both id and resource_group, or neither; allowed: one of them",
    ),
    (
        "PCLUSTER_RESERVATION",
        CapacityReservation(id=""),
        "id",
        "found ''; allowed: text of the form cr-0123456789abcdef0",
    ),
    (
        "PCLUSTER_RESERVATION",
        CapacityReservation(resource_group="p5"),
        "resource_group",
        "found 'p5'; allowed: arn:aws:resource-groups:<region>:<account>:group/<name>",
    ),
    (
        "PCLUSTER_RESERVED_TYPES",
        queue(some(type=("m5.xlarge", "m5a.xlarge"), capacity_reservation=BLOCK)),
        "compute[0].capacity_reservation",
        "found a reservation with m5.xlarge, m5a.xlarge in a list; allowed: with one type",
    ),
    (
        "PCLUSTER_RESERVED_TYPES",
        queue(some(capacity_reservation=BLOCK), capacity="spot"),
        "compute[0].capacity_reservation",
        "found a reservation in a queue of spot instances; allowed: with ondemand or capacity_block",
    ),
    (
        "PCLUSTER_TYPES_ALIKE",
        some(type=("m5.xlarge", "m5.2xlarge")),
        "type",
        "found m5.xlarge with 4, m5.2xlarge with 8 CPUs; allowed: types with as many CPUs",
    ),
    (
        "PCLUSTER_PLACEMENT_GROUP",
        queue(some(capacity_reservation=BLOCK), placement_group=True),
        "placement_group",
        "found true beside a reservation; allowed without this warning: false, or nothing",
    ),
    (
        "PCLUSTER_SSH_FROM_EVERYWHERE",
        HeadNode(ssh_from="0.0.0.0/0"),
        "ssh_from",
        "found 0.0.0.0/0; allowed without this warning: addresses of one's own",
    ),
    ("PCLUSTER_LOGIN", LoginPool(grace_period_minutes=2), "grace_period_minutes", "found 2; allowed: 3 to 120"),
    ("PCLUSTER_LOGIN", LoginPool(count=0), "count", "found 0; allowed: 1 or more"),
    (
        "PCLUSTER_SCRIPT_ADDRESS",
        CustomAction(script="http://example.com/a.sh"),
        "script",
        "found 'http://example.com/a.sh'; allowed: s3://bucket/key, or https://",
    ),
    (
        "PCLUSTER_SCRIPT_MOVES",
        CustomAction(script="https://example.com/x/main/a.sh"),
        "script",
        "found 'https://example.com/x/main/a.sh'; allowed without this warning: an address whose content never changes",
    ),
    (
        "PCLUSTER_OPENZFS_VOLUME",
        loaded(storage={"openzfs": OPENZFS}),
        "storage.openzfs.root_volume",
        "found none; allowed: the id of the volume, such as fsvol-0123456789abcdef0",
    ),
    (
        "PCLUSTER_PUBLIC_SUBNET",
        loaded(parallelcluster=PUBLIC, network=existing_network()),
        "parallelcluster.head_node.subnet",
        "found public; allowed: with network.public_subnet, or private",
    ),
    (
        "PCLUSTER_SECTION",
        loaded(storage={"lustre": {}}, studio={}),
        "studio",
        "found studio with kind parallelcluster; allowed: with kind hyperpod",
    ),
]


@pytest.mark.parametrize(("rule", "model"), PASSING)
def test_passes(rule: str, model: Model) -> None:
    assert rule not in [finding.rule for finding in check(model)]


@pytest.mark.parametrize(("rule", "model", "field", "message"), FAILING)
def test_fails(rule: str, model: Model, field: str, message: str) -> None:
    found = [(finding.field, finding.message) for finding in check(model) if finding.rule == rule]
    assert found == [(field, message)]


def test_every_rule_is_tested_with_both_outcomes() -> None:
    defined = {one.id for one in DEFINED}
    assert {rule for rule, *_ in PASSING} == {rule for rule, *_ in FAILING} == defined


def test_what_only_warns() -> None:
    assert {one.id for one in DEFINED if one.level == "warning"} == {
        "PCLUSTER_EFA_OFF",
        "PCLUSTER_PLACEMENT_GROUP",
        "PCLUSTER_SCRIPT_MOVES",
        "PCLUSTER_SSH_FROM_EVERYWHERE",
    }
