"""Real nodes for the tests of this directory that ask for them."""

import os

import pytest


@pytest.fixture(scope="session")
def workplace():
    """Where nodes are kept; where they cannot be had, tests are skipped, or fail with CDK_SLURM_REQUIRE_NODES=1."""
    from tests.node.cluster.workplace import Workplace, why_impossible

    if reason := why_impossible():
        (pytest.fail if os.environ.get("CDK_SLURM_REQUIRE_NODES") == "1" else pytest.skip)(reason)
    with Workplace() as workplace:
        yield workplace


@pytest.fixture(scope="session")
def trees(workplace):
    """What nodes are booted from; the first time on a machine it is built, in less than a minute."""
    from tests.node.cluster.tree import prepared_trees

    return prepared_trees()
