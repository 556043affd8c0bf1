"""Slurm training clusters on AWS, described once.

`cdk_slurm.spec` is what a user may write, `cdk_slurm.rules` what must hold of it; neither imports
the CDK. `cdk_slurm.network`, `cdk_slurm.storage` and `cdk_slurm.hyperpod` are the constructs, each
configured by the models of `cdk_slurm.spec`.
"""
