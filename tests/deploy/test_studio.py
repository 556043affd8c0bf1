"""A Studio stack without its cluster: who is there, and what becomes of them when the description changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdk_slurm.assembly import Assembly
from cdk_slurm.rehearsal import CdkError, LocalAws, Stage, changes_between, deployed_spaces
from tests.deploy.lives import loaded, synthesised

STACK = "study-studio"


def described(people: dict[str, int], **domain: Any) -> dict[str, Any]:
    """Everybody by user id."""
    return {
        "kind": "hyperpod",
        "name": "study",
        "region": "us-west-2",
        "availability_zone": "usw2-az4",
        "storage": {"lustre": {"removal_policy": "destroy"}},
        "hyperpod": {"compute": [{"name": "worker", "type": "ml.c5.large", "count": 1}]},
        "users": [{"name": name, "uid": uid, "gid": 1001} for name, uid in people.items()],
        "studio": {"domain": {"removal_policy": "destroy", **domain}},
    }


class Study:
    """A deployed domain, and its next versions."""

    def __init__(self, aws: LocalAws, directory: Path) -> None:
        self.aws, self.stage, self._directory = aws, Stage(aws), directory
        self.assembly = self._synthesised(described({"alice": 10001}))
        self.stage.bootstrap(self.assembly)
        self.stage.deploy(self.assembly, STACK)

    def _synthesised(self, description: dict[str, Any]) -> Assembly:
        return synthesised(loaded(description), self._directory / str(len(list(self._directory.iterdir()))))

    def become(self, description: dict[str, Any]) -> dict[str, str]:
        """Deploy another description; returns what became of each resource of SageMaker's, by its id."""
        before, old = self.aws.resources(), self.assembly
        self.assembly = self._synthesised(description)
        self.stage.deploy(self.assembly, STACK)
        changes = changes_between(before, self.aws.resources(), old=old.templates, new=self.assembly.templates)
        self.lost = [one.physical_id.partition("|")[2] for one in changes if one.loses_data]
        return {one.physical_id.partition("|d-")[0]: one.action for one in changes if "::SageMaker::" in one.type}

    def spaces(self) -> dict[str, tuple[str, str, int, int]]:
        """App, owner and the owner's ids, by name."""
        return {one.name: (one.app, one.person, one.uid, one.gid) for one in deployed_spaces(self.aws)}

    def scripts(self) -> set[str]:
        """Names."""
        told = self.aws.client("sagemaker").list_studio_lifecycle_configs()["StudioLifecycleConfigs"]
        return {one["StudioLifecycleConfigName"] for one in told}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    with LocalAws(region="us-west-2") as aws:
        yield Study(aws, tmp_path_factory.mktemp("study"))


def test_a_person_finds_a_space_with_their_ids_before_there_is_a_cluster(study):
    assert study.spaces() == {"alice-code-editor": ("CodeEditor", "alice", 10001, 1001)}
    assert study.aws.refusals() == []


def test_somebody_and_an_app_are_added_and_nobody_else_notices(study):
    alice = study.scripts()
    done = study.become(described({"alice": 10001, "bob": 10002}, apps=["code_editor", "jupyter_lab"]))
    assert study.spaces() == {
        "alice-code-editor": ("CodeEditor", "alice", 10001, 1001),
        "alice-jupyter-lab": ("JupyterLab", "alice", 10001, 1001),
        "bob-code-editor": ("CodeEditor", "bob", 10002, 1001),
        "bob-jupyter-lab": ("JupyterLab", "bob", 10002, 1001),
    }
    assert "alice-code-editor" not in {one.rpartition("|")[2] for one in done}
    assert done["alice"] == "updated in place"
    assert alice < study.scripts()
    assert study.lost == []
    assert study.aws.refusals() == []


def test_another_id_is_refused_and_nothing_is_lost(study):
    before = study.spaces(), study.scripts()
    with pytest.raises(CdkError) as failed:
        study.become(described({"alice": 10003, "bob": 10002}, apps=["code_editor", "jupyter_lab"]))
    assert "CustomPosixUserConfig of a user profile cannot be changed" in str(failed.value)
    assert (study.spaces(), study.scripts()) == before


def test_another_script_takes_the_place_of_the_former_and_the_space_stays(study):
    """What the script is told changes, as where Lustre's directories are in one's own space."""
    before, scripts = study.spaces(), study.scripts()
    done = study.become(
        described({"alice": 10001, "bob": 10002}, apps=["code_editor", "jupyter_lab"], lustre="per_user")
    )
    assert study.spaces() == before
    assert len(study.scripts()) == len(scripts)
    assert study.scripts().isdisjoint(scripts), "the former ones are gone"
    assert {done[name] for name in ("alice", "bob")} == {"updated in place"}
    assert study.lost == []


def test_somebody_leaves(study):
    study.become(described({"alice": 10001}, apps=["code_editor", "jupyter_lab"], lustre="per_user"))
    assert {owner for _, owner, _, _ in study.spaces().values()} == {"alice"}
    assert not any("-bob-" in one for one in study.scripts())
    assert study.lost == ["bob-code-editor", "bob-jupyter-lab"], "a rehearsal says so"


def test_what_is_retained_stays_and_its_name_is_taken(study):
    """Somebody's volume outlives the description; coming back takes an import, or another name."""
    kept = {"apps": ["code_editor", "jupyter_lab"], "lustre": "per_user", "removal_policy": "retain"}
    study.become(described({"alice": 10001, "carol": 10004}, **kept))
    study.become(described({"alice": 10001}, **kept))
    left = {
        (one["type"].rpartition("::")[2], one["physical_id"].partition("-d-")[0]) for one in study.aws.left_behind()
    }
    assert {kind for kind, _ in left} == {"UserProfile", "Space", "StudioLifecycleConfig"}
    assert "carol-code-editor" in study.spaces()
    with pytest.raises(CdkError) as failed:
        study.become(described({"alice": 10001, "carol": 10004}, **kept))
    assert "already exists" in str(failed.value)
