"""Lines of scontrol about nodes."""

import pytest

from exporters.slurm.nodes import STATES, USABLE, gpus_in, parse, state_of
from tests.exporters.recordings import LOOKS, RECORDED, Look

NODE = (
    "NodeName=ip-10-0-0-12 Arch=x86_64 CoresPerSocket=1  CPUAlloc=3 CPUEfctv=4 CPUTot=4 CPULoad=0.64 "
    "Gres=gpu:a10g:8(S:0-1) GresDrain=N/A GresUsed=gpu:a10g:3(IDX:0-2) NodeAddr=10.0.0.12 NodeHostName=ip-10-0-0-12 "
    "Version=24.11.5 OS=Linux 6.8.0 #1 SMP PREEMPT_DYNAMIC @0  RealMemory=1 State={state} ThreadsPerCore=1 "
    "Partitions=dev,gpu  BootTime=2026-11-24T20:17:36 CfgTRES=cpu=4,mem=1M AllocTRES=cpu=3 CurrentWatts=0 {rest}"
)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("IDLE", "idle"),
        ("idle+cloud", "idle"),
        ("IDLE+CLOUD+PLANNED", "idle"),
        ("IDLE-", "idle"),
        ("IDLE+CLOUD+POWERED_DOWN", "idle"),
        ("IDLE~", "idle"),
        ("IDLE+POWERING_UP", "idle"),
        ("IDLE#", "idle"),
        ("IDLE+REBOOT_REQUESTED", "idle"),
        ("IDLE@", "idle"),
        ("IDLE+SOMETHING_NEW", "idle"),
        ("MIXED+CLOUD", "mixed"),
        ("MIXED+CLOUD+PLANNED", "mixed"),
        ("MIXED-", "mixed"),
        ("MIXED+RESERVED", "mixed"),
        ("MIXED+COMPLETING", "mixed"),
        ("ALLOCATED", "allocated"),
        ("ALLOCATED+COMPLETING", "allocated"),
        ("ALLOCATED+MAINTENANCE+RESERVED", "allocated"),
        ("ALLOCATED#", "allocated"),
        ("IDLE+CLOUD+COMPLETING", "completing"),
        ("IDLE+COMPLETING+RESERVED", "completing"),
        ("IDLE+RESERVED", "reserved"),
        ("IDLE+CLOUD+MAINTENANCE+RESERVED", "reserved"),
        ("IDLE$", "reserved"),
        ("MIXED+CLOUD+DRAIN", "draining"),
        ("ALLOCATED+DRAIN+REBOOT_REQUESTED", "draining"),
        ("IDLE+COMPLETING+DRAIN", "draining"),
        ("MIXED!", "draining"),
        ("ALLOCATED+POWER_DOWN", "draining"),
        ("IDLE+DRAIN", "drained"),
        ("IDLE+CLOUD+DRAIN+MAINTENANCE+RESERVED", "drained"),
        ("IDLE+CLOUD+FAIL", "failing"),
        ("IDLE+CLOUD+FAIL+MAINTENANCE+RESERVED", "failing"),
        ("ALLOCATED+FAIL", "failing"),
        ("ALLOCATED+DRAIN+FAIL", "failing"),
        ("DOWN", "down"),
        ("DOWN*", "down"),
        ("DOWN+CLOUD+NOT_RESPONDING", "down"),
        ("DOWN+DRAIN", "down"),
        ("DOWN*+DRAIN", "down"),
        ("ERROR", "down"),
        ("IDLE*", "down"),
        ("IDLE+CLOUD+NOT_RESPONDING", "down"),
        ("ALLOCATED+NOT_RESPONDING", "down"),
        ("MIXED*+DRAIN", "down"),
        ("IDLE+DRAIN+NOT_RESPONDING", "down"),
        ("IDLE+POWERING_DOWN", "down"),
        ("IDLE%", "down"),
        ("IDLE^", "down"),
        ("DOWN+REBOOT_ISSUED", "down"),
        ("UNKNOWN+DRAIN+INVALID_REG", "down"),
        ("UNKNOWN", "unknown"),
        ("UNKNOWN*", "down"),
        ("FUTURE", "unknown"),
        ("RESTING", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_node_is_in_one_state(said, state):
    assert state_of(said) == state
    assert state in STATES


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", 0),
        ("", 0),
        ("gpu:8", 8),
        ("gpu:a10g:8", 8),
        ("gpu:a10g:8(S:0-1)", 8),
        ("gpu:a100:4(S:0),gpu:h100:2(S:1),shard:16(S:0-1)", 6),
        ("gpu:a100:no_consume:4", 4),
        ("gpu:a10g:3(IDX:0,2-3)", 3),
        ("gpu:a10g:0(IDX:N/A)", 0),
        ("gpu:a:1(IDX:0),gpu:b:0(IDX:N/A)", 1),
        ("craynetwork:4,nic:gpu:2", 0),
        ("mygpu:3,gpu:1", 1),
    ],
)
def test_gpus(gres, gpus):
    assert gpus_in(gres) == gpus


@pytest.mark.parametrize("path", [*LOOKS, RECORDED / "slurm-26.05.txt"], ids=lambda path: path.stem)
def test_every_recorded_line_is_understood(path):
    look = Look.read(path)
    nodes, strange = parse(look.nodes)
    assert not strange
    assert len(nodes) == len(look.nodes.splitlines()) > 1
    assert all(node.partitions and node.address and node.cpus for node in nodes)
    assert all(not node.reason for node in nodes if node.usable)


def test_a_node():
    [node], _ = parse(NODE.format(state="MIXED+CLOUD", rest=""))
    assert (node.name, node.address, node.partitions) == ("ip-10-0-0-12", "10.0.0.12", ("dev", "gpu"))
    assert (node.cpus, node.allocated_cpus, node.gpus, node.allocated_gpus) == (4, 3, 8, 3)
    assert (node.state, node.reason, node.usable) == ("mixed", "", True)


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ("", ""),
        ("Reason=Action:Replace [root@2026-11-25T04:16:08]", "Action:Replace"),
        ("Reason=Action:Replace : Not responding [slurm@1795580113]", "Action:Replace : Not responding"),
        (
            'Reason=disk | "full" State=IDLE [a@b] é [root@2026-11-25T04:16:08] Comment=State=IDLE Reason=no Extra=e',
            'disk | "full" State=IDLE [a@b] é',
        ),
        ("Reason=nobody knows when Comment=x", "nobody knows when"),
        ("Comment=x", ""),
        (f"Reason={'long ' * 100}[root@1795580113]", "long " * 40),
    ],
)
def test_a_reason_is_free_text(rest, reason):
    [node], _ = parse(NODE.format(state="IDLE+DRAIN", rest=rest))
    assert (node.state, node.reason) == ("drained", reason)


def test_a_resumed_node_has_no_reason_though_slurm_keeps_it():
    [node], _ = parse(NODE.format(state="IDLE", rest="Reason=former trouble [root@2026-11-25T04:16:08]"))
    assert node.reason == ""


@pytest.mark.parametrize(
    "strange", ["", "No nodes in the system", "NodeName= State=IDLE", NODE.replace("CPUTot=4", "CPUTot=four")]
)
def test_a_strange_line_is_told_and_the_others_are_read(strange):
    good = NODE.format(state="IDLE", rest="")
    nodes, told = parse(f"{strange}\n{good}\n")
    assert [node.name for node in nodes] == ["ip-10-0-0-12"]
    assert told == [strange]


def test_the_usable_states():
    assert set(STATES) - USABLE == {"draining", "drained", "failing", "down", "unknown"}
