"""Synthesise an app of some size and print its seconds: `python benchmarks/growth.py clusters 10`."""

import json
import sys
import time

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks, NIST80053R5Checks

from cdk_slurm import spec
from stacks import ClusterStacks


def clusters(number: int, one: spec.ClusterSpec) -> list[spec.ClusterSpec]:
    """As many clusters in one app, each with a network, file systems and a bucket of its own."""
    return [one.model_copy(update={"name": f"cluster-{index}"}) for index in range(number)]


def groups(number: int, one: spec.ClusterSpec) -> list[spec.ClusterSpec]:
    """One cluster with as many instance groups, the controllers' and the login nodes' among them."""
    compute = tuple(
        spec.ComputeGroup(name=f"group-{index}", type="ml.c5.large", count=1)
        for index in range(number - len(one.hyperpod.groups) + len(one.hyperpod.compute))
    )
    return [one.model_copy(update={"hyperpod": one.hyperpod.model_copy(update={"compute": compute})})]


def main(what: str, number: int) -> None:
    """Describe and synthesise; what is imported is not counted."""
    described = {"clusters": clusters, "groups": groups}[what](number, spec.load("clusters/hyperpod-cpu.yaml").spec)
    start = time.perf_counter()
    app = cdk.App()
    for one in described:
        ClusterStacks(app, one)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app), NIST80053R5Checks(app))
    described_after = time.perf_counter()
    app.synth()
    end = time.perf_counter()
    print(json.dumps({"describe": described_after - start, "synthesise": end - described_after, "all": end - start}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
