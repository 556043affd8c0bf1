"""Rotates the logs of Slurm and of the lifecycle, which would fill the root volume in the end.

https://slurm.schedmd.com/slurm.conf.html (section LOGGING)
"""

from lifecycle.host import File
from lifecycle.step import Context, Step

_FILE = File(
    "/etc/logrotate.d/cdk-slurm",
    "# Written by cdk-slurm.\n"
    "/var/log/slurm/*.log /var/log/slurmctld.log /var/log/slurmd.log /var/log/slurmdbd.log {\n"
    "    weekly\n    maxsize 100M\n    rotate 8\n    compress\n    delaycompress\n    missingok\n    notifempty\n"
    # The directory is the slurm user's, and logrotate does not write as root where another could have put links.
    "    su root root\n    nocreate\n    sharedscripts\n    postrotate\n"
    # The signal at which Slurm's daemons open their logs anew, and nothing else.
    "        for daemon in slurmctld slurmd slurmdbd; do pkill -x --signal SIGUSR2 $daemon || true; done\n"
    "    endscript\n}\n"
    "/var/log/provision/provisioning.log {\n"
    "    monthly\n    maxsize 10M\n    rotate 4\n    compress\n    missingok\n    notifempty\n}\n",
)


def _is_done(context: Context) -> bool:
    return context.host.holds(_FILE)


def _do(context: Context) -> None:
    context.host.put(_FILE)


STEP = Step(name="log-rotation", summary=f"write {_FILE.path}", is_done=_is_done, do=_do)
