"""The CDK app: `cdk synth -c cluster=clusters/hyperpod-cpu.yaml`."""

import sys

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks, NIST80053R5Checks

from cdk_slurm import rules, spec
from stacks import ClusterStacks

DEFAULT_CLUSTER = "clusters/hyperpod-cpu.yaml"


def main() -> None:
    """Read the cluster file that the context names, and wire its stacks."""
    app = cdk.App()
    try:
        loaded = spec.load(app.node.try_get_context("cluster") or DEFAULT_CLUSTER)
    except (spec.UnreadableError, spec.SpecError) as error:
        sys.exit(str(error))
    findings = rules.check(loaded)
    for finding in findings:
        print(finding, file=sys.stderr)
    if rules.errors(findings):
        sys.exit(1)
    ClusterStacks(app, loaded.spec)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app), NIST80053R5Checks(app))
    app.synth()


if __name__ == "__main__":
    main()
