"""Made-up metrics of a cluster of twelve nodes, so that its dashboards can be drawn where there is no GPU and no EFA.

    python docs/dashboards/example.py > metrics
    promtool tsdb create-blocks-from openmetrics metrics DIRECTORY
    prometheus --config.file=/dev/null --storage.tsdb.path=DIRECTORY

Three hours that end now, in the names and labels of the cluster's exporters. Three jobs train, one of them with a node
that lags; a GPU is too hot, another has an error; a node is down; jobs come and go in three partitions.
"""

import math
import sys
import time
from collections.abc import Iterator

from example_jobs import jobs_in_slurm
from example_nodes import COUNT, DOWN, DOWN_SINCE, HOT, NODES, STEP_SECONDS, Labels, Series, of_node, steady

END = int(time.time()) // STEP_SECONDS * STEP_SECONDS
STATES = ("idle", "mixed", "allocated", "completing", "reserved", "draining", "drained", "failing", "down", "unknown")


def main() -> None:
    """Write OpenMetrics."""
    times = [END - (COUNT - 1 - index) * STEP_SECONDS for index in range(COUNT)]
    for name, labels, values in everything():
        text = ",".join(f'{key}="{value}"' for key, value in {"cluster": "ml-cluster", **labels}.items())
        for moment, value in zip(times, values, strict=True):
            if not math.isnan(value):
                sys.stdout.write(f"{name}{{{text}}} {value:.9g} {moment}\n")
    sys.stdout.write("# EOF\n")


def everything() -> Iterator[Series]:
    """All series; a value that is no number is left out."""
    for node in NODES:
        for name, labels, values in of_node(node):
            gone = DOWN_SINCE if node is DOWN else COUNT
            yield name, labels, [value if index < gone else math.nan for index, value in enumerate(values)]
    for name, labels, values in (*_nodes_in_slurm(), *jobs_in_slurm()):
        yield name, {"job": "slurm", "instance": "ml-cluster", **labels}, values
    scheduler = {"sched_mean_cycle": 2400, "bf_mean_cycle": 31000, "schedule_queue_len": 6, "server_thread_cnt": 3}
    for name, size in scheduler.items():
        own: Labels = {"job": "slurmctld", "instance": "ml-cluster"}
        yield f"slurm_{name}", own, [value // 1 for value in steady(size, 0.2)]
    hot: Labels = {"alertname": "GpuTooHot", "severity": "critical", "node": HOT.name, "gpu": 3}
    down: Labels = {"alertname": "NodeUnavailable", "severity": "warning", "node": DOWN.name, "state": "down"}
    for since, alert in ((COUNT - 50, hot), (DOWN_SINCE + 60, down)):
        yield "ALERTS", {"alertstate": "firing", **alert}, [1 if at >= since else math.nan for at in range(COUNT)]


def _nodes_in_slurm() -> Iterator[Series]:
    for group, gpus, cpus in (("p5", 8, 192), ("g5", 1, 16)):
        members = [node for node in NODES if node.group == group]
        states = {
            node.name: [
                "down" if node is DOWN and index >= DOWN_SINCE else "allocated" if node.busy(index) else "idle"
                for index in range(COUNT)
            ]
            for node in members
        }
        at_once = list(zip(*states.values(), strict=True))
        for state in STATES:
            labels: Labels = {"instance_group": group, "state": state}
            yield "slurm_group_nodes", labels, [float(now.count(state)) for now in at_once]
        for what, size in (("gpus", gpus), ("cpus", cpus)):
            for kind, state in (("allocated", "allocated"), ("idle", "idle"), ("unusable", "down")):
                labels = {"instance_group": group, "state": kind}
                yield f"slurm_group_{what}", labels, [float(size * now.count(state)) for now in at_once]
        for node, over_time in states.items():
            for state in sorted(set(over_time)):
                reason = "Not responding" if state == "down" else ""
                labels = {"node": node, "instance_group": group, "state": state, "reason": reason}
                yield "slurm_node_state", labels, [1 if now == state else math.nan for now in over_time]
            used = [float(gpus * (now == "allocated")) for now in over_time]
            yield "slurm_node_allocated_gpus", {"node": node, "instance_group": group}, used
    yield "slurm_nodes_usable", {}, [10.0 if index < DOWN_SINCE else 9.0 for index in range(COUNT)]


if __name__ == "__main__":
    main()
