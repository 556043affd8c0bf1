"""Starts and ends of jobs are counted once each."""

import itertools
import json

import pytest

from exporters.slurm import jobs
from exporters.slurm.tally import RUN_BUCKETS_SECONDS, WAIT_BUCKETS_SECONDS, Histogram, Tally
from tests.exporters.recordings import LOOKS, Look
from tests.exporters.test_slurm_jobs import job

SEEN = [Look.read(path) for path in LOOKS]
#: When the recorded cluster was still empty.
BEGINNING = 1_795_580_869

#: What the recorded jobs are known to have done: number and sum by partition.
WAITS = {"cpu": (9, 448), "dev": (1, 1), "gpu": (11, 19)}
RUNS = {"cpu": (9, 198), "dev": (1, 30), "gpu": (9, 159)}
FINISHED = {
    ("cpu", "alice"): {"completed": 6, "failed": 1, "cancelled": 2, "timeout": 1},
    ("cpu", "bob"): {"completed": 1},
    ("dev", "alice"): {"completed": 1},
    ("gpu", "bob"): {"completed": 6, "cancelled": 1, "node_fail": 1, "deadline": 1},
}


class Sums:
    """Counts of one exporter process after the other, as Prometheus adds them up."""

    def __init__(self) -> None:
        self.waits, self.runs, self.finished = {}, {}, {}

    def add(self, tally: Tally) -> None:
        for mine, theirs in ((self.waits, tally.counts.waits), (self.runs, tally.counts.runs)):
            for partition, histogram in theirs.items():
                number, total = mine.get(partition, (0, 0))
                mine[partition] = (number + sum(histogram.counts), total + histogram.sum)
        for key, states in tally.counts.finished.items():
            for state, number in states.items():
                if number:
                    mine = self.finished.setdefault(key, {})
                    mine[state] = mine.get(state, 0) + number


def look(tally: Tally, *found: jobs.Job, now: float = 1000, is_whole: bool = True) -> None:
    tally.look(found, now=now, is_whole=is_whole)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "state.json"


@pytest.fixture
def tally(file):
    """An exporter that has been there before the first job."""
    return Tally(file, now=0)


def waits(tally: Tally, partition: str = "cpu") -> tuple[int, float]:
    histogram = tally.counts.waits[partition]
    return sum(histogram.counts), histogram.sum


def runs(tally: Tally, partition: str = "cpu") -> tuple[int, float]:
    histogram = tally.counts.runs[partition]
    return sum(histogram.counts), histogram.sum


def finished(tally: Tally) -> dict[str, int]:
    return {state: number for state, number in tally.counts.finished["cpu", "alice"].items() if number}


def waiting(**changes: str) -> jobs.Job:
    return job(**{"submit": "100", "eligible": "110"} | changes)


def running(**changes: str) -> jobs.Job:
    return waiting(**{"state": "RUNNING", "start": "130", "end": "NONE", "nodes": "i", "reason": "None"} | changes)


def ended(**changes: str) -> jobs.Job:
    return running(**{"state": "COMPLETED", "end": "200"} | changes)


# What was recorded


def test_what_was_recorded(file):
    tally, sums = Tally(file, now=BEGINNING), Sums()
    for seen in SEEN:
        tally.look(jobs.parse(seen.squeue)[0], now=seen.now)
    sums.add(tally)
    assert (sums.waits, sums.runs, sums.finished) == (WAITS, RUNS, FINISHED)


@pytest.mark.parametrize("restarts", list(itertools.product([False, True], repeat=3)))
def test_an_exporter_that_is_restarted_counts_the_same(file, restarts):
    tally, sums = Tally(file, now=BEGINNING), Sums()
    for seen, restarted in zip(SEEN, itertools.cycle(restarts), strict=False):
        tally.look(jobs.parse(seen.squeue)[0], now=seen.now)
        if restarted:
            sums.add(tally)
            tally = Tally(file, now=seen.now)
    sums.add(tally)
    assert (sums.waits, sums.runs, sums.finished) == (WAITS, RUNS, FINISHED)


@pytest.mark.parametrize("seen", list(itertools.combinations(range(len(SEEN) - 1), 2)))
def test_looks_that_were_missed_change_nothing(file, seen):
    tally, sums = Tally(file, now=BEGINNING), Sums()
    # The first has the run that was put back into the queue afterwards.
    for one in sorted({0, *seen, len(SEEN) - 1}):
        tally.look(jobs.parse(SEEN[one].squeue)[0], now=SEEN[one].now)
    sums.add(tally)
    assert (sums.waits, sums.runs, sums.finished) == (WAITS, RUNS, FINISHED)


