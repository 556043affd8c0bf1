"""Which of two controllers is in charge.

Both run the exporter, and their series are the same ones: so one of them has to be silent.
"""

import re

from lifecycle.errors import StepError
from lifecycle.host import Host
from lifecycle.slurm_conf import lines_of, values


def controllers(host: Host) -> list[str]:
    """Return the names of the controllers in slurm.conf. The first of them is in charge whenever it is up."""
    return [value.partition("(")[0] for value in values(list(lines_of(host)), "SlurmctldHost")]


def who_is_in_charge(host: Host, names: list[str], *, timeout_seconds: float) -> str | None:
    """Return which of the controllers is in charge, None if none of them answers. A single one is not asked."""
    if len(names) == 1:
        return names[0]
    try:
        said = host.run("scontrol", "ping", timeout_seconds=timeout_seconds)
    except StepError:
        # It fails when all of them are down.
        return None
    up = re.findall(r"^Slurmctld\(\w+\) at (\S+) is UP$", said, re.MULTILINE)
    return up[0] if up else None
