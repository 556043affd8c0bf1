"""Lines of squeue."""

import pytest

from exporters.slurm.jobs import FINISHED_STATES, QUEUE_STATES, Job, parse
from tests.exporters.recordings import LOOKS, RECORDED, Look

NOW = 1_795_580_884


def line(**changes: str) -> str:
    fields = {
        "id": "1",
        "state": "PENDING",
        "user": "alice",
        "partition": "cpu",
        "submit": f"{NOW - 60}",
        "eligible": f"{NOW - 50}",
        "start": "N/A",
        "end": "N/A",
        "nodes": " ",
        "reason": "Resources",
    }
    return "|".join((fields | changes).values())


def job(**changes: str) -> Job:
    [found], strange = parse(line(**changes))
    assert not strange
    return found


@pytest.mark.parametrize("path", [*LOOKS, RECORDED / "slurm-26.05.txt"], ids=lambda path: path.stem)
def test_every_recorded_line_is_understood(path):
    look = Look.read(path)
    jobs, strange = parse(look.squeue)
    assert not strange
    assert len(jobs) == len(look.squeue.splitlines()) > 6
    assert len({one.id for one in jobs}) == len(jobs)
    assert {one.reason for one in jobs} <= {
        *("None", "Resources", "Priority", "BeginTime", "Dependency", "DependencyNeverSatisfied"),
        *("JobHeldUser", "JobArrayTaskLimit", "NonZeroExitCode", "TimeLimit", "NodeDown", "DeadLine"),
    }


def test_a_running_job():
    assert job(state="RUNNING", start=f"{NOW - 10}", end="NONE", nodes="i", reason="None") == Job(
        id="1",
        state="running",
        user="alice",
        partitions=("cpu",),
        submit=NOW - 60,
        eligible=NOW - 50,
        start=NOW - 10,
        end=None,
        has_nodes=True,
        reason="None",
    )


@pytest.mark.parametrize(
    ("said", "state"),
    [
        *[(state.upper(), state) for state in (*QUEUE_STATES, *FINISHED_STATES)],
        ("REQUEUED", "pending"),
        ("REQUEUE_HOLD", "pending"),
        ("SPECIAL_EXIT", "pending"),
        ("RESV_DEL_HOLD", "pending"),
        ("RESIZING", "running"),
        ("SIGNALING", "running"),
        ("STOPPED", "suspended"),
        ("STAGE_OUT", "completing"),
        ("EXPEDITING", "completing"),
    ],
)
def test_states(said, state):
    assert job(state=said).state == state


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Resources", "Resources"),
        ("None", "None"),
        ("QOSMaxJobsPerUserLimit", "QOSMaxJobsPerUserLimit"),
        ("ReqNodeNotAvail, UnavailableNodes:ip-10-78-0-[12-14]", "ReqNodeNotAvail"),
        ("ReqNodeNotAvail(Unavailable:ip-10-78-0-12)", "ReqNodeNotAvail"),
        ("ReqNodeNotAvail, Reserved for maintenance", "ReqNodeNotAvail"),
        # Its own words for Resources: `squeue --json` names both.
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
            "Resources",
        ),
        ("launch failed requeued held", "Other"),
        ("somebody | wrote this", "Other"),
        ("", "Other"),
    ],
)
def test_a_reason_is_one_word(said, reason):
    assert job(reason=said).reason == reason


@pytest.mark.parametrize(
    ("changes", "waits"),
    [
        ({}, True),
        ({"reason": "Priority"}, True),
        ({"reason": "None"}, True),
        ({"reason": "Licenses"}, True),
        ({"reason": "ReqNodeNotAvail, UnavailableNodes:ip-10-78-0-12"}, True),
        ({"partition": "cpu,gpu"}, True),
        ({"reason": "BeginTime", "eligible": f"{NOW + 3600}"}, False),
        ({"reason": "None", "eligible": f"{NOW + 3600}"}, False),
        ({"reason": "JobHeldUser", "eligible": "N/A"}, False),
        ({"reason": "JobHeldAdmin"}, False),
        ({"reason": "Dependency", "eligible": "N/A"}, False),
        ({"reason": "DependencyNeverSatisfied", "eligible": "N/A"}, False),
        ({"reason": "JobArrayTaskLimit", "eligible": "N/A"}, False),
        ({"reason": "QOSMaxJobsPerUserLimit"}, False),
        ({"reason": "QOSGrpGRES"}, False),
        ({"reason": "AssocGrpCpuLimit"}, False),
        ({"reason": "PartitionNodeLimit"}, False),
        ({"reason": "Reservation"}, False),
        ({"reason": "launch failed requeued held"}, False),
        ({"state": "RUNNING", "nodes": "i"}, False),
        ({"state": "CANCELLED"}, False),
    ],
)
def test_which_jobs_lack_nothing_but_resources(changes, waits):
    assert job(**changes).waits_for_resources(NOW) is waits


@pytest.mark.parametrize(
    "strange",
    [
        "",
        "squeue: error: something",
        "1|RUNNING|alice",
        line(state="DANCING"),
        line(state="REVOKED"),
        line(start="2026-11-25T04:06:01"),
        line(id=""),
        line(user=""),
        line(partition=""),
        line(submit="yesterday"),
    ],
)
def test_a_strange_line_is_told_and_the_others_are_read(strange):
    jobs, told = parse(f"{line(id='7_3')}\n{strange}\n{line(id='8+0')}\n")
    assert [one.id for one in jobs] == ["7_3", "8+0"]
    assert told == [strange]
