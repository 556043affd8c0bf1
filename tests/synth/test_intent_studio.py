"""What is ready for Studio: a secret for the MUNGE key, which holds nothing until the cluster runs."""

import json

import pytest

from cdk_slurm.hyperpod import HyperPodCluster
from cdk_slurm.network import TrainingNetwork
from cdk_slurm.spec import ComputeGroup, HyperPodConfig, S3Mount, StudioConfig, StudioWorkspace
from cdk_slurm.storage import LustreFileSystem

KEY = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
CONFIG = HyperPodConfig(compute=(ComputeGroup(name="worker", type="ml.c5.4xlarge", count=2),))


def test_the_secret_has_no_value_and_none_is_generated(synthesise):
    template = synthesise.example("hyperpod-gpu")["cluster"]
    secret = template.one("AWS::SecretsManager::Secret")
    assert secret.properties == {
        "Name": "cdk-slurm/ml-cluster-gpu/munge-key",
        "Description": "MUNGE key of the Slurm cluster ml-cluster-gpu",
    }
    assert "SecretString" not in json.dumps(template.body)


def test_the_secret_goes_with_the_cluster(synthesise):
    """A cluster that is made anew has another key."""
    secret = synthesise.example("hyperpod-gpu")["cluster"].one("AWS::SecretsManager::Secret")
    assert secret.kept == ("Delete", "Delete")


def test_the_secret_is_encrypted_with_a_customers_key(synthesise):
    secret = synthesise.example("kms-key")["cluster"].one("AWS::SecretsManager::Secret")
    assert secret.properties["KmsKeyId"] == KEY


def test_people_are_told_which_secret_it_is(synthesise):
    template = synthesise.example("hyperpod-gpu")["cluster"]
    assert template.outputs["MungeSecretArn"] == template.one("AWS::SecretsManager::Secret").ref


def test_without_studio_there_is_no_secret(synthesise):
    template = synthesise.example("hyperpod-cpu")["cluster"]
    assert not template.all("AWS::SecretsManager::Secret")
    assert "MungeSecretArn" not in template.outputs


# Constructs of another app


def cluster(stack, **given):
    network = TrainingNetwork(stack, "Network", availability_zone="us-west-2a")
    if given.pop("lustre", True):
        given["lustre"] = LustreFileSystem(stack, "Lustre", network=network)
    return HyperPodCluster(stack, "Cluster", cluster_name="c", network=network, config=CONFIG, **given)


def test_another_construct_finds_the_secret(synthesise):
    made = []
    synthesise.in_stack(lambda stack: made.append(cluster(stack, studio=StudioConfig())))
    synthesise.in_stack(lambda stack: made.append(cluster(stack)))
    known, none = made
    assert known.munge_secret_arn
    assert none.munge_secret_arn is None


def test_studio_without_lustre_is_refused(synthesise):
    with pytest.raises(ValueError, match="studio: found no lustre; allowed: with a Lustre file system"):
        synthesise.in_stack(lambda stack: cluster(stack, studio=StudioConfig(), lustre=False))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"studio": StudioConfig(workspace=StudioWorkspace(path="/home/studio"))},
            "STUDIO_WORKSPACE_PATH: workspace.path: found /home/studio; allowed: a directory below /fsx",
        ),
        (
            {"studio": StudioConfig(workspace=StudioWorkspace(uid=2001))},
            "STUDIO_WORKSPACE_IDS: workspace.uid: found 2001; allowed: 10000 to 4000000",
        ),
        (
            {"s3_mounts": [S3Mount(bucket="someones-data", mount="/fsx/data")]},
            "MOUNT_OVERLAP: s3[0].mount: found /fsx/data, and lustre is mounted at /fsx",
        ),
        (
            {"s3_mounts": [S3Mount(bucket="someones-data", mount="/data", prefix="sets")]},
            "S3_MOUNT_PREFIX: s3[0].prefix: found 'sets'",
        ),
    ],
)
def test_constructs_judge_what_they_are_given(synthesise, given, message):
    with pytest.raises(RuntimeError) as raised:
        synthesise.in_stack(lambda stack: cluster(stack, **given))
    assert message in str(raised.value)
