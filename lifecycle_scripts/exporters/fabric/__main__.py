"""`python3 -m exporters.fabric`: metrics of this node's network."""

import argparse
from pathlib import Path

from exporters.fabric.collector import FabricCollector
from exporters.fabric.peers import PORT
from exporters.server import log_to_journal, serve
from lifecycle.host import Host


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="exporters.fabric", description=__doc__)
    # Other nodes measure the way to here.
    parser.add_argument("--address", default="0.0.0.0", help="where to listen (%(default)s)")  # noqa: S104
    parser.add_argument("--port", type=int, default=PORT, help="(%(default)s)")
    parser.add_argument("--root", type=Path, default=Path("/"), help="a directory that stands for the node's /")
    options = parser.parse_args()
    log_to_journal()
    serve(FabricCollector(Host(root=options.root)), address=options.address, port=options.port)


if __name__ == "__main__":
    main()
