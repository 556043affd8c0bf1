"""`python3 -m exporters.slurm`: metrics of Slurm, on a controller."""

import argparse
import os
import socket
from pathlib import Path

from exporters.server import log_to_journal, serve
from exporters.slurm.collector import SlurmCollector
from lifecycle.host import Host


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="exporters.slurm", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=9341, help="(%(default)s)")
    parser.add_argument(
        "--state-file",
        type=Path,
        default=Path("/var/lib/cdk-slurm-exporter/state.json"),
        help="what is counted of each job (%(default)s)",
    )
    parser.add_argument("--min-interval-seconds", type=float, default=10, help="between two looks (%(default)s)")
    parser.add_argument("--timeout-seconds", type=float, default=7, help="of each command (%(default)s)")
    options = parser.parse_args()
    log_to_journal()
    collector = SlurmCollector(
        Host(environment=_environment()),
        state_file=options.state_file,
        own_name=socket.gethostname().partition(".")[0],
        min_interval_seconds=options.min_interval_seconds,
        timeout_seconds=options.timeout_seconds,
    )
    serve(collector, address=options.address, port=options.port)


def _environment() -> dict[str, str]:
    """Without what changes the output of Slurm's commands."""
    prefixes = ("SCONTROL_", "SINFO_", "SQUEUE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


if __name__ == "__main__":
    main()
