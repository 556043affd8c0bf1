"""Whole lives of clusters take minutes, most of it waiting: they are lived side by side, in threads, while other
tests run, and each leaves a record of what the services told at every step. Tests read the records.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import yaml

from cdk_slurm import spec
from cdk_slurm.rehearsal import LocalAws, NotInstalledError
from tests.deploy.lives import EXAMPLES, Life, grown, live, loaded, written

#: As many lives at once as two cores carry.
_AT_ONCE = 3


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """Where the local AWS is not installed, nothing here can run: a reason to skip at home, and to fail in CI."""
    try:
        LocalAws(region="us-west-2").stop()
    except NotInstalledError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error), allow_module_level=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of lives come last: the lives go on beside the others."""
    items.sort(key=_is_of_a_life)


def _is_of_a_life(item: pytest.Item) -> bool:
    return "life" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session", autouse=True)
def lives(
    request: pytest.FixtureRequest, installed: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Life]]]:
    """The life of each example, by its name; all begin at once when any is going to be asked for."""
    wanted = EXAMPLES if any(map(_is_of_a_life, request.session.items)) else {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        # CDK is one process, which takes one call at a time: each life begins when its assemblies are there.
        yield {name: pool.submit(live, written(name, tmp_path_factory.mktemp(name))) for name in wanted}


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> str:
    """Each example, by name."""
    return request.param


@pytest.fixture
def life(example: str, lives: dict[str, Future[Life]]) -> Life:
    """Each example's life."""
    return lives[example].result()


@pytest.fixture
def described(example: str) -> spec.ClusterSpec:
    """What an example describes."""
    return spec.load(EXAMPLES[example]).spec


@pytest.fixture
def successor(example: str) -> spec.ClusterSpec:
    """What an example is updated to."""
    return loaded(grown(yaml.safe_load(EXAMPLES[example].read_text("utf-8"))))
