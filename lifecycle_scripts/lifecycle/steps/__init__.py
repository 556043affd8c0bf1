"""The steps, one subject a module, in the order in which they run.

`identify` comes first: what it finds, the others go by. Slurm comes before what a node can do without, and what
may take long (packages) after what jobs need, but for accounting, which slurmctld must find when it starts. Metrics
come last: what tells how a node does its work is not what it does it with.
"""

from lifecycle.step import Step
from lifecycle.steps import (
    accounting,
    background,
    collector,
    containers,
    directory,
    file_systems,
    identify,
    log_rotation,
    metrics,
    pyxis,
    s3_mounts,
    scratch,
    slurm,
    ssh_restriction,
    studio,
    users,
)

STEPS: tuple[Step, ...] = (
    identify.STEP,
    file_systems.LUSTRE,
    file_systems.OPENZFS,
    scratch.STEP,
    users.STEP,
    directory.STEP,
    containers.DOCKER,
    containers.INSTALL_ENROOT,
    containers.ENROOT,
    pyxis.STEP,
    background.LIBRARY,
    slurm.CONFIGURATION,
    slurm.STATE_DIRECTORY,
    accounting.STEP,
    slurm.PARTITIONS,
    slurm.ANNOUNCEMENT,
    ssh_restriction.STEP,
    log_rotation.STEP,
    slurm.DAEMON,
    slurm.ACCOUNTS,
    s3_mounts.STEP,
    studio.WORKSPACE,
    studio.SSH,
    studio.CLIENT,
    studio.MUNGE_SECRET,
    background.STEP,
    metrics.NODE_EXPORTER,
    metrics.DCGM_EXPORTER,
    metrics.FABRIC_EXPORTER,
    metrics.SLURM_EXPORTER,
    collector.STEP,
)
