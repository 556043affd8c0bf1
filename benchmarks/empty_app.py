"""What app.py costs before it describes anything: the same imports and policy packs, and as many stacks, empty."""

import os

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks, NIST80053R5Checks

from cdk_slurm import rules, spec  # noqa: F401
from stacks import ClusterStacks  # noqa: F401

app = cdk.App()
for index in range(int(os.environ["STACKS"])):
    cdk.Stack(app, f"Stack{index}")
cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app), NIST80053R5Checks(app))
app.synth()