# One job


def test_a_job_that_is_seen_all_along(tally):
    for found in (waiting(), running(), running(), ended(), ended()):
        look(tally, found)
    assert (waits(tally), runs(tally), finished(tally)) == ((1, 20), (1, 70), {"completed": 1})


def test_a_job_that_came_and_went_between_two_looks(tally):
    look(tally)
    look(tally, ended())
    look(tally)
    assert (waits(tally), runs(tally), finished(tally)) == ((1, 20), (1, 70), {"completed": 1})


def test_without_an_eligible_time_the_wait_is_from_submission(tally):
    look(tally, running(eligible="N/A"))
    assert waits(tally) == (1, 30)


@pytest.mark.parametrize(
    "end",
    [
        # As Slurm had it, of jobs that were held, waited with srun, could never run, and missed their deadline.
        {"state": "CANCELLED", "eligible": "N/A", "start": "150", "end": "150", "reason": "JobHeldUser"},
        {"state": "CANCELLED", "start": "N/A", "end": "150", "reason": "Priority"},
        {"state": "FAILED", "start": "100", "end": "100", "reason": "BadConstraints"},
        {"state": "DEADLINE", "eligible": "N/A", "start": "150", "end": "150", "reason": "DeadLine"},
    ],
)
def test_a_job_that_never_started_is_finished_and_nothing_else(tally, end):
    for found in (waiting(), waiting(**end), waiting(**end)):
        look(tally, found)
    assert (waits(tally), runs(tally)) == ((0, 0), (0, 0))
    assert finished(tally) == {end["state"].lower(): 1}


def test_a_job_that_was_put_back_waits_and_runs_twice(tally):
    look(tally, running())
    # Meanwhile the start is the moment at which it was put back.
    look(tally, running(state="COMPLETING", start="160"))
    again = {"submit": "160", "eligible": "281"}
    look(tally, waiting(start="281", reason="BeginTime", **again))
    assert (waits(tally), runs(tally), finished(tally)) == ((1, 20), (1, 30), {})
    look(tally, running(start="290", **again))
    look(tally, ended(start="290", end="390", **again))
    assert (waits(tally), runs(tally), finished(tally)) == ((2, 29), (2, 130), {"completed": 1})


def test_a_job_that_was_put_back_and_runs_again_at_the_next_look(tally):
    look(tally, running())
    look(tally, running(submit="160", eligible="281", start="290"))
    assert (waits(tally), runs(tally), finished(tally)) == ((2, 29), (1, 30), {})


def test_a_job_that_was_put_back_and_then_cancelled(tally):
    look(tally, running())
    look(tally, waiting(state="CANCELLED", submit="160", eligible="281", start="200", end="200"))
    assert (waits(tally), runs(tally), finished(tally)) == ((1, 20), (1, 30), {"cancelled": 1})


def test_a_job_that_was_put_back_without_a_new_time_of_submission_ran_until_it_was_seen(tally):
    look(tally, running())
    look(tally, waiting(), now=170)
    assert runs(tally) == (1, 40)


def test_a_job_of_several_partitions_ran_in_the_one_it_ran_in(tally):
    look(tally, waiting(partition="cpu,gpu"))
    look(tally, running(partition="gpu"))
    look(tally, waiting(partition="cpu,gpu", submit="160"))
    assert (waits(tally, "gpu"), runs(tally, "gpu")) == ((1, 20), (1, 30))
    assert (waits(tally, "cpu"), runs(tally, "cpu")) == ((0, 0), (0, 0))


def test_a_finished_job_that_is_run_again(tally):
    look(tally, ended())
    look(tally, waiting(submit="210", eligible="331"))
    look(tally, ended(submit="210", eligible="331", start="340", end="350", state="FAILED"))
    assert (waits(tally), runs(tally)) == ((2, 29), (2, 80))
    assert finished(tally) == {"completed": 1, "failed": 1}


def test_a_suspended_job_goes_on_running(tally):
    for found in (running(), running(state="SUSPENDED"), running(), ended()):
        look(tally, found)
    assert (waits(tally), runs(tally), finished(tally)) == ((1, 20), (1, 70), {"completed": 1})


