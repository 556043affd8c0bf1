"""How rules are registered, applied, silenced and located."""

from collections.abc import Iterator

import pytest

from cdk_slurm.rules import engine
from cdk_slurm.spec import ClusterSpec, ComputeGroup, InstanceGroup, Level, User, loads

TEXT = """\
kind: hyperpod
name: ml-cluster
region: us-west-2
availability_zone: usw2-az4
hyperpod:
  compute:
    - {name: cpu, type: ml.c5.4xlarge, count: 2}
    - name: gpu
      type: ml.p5.48xlarge
      count: 8
users:
  - {name: alice, uid: 10001}
"""


@pytest.fixture(autouse=True)
def rules(monkeypatch) -> dict[str, engine.Rule]:
    """An empty list of rules, for a test to fill."""
    empty: dict[str, engine.Rule] = {}
    monkeypatch.setattr(engine, "RULES", empty)
    return empty


def few_instances(group: ComputeGroup) -> Iterator[engine.Violation]:
    """Groups are small.

    Large ones
    are expensive.
    """
    if group.count > 4:
        yield "count", f"found {group.count}; allowed: 4 or fewer"


def no_volume(group: InstanceGroup) -> Iterator[engine.Violation]:
    """Nodes have no volume."""
    yield "ebs_volume_gib", f"found {group.ebs_volume_gib}; allowed: null"


def no_alice(spec: ClusterSpec) -> Iterator[engine.Violation]:
    """Nobody is called alice."""
    for index, user in enumerate(spec.users):
        if user.name == "alice":
            yield ("users", index, "name"), "found alice; allowed: others"


def no_kms_key(spec: ClusterSpec) -> Iterator[engine.Violation]:
    """There is a key."""
    if spec.kms_key is None:
        yield "kms_key", "found none; allowed: a key"


def register(function, level: Level = "error"):
    return engine.rule(level, f"https://example.com/{function.__name__}")(function)


def silencing(*pairs):
    entries = "\n".join(f"  - {{rule: {rule}, reason: {reason}}}" for rule, reason in pairs)
    return loads(f"{TEXT}silence:\n{entries}\n", file="x.yaml")


def test_rule_is_made_of_a_function(rules):
    assert register(few_instances, "warning") is few_instances
    assert rules["FEW_INSTANCES"] == engine.Rule(
        id="FEW_INSTANCES",
        level="warning",
        judges=ComputeGroup,
        title="Groups are small.",
        explanation="Large ones\nare expensive.",
        reference="https://example.com/few_instances",
        violations=few_instances,
    )


def test_id_is_used_once():
    register(few_instances)
    with pytest.raises(ValueError, match="FEW_INSTANCES is defined twice"):
        register(few_instances)


def test_part_is_judged_by_itself():
    register(few_instances)
    register(no_kms_key)
    (finding,) = engine.check(ComputeGroup(name="gpu", type="ml.p5.48xlarge", count=8))
    assert (finding.rule, finding.level, finding.field) == ("FEW_INSTANCES", "error", "count")
    assert finding.message == "found 8; allowed: 4 or fewer"
    assert finding.reference == "https://example.com/few_instances"
    assert (finding.file, finding.line, finding.silenced) == (None, None, None)
    assert engine.check(User(name="alice", uid=10001)) == ()


def test_parts_of_a_whole_have_their_paths():
    register(few_instances)
    register(no_volume)
    register(no_alice)
    findings = engine.check(loads(TEXT).spec)
    assert {finding.field for finding in findings} == {
        "users[0].name",
        "hyperpod.controller.ebs_volume_gib",
        "hyperpod.compute[0].ebs_volume_gib",
        "hyperpod.compute[1].ebs_volume_gib",
        "hyperpod.compute[1].count",
    }


def test_findings_of_a_file_have_their_places_and_order():
    register(no_alice)
    register(few_instances)
    register(no_volume)
    register(no_kms_key)
    findings = engine.check(loads(TEXT, file="x.yaml"))
    assert {finding.file for finding in findings} == {"x.yaml"}
    assert [(finding.rule, finding.line, finding.column) for finding in findings] == [
        ("NO_KMS_KEY", 1, 1),  # a field that is not there stands where its parent does
        ("NO_VOLUME", 5, 1),
        ("NO_VOLUME", 7, 7),
        ("NO_VOLUME", 8, 7),
        ("FEW_INSTANCES", 10, 7),
        ("NO_ALICE", 12, 6),
    ]


def test_silenced_findings_are_returned_with_the_reason():
    register(few_instances)
    register(no_alice)
    findings = engine.check(silencing(("FEW_INSTANCES", "they are free")))
    assert {finding.rule: finding.silenced for finding in findings} == {
        "FEW_INSTANCES": "they are free",
        "NO_ALICE": None,
    }
    assert [finding.rule for finding in engine.errors(findings)] == ["NO_ALICE"]


def test_silence_without_effect_is_a_warning():
    register(few_instances)
    register(no_kms_key)
    loaded = loads(f"{TEXT}kms_key: any\nsilence:\n  - {{rule: NO_KMS_KEY, reason: none}}\n", file="x.yaml")
    (finding,) = [finding for finding in engine.check(loaded) if finding.rule == "SILENCE_UNUSED"]
    assert (finding.level, finding.field, finding.line) == ("warning", "silence[0].rule", 15)
    assert finding.message == "found NO_KMS_KEY, which finds nothing here; remove the entry"


def test_silence_of_an_unknown_rule_is_left_to_a_rule():
    assert engine.check(silencing(("NO_SUCH_RULE", "none"))) == ()


def test_warnings_are_no_errors():
    register(few_instances, "warning")
    findings = engine.check(loads(TEXT))
    assert [finding.rule for finding in findings] == ["FEW_INSTANCES"]
    assert engine.errors(findings) == ()
