"""Two controllers, which the legacy form has: shared state, accounting in a database outside, and a takeover."""

import json
import time
from dataclasses import replace

import pytest

from tests.node.cluster.machine import eventually
from tests.node.cluster.platform import Platform
from tests.node.test_nodes_faults import database_of, put_authority
from tests.node.test_nodes_legacy import GROUPS, SCHEDULER, install, report


@pytest.fixture(scope="module")
def platform(workplace, trees):
    groups = (replace(GROUPS[0], count=2), GROUPS[2])
    lines = (*SCHEDULER, "SlurmctldTimeout=5")
    with Platform(workplace, trees, form="provisioning_parameters", groups=groups, slurm_conf=lines) as platform:
        platform.backroom.start_database()
        platform.tell_of_aws()
        topic = platform.aws.call("sns", "create_topic", Name="failover")["TopicArn"]
        platform.queue = platform.aws.call("sqs", "create_queue", QueueName="failover")["QueueUrl"]
        queue = platform.aws.call("sqs", "get_queue_attributes", QueueUrl=platform.queue, AttributeNames=["QueueArn"])
        subscription = {"TopicArn": topic, "Protocol": "sqs", "Endpoint": queue["Attributes"]["QueueArn"]}
        platform.aws.call("sns", "subscribe", **subscription)
        more = {"accounting_database": database_of(platform), "failover_topic": topic}
        install(platform, platform.all, **more)
        for controller in platform.machines["controller"]:
            put_authority(controller, platform.backroom.ca_certificate)
        platform.run_everywhere(environment=platform.aws.environment)
        yield platform


def messages(platform: Platform) -> list[dict]:
    received = []
    while batch := platform.aws.call("sqs", "receive_message", QueueUrl=platform.queue).get("Messages"):
        received += batch
        for message in batch:
            platform.aws.call("sqs", "delete_message", QueueUrl=platform.queue, ReceiptHandle=message["ReceiptHandle"])
    return received


def test_both_are_up_and_share_state_and_accounting(platform):
    worker = platform.workers[0]
    first, second = platform.machines["controller"]
    ping = worker.shell("scontrol ping")
    assert f"Slurmctld(primary) at {first.name} is UP" in ping
    assert f"Slurmctld(backup) at {second.name} is UP" in ping
    for machine in (first, second):
        assert report(machine)["state"] == "done"
        assert machine.shell("readlink /var/spool/slurmctld").strip() == "/fsx/.cdk-slurm/ml-cluster/slurmctld"
    worker.shell("srun --partition=cpu --nodes=2 --job-name=before hostname", user="alice")


def test_a_second_run_leaves_both_as_they_are(platform):
    platform.run_everywhere(environment=platform.aws.environment)
    for machine in platform.all:
        states = {step["name"]: step["state"] for step in report(machine)["steps"]}
        assert set(states.values()) <= {"already-done", "not-for-this-node", "not-wanted"}, states


def test_the_other_takes_over_with_the_jobs_and_the_partitions(platform):
    worker = platform.workers[0]
    first, second = platform.machines["controller"]
    running = worker.shell("sbatch --parsable --partition=cpu --wrap='sleep 20'", user="alice").strip()
    waiting = worker.shell(
        "sbatch --parsable --partition=cpu --nodes=2 --exclusive --wrap=hostname", user="alice"
    ).strip()
    eventually(lambda: worker.shell(f"squeue -h -j {running} -o %T", user="alice").strip() == "RUNNING")
    # slurmctld saves its state every few seconds: what began after that, nobody could take over.
    time.sleep(8)
    first.lose_power()
    listed = f"sacct -nPX -j {running},{waiting} -o state"

    def jobs_ended() -> bool:
        return worker.shell(listed, user="alice").split() == ["COMPLETED", "COMPLETED"]

    eventually(jobs_ended, timeout_seconds=90)
    told = [json.loads(message["Body"])["Message"] for message in messages(platform)]
    charge = "is in charge of Slurm on cluster ml-cluster."
    assert told == [f"Controller {first.name} {charge}", f"Controller {second.name} {charge}"]
    assert f"Slurmctld(backup) at {second.name} is UP" in worker.shell("scontrol ping", check=False)
    assert "cpu" in second.shell("sinfo -h -o %R").split()
