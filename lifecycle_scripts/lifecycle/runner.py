"""Runs the steps in order, tries again what may be flaky, and leaves a report."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from lifecycle.errors import NotYetError, StepError
from lifecycle.step import Context, Step

REPORT_FILE = "/var/log/provision/report.json"
BACKGROUND_REPORT_FILE = "/var/log/provision/background.json"
STARTED_DIRECTORY = "/var/lib/cdk-slurm/started"
LONGEST_WAIT_SECONDS = 15.0

log = logging.getLogger(__name__)


def run(steps: Sequence[Step], context: Context) -> bool:
    """Do the steps up to the first that fails, and return whether all went well.

    The report is written before each step and at the end: that of a killed run says "running" and how far it
    came, and a machine that cannot take a report (`OSError`) is not changed at all.
    """
    log.info("lifecycle started, entry %s", context.entry)
    results: list[dict[str, Any]] = []
    succeeded = True
    for step in steps:
        _write_report(context, "running", results)
        log.info("%s: started", step.name)
        started = time.monotonic()
        context.warnings = []
        state, error = _attempt(step, context)
        if error is not None and step.is_optional(context):
            context.warn(f"{error}: the cluster file calls it optional, so the node goes without")
            state, error = "optional-failed", None
        seconds = round(time.monotonic() - started, 3)
        results.append(
            {"name": step.name, "state": state, "seconds": seconds, "error": error, "warnings": context.warnings}
        )
        succeeded = error is None
        if not succeeded:
            log.error("%s: failed after %s s: %s", step.name, seconds, error)
            break
        log.info("%s: %s (%s s)", step.name, state, seconds)
    _write_report(context, "done" if succeeded else "failed", results)
    log.info("lifecycle %s", "done" if succeeded else "failed")
    return succeeded


def plan(steps: Sequence[Step], context: Context) -> bool:
    """Print of each step what `run` would do now, changing nothing and waiting for nothing."""
    for step in steps:
        try:
            state = _settled(step, context) or f"would {step.summary}"
        except Exception as error:
            # Without knowing the node, nothing can be said of the rest; later steps may wait for earlier ones.
            if isinstance(error, NotYetError) and getattr(context, "node", None):
                state = f"would wait: {error}"
            else:
                log.error("%s: %s", step.name, _explained(error))
                return False
        print(f"{step.name}: {state}")
    return True


def _attempt(step: Step, context: Context) -> tuple[str, str | None]:
    """Return the step's state, and its error if that is "failed"."""
    patience_seconds = step.patience_seconds
    if context.patience_seconds is not None:
        patience_seconds = min(patience_seconds, context.patience_seconds)
    waits = _waits(patience_seconds)
    while True:
        try:
            state = _settled(step, context)
            if state is None:
                _do(step, context)
                state = "done"
            return state, None
        except NotYetError as error:
            if step.waits_for_slurm and not context.cluster.legacy and not context.in_background:
                context.warn(f"{error}: {BACKGROUND_REPORT_FILE} will tell")
                return "in-background", None
            wait = next(waits, None)
            if wait is None:
                return "failed", f"{error} (tried again for {patience_seconds:g} s)"
            log.warning("%s: %s; trying again in %g s", step.name, error, wait)
            context.host.sleep(wait)
        except Exception as error:  # A step's own defect has to reach the report like any other failure.
            if not isinstance(error, StepError | OSError):
                log.exception("%s: unexpected error", step.name)
            return "failed", _explained(error)


def _do(step: Step, context: Context) -> None:
    # What a run leaves half done when it is killed may look done to the next: the mark says otherwise.
    mark = f"{STARTED_DIRECTORY}/{step.name}"
    context.host.write(mark, "")
    step.do(context)
    context.host.remove(mark)


def _settled(step: Step, context: Context) -> str | None:
    """Return the state of a step that has nothing to do, or None."""
    node = getattr(context, "node", None)
    if node is not None:
        if node.node_type not in step.node_types:
            return "not-for-this-node"
        if not step.is_wanted(context):
            return "not-wanted"
    done = step.is_done(context)
    return "already-done" if done and not context.host.exists(f"{STARTED_DIRECTORY}/{step.name}") else None


def _explained(error: Exception) -> str:
    return str(error) if isinstance(error, StepError | OSError) else f"{type(error).__name__}: {error}"


def _waits(patience_seconds: float) -> Iterator[float]:
    """Yield 1, 2, 4, … seconds, `patience_seconds` in all."""
    wait = 1.0
    while patience_seconds > 0:
        wait = min(wait, patience_seconds)
        yield wait
        patience_seconds -= wait
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def _write_report(context: Context, state: str, results: Sequence[dict[str, Any]]) -> None:
    cluster, node = getattr(context, "cluster", None), getattr(context, "node", None)
    report = {
        "entry": context.entry,
        "state": state,
        "cluster": cluster and cluster.name,
        "node": node and asdict(node),
        "steps": results,
    }
    file = BACKGROUND_REPORT_FILE if context.in_background else REPORT_FILE
    context.host.write(file, json.dumps(report, indent=2) + "\n")
