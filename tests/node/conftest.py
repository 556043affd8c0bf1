"""Real nodes for the tests of this directory that ask for them."""

import os
import shutil
import subprocess

import pytest

REQUIRED = ("systemd-nspawn", "mmdebstrap", "ip", "nsenter")


@pytest.fixture(scope="session")
def node_tree():
    """The nodes' operating system; where nodes cannot be had, tests are skipped, or fail in CI."""
    from tests.node.slurm_nodes import tree

    lacking = [program for program in REQUIRED if shutil.which(program) is None]
    reasons = ([] if os.geteuid() == 0 else ["root"]) + lacking
    if reasons:
        reason = f"real nodes need {', '.join(reasons)} (Debian packages systemd-container, mmdebstrap, iproute2)"
        if os.environ.get("CDK_SLURM_REQUIRE_NODES"):
            pytest.fail(reason)
        pytest.skip(reason)
    try:
        return tree.node_tree()
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        pytest.fail(f"the nodes' operating system cannot be made: {error}")