def test_a_job_whose_nodes_are_still_booting_has_not_started(tally):
    look(tally, running(state="CONFIGURING"))
    assert waits(tally) == (0, 0)
    look(tally, running(start="190"))
    assert waits(tally) == (1, 80)


def test_tasks_of_an_array_are_jobs(tally):
    look(tally, running(id="7_1"), running(id="7_2"), waiting(id="7_3"))
    look(tally, ended(id="7_1"), ended(id="7_2"), ended(id="7_3"))
    assert (waits(tally), runs(tally), finished(tally)) == ((3, 60), (3, 210), {"completed": 3})


def test_a_number_that_is_used_again_is_another_job(tally):
    look(tally, ended())
    look(tally, ended(submit="5000", eligible="5000", start="5001", end="5002"))
    assert (waits(tally), runs(tally), finished(tally)) == ((2, 21), (2, 71), {"completed": 2})


def test_a_clock_that_was_set_back_makes_nothing_negative(tally):
    look(tally, running(eligible="500"))
    look(tally, ended(end="20"))
    assert (waits(tally), runs(tally)) == ((1, 0), (1, 0))


# Its memory


def test_what_happened_before_the_first_start_is_not_counted(file):
    tally = Tally(file, now=150)
    look(tally, running(), ended(id="2", end="140"), ended(id="3", start="151", end="160"))
    assert (waits(tally), runs(tally), finished(tally)) == ((1, 41), (1, 9), {"completed": 1})
    look(tally, ended())
    assert (waits(tally), runs(tally), finished(tally)) == ((1, 41), (2, 79), {"completed": 2})


def test_what_happened_while_it_was_away_is(file):
    look(Tally(file, now=0), running())
    tally = Tally(file, now=900)
    look(tally, ended(), ended(id="2"))
    assert (waits(tally), runs(tally), finished(tally)) == ((1, 20), (2, 140), {"completed": 2})


def test_it_forgets_jobs_that_slurm_has_forgotten(tally, file):
    look(tally, ended(id="1"), running(id="2"), waiting(id="3"))
    assert set(json.loads(file.read_text())["jobs"]) == {"1", "2"}
    look(tally, running(id="2"))
    assert set(json.loads(file.read_text())["jobs"]) == {"2"}


def test_jobs_that_may_be_there_but_were_not_understood_are_not_forgotten(tally):
    look(tally, ended())
    look(tally, is_whole=False)
    look(tally, ended())
    assert finished(tally) == {"completed": 1}


def test_the_file_is_written_when_there_is_something_new(tally, file):
    look(tally, running())
    written = file.stat().st_mtime_ns
    look(tally, running())
    assert file.stat().st_mtime_ns == written
    look(tally, ended())
    assert file.stat().st_mtime_ns > written
    assert not list(file.parent.glob(".*"))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"version": 0, "jobs": {}}', '{"version": 1, "jobs": {"1": [5]}}', '{"version": 1}'],
)
def test_a_file_that_cannot_be_used_is_left_aside(file, text, caplog):
    file.write_text(text)
    tally = Tally(file, now=150)
    look(tally, running())
    assert waits(tally) == (0, 0)
    assert "is left aside" in caplog.text
    look(Tally(file, now=150), running())


def test_a_file_that_cannot_be_written_is_told_once_and_counting_goes_on(tmp_path, caplog):
    (tmp_path / "full").write_text("not a directory")
    tally = Tally(tmp_path / "full" / "state.json", now=0)
    for found in (waiting(), running(), ended()):
        look(tally, found)
    assert finished(tally) == {"completed": 1}
    assert caplog.text.count("cannot be written") == 1


def test_counters_of_a_user_are_there_before_the_first_job_ends(tally):
    look(tally, waiting())
    assert set(tally.counts.finished["cpu", "alice"].values()) == {0}
    assert len(tally.counts.finished["cpu", "alice"]) == len(jobs.FINISHED_STATES)


# Buckets


@pytest.mark.parametrize("bounds", [WAIT_BUCKETS_SECONDS, RUN_BUCKETS_SECONDS])
def test_a_value_on_a_bound_is_below_it(bounds):
    histogram = Histogram(bounds)
    for bound in bounds:
        histogram.observe(bound)
    histogram.observe(bounds[-1] + 1)
    assert histogram.counts == [1] * (len(bounds) + 1)
    assert histogram.sum == sum(bounds) + bounds[-1] + 1
