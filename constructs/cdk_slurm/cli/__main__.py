"""`python -m cdk_slurm.cli`."""

from cdk_slurm.cli import main

main(prog_name="cdk-slurm")
