"""Jobs as `squeue` lists them, one line each.

https://slurm.schedmd.com/archive/slurm-25.11-latest/squeue.html
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

#: With no width a field is never cut short. Of the nodes one character tells whether the job has had any: no other
#: field does, since who waited with srun has a host, and who was cancelled before the start has a start time.
#: What may hold anything comes last.
_FORMAT = (
    "JobArrayID:|,State:|,UserName:|,Partition:|,SubmitTime:|,EligibleTime:|,StartTime:|,EndTime:|,NodeList:1|,Reason:"
)
COMMAND = ("squeue", "--all", "--states=all", "--array", "--noheader", f"--Format={_FORMAT}")
#: Makes the times seconds since 1970.
ENVIRONMENT = {"SLURM_TIME_FORMAT": "%s"}

QUEUE_STATES = ("pending", "running", "suspended", "configuring", "completing")
FINISHED_STATES = (
    *("completed", "failed", "cancelled", "timeout", "node_fail"),
    *("out_of_memory", "preempted", "boot_fail", "deadline"),
)

#: squeue prints one word for the state and its flags.
_STATES = {state.upper(): state for state in (*QUEUE_STATES, *FINISHED_STATES)} | {
    "REQUEUED": "pending",
    "REQUEUE_FED": "pending",
    "REQUEUE_HOLD": "pending",
    "RESV_DEL_HOLD": "pending",
    "SPECIAL_EXIT": "pending",
    "RESIZING": "running",
    "SIGNALING": "running",
    "STOPPED": "suspended",
    "POWER_UP_NODE": "configuring",
    "EXPEDITING": "completing",
    "STAGE_OUT": "completing",
}
_NO_TIME = frozenset({"N/A", "NONE", "Unknown"})

#: Reasons for which a job would not start on an empty cluster either, beside limits, which all end in "Limit".
_OWN_REASONS = frozenset(
    {
        "BeginTime",
        "Dependency",
        "DependencyNeverSatisfied",
        "JobHeldAdmin",
        "JobHeldUser",
        "Reservation",
        "Other",
    }
)


class Job(NamedTuple):
    """A job, or one task of an array. Times are seconds since 1970, None where Slurm has none."""

    id: str
    """As users write it: `12`, `12_3` of an array, `12+0` of a heterogeneous job."""
    state: str
    """One of `QUEUE_STATES` or `FINISHED_STATES`."""
    user: str
    partitions: tuple[str, ...]
    """Those that it names; one, once it has started."""
    submit: float | None
    """When it was submitted, or put back into the queue for the last time."""
    eligible: float | None
    """Since when it might have run, for all that the job itself says."""
    start: float | None
    """When it started; of a job that waits, what Slurm expects."""
    end: float | None
    """When it ended; of a job that runs, when it must."""
    has_nodes: bool
    reason: str

    @property
    def partition(self) -> str:
        """The partition that it is counted under."""
        return self.partitions[0]

    def waits_for_resources(self, now: float) -> bool:
        """Whether it waits and nothing but what is free keeps it from running."""
        return (
            self.state == "pending"
            and self.eligible is not None
            and self.eligible <= now
            and self.reason not in _OWN_REASONS
            and not self.reason.endswith("Limit")
            and not self.reason.startswith(("QOS", "Assoc"))
        )


def parse(text: str) -> tuple[list[Job], list[str]]:
    """Return the jobs, and the lines that are not of the known form."""
    jobs: list[Job] = []
    strange: list[str] = []
    for line in text.splitlines():
        try:
            jobs.append(_job(line))
        except (KeyError, ValueError):
            strange.append(line)
    return jobs, strange


def first_lines(lines: Iterable[str]) -> str:
    """Return a little of what was not understood, for the log."""
    return "; ".join(line[:200] for _, line in zip(range(3), lines, strict=False))


def _job(line: str) -> Job:
    id, state, user, partitions, submit, eligible, start, end, nodes, reason = line.split("|", 9)
    if not id or not user or not partitions:
        raise ValueError(line)
    return Job(
        id,
        _STATES[state],
        user,
        tuple(partitions.split(",")),
        _time(submit),
        _time(eligible),
        _time(start),
        _time(end),
        nodes != " ",
        _reason(reason),
    )


def _time(text: str) -> float | None:
    return None if text in _NO_TIME else int(text)


def _reason(text: str) -> str:
    """Return a word of Slurm's list, so that there are never more series than it has reasons.

    Slurm puts sentences in its place, with names of nodes: of one it says itself that its reason is Resources.
    """
    if text.startswith("Nodes required for job are "):
        return "Resources"
    word = re.match(r"(\w+)(?=$|[,:(])", text)
    return word[1] if word else "Other"
