"""Provision this node as `cluster.json` describes it."""

import argparse
import logging
import os
import sys
import time
from pathlib import Path

from lifecycle import runner
from lifecycle.host import Host
from lifecycle.step import Context
from lifecycle.steps import STEPS

log = logging.getLogger("lifecycle")


def main() -> int:
    """Run or plan the steps; return 0 only if none failed."""
    names = [step.name for step in STEPS]
    parser = argparse.ArgumentParser(prog="lifecycle", description=__doc__)
    parser.add_argument(
        "--entry",
        choices=("on_create", "on_init_complete"),
        help="the script that HyperPod started, for the report",
    )
    parser.add_argument("--plan", action="store_true", help="say what would be done on this node, and change nothing")
    parser.add_argument(
        "--only",
        action="append",
        choices=names,
        metavar="STEP",
        help=f"identify the node and do this step: {', '.join(names)}",
    )
    parser.add_argument("--patience-seconds", type=float, help="try what may pass for so long at most")
    parser.add_argument("--background", action="store_true", help="do what had to wait for Slurm; HyperPod's form api")
    arguments = parser.parse_args()

    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%SZ", level=logging.INFO
    )
    # A test's stand-in for the machine's root directory.
    host = Host(root=Path(os.environ.get("CDK_SLURM_ROOT") or "/"))
    context = Context(host=host, entry=arguments.entry, in_background=arguments.background)
    context.patience_seconds = arguments.patience_seconds
    steps = list(STEPS)
    if arguments.background:
        steps = [step for step in STEPS if step.name == "identify" or step.waits_for_slurm]
    if arguments.only:
        steps = [step for step in steps if step.name in ("identify", *arguments.only)]
    try:
        succeeded = (runner.plan if arguments.plan else runner.run)(steps, context)
    except OSError as error:
        log.error("cannot write %s: %s", runner.REPORT_FILE, error)
        succeeded = False
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
