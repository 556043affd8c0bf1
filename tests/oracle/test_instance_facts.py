"""The committed instance facts agree with the installed moto, and with what AWS's pages say."""

import importlib.util
from pathlib import Path

import pytest

from cdk_slurm.rules.instances import instance_facts
from cdk_slurm.rules.service_model import cluster_instance_types


def _generator():
    spec = importlib.util.spec_from_file_location("instance_facts", Path(__file__).with_name("instance_facts.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_what_moto_says_now():
    generator = _generator()
    assert generator.TARGET.read_text("utf-8") == generator.generate()


# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa.html
@pytest.mark.parametrize(
    ("instance_type", "efa_interfaces"),
    [
        ("ml.p4d.24xlarge", 4),
        ("ml.p5.48xlarge", 32),
        ("ml.p5en.48xlarge", 16),
        ("ml.p6-b200.48xlarge", 8),
        ("ml.trn1.32xlarge", 8),
        ("ml.trn2.48xlarge", 16),
        ("ml.g5.8xlarge", 1),
        ("ml.c5n.18xlarge", 1),
        ("ml.m5.2xlarge", 0),
        ("ml.c5.4xlarge", 0),
    ],
)
def test_efa_interfaces_are_those_of_the_ec2_guide(instance_type, efa_interfaces):
    assert instance_facts(instance_type).efa_interfaces == efa_interfaces


def test_few_types_are_unknown():
    unknown = [name for name in cluster_instance_types() if instance_facts(name) is None]
    assert len(unknown) <= 0.05 * len(cluster_instance_types()), unknown
