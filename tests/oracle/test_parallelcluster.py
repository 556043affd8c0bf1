"""ParallelCluster's own schema and validators judge what is written for it, and rules of ours that it has too.

It lives in an environment of its own (tests/oracle/parallelcluster), which `make test` installs. All documents go
through one process: it takes seconds to start. `python tests/oracle/test_parallelcluster.py` prints which of its
validators ran, which docs/parallelcluster-validators.md tells.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest

from cdk_slurm.pcluster_configuration import VERSION, cluster_configuration, surroundings
from cdk_slurm.rules import RULES, check, errors, parallelcluster
from cdk_slurm.rules.parallelcluster import has_efa, in_placement_group
from cdk_slurm.spec import ParallelClusterConfig, ParallelClusterOs, ParallelClusterSpec, load

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(__file__).with_name("parallelcluster")
PYTHON = HOME / ".venv" / "bin" / "python"
DOCUMENT = ROOT / "docs" / "parallelcluster-validators.md"

#: Of the stacks around a cluster.
OUTPUTS = {
    "PrimaryPrivateSubnet": "subnet-0fe2476bb2e98a579",
    "PublicSubnet": "subnet-00738f6db68fa46d2",
    "SecurityGroup": "sg-09f73a7cc2a170abc",
    "FSxLustreFilesystemId": "fs-002917c15943993c7",
    "FSxORootVolumeId": "fsvol-057e2427d7dcbc766",
    "S3BucketName": "ml-cluster-data",
}
NETWORK = {
    "existing": "vpc-0123456789abcdef0",
    "private_subnet": "subnet-0fe2476bb2e98a579",
    "private_subnet_cidr": "10.0.0.0/20",
    "security_group": "sg-09f73a7cc2a170abc",
}
LUSTRE = {"existing": "fs-002917c15943993c7", "mount_name": "abcdefgh"}
OPENZFS = {"existing": "fs-057e2427d7dcbc766"}
BLOCK = {"id": "cr-0123456789abcdef0"}
GROUP = {"resource_group": "arn:aws:resource-groups:us-west-2:123456789012:group/p5"}
DATABASE = {
    "existing": "slurm.example.com",
    "secret": "arn:aws:secretsmanager:us-west-2:123456789012:secret:slurm-AbCdEf",
}
SCRIPT = {"script": "s3://ml-cluster-scripts/0123abcd/on_node.sh", "args": ["compute"]}
P5 = {"type": "p5.48xlarge", "min_count": 8, "max_count": 8}
ARM = {"head_node": {"type": "m7g.2xlarge"}}
_BESIDE = ("network", "storage", "data", "tags", "region")


def described(
    *compute: dict[str, Any], queue: dict[str, Any] | None = None, name: str = "c", **cluster: Any
) -> ParallelClusterSpec:
    """A cluster with one queue, of one m5.xlarge unless other compute resources are said."""
    resources = [{"name": f"r{number}", "type": "m5.xlarge"} | one for number, one in enumerate(compute or ({},))]
    beside = {"region": "us-west-2", "storage": {"lustre": {}, "openzfs": {}}, "data": {"bucket": "new"}}
    beside |= {key: cluster.pop(key) for key in _BESIDE if key in cluster}
    queues = cluster.pop("queues", [{"name": "q", "compute": resources} | (queue or {})])
    return ParallelClusterSpec.model_validate(
        {
            "kind": "parallelcluster",
            "name": name,
            "availability_zone": f"{beside['region']}a",
            "parallelcluster": {"queues": queues} | cluster,
        }
        | beside
    )


def in_block(*compute: dict[str, Any], **queue: Any) -> ParallelClusterSpec:
    return described(*compute, queue={"capacity": "capacity_block"} | queue)


def started_by(script: str) -> ParallelClusterSpec:
    return described(queue={"custom_actions": {"on_node_start": [{"script": script}]}})


def queues(*types: str) -> list[dict[str, Any]]:
    return [{"name": f"q{n}", "compute": [{"name": "r", "type": type_}]} for n, type_ in enumerate(types)]


#: What is written for these, ParallelCluster takes.
ACCEPTED = {
    **{path.stem: load(path).spec for path in sorted((ROOT / "clusters").glob("parallelcluster-*.yaml"))},
    "smallest": described(storage={}, data=None),
    "Lustre alone": described(storage={"lustre": {}}),
    "file systems that exist": described(
        storage={"lustre": LUSTRE, "openzfs": OPENZFS | {"root_volume": "fsvol-057e2427d7dcbc766"}}
    ),
    "network that exists": described(network=NETWORK),
    "network that exists, public head node": described(
        network=NETWORK | {"public_subnet": "subnet-00738f6db68fa46d2"}, head_node={"subnet": "public"}
    ),
    "public head node": described(head_node={"subnet": "public", "ssh_key": "mine", "ssh_from": "203.0.113.0/24"}),
    "EFA in a placement group": described({"type": "p5.48xlarge"}),
    "EFA without a placement group": described({"type": "p5.48xlarge"}, queue={"placement_group": False}),
    "EFA on some": described({"type": "p5.48xlarge"}, {}),
    "EFA on several types": described({"type": ["p5.48xlarge", "p5e.48xlarge"]}),
    "accelerators": described(queues=queues("trn1.32xlarge", "p4d.24xlarge", "p6-b200.48xlarge", "g6e.48xlarge")),
    "capacity block": in_block(P5 | {"capacity_reservation": BLOCK}),
    "group of reservations": described(P5 | {"capacity_reservation": GROUP}),
    "spot": described({"type": ["m5.xlarge", "m5d.xlarge"]}, queue={"capacity": "spot"}),
    "one thread on each core": described({"multithreading": False}),
    "most queues": described(queues=queues(*["m5.xlarge"] * 50)),
    "shared nodes": described(queue={"exclusive": False, "scratch": None, "root_volume_gib": 45}),
    "login nodes": described(login={"count": 2, "grace_period_minutes": 120}),
    "accounting": described(accounting_database=DATABASE, name="c" * 40),
    "longest name": described(name="c" * 60),
    "most tags": described(tags={f"k{number}": "v" for number in range(40)}),
    "settings of Slurm": described(slurm_settings={"KillWait": 60, "EnforcePartLimits": "ALL"}),
    "scripts": described(
        head_node={
            "custom_actions": {f"on_node_{when}": [SCRIPT] for when in ("start", "configured", "updated")},
        },
        queue={"custom_actions": {"on_node_configured": [SCRIPT, {"script": "https://example.com/v1/a.sh"}]}},
    ),
    "never stopped": described(scaledown_idle_minutes=-1, queue_update_strategy="TERMINATE", log_retention_days=0),
    **{os_: described({"type": "m6i.xlarge"}, os=os_) for os_ in get_args(ParallelClusterOs)},
    **{f"{os_} on Arm": described({"type": "m8g.24xlarge"}, os=os_, **ARM) for os_ in get_args(ParallelClusterOs)},
}


class Known(NamedTuple):
    """A warning that stays: why, and where it is expected, and nowhere else."""

    why: str
    where: Callable[[ParallelClusterConfig], bool]


KNOWN_WARNINGS = {
    "EfaPlacementGroupValidator": Known(
        "EFA without a placement group: a reservation places the instances, or people said so.",
        lambda cluster: any(
            any(map(has_efa, one.compute)) and not in_placement_group(one) and one.capacity != "capacity_block"
            for one in cluster.queues
        ),
    ),
    "InstancesNetworkingValidator": Known(
        "Several types in a placement group: less is free, and EFA wants instances close to each other.",
        lambda cluster: any(
            in_placement_group(one) and any(len(resource.types) > 1 for resource in one.compute)
            for one in cluster.queues
        ),
    ),
    "KeyPairValidator": Known(
        "No key: people come through AWS Systems Manager.", lambda cluster: cluster.head_node.ssh_key is None
    ),
}


class Broken(NamedTuple):
    """A rule of ours, a description that breaks it, and who of ParallelCluster's says so at which level.

    Of its schema, the last word of the place is named too.
    """

    rule: str
    spec: ParallelClusterSpec
    validator: str
    level: str = "ERROR"


BROKEN = [
    Broken("PCLUSTER_NAME", described(name="c" * 61), "ClusterNameValidator"),
    Broken("PCLUSTER_NAME", described(name="c" * 41, accounting_database=DATABASE), "ClusterNameValidator"),
    Broken("PCLUSTER_NAME", described(name="1c"), "ClusterNameValidator"),
    Broken("PCLUSTER_NAME", described(name="c_c"), "ClusterNameValidator"),
    Broken("PCLUSTER_QUEUE_COUNT", described(queues=queues(*["m5.xlarge"] * 51)), "MaxCountValidator"),
    Broken("PCLUSTER_QUEUE_COUNT", described(*[{}] * 51), "MaxCountValidator"),
    Broken("PCLUSTER_QUEUE_NAME", described(queue={"name": "GPU"}), "NameValidator"),
    Broken("PCLUSTER_QUEUE_NAME", described(queue={"name": "q" * 26}), "NameValidator"),
    Broken("PCLUSTER_QUEUE_NAME", described(queue={"name": "default"}), "NameValidator"),
    Broken("PCLUSTER_QUEUE_NAME", described(queues=queues("m5.xlarge") * 2), "DuplicateNameValidator"),
    Broken("PCLUSTER_QUEUE_NAME", described({"name": "GPU"}), "NameValidator"),
    Broken("PCLUSTER_QUEUE_NAME", described({"name": "default"}), "NameValidator"),
    Broken("PCLUSTER_QUEUE_NAME", described({"name": "r"}, {"name": "r"}), "DuplicateNameValidator"),
    Broken("PCLUSTER_INSTANCE_TYPE", described({"type": "ml.m5.xlarge"}), "(registration)"),
    Broken("PCLUSTER_INSTANCE_TYPE", described(head_node={"type": "ml.m5.xlarge"}), "InstanceTypeValidator"),
    Broken("PCLUSTER_INSTANCE_TYPE", described(login={"type": "ml.m5.xlarge"}), "InstanceTypeValidator"),
    Broken("PCLUSTER_ROOT_VOLUME", described(queue={"root_volume_gib": 44}), "RootVolumeSizeValidator"),
    Broken("PCLUSTER_ROOT_VOLUME", described(head_node={"root_volume_gib": 44}), "RootVolumeSizeValidator"),
    Broken("PCLUSTER_LOG_RETENTION", described(log_retention_days=10), "(schema) RetentionInDays"),
    Broken("PCLUSTER_SCALEDOWN", described(scaledown_idle_minutes=-2), "(schema) ScaledownIdletime"),
    Broken("PCLUSTER_SLURM_SETTING", described(slurm_settings={"taskplugin": "x"}), "CustomSlurmSettingsValidator"),
    Broken(
        "PCLUSTER_SLURM_SETTING",
        described(slurm_settings={"JobAcctGatherType": "x"}, accounting_database=DATABASE),
        "CustomSlurmSettingsValidator",
    ),
    Broken("PCLUSTER_COUNT", described({"max_count": 0}), "(schema) MaxCount"),
    Broken("PCLUSTER_COUNT", described({"min_count": -1}), "(schema) MinCount"),
    Broken("PCLUSTER_COUNT", described({"min_count": 4, "max_count": 3}), "ComputeResourceSizeValidator"),
    Broken("PCLUSTER_EFA", described({"efa": True}), "EfaValidator"),
    Broken("PCLUSTER_EFA", described({"type": ["m5.xlarge", "m5d.xlarge"], "efa": True}), "InstancesEFAValidator"),
    Broken("PCLUSTER_EFA_OFF", described({"type": "p5.48xlarge", "efa": False}), "EfaValidator", "WARNING"),
    Broken("PCLUSTER_CAPACITY_BLOCK", in_block(P5), "CapacityTypeValidator"),
    Broken("PCLUSTER_CAPACITY_BLOCK", in_block(P5 | {"capacity_reservation": GROUP}), "CapacityTypeValidator"),
    Broken(
        "PCLUSTER_CAPACITY_BLOCK",
        in_block(P5 | {"min_count": 4, "capacity_reservation": BLOCK}),
        "ComputeResourceSizeValidator",
    ),
    Broken(
        "PCLUSTER_CAPACITY_BLOCK",
        in_block(P5 | {"capacity_reservation": BLOCK}, placement_group=True),
        "PlacementGroupCapacityTypeValidator",
        "WARNING",
    ),
    Broken(
        "PCLUSTER_RESERVATION",
        described(P5 | {"capacity_reservation": BLOCK | GROUP}),
        "(schema) CapacityReservationTarget",
    ),
    Broken(
        "PCLUSTER_RESERVATION",
        described(P5 | {"capacity_reservation": {"id": ""}}),
        "(schema) CapacityReservationTarget",
    ),
    Broken(
        "PCLUSTER_RESERVED_TYPES",
        described(P5 | {"type": ["p5.48xlarge", "p5e.48xlarge"], "capacity_reservation": BLOCK}),
        "CapacityReservationValidator",
    ),
    Broken("PCLUSTER_TYPES_ALIKE", described({"type": ["m5.xlarge", "m5.2xlarge"]}), "InstancesCPUValidator"),
    Broken("PCLUSTER_TYPES_ALIKE", described({"type": ["m5.xlarge", "g5.xlarge"]}), "InstancesAcceleratorsValidator"),
    Broken(
        "PCLUSTER_PLACEMENT_GROUP",
        described(P5 | {"capacity_reservation": BLOCK}, queue={"placement_group": True}),
        "PlacementGroupCapacityReservationValidator",
        "WARNING",
    ),
    Broken("PCLUSTER_LOGIN", described(login={"grace_period_minutes": 2}), "(schema) GracetimePeriod"),
    Broken("PCLUSTER_LOGIN", described(login={"count": -1}), "(schema) Count"),
    Broken("PCLUSTER_LOGIN", described(login={"name": "Login"}), "NameValidator"),
    Broken("PCLUSTER_SCRIPT_ADDRESS", started_by("http://example.com/a.sh"), "UrlValidator"),
    Broken("PCLUSTER_SCRIPT_ADDRESS", started_by("s3://ml-cluster-scripts"), "UrlValidator"),
    Broken("PCLUSTER_SCRIPT_ADDRESS", started_by("/opt/a.sh"), "UrlValidator"),
    Broken("PCLUSTER_OPENZFS_VOLUME", described(storage={"openzfs": OPENZFS}), "(schema) VolumeId"),
    Broken("PCLUSTER_PUBLIC_SUBNET", described(network=NETWORK, head_node={"subnet": "public"}), "(schema) SubnetId"),
]

#: Ours alone.
NOT_THEIRS = {
    "PCLUSTER_SECTION": "It is about sections that are not written for ParallelCluster.",
    "PCLUSTER_SCRIPT_MOVES": "It takes every address over HTTPS.",
    "PCLUSTER_SSH_FROM_EVERYWHERE": "It is what it does by itself.",
}

#: Where a rule that both have is stricter of ours: it takes these.
STRICTER = {
    "Idle nodes would stop at once.": ("PCLUSTER_SCALEDOWN", described(scaledown_idle_minutes=0)),
    "A pool without instances lets nobody in.": ("PCLUSTER_LOGIN", described(login={"count": 0})),
    "It asks EC2 for the id.": ("PCLUSTER_RESERVATION", described({"capacity_reservation": {"id": "cr-01234567"}})),
    "It asks AWS for the group.": (
        "PCLUSTER_RESERVATION",
        described({"capacity_reservation": {"resource_group": "x"}}),
    ),
    "An empty reservation is not written.": ("PCLUSTER_RESERVATION", described({"capacity_reservation": {}})),
    "EC2 sells spot instances from what nobody reserved.": (
        "PCLUSTER_RESERVED_TYPES",
        described({"capacity_reservation": BLOCK}, queue={"capacity": "spot"}),
    ),
}


class Unruled(NamedTuple):
    """What ParallelCluster refuses and no rule of ours finds. Who writes the rule moves it to `BROKEN`."""

    what: str
    spec: ParallelClusterSpec
    validator: str
    level: str = "ERROR"


UNRULED = [
    Unruled("processors differ", described({"type": "m7g.xlarge"}), "InstanceArchitectureCompatibilityValidator"),
    Unruled(
        "no Capacity Blocks of the type",
        in_block({"min_count": 1, "max_count": 1, "capacity_reservation": BLOCK}),
        "CapacityTypeValidator",
    ),
    Unruled(
        "no placement groups of the type",
        described({"type": "t3.medium"}, queue={"placement_group": True}),
        "InstanceTypePlacementGroupValidator",
    ),
    Unruled(
        "too little memory for so many nodes",
        described({"max_count": 1000}, head_node={"type": "t3.small"}),
        "HeadNodeMemorySizeValidator",
    ),
    Unruled("a type twice", described({"type": ["m5.xlarge", "m5.xlarge"]}), "(schema) Instances"),
    Unruled("its own tags", described(tags={"parallelcluster:x": "v"}), "(schema) Tags"),
    Unruled(
        "its own directory", described(storage={"lustre": {"mount": "/opt/intel"}}), "SharedStorageMountDirValidator"
    ),
    Unruled(
        "scratch over a file system", described(P5, queue={"scratch": "/fsx"}), "DuplicateMountDirValidator", "WARNING"
    ),
    Unruled("no bucket's name", started_by("s3://ml cluster/a.sh"), "(schema) BucketName"),
    Unruled("more than gp3 has", described(head_node={"root_volume_gib": 16385}), "EbsVolumeTypeSizeValidator"),
    Unruled("a forbidden name", described(login={"name": "default"}), "NameValidator"),
    Unruled("a Region without it", described(region="mx-central-1"), "RegionValidator"),
    Unruled("EFA that we do not know of", described({"type": "c7gn.16xlarge"}, **ARM), "EfaValidator", "WARNING"),
]

#: What AWS alone knows: that its validators do look at what is there.
OTHERWISE = {
    "CapacityReservationSizeValidator": (described(P5 | {"capacity_reservation": BLOCK}), {"TotalInstanceCount": 4}),
    "CapacityReservationValidator": (in_block(P5 | {"capacity_reservation": BLOCK}), {"ReservationType": "default"}),
    "ExistingFsxNetworkingValidator": (described(), {"VpcId": "vpc-0fedcba9876543210"}),
}


def _request(spec: ParallelClusterSpec, **facts: Any) -> dict[str, Any]:
    return {"document": cluster_configuration(spec, surroundings(spec, OUTPUTS)), "name": spec.name, "facts": facts}


def _requests() -> dict[str, Any]:
    tables = {"broken": BROKEN, "unruled": UNRULED}
    return {
        **{name: _request(spec) for name, spec in ACCEPTED.items()},
        **{
            f"{name} {number}": _request(one.spec) for name, table in tables.items() for number, one in enumerate(table)
        },
        **{why: _request(spec) for why, (_, spec) in STRICTER.items()},
        **{
            validator: _request(spec, **dict.fromkeys((BLOCK["id"], LUSTRE["existing"]), facts))
            for validator, (spec, facts) in OTHERWISE.items()
        },
        "facts": None,
    }


@cache
def _asked() -> "subprocess.CompletedProcess[str]":
    command = [PYTHON, HOME / "judge.py"]
    return subprocess.run(command, input=json.dumps(_requests()), capture_output=True, text=True, check=False)


@cache
def judgements() -> dict[str, Any]:
    """What ParallelCluster says of everything, and its facts."""
    _installed()
    assert _asked().returncode == 0, _asked().stderr[-4000:]
    return json.loads(_asked().stdout)


def _installed() -> None:
    if not PYTHON.exists():
        text = "ParallelCluster is not installed: `make tests/oracle/parallelcluster/.venv/installed`"
        assert not os.environ.get("CI"), text
        pytest.skip(text)


def found(name: str, level: str) -> dict[str, str]:
    """Who found something at a level, and what; the schema with the last word of the place."""
    findings = [one for one in judgements()[name]["findings"] if one["level"] == level]
    return {_who(one): f"{one['path']}: {one['message']}" for one in findings}


def _who(finding: dict[str, str]) -> str:
    place = finding["path"].rpartition("/")[2]
    return f"(schema) {place}" if finding["validator"] == "(schema)" else finding["validator"]


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_written_is_accepted(name: str) -> None:
    assert errors(check(ACCEPTED[name])) == ()
    assert found(name, "ERROR") == {}
    expected = {who for who, known in KNOWN_WARNINGS.items() if known.where(ACCEPTED[name].parallelcluster)}
    assert found(name, "WARNING").keys() == expected, found(name, "WARNING")
    assert judgements()[name]["could_not"] == []
    assert len(judgements()[name]["ran"]) > 30


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=lambda number: f"{number}-{BROKEN[number].rule}")
def test_what_breaks_a_rule_of_ours_is_refused_by_it_too(number: int) -> None:
    broken = BROKEN[number]
    assert broken.rule in [one.rule for one in check(broken.spec)]
    assert broken.validator in found(f"broken {number}", broken.level)


@pytest.mark.parametrize("why", STRICTER)
def test_where_ours_is_stricter_it_takes_it(why: str) -> None:
    rule, spec = STRICTER[why]
    assert [one.rule for one in errors(check(spec))] == [rule]
    assert found(why, "ERROR") == {}


@pytest.mark.parametrize("number", range(len(UNRULED)), ids=lambda number: UNRULED[number].what)
def test_what_no_rule_of_ours_finds_it_refuses(number: int) -> None:
    unruled = UNRULED[number]
    assert errors(check(unruled.spec)) == (), "there is a rule now: move it to BROKEN"
    assert unruled.validator in found(f"unruled {number}", unruled.level)


@pytest.mark.parametrize("validator", OTHERWISE)
def test_it_looks_at_what_is_there(validator: str) -> None:
    assert list(found(validator, "ERROR")) == [validator]


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
    pattern, longest = facts["queue_name"]
    for name in ("a" * longest, "a-1"):
        assert re.fullmatch(pattern, name) and re.fullmatch(parallelcluster._NAME, name)
    assert not re.fullmatch(parallelcluster._NAME, "a" * (longest + 1))


def test_the_grace_period_is_that_of_the_installed_version() -> None:
    least, most = judgements()["facts"]["grace_period_minutes"]
    refused = [
        minutes
        for minutes in (least - 1, least, most, most + 1)
        if errors(check(described(login={"grace_period_minutes": minutes})))
    ]
    assert refused == [least - 1, most + 1]


def test_nothing_leaves_the_machine() -> None:
    _installed()
    program = (
        "import judge, urllib.request as r\ntry: r.urlopen('https://192.0.2.1')\nexcept Exception: print('caught')"
    )
    result = subprocess.run([PYTHON, "-c", program], cwd=HOME, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert "judge.py would leave the machine" in result.stderr


#: Why validators never run.
NEVER = {
    "no images of one's own": ("AmiOsCompatible", "CustomAmiTag"),
    "directories are HyperPod's here": ("AdditionalSssdConfigs", "DomainAddr", "DomainName", "LdapTlsReqCert"),
    "no MUNGE key of one's own": ("ArnServiceAndResource", "MungeKeySecretSizeAndBase64"),
    "no settings for its developers": ("CliAttributeOverrides", "ExtraChefAttributes"),
    "no file of settings for Slurm": ("CustomSlurmSettingsIncludeFileOnly",),
    "no memory-based scheduling": ("InstanceTypeMemoryInfo",),
    "no remote desktop": ("Dcv",),
    "no EBS volumes are shared": ("EbsVolumeSizeSnapshot", "SharedEbsPerformanceBottleNeck", "SharedEbsVolumeId"),
    "no EFS": ("EfsAccessPointOptions", "EfsId", "EfsMountOptions"),
    "no file cache": ("SharedFileCacheNotHome",),
    "it makes no file system": ("FsxAutoImport", "KmsKey", "KmsKeyIdEncrypted", "S3BucketUri"),
    "no bucket for itself": ("S3Bucket", "S3BucketRegion"),
    "no hosted zone": ("HostedZone",),
    "it makes the roles": ("IamPolicy", "IamResourcePrefix", "InstanceProfile", "Role"),
    "no Intel packages": ("IntelHpcArchitecture", "IntelHpcOs"),
    "no subnet for its functions": ("LambdaFunctionsVpcConfig",),
    "no launch templates": ("LaunchTemplate",),
    "UltraServers, which moto lacks": ("CapacityBlockHealthStatus", "UltraserverCapacityBlockSize"),
}


#: What validators that ran could not see here.
IN_PART = {
    "ComputeResourceLaunchTemplateValidator": "of a dry run, the form of the request only",
    "HeadNodeLaunchTemplateValidator": "of a dry run, the form of the request only",
    "PasswordSecretArnValidator": "every secret exists here",
    "UrlValidator": "scripts in S3 only",
}


def _ran(names: Iterable[str]) -> set[str]:
    return {validator for name in names for validator in judgements()[name]["ran"]}


def _ran_at_all() -> set[str]:
    return _ran(judgements().keys() - {"facts"})


def validators_document() -> str:
    """Which of its validators ran over all documents, and why others never do."""
    names, ran = judgements()["facts"]["validators"], _ran_at_all()
    why = IN_PART | {f"{name}Validator": reason for reason, names in NEVER.items() for name in names}
    word = {name: "in part" if name in IN_PART else "yes" for name in ran}
    return "\n".join(
        (
            "# ParallelCluster's validators",
            "",
            f"Those of version {VERSION} that judge clusters: {len(ran)} of {len(names)} ran on what we write.",
            "Written by `python tests/oracle/test_parallelcluster.py > docs/parallelcluster-validators.md`.",
            "",
            "| validator | ran | why not |",
            "|---|---|---|",
            *(f"| {name} | {word.get(name, 'no')} | {why.get(name, '')} |" for name in names),
            "",
        )
    )


def test_validators_that_never_run_have_a_reason() -> None:
    names = [f"{name}Validator" for names in NEVER.values() for name in names]
    assert sorted(names) == sorted(set(judgements()["facts"]["validators"]) - _ran_at_all())
    assert IN_PART.keys() <= _ran_at_all()


def test_the_document_of_validators_is_up_to_date() -> None:
    assert DOCUMENT.read_text("utf-8") == validators_document(), "write it again"


def test_most_of_its_validators_ran() -> None:
    """docs/parallelcluster.md says how many, and which cannot run here."""
    told = re.search(r"(\d+) of its validators", (ROOT / "docs" / "parallelcluster.md").read_text("utf-8"))
    assert told and int(told[1]) == len(_ran(ACCEPTED)), sorted(_ran(ACCEPTED))


if __name__ == "__main__":
    print(validators_document(), end="")
